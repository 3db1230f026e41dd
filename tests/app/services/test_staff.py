"""Who may act, and for which areas."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.db import new_id, utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.areas import Area
from app.permissions import Permission
from app.services import sessions, staff
from tests.factories import ACTOR, Makes

DRAFT = Permission.ALERT_DRAFT


def boroughs(session: Session, who: Who) -> dict[str, list[str]]:
    return {b.code: [w.code for w in b.wards] for b in staff.areas_of(session, who, DRAFT)}


def test_an_officer_of_a_team_may_choose_the_boroughs_that_its_areas_lie_in(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    here, first, second = makes.borough()
    there, third, _ = makes.borough()
    makes.borough()
    of_ward = makes.who(makes.officer(police, makes.team(police, [first])))
    of_borough = makes.who(makes.officer(police, makes.team(police, [here])))
    of_both = makes.who(makes.officer(police, makes.team(police, [first, there])))
    mine = {here.code: [first.code, second.code]}
    assert boroughs(session, of_ward) == boroughs(session, of_borough) == mine
    assert set(boroughs(session, of_both)) == {here.code, there.code}
    staff.require_areas(session, of_ward, DRAFT, [here.code, second.code])
    for codes in ([there.code], [first.code, third.code], ["E05999999"], ["FORCE:x"]):
        with pytest.raises(Invalid) as refused:
            staff.require_areas(session, of_ward, DRAFT, codes)
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
    who = makes.who(makes.officer(police, makes.team(police, [bcu])))
    assert set(boroughs(session, who)) == {here.code, there.code}
    staff.require_areas(session, who, DRAFT, [bcu.code, there.code])
    assert not access.inside(session, who, DRAFT, [elsewhere.code])


def test_an_officer_without_a_team_may_choose_all_areas_of_today(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    here, first, second = makes.borough()
    there, *_ = makes.borough()
    second.valid_to = date(2026, 1, 1)
    session.flush()
    who = makes.who(makes.officer(police))
    found = boroughs(session, who)
    assert found[here.code] == [first.code]
    assert there.code in found
    assert not access.inside(session, who, DRAFT, [second.code])


def test_a_team_without_areas_of_today_may_choose_none(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    here, *_ = makes.borough()
    team = makes.team(police, [here])
    here.valid_to = date(2026, 1, 1)
    session.flush()
    who = makes.who(makes.officer(police, team))
    assert staff.areas_of(session, who, DRAFT) == []


def test_only_who_is_active_is_an_officer(session: Session, makes: Makes) -> None:
    made = makes.officer(makes.organisation())
    assert access.of(session, made.id, now=utc_now()).name == "Sam Officer"
    for state in ("invited", "left"):
        made.state = state
        session.flush()
        with pytest.raises(Missing):
            access.of(session, made.id, now=utc_now())
    with pytest.raises(Missing):
        access.of(session, new_id(), now=utc_now())


def test_who_leaves_is_signed_out_everywhere_and_keeps_no_secret_here(session: Session, makes: Makes) -> None:
    made = makes.officer(makes.organisation())
    tokens = [sessions.begin(session, staff=made, now=utc_now()) for _ in range(2)]
    staff.leave(session, made.email.upper(), actor=ACTOR, now=utc_now())
    assert all(sessions.find(session, token, now=utc_now()) is None for token in tokens)
    assert (made.state, made.password_hash, made.totp_secret) == ("left", None, None)
    with pytest.raises(Conflict):
        staff.leave(session, made.email, actor=ACTOR, now=utc_now())
    with pytest.raises(Missing):
        staff.leave(session, "nobody@police.example", actor=ACTOR, now=utc_now())
    with pytest.raises(Invalid):
        staff.leave(session, "nobody", actor=ACTOR, now=utc_now())


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
