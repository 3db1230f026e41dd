"""Roles have a term: they begin, are renewed, are taken back, and end at their minute."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.audit import record as audit
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.access import RoleGrant
from app.models.audit import AuditEntry
from app.models.staff import Staff
from app.permissions import Permission, Role
from app.services import roles, staff, staff_list, teams, terms
from app.services.roles import Place
from app.services.staff_list import Filter
from tests.factories import ACTOR, Makes

DAY, INSTANT = timedelta(days=1), timedelta(microseconds=1)


def test_a_role_ends_at_its_minute(session: Session, makes: Makes) -> None:
    person, now = makes.officer(makes.organisation(), role=None), utc_now()
    made = roles.grant(
        session, person, Role.OFFICER, by=None, actor=ACTOR, now=now, ends_at=now + timedelta(minutes=1)
    )

    def may(at: datetime) -> bool:
        return access.may(access.of(session, person.id, now=at), Permission.ALERT_DRAFT)

    assert not may(now - INSTANT)
    assert may(now)
    assert may(made.ends_at - INSTANT)
    assert not may(made.ends_at)
    assert roles.of_staff(session, person.id, now=made.ends_at) == []


@pytest.mark.parametrize("term", [timedelta(0), -DAY, roles.LONGEST_TERM + INSTANT])
def test_a_term_ends_in_the_future_and_within_three_years(
    session: Session, makes: Makes, term: timedelta
) -> None:
    person, now = makes.officer(makes.organisation(), role=None), utc_now()
    with pytest.raises(Invalid) as refused:
        roles.grant(session, person, Role.OFFICER, by=None, actor=ACTOR, now=now, ends_at=now + term)
    assert refused.value.field == "ends_at"


def test_to_grant_again_is_a_new_end_and_after_the_term_a_new_role(session: Session, makes: Makes) -> None:
    person, now = makes.officer(makes.organisation(), role=None), utc_now()

    def grant(at: datetime, days: int) -> RoleGrant:
        return roles.grant(
            session, person, Role.OFFICER, by=None, actor=ACTOR, now=at, ends_at=at + days * DAY
        )

    first = grant(now, 10)
    assert grant(now + DAY, 30).id == first.id
    assert first.ends_at == now + 31 * DAY
    later = grant(now + 40 * DAY, 10)
    assert later.id != first.id
    assert (first.taken_at, first.taken_by) == (now + 31 * DAY, "term")


def test_what_an_administrator_gave_outlasts_what_a_group_says(session: Session, makes: Makes) -> None:
    person, now = makes.officer(makes.organisation(), role=None), utc_now()

    def grant(source: str, days: int) -> RoleGrant:
        return roles.grant(
            session, person, Role.OFFICER, by=None, actor=ACTOR, now=now, ends_at=now + days * DAY, source=source
        )  # fmt: skip

    of_group = grant("group", 1)
    given = grant("given", 100)
    assert of_group.taken_at is not None
    assert grant("group", 1) is given
    assert given.ends_at == now + 100 * DAY


def test_a_role_is_renewed_and_taken_back_on_the_record(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    who = makes.who(makes.officer(police, role=Role.FORCE_ADMINISTRATOR))
    person, now = makes.officer(police), utc_now()
    (held,) = roles.of_staff(session, person.id, now=now)
    roles.renew(session, held.id, now + 9 * DAY, by=who, actor=ACTOR, now=now)
    (held,) = roles.of_staff(session, person.id, now=now)
    assert held.ends_at == now + 9 * DAY
    taken = roles.take(session, held.id, by=who, actor=ACTOR, now=now)
    assert roles.take(session, held.id, by=who, actor=ACTOR, now=now + DAY).taken_at == taken.taken_at == now
    with pytest.raises(Conflict):
        roles.renew(session, held.id, now + 9 * DAY, by=who, actor=ACTOR, now=now)
    events = session.scalars(
        sa.select(AuditEntry.event).where(AuditEntry.subject == f"staff:{person.id}").order_by(AuditEntry.id)
    ).all()
    assert events == ["role:grant", "role:grant", "role:take"]


def test_a_role_that_comes_with_a_group_is_not_renewed_here(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    who = makes.who(makes.officer(police, role=Role.FORCE_ADMINISTRATOR))
    person = makes.officer(police, role=None)
    made = roles.grant(session, person, Role.OFFICER, by=None, actor=ACTOR, now=utc_now(), source="group")
    with pytest.raises(Conflict, match="group"):
        roles.renew(session, made.id, utc_now() + DAY, by=who, actor=ACTOR, now=utc_now())


def test_nobody_is_granted_a_role_after_they_left(session: Session, makes: Makes) -> None:
    person = makes.officer(makes.organisation())
    staff.let_go(session, person, actor=ACTOR, now=utc_now())
    with pytest.raises(Conflict):
        makes.role(person, Role.OFFICER)


def test_a_role_is_granted_only_where_there_is_something_today(session: Session, makes: Makes) -> None:
    police, others = makes.organisation(), makes.organisation()
    person = makes.officer(police)
    borough, ward, _ = makes.borough()
    ended, theirs = makes.team(police, [ward]), makes.team(others, [ward])
    teams.end(session, ended.id, actor=ACTOR)
    ward.valid_to = utc_now().date()
    session.flush()
    with pytest.raises(Invalid):
        makes.role(person, Role.OFFICER, Place(area_id=ward.id))
    for team in (ended, theirs):
        with pytest.raises(Missing):
            makes.role(person, Role.OFFICER, Place(team_id=team.id))
    makes.role(person, Role.OFFICER, Place(area_id=borough.id))


def test_a_team_ends_only_when_nobody_is_left_in_it(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    team = makes.team(police, makes.borough()[:1])
    person = makes.officer(police, team)
    with pytest.raises(Conflict):
        teams.end(session, team.id, actor=ACTOR)
    roles.take_all(session, person.id, actor=ACTOR, now=utc_now())
    with pytest.raises(Conflict):
        teams.end(session, team.id, actor=ACTOR)
    person.team_id = None
    session.flush()
    teams.end(session, team.id, actor=ACTOR)


def listed(session: Session, makes: Makes, who: access.Who, **wanted: object) -> list[str]:
    found, _ = staff_list.people(session, who, Filter(**wanted), now=utc_now())  # type: ignore[arg-type]
    return [one.name for one in found]


def test_people_are_found_by_role_area_state_and_end(session: Session, makes: Makes) -> None:
    police, now = makes.organisation(), utc_now()
    here, ward, _ = makes.borough()
    there, *_ = makes.borough()
    chief = makes.officer(police, role=Role.FORCE_ADMINISTRATOR)
    by_area = makes.officer(police, place=Place(area_id=ward.id))
    by_team = makes.officer(police, makes.team(police, [here]), role=Role.APPROVER)
    elsewhere = makes.officer(police, place=Place(area_id=there.id))
    soon = makes.officer(police, role=None)
    roles.grant(session, soon, Role.STEWARD, by=None, actor=ACTOR, now=now, ends_at=now + 29 * DAY)
    gone = makes.officer(police, place=Place(area_id=ward.id))
    new = makes.officer(police, role=None)
    new.state = "invited"
    people = {"chief": chief, "by_area": by_area, "by_team": by_team, "elsewhere": elsewhere, "soon": soon,
              "gone": gone, "new": new, "other": makes.officer(makes.organisation())}  # fmt: skip
    for name, one in people.items():
        one.name = name
    staff.let_go(session, gone, actor=ACTOR, now=now)
    who = makes.who(chief)
    assert listed(session, makes, who) == ["chief", "by_area", "by_team", "elsewhere", "soon", "new"]
    assert listed(session, makes, who, role=Role.OFFICER) == ["by_area", "elsewhere"]
    assert listed(session, makes, who, area=here.code) == ["by_area", "by_team"]
    assert listed(session, makes, who, area=here.code, role=Role.APPROVER) == ["by_team"]
    assert listed(session, makes, who, state="left") == ["gone"]
    assert listed(session, makes, who, state="invited") == ["new"]
    assert listed(session, makes, who, soon=True) == ["soon"]
    assert listed(session, makes, who, area="E05999999") == []
    first, onward = staff_list.people(session, who, Filter(), now=now, most=2)
    second, _ = staff_list.people(session, who, Filter(), now=now, after=onward, most=2)
    assert [one.name for one in (*first, *second)] == ["chief", "by_area", "by_team", "elsewhere"]


def test_another_organisations_people_look_as_if_they_did_not_exist(session: Session, makes: Makes) -> None:
    who = makes.who(makes.officer(makes.organisation(), role=Role.FORCE_ADMINISTRATOR))
    others = makes.officer(makes.organisation())
    with pytest.raises(Missing) as no_such:
        staff_list.by_email(session, who, "nobody@police.example")
    with pytest.raises(Missing) as theirs:
        staff_list.by_email(session, who, others.email)
    assert str(theirs.value) == str(no_such.value)
    with pytest.raises(Missing):
        staff_list.person(session, who, others.id, now=utc_now())


def test_a_persons_page_says_who_gave_and_who_took(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    chief = makes.officer(police, role=Role.FORCE_ADMINISTRATOR)
    person, now = makes.officer(police), utc_now() + DAY
    (held,) = roles.of_staff(session, person.id, now=now)
    roles.take(session, held.id, by=makes.who(chief), actor=_as(chief), now=now)
    roles.grant(session, person, Role.APPROVER, by=makes.who(chief), actor=_as(chief), now=now)
    found = staff_list.person(session, makes.who(chief), person.id, now=now)
    told = [(one.role, one.given_by, one.taken_by) for one in found.past]
    assert told == [(Role.APPROVER, "Sam Officer", None), (Role.OFFICER, "the operator", "Sam Officer")]
    assert found.may_grant
    assert found.may_let_go
    own = staff_list.person(session, makes.who(chief), chief.id, now=now)
    assert not (own.may_grant or own.may_let_go or own.may_move or own.may_take or own.may_renew)


def _as(person: Staff) -> audit.Actor:
    return audit.Actor(audit.ActorKind.STAFF, id=str(person.id), origin="test")


def test_the_last_day_of_a_term_is_a_whole_day_of_londons() -> None:
    day = date(2027, 3, 28)  # the clocks go forward
    end = terms.end_of(day)
    assert terms.last_day(end) == "28 March 2027"
    assert terms.last_day(end + INSTANT) == "29 March 2027"
    assert end.isoformat() == "2027-03-28T23:00:00+00:00"
