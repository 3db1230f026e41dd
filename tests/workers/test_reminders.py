"""Who has a role that ends, and who may renew it, are told in time, and once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import utc_now
from app.models.access import RoleGrant
from app.models.service_messages import ServiceMessage
from app.models.staff import Staff
from app.permissions import Role
from app.services import agreements, reminders, roles, staff, terms
from app.services.roles import Place
from config.fields import Part
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from workers import housekeeping, runtime

DAY = timedelta(days=1)
Told = list[tuple[str, str]]


class Force:
    """An organisation with an administrator of each kind, and somebody whose roles end."""

    def __init__(self, session: Session, makes: Makes) -> None:
        self.session, self.now = session, utc_now()
        self.police = makes.organisation()
        borough, *_ = makes.borough()
        self.team = makes.team(self.police, [borough])
        self.chief = makes.officer(self.police, role=Role.FORCE_ADMINISTRATOR)
        self.local = makes.officer(
            self.police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=borough.id)
        )
        session.execute(sa.update(RoleGrant).values(ends_at=self.now + 900 * DAY))
        self.person = makes.officer(self.police, self.team, role=None)
        self.seen: set[object] = set()

    def grant(self, role: Role, days: float, *, by: Staff | None = None) -> RoleGrant:
        """Given to the person long ago, to the end of so many days from now."""
        actor = ACTOR if by is None else audit.Actor(audit.ActorKind.STAFF, id=str(by.id))
        return roles.grant(
            self.session,
            self.person,
            role,
            Place(team_id=self.team.id),
            by=None,
            actor=actor,
            now=self.now - 200 * DAY,
            ends_at=self.now + timedelta(days=days),
        )

    def tell(self, at: datetime | None = None) -> Told:
        """What is told by a run at this moment: (address, subject), without what was told before."""
        reminders.tell(self.session, public_url="https://w.example", now=at or self.now)
        rows = self.session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.id)).all()
        new = [one for one in rows if one.id not in self.seen]
        self.seen |= {one.id for one in new}
        assert all(one.kind == "reminder" and one.synthetic for one in new)
        return [(one.address or "", one.subject or "") for one in new]


@pytest.fixture
def force(tables: Session) -> Force:
    return Force(tables, Makes(tables))


@pytest.fixture
def tables(database: Database) -> Iterator[Session]:
    """A session that may do what the app and the worker may, for what begins with the one and ends with the other."""
    opened = database.open(Part.APP, DATABASE_URL=database.environ()["OWNER_DATABASE_URL"])
    with opened.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        outer.rollback()
    opened.engine.dispose()


def test_a_role_is_told_of_30_and_7_days_before_its_end_and_once_each(force: Force) -> None:
    made = force.grant(Role.OFFICER, 40)
    last = terms.last_day(made.ends_at)
    mine = (force.person.email, f"Your role ends on {last}")
    theirs = (force.local.email, "1 role ends soon")
    assert force.tell() == []
    assert force.tell(made.ends_at - 30 * DAY - timedelta(seconds=1)) == []
    assert force.tell(made.ends_at - 30 * DAY) == [mine, theirs]
    assert force.tell(made.ends_at - 29 * DAY) == []
    assert force.tell(made.ends_at - 7 * DAY) == [mine, theirs]
    assert force.tell(made.ends_at - DAY) == []
    assert force.tell(made.ends_at) == []


def test_whoever_is_told_late_is_told_once_and_a_new_end_is_told_anew(force: Force) -> None:
    made = force.grant(Role.OFFICER, 5)
    assert len(force.tell()) == 2
    assert force.tell() == []
    force.grant(Role.OFFICER, 25)
    assert [subject for _, subject in force.tell()] == [
        f"Your role ends on {terms.last_day(force.now + 25 * DAY)}",
        "1 role ends soon",
    ]
    assert made.id


def test_who_may_renew_is_told_and_who_granted_it_first(force: Force) -> None:
    force.grant(Role.AUDITOR, 20)
    assert [to for to, _ in force.tell()] == [force.person.email, force.chief.email]
    force.grant(Role.STEWARD, 21, by=force.chief)
    force.grant(Role.LIAISON, 22, by=force.local)
    force.grant(Role.APPROVER, 23, by=force.local)
    told = force.tell()
    assert sorted(told[3:]) == sorted(
        [(force.chief.email, "1 role ends soon"), (force.local.email, "2 roles end soon")]
    )


def test_nobody_is_told_of_a_short_term_a_group_or_somebody_who_left(force: Force) -> None:
    ends, old = force.now + 20 * DAY, force.now - 90 * DAY
    give = partial(roles.grant, force.session, force.person, by=None, actor=ACTOR, ends_at=ends)
    give(Role.OFFICER, now=force.now)
    give(Role.APPROVER, now=old, source="group")
    assert force.tell() == []
    force.grant(Role.STEWARD, 20)
    staff.let_go(force.session, force.person, actor=ACTOR, now=force.now)
    assert force.tell() == []


def test_an_agreement_is_told_of_30_days_before_its_review_and_on_the_day(force: Force) -> None:
    today = terms.today(force.now)
    agreements.add(
        force.session, force.police.id, kind="dpia", title="DPIA of alerts", reference="", signed_on=today,
        review_on=today + 60 * DAY, by=None, actor=ACTOR, today=today,
    )  # fmt: skip
    told = [(force.chief.email, "Agreements are due for review")]
    review = terms.end_of(today + 59 * DAY)
    assert force.tell(review - 31 * DAY) == []
    assert force.tell(review - 30 * DAY) == told
    assert force.tell(review - timedelta(seconds=1)) == []
    assert force.tell(review) == told
    assert force.tell(review + DAY) == []


def test_keeping_house_tells_everybody_in_the_workers_own_rights(
    committed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, worker = committed.open(Part.APP), committed.open(Part.WORKER)
    monkeypatch.setattr(runtime, "registry", lambda: worker)
    monkeypatch.setattr(reminders, "MOST", 2)
    with app.sessions.begin() as session:
        force = Force(session, Makes(session))
        for role in (Role.OFFICER, Role.APPROVER, Role.STEWARD):
            force.grant(role, 20)
    for _ in range(2):
        housekeeping.keep_house()
    with app.sessions() as session:
        told = [one.address for one in session.scalars(sa.select(ServiceMessage))]
    assert told.count(force.person.email) == 3
    assert force.local.email in told
    for one in (app, worker):
        one.engine.dispose()
