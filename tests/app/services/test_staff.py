"""Who may act, and for which areas."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy.orm import Session

from app.db import new_id, utc_now
from app.models.areas import Area
from app.services import sessions, staff
from app.services.errors import Conflict, Invalid, Missing
from tests.factories import ACTOR, Makes


def boroughs(session: Session, who: staff.Officer) -> dict[str, list[str]]:
    return {b.code: [w.code for w in b.wards] for b in staff.areas_of(session, who)}


def test_an_officer_of_a_team_may_choose_the_boroughs_that_its_areas_lie_in(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    here, first, second = makes.borough()
    there, third, _ = makes.borough()
    makes.borough()
    of_ward = staff.officer(session, makes.officer(police, makes.team(police, [first])).id)
    of_borough = staff.officer(session, makes.officer(police, makes.team(police, [here])).id)
    of_both = staff.officer(session, makes.officer(police, makes.team(police, [first, there])).id)
    mine = {here.code: [first.code, second.code]}
    assert boroughs(session, of_ward) == boroughs(session, of_borough) == mine
    assert set(boroughs(session, of_both)) == {here.code, there.code}
    staff.require_areas(session, of_ward, [here.code, second.code])
    for codes in ([there.code], [first.code, third.code], ["E05999999"], ["FORCE:x"]):
        with pytest.raises(Invalid) as refused:
            staff.require_areas(session, of_ward, codes)
        assert refused.value.field == "areas"


def test_a_team_of_a_larger_area_may_choose_everything_below_it(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    here, *_ = makes.borough()
    there, *_ = makes.borough()
    elsewhere, *_ = makes.borough()
    bcu = Area(code="BCU:XX", kind="bcu", name="West", valid_from=date(2022, 1, 1))
    session.add(bcu)
    session.flush()
    here.parent_id = there.parent_id = bcu.id
    session.flush()
    who = staff.officer(session, makes.officer(police, makes.team(police, [bcu])).id)
    assert set(boroughs(session, who)) == {here.code, there.code}
    staff.require_areas(session, who, [bcu.code, there.code])
    assert not staff.may_choose(session, who, [elsewhere.code])


def test_an_officer_without_a_team_may_choose_all_areas_of_today(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    here, first, second = makes.borough()
    there, *_ = makes.borough()
    second.valid_to = date(2026, 1, 1)
    session.flush()
    who = staff.officer(session, makes.officer(police).id)
    found = boroughs(session, who)
    assert found[here.code] == [first.code]
    assert there.code in found
    assert not staff.may_choose(session, who, [second.code])


def test_a_team_without_areas_of_today_may_choose_none(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    here, *_ = makes.borough()
    team = makes.team(police, [here])
    here.valid_to = date(2026, 1, 1)
    session.flush()
    who = staff.officer(session, makes.officer(police, team).id)
    assert staff.areas_of(session, who) == []


def test_only_who_is_active_is_an_officer(session: Session, makes: Makes) -> None:
    made = makes.officer(makes.organisation())
    assert staff.officer(session, made.id).name == "Sam Officer"
    for state in ("invited", "left"):
        made.state = state
        session.flush()
        with pytest.raises(Missing):
            staff.officer(session, made.id)
    with pytest.raises(Missing):
        staff.officer(session, new_id())


def test_who_leaves_is_signed_out_everywhere_and_keeps_no_secret_here(session: Session, makes: Makes) -> None:
    made = makes.officer(makes.organisation())
    tokens = [sessions.begin(session, staff=made, now=utc_now()) for _ in range(2)]
    staff.leave(session, made.email.upper(), actor=ACTOR)
    assert all(sessions.find(session, token, now=utc_now()) is None for token in tokens)
    assert (made.state, made.password_hash, made.totp_secret) == ("left", None, None)
    with pytest.raises(Conflict):
        staff.leave(session, made.email, actor=ACTOR)
    with pytest.raises(Missing):
        staff.leave(session, "nobody@police.example", actor=ACTOR)
    with pytest.raises(Invalid):
        staff.leave(session, "nobody", actor=ACTOR)


def test_staff_are_found_by_another_digest_than_residents(session: Session, makes: Makes) -> None:
    made = makes.officer(makes.organisation())
    resident = makes.contact(made.email)
    assert resident.digest != made.digest


def test_the_list_of_staff_is_paged_and_holds_one_organisation(session: Session, makes: Makes) -> None:
    police, others = makes.organisation(), makes.organisation()
    made = [makes.officer(police) for _ in range(3)]
    makes.officer(others)
    first = staff.listed(session, police.id, most=2)
    assert [one.id for one, _ in first] == [one.id for one in made[:2]]
    rest = staff.listed(session, police.id, after=made[1].id)
    assert [one.id for one, _ in rest] == [made[2].id]
