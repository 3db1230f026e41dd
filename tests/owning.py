"""Owners of cameras in tests: ground with a cell, a force with a register, and opting in through the services."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import Pt, new_id, utc_now
from app.embedded import client
from app.registry import Registry
from app.roles import libpq
from app.services import consent, people, sessions
from app.services.register import opting, owners
from app.services.register.cameras import Facts
from app.services.register.opting import Owner
from app.services.register.owners import Page
from tests.conftest import Database
from tests.factories import Makes
from tests.residents import HERE, MAIL, MOBILE, TERMS, THERE, Town, address, letters, town

WORDING = (
    "I put my camera on the register.\n\nWhat an investigation was given after I answered stays with it."
)
NAME, LABEL = "Wilhelmina Quince", "Behind the wisteria"
WEB = audit.Actor(audit.ActorKind.RESIDENT, origin="192.0.2.0/24")
MIDDLE = Pt(505_000.0, 184_000.0)
SEARCHED = """
    INSERT INTO register_searches (id, entry_id, organisation_id, staff_id, investigation_id, purpose, reason_enc, kind,
        centre, radius, size, window_from, window_to, cells, number, saw, opened_xid, opened_at, settled)
    VALUES (%(id)s, %(n)s, %(organisation)s, %(staff)s, %(case)s, 'investigation', 'x', 'radius', '(505000,184000)',
        100, 0.1, now() - interval '1 hour', now(), %(cells)s, %(n)s, 0, pg_current_xact_id(), %(at)s, true)
