"""An organisation ends: nobody of it gets in, nobody is written to, and nobody else notices."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.access import RoleGrant
from app.models.areas import Area
from app.models.audit import AuditEntry
from app.models.consent import Consent
from app.models.organisations import Organisation
from app.models.people import Subscription
from app.models.staff import Staff
from app.permissions import Role
from app.services import (
    agreements,
    dispatch,
    invitations,
    organisation_end,
    organisations,
    roles,
    sessions,
    team_entries,
    terms,
)
from tests.factories import ACTOR, Makes

WHY = "It joins another force."


@dataclass
class Two:
    """Two organisations with staff, a team and residents in one ward; the first is to end."""

    session: Session
    makes: Makes
    gone: Organisation
    stays: Organisation
    ward: Area
    people: dict[Organisation, list[Staff]]

    def end(self) -> organisation_end.Ended:
        return organisation_end.end(self.session, self.gone.slug, why=WHY, actor=ACTOR, now=utc_now())[1]

    def withdraw(self, most: int = 10) -> int:
        return organisation_end.withdraw(self.session, self.gone.id, actor=ACTOR, now=utc_now(), most=most)

    def standing(self, of: Organisation) -> tuple[int, int]:
        """Consents and subscriptions that stand."""
        consents = sa.select(sa.func.count()).where(
            Consent.controller_id == of.id, Consent.withdrawn_at.is_(None)
        )
        subscriptions = sa.select(sa.func.count()).where(
            Subscription.controller_id == of.id, Subscription.ended_at.is_(None)
        )
        return self.session.scalar(consents) or 0, self.session.scalar(subscriptions) or 0


@pytest.fixture
def two(session: Session, makes: Makes) -> Two:
    _, ward, _ = makes.borough()
    both = [makes.organisation("First Police"), makes.organisation("Second Police")]
    people: dict[Organisation, list[Staff]] = {}
    for one in both:
        makes.sender(one)
        team = makes.team(one, [ward])
        people[one] = [makes.officer(one, team), makes.officer(one, role=Role.FORCE_ADMINISTRATOR)]
        for _ in range(3):
            makes.resident(one, ward)
    return Two(session, makes, *both, ward, people)


def test_its_staff_are_cut_off_and_nobody_elses(two: Two, session: Session) -> None:
    tokens = {
        one: [sessions.begin(session, staff=person, now=utc_now()) for person in people]
        for one, people in two.people.items()
    }
    assert two.end() == organisation_end.Ended(staff=2, roles=2, teams=1)
    session.expire_all()
    for person in two.people[two.gone]:
        with pytest.raises(Missing):
            access.of(session, person.id, now=utc_now())
        assert (person.state, person.password_hash, person.totp_secret) == ("left", None, None)
    assert all(sessions.find(session, token, now=utc_now()) is None for token in tokens[two.gone])
    assert all(sessions.find(session, token, now=utc_now()) for token in tokens[two.stays])
    assert [access.of(session, one.id, now=utc_now()).id for one in two.people[two.stays]]
    running = sa.select(RoleGrant.organisation_id).where(RoleGrant.taken_at.is_(None)).distinct()
    assert session.scalars(running).all() == [two.stays.id]


def test_its_peoples_consents_end_in_blocks_and_nobody_elses(two: Two) -> None:
    before = two.standing(two.stays)
    assert two.standing(two.gone) == (3, 3)
    with pytest.raises(Conflict):
        two.withdraw()
    two.end()
    assert [two.withdraw(2), two.withdraw(2), two.withdraw(2)] == [2, 1, 0]
    assert two.standing(two.gone) == (0, 0)
    assert two.standing(two.stays) == before == (3, 3)


def test_nothing_is_sent_after_it(two: Two, session: Session) -> None:
    alert = two.makes.alert(two.gone, [two.ward])
    two.end()
    with pytest.raises(Conflict, match="has ended"):
        dispatch.send(session, alert.id, token="after-the-end", actor=ACTOR, public_url="http://x")


def test_it_does_not_end_while_a_dispatch_of_it_runs(two: Two, session: Session) -> None:
    alert = two.makes.alert(two.gone, [two.ward])
    dispatch.send(session, alert.id, token="before-the-end", actor=ACTOR, public_url="http://x")
    with pytest.raises(Conflict, match="1 of its dispatches"):
        two.end()
    assert two.gone.ended_at is None


def test_residents_see_it_no_more(two: Two, session: Session) -> None:
    assert len(team_entries.of_ward(session, two.ward.id)) == 2
    two.end()
    assert [one.organisation for one in team_entries.of_ward(session, two.ward.id)] == ["Second Police"]
    assert [id for id, _ in team_entries.controllers_of_ward(session, two.ward.id)] == [two.stays.id]
    assert two.gone.id not in [one.id for one in organisations.listed(session)]


def test_nobody_is_invited_or_granted_anything_in_it(two: Two, session: Session) -> None:
    two.end()
    person = two.people[two.gone][0]
    session.refresh(person)
    person.state = "invited"
    session.flush()
    with pytest.raises(Missing):
        invitations.invite(
            session, organisation=two.gone.slug, email="a@police.example", name="A", public_url="http://x",
            fictional=True, actor=ACTOR, now=utc_now(),
        )  # fmt: skip
    with pytest.raises(Missing):
        roles.grant(session, person, Role.OFFICER, by=None, actor=ACTOR, now=utc_now())
    today = terms.today(utc_now())
    with pytest.raises(Missing):
        agreements.add(
            session, two.gone.id, kind="terms", title="T", reference="", signed_on=today,
            review_on=today + timedelta(days=9), by=None, actor=ACTOR, today=today,
        )  # fmt: skip


def test_it_is_on_the_record_with_why_and_twice_is_once(two: Two, session: Session) -> None:
    with pytest.raises(Invalid):
        organisation_end.end(session, two.gone.slug, why=" ", actor=ACTOR, now=utc_now())
    with pytest.raises(Missing):
        organisation_end.end(session, "nobody", why=WHY, actor=ACTOR, now=utc_now())
    two.end()
    assert two.end() == organisation_end.Ended(0, 0, 0)
    found = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "organisation:end")).all()
    assert [one.why for one in found] == [WHY]


def test_who_investigates_stops_when_part_3_applies_no_more(session: Session, makes: Makes) -> None:
    police, now = makes.organisation(), utc_now()

    def alter(**changes: object) -> None:
        organisations.alter(session, police.id, actor=ACTOR, now=now, **({"by": None} | changes))  # type: ignore[arg-type]

    alter(competent_authority=True)
    person = makes.officer(police, role=Role.INVESTIGATOR)
    makes.role(person, Role.OFFICER)
    alter(competent_authority=False)
    left = roles.of_staff(session, person.id, now=utc_now())
    assert [one.role for one in left] == [Role.OFFICER]
    who = makes.who(makes.officer(police, role=Role.FORCE_ADMINISTRATOR))
    for wrong in ({"competent_authority": True}, {"kind": "council"}):
        with pytest.raises(Missing):
            alter(by=who, **wrong)
    alter(by=who, name="New Name", legal_basis="public task")
    assert (police.name, police.legal_basis, police.kind) == ("New Name", "public task", "police")
    for wrong in ({"name": "\n"}, {"legal_basis": "x" * 501}, {"kind": "circus"}):
        with pytest.raises(Invalid):
            alter(**wrong)
    local = makes.who(makes.officer(police, role=Role.BOROUGH_ADMINISTRATOR))
    with pytest.raises(Missing):
        alter(by=local, name="Mine")
    others = makes.who(makes.officer(makes.organisation(), role=Role.FORCE_ADMINISTRATOR))
    with pytest.raises(Missing):
        alter(by=others, name="Mine")


def test_agreements_are_added_changed_reviewed_and_ended(session: Session, makes: Makes) -> None:
    police, now = makes.organisation(), utc_now()
    today = terms.today(now)
    who = makes.who(makes.officer(police, role=Role.FORCE_ADMINISTRATOR))
    right = {"kind": "sharing", "title": "With the council", "reference": "DSA-1", "signed_on": today,
             "review_on": today + timedelta(days=20), "by": who}  # fmt: skip

    def add(**changes: object) -> object:
        return agreements.add(session, police.id, actor=ACTOR, today=today, **(right | changes))  # type: ignore[arg-type]

    for field, wrong in {
        "kind": "handshake", "title": " ", "reference": "x" * 101, "signed_on": today + timedelta(days=1),
        "review_on": today,
    }.items():  # fmt: skip
        with pytest.raises(Invalid) as refused:
            add(**{field: wrong})
        assert refused.value.field == field
    with pytest.raises(Missing):
        add(by=makes.who(makes.officer(police, role=Role.BOROUGH_ADMINISTRATOR)))
    add()
    (one,) = agreements.listed(session, police.id, today=today)
    assert one.review == "soon"
    assert agreements.listed(session, police.id, today=today + timedelta(days=21))[0].review == "overdue"
    change = {"title": one.title, "reference": "", "by": who, "actor": ACTOR, "today": today}
    agreements.alter(session, one.id, review_on=today + timedelta(days=400), **change)  # type: ignore[arg-type]
    assert agreements.own(session, who, one.id, today=today).review == "later"
    others = makes.who(makes.officer(makes.organisation(), role=Role.FORCE_ADMINISTRATOR))
    with pytest.raises(Missing):
        agreements.end(session, one.id, by=others, actor=ACTOR, now=now)
    agreements.end(session, one.id, by=who, actor=ACTOR, now=now)
    with pytest.raises(Conflict):
        agreements.end(session, one.id, by=who, actor=ACTOR, now=now)
    assert agreements.listed(session, police.id, today=today) == []
    assert [o.review for o in agreements.listed(session, police.id, today=today, ended=True)] == ["over"]
