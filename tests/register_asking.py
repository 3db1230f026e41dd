"""A force with investigators, owners with cameras, and searches that were answered: what requests are made of.

Written as the superuser, committed: the app may write none of it, and the gate's two steps need real transactions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.access import Who
from app.db import Pt, new_id, utc_now
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.models.register import (
    Camera,
    CameraOwner,
    CameraRequest,
    Investigation,
    RegisterLift,
    RegisterSearch,
    RegisterSetting,
    RequestRecipient,
)
from app.models.staff import Staff
from app.permissions import Role
from app.registry import Registry
from app.services import roles, sessions
from app.services.register import requests, sending
from messaging.types import Channel
from tests.conftest import Database
from tests.factories import Makes

SPOT = Pt(505_600.0, 184_000.0)
LOOK_FOR = "A person in a red coat on a black bicycle, going towards the station."
CELLS = [11, 12, 13]
NUMBERS = itertools.count(1)
SITE = "https://wardlink.example"


@dataclass
class Force:
    """An organisation whose investigators ask. Staff come with the token of a session that showed a factor just now."""

    database: Database
    registry: Registry
    organisation: Organisation
    investigator: Staff
    token: str
    colleague: Staff
    colleague_token: str
    supervisor: Staff
    supervisor_token: str
    numbers: Iterator[int] = NUMBERS

    @contextmanager
    def superuser(self) -> Iterator[Session]:
        url = self.database.admin.replace("postgresql://", "postgresql+psycopg://")
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def who(self, staff: Staff) -> Who:
        with self.registry.sessions() as session:
            return Makes(session).who(staff)

    def owner(
        self,
        at: Pt = SPOT,
        *,
        channel: Channel = Channel.EMAIL,
        days_kept: int = 30,
        name: str = "Ann Owner",
        cell: int = 11,
        bearing: int = 0,
        state: str = "active",
        controller: UUID | None = None,
        cameras: int = 1,
        **changes: Any,
    ) -> ContactPoint:
        """Somebody with cameras at a spot, 90° wide and 50 m far."""
        with self.registry.sessions.begin() as session:
            contact = Makes(session, self.numbers).contact(None, channel)
        with self.superuser() as session:
            owner = CameraOwner(
                controller_id=controller or self.organisation.id, contact_id=contact.id, name=name, state=state,
                confirmed_at=utc_now(),
            )  # fmt: skip
            session.add(owner)
            session.flush()
            for _ in range(cameras):
                values = {"kind": "doorbell", "postcode": "UB8 1UW", "ward_code": "E05000001"} | changes
                made = Camera(
                    owner_id=owner.id, at=at, bearing=bearing, field=90, reach=50, cell_id=cell, **values
                )
                made.days_kept, made.live = days_kept, state == "active"
                made.sector = _outline(session, at, bearing)
                session.add(made)
        return contact

    def search(
        self,
        staff: Staff | None = None,
        *,
        reference: str = "1234567/26",
        kind: str = "radius",
        centre: Pt | None = SPOT,
        radius: float | None = 100.0,
        outline: Sequence[Pt] | None = None,
        route: Sequence[Pt] | None = None,
        ago: timedelta = timedelta(minutes=1),
        hours_before: float = 5.0,
        long: float = 2.0,
    ) -> UUID:
        """A search that was answered a minute ago, of a window that began some hours before now; its id."""
        now = utc_now()
        begins = now - timedelta(hours=hours_before)
        with self.superuser() as session:
            case = session.scalar(
                sa.select(Investigation).where(
                    Investigation.organisation_id == self.organisation.id,
                    Investigation.reference == reference,
                )
            )
            if case is None:
                case = Investigation(
                    organisation_id=self.organisation.id, reference=reference, opened_by=self.investigator.id
                )
                session.add(case)
                session.flush()
            number = next(self.numbers)
            values: dict[str, Any] = {
                "id": new_id(),
                "entry_id": -number,
                "organisation_id": self.organisation.id,
                "staff_id": (staff or self.investigator).id,
                "investigation_id": case.id,
                "purpose": "investigation",
                "reason": "A burglary was reported.",
                "kind": kind,
                "centre": centre,
                "radius": radius,
                "outline": None if outline is None else list(outline),
                "route": None if route is None else list(route),
                "size": 0.03,
                "window_from": begins,
                "window_to": begins + timedelta(hours=long),
                "cells": CELLS,
                "number": -number,
                "opened_xid": "3",
                "opened_at": now - ago,
                "saw": 0,
                "settled": True,
            }
            session.add(RegisterSearch(**values))
            return values["id"]

    def case(self, reference: str = "1234567/26") -> UUID:
        with self.superuser() as session:
            return session.scalars(
                sa.select(Investigation.id).where(
                    Investigation.organisation_id == self.organisation.id,
                    Investigation.reference == reference,
                )
            ).one()

    def lift(self, staff: Staff | None = None, *, reference: str = "1234567/26", **changes: Any) -> UUID:
        values = {"cap": "requests", "reason": "A second window", "expires_at": utc_now() + timedelta(days=1)}
        with self.superuser() as session:
            made = RegisterLift(
                organisation_id=self.organisation.id, staff_id=(staff or self.investigator).id,
                investigation_id=self.case(reference), given_by=self.supervisor.id, **(values | changes),
            )  # fmt: skip
            session.add(made)
            session.flush()
            return made.id

    def settings(self, **changes: Any) -> None:
        with self.superuser() as session:
            session.merge(RegisterSetting(organisation_id=self.organisation.id, **changes))

    def ask(self, search: UUID | None = None, *, token: str | None = None, **changes: Any) -> UUID:
        """Put a question, committed as the app."""
        values: dict[str, Any] = {
            "look_for": LOOK_FOR,
            "cells": None,
            "days": 7,
            "lift_id": None,
            "now": utc_now(),
        }
        id = changes.pop("id", None) or new_id()
        with self.registry.sessions.begin() as session:
            return requests.ask(
                session, token or self.token, id, search or self.search(), **(values | changes)
            )

    def send(self, worker: Registry, request: UUID) -> int:
        """Send it, committed as a worker."""
        with worker.sessions.begin() as session:
            return sending.send(session, request, public_url=SITE, now=utc_now())

    def asked(self, request: UUID) -> dict[int, RequestRecipient]:
        """Contact id → what stands of them, of everybody who was asked."""
        with self.superuser() as session:
            rows = session.execute(
                sa.select(CameraOwner.contact_id, RequestRecipient)
                .join(CameraOwner, CameraOwner.id == RequestRecipient.owner_id)
                .where(RequestRecipient.request_id == request)
            )
            return {row[0]: row[1] for row in rows}

    def request(self, request: UUID) -> CameraRequest:
        with self.superuser() as session:
            return session.get_one(CameraRequest, request)

    def run(self, statement: str, **values: object) -> list[Any]:
        """As the superuser: what a test does to time, and what it looks up."""
        with self.superuser() as session:
            found = session.execute(sa.text(statement), values)
            return list(found) if found.returns_rows else []

    def events(self) -> list[str]:
        return [row[0] for row in self.run("SELECT event FROM audit_entries ORDER BY id")]


def _outline(session: Session, at: Pt, bearing: int) -> list[Pt]:
    """What the database itself makes of a camera's view."""
    found = session.execute(
        sa.text("SELECT register.sector(CAST(:at AS point), :bearing, 90, 50)"),
        {"at": f"({at[0]},{at[1]})", "bearing": bearing},
    ).scalar_one()
    numbers = [float(one) for one in found.replace("(", "").replace(")", "").split(",")]
    return [Pt(x, y) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def force(database: Database, registry: Registry, *, name: str = "Met Police") -> Force:
    """A competent authority with an investigator, a colleague of theirs, a supervisor, and senders of both kinds."""
    with registry.sessions.begin() as session:
        makes = Makes(session, NUMBERS)
        police = makes.organisation(name)
        police.competent_authority = True
        for channel in Channel:
            makes.sender(police, channel)
        people = [
            makes.officer(police, role=role, place=roles.EVERYWHERE)
            for role in (Role.INVESTIGATOR, Role.INVESTIGATOR, Role.SUPERVISOR)
        ]
        tokens = [sessions.begin(session, staff=one, now=utc_now()) for one in people]
    (first, second, third), (a, b, c) = people, tokens
    return Force(database, registry, police, first, a, second, b, third, c)