"""


def facts(**changes: Any) -> Facts:
    """A doorbell that looks south over the street."""
    values: dict[str, Any] = {
        "kind": "doorbell", "postcode": HERE, "at": Pt(MIDDLE.easting + 20, MIDDLE.northing), "bearing": 180,
        "field": 150, "reach": 10, "height": 1.2, "night": True, "audio": False, "covers": "street", "days_kept": 30,
        "label": LABEL,
    }  # fmt: skip
    return Facts(**(values | changes))


def ground(admin_url: str, *, split: bool = False) -> None:
    """Cells where the postcodes of tests lie, made as only the database's administrator can; one, or two side by side.

    They belong to a release of their own, older than any.
    """
    with psycopg.connect(libpq(admin_url), autocommit=True) as admin:
        admin.execute(
            "INSERT INTO releases (id, name, published, loaded_at, live_postcodes) "
            "VALUES ('cells', 'Cells', '2000-01-01', '2000-01-01', 0) ON CONFLICT DO NOTHING"
        )
        for west, east in ((504_000, 505_100), (505_100, 506_000)) if split else ((504_000, 506_000),):
            admin.execute(
                "INSERT INTO register_cells (release_id, west, south, east, north, postcodes) "
                "SELECT 'cells', %s, 183000, %s, 185000, 5 "
                "WHERE NOT EXISTS (SELECT FROM register_cells WHERE outline && box(point(%s, 183000), point(%s, 185000)))",
                (west, east, west + 1, east - 1),
            )


def ground_of(registry: Registry) -> None:
    """The same in the database that a registry is open on."""
    cluster = client.ensure(Path(os.environ["LOCAL_DIR"]))
    ground(Database(registry.engine.url.database or "", cluster).admin)


def agree(session: Session) -> int:
    """The wording of the register, written once; its id."""
    try:
        return consent.current_wording(session, consent.REGISTER).id
    except consent.Missing:
        return consent.add_wording(session, WORDING, purpose=consent.REGISTER).id


@dataclass
class Register:
    """A town with a register. Everything is committed: an owner's page is read in two transactions."""

    registry: Registry
    admin: str
    town: Town
    wording: int
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(500))

    def begin(self, *typed: str, now: datetime | None = None, **changes: Any) -> str:
        """Type a camera in; the token of the page that asks for the code."""
        values: dict[str, Any] = {
            "controller": UUID(str(self.town.police.id)), "facts": facts(), "owner": Owner(NAME),
            "addresses": [address(one) for one in typed or (MAIL,)], "wording": self.wording, "terms": TERMS,
            "now": now or utc_now(), "actor": WEB,
        }  # fmt: skip
        with self.registry.sessions.begin() as session:
            return opting.begin(session, **(values | changes))

    def enter(self, page: str, code: str) -> str | None:
        with self.registry.sessions.begin() as session:
            return opting.enter(session, page, code, TERMS, actor=WEB, now=utc_now())[1]

    def code(self, to: str) -> str:
        with self.registry.sessions() as session:
            return letters(session, to)[-1].code

    def opt_in(self, *typed: str, **changes: Any) -> str:
        """All of it; the token of the owner's session (of the last address)."""
        page = self.begin(*typed, **changes)
        token: str | None = None
        for one in typed or (MAIL,):
            token = self.enter(page, self.code(one)) or token
        assert token is not None
        return token

    def page(self, token: str, before: datetime | None = None) -> Page:
        return owners.look(self.registry.sessions, token, origin="192.0.2.0/24", before=before)

    def session_of(self, typed: str) -> str:
        with self.registry.sessions.begin() as session:
            contact = people.find_contact(session, address(typed))
            assert contact is not None
            return sessions.begin(session, contact_id=contact.id, now=utc_now())

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """As the administrator of the database sees it."""
        with psycopg.connect(libpq(self.admin), autocommit=True) as admin:
            return admin.execute(query.encode(), values).fetchall()

    def change(self, query: str, *values: Any) -> None:
        with psycopg.connect(libpq(self.admin), autocommit=True) as admin:
            admin.execute(query.encode(), values)

    def live(self) -> int:
        return int(self.rows("SELECT count(*) FROM cameras WHERE live")[0][0])

    def events(self, like: str) -> list[str]:
        with self.registry.sessions() as session:
            found = session.execute(
                sa.text("SELECT event FROM audit_entries WHERE event LIKE :like ORDER BY id"), {"like": like}
            )
            return list(found.scalars())

    def searched(self, at: datetime, *, cells: list[int] | None = None, days: int = 28) -> UUID:
        """A search that somebody made at a moment, as the gate writes it; ``days``: until owners see it."""
        with self.registry.sessions.begin() as session:
            officer = Makes(session, self.numbers).officer(self.town.police, role=None)
            staff = officer.id
        organisation, case, id = self.town.police.id, new_id(), new_id()
        with psycopg.connect(libpq(self.admin)) as admin:
            admin.execute(
                "INSERT INTO register_settings (organisation_id, show_after) VALUES (%s, %s) "
                "ON CONFLICT (organisation_id) DO UPDATE SET show_after = excluded.show_after",
                (organisation, timedelta(days=days)),
            )
            admin.execute(
                "INSERT INTO investigations (id, organisation_id, reference, opened_by) VALUES (%s, %s, %s, %s)",
                (case, organisation, f"C/{case}"[:30], staff),
            )
            row = admin.execute("SELECT coalesce(max(number), 1000) + 1 FROM register_searches").fetchone()
            every = [row[0] for row in admin.execute("SELECT id FROM register_cells").fetchall()]
            admin.execute(
                SEARCHED,
                {"id": id, "n": row[0] if row else 1, "organisation": organisation, "staff": staff, "case": case,
                 "cells": every if cells is None else cells, "at": at},
            )  # fmt: skip
        return id


def register(database: Database, registry: Registry, *, split: bool = False) -> Register:
    ground(database.admin, split=split)
    with registry.sessions.begin() as session:
        makes = Makes(session)
        made = town(makes)
        made.police.competent_authority = True
        makes.team(made.police, made.wards)
        wording = agree(session)
    return Register(registry, database.admin, made, wording)


__all__ = [
    "HERE", "LABEL", "MAIL", "MIDDLE", "MOBILE", "NAME", "THERE", "WEB", "Register", "agree", "facts", "ground",
    "ground_of", "register",
]  # fmt: skip
