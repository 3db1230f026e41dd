"""Rows of the register for tests that act as the app alone, which may write none of them.

The template database has a function of the superuser's that puts a row into a table; nothing outside the tests knows it.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.db import new_id
from app.roles import libpq

_PUT = """
    CREATE SCHEMA tests;
    GRANT USAGE ON SCHEMA tests TO PUBLIC;
    CREATE FUNCTION tests.put(kind regclass, given jsonb) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
    DECLARE
        names text := (SELECT string_agg(quote_ident(k), ', ') FROM jsonb_object_keys(given) AS k);
    BEGIN
        EXECUTE format('INSERT INTO %1$s (%2$s) SELECT %2$s FROM jsonb_populate_record(NULL::%1$s, $1)', kind, names)
        USING given;
    END $$
"""


AT = "(505600,184000)"
FACTS = {
    "kind": "home",
    "reach_how": "link",
    "reach_when": "any",
    "cameras": [
        {
            "kind": "doorbell",
            "postcode": "UB8 1UW",
            "easting": 505600,
            "northing": 184000,
            "bearing": 0,
            "field": 90,
            "reach": 50,
            "height": None,
            "night": True,
            "audio": False,
            "covers": "street",
            "days_kept": 30,
        }
    ],
}


def seal(text: str, purpose: str) -> bytes:
    return crypto.keyring().encrypt(text, purpose)


def prepare(admin_url: str) -> None:
    """Make the function in a migrated database."""
    with psycopg.connect(libpq(admin_url), autocommit=True) as admin:
        admin.execute(_PUT)


def put(session: Session, table: str, **row: Any) -> None:
    """One row, in this session's transaction."""
    values = json.dumps(row, default=_text)
    session.execute(
        sa.text("SELECT tests.put(CAST(:table AS regclass), CAST(:row AS jsonb))"),
        {"table": table, "row": values},
    )


def _text(value: object) -> str:
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def search(session: Session, force: UUID, staff: UUID, *, number: int, now: datetime) -> tuple[UUID, UUID]:
    """A case of somebody's and a search that was answered just now, of 100 m round a spot: (case, search)."""
    case, made = new_id(), new_id()
    put(
        session, "investigations", id=case, organisation_id=force, reference=f"CAD-{number}/26", opened_by=staff,
        opened_at=now,
    )  # fmt: skip
    put(
        session, "register_searches", id=made, entry_id=-number, organisation_id=force, staff_id=staff,
        investigation_id=case, purpose="investigation", reason_enc=seal("A burglary", "register_searches.reason"),
        kind="radius", centre=AT, radius=100, size=0.03, window_from=now - timedelta(hours=5),
        window_to=now - timedelta(hours=3), cells=[1, 2], number=-number, saw=0, settled=True, opened_xid="3",
        opened_at=now,
    )  # fmt: skip
    return case, made


def owner(
    session: Session, force: UUID, contact: int, *, name: str = "Ann Owner", now: datetime
) -> tuple[UUID, UUID]:
    """Somebody with a doorbell at that spot: (owner, camera)."""
    made, camera = new_id(), new_id()
    put(
        session, "camera_owners", id=made, controller_id=force, contact_id=contact,
        name_enc=seal(name, "camera_owners.name"), state="active", confirmed_at=now,
    )  # fmt: skip
    put(
        session, "cameras", id=camera, owner_id=made, kind="doorbell", postcode="UB8 1UW", at=AT, bearing=0, field=90,
        reach=50, sector="((505600,184000),(505550,184050),(505650,184050))", days_kept=30, cell_id=1,
        ward_code="E05000001", live=True,
    )  # fmt: skip
    return made, camera


def asked(
    session: Session, force: UUID, staff: UUID, contact: int, *, number: int, now: datetime
) -> tuple[UUID, UUID, UUID, UUID]:
    """A search with a question that one owner answered: (case, search, request, dispatch)."""
    case, searched = search(session, force, staff, number=number, now=now)
    theirs, camera = owner(session, force, contact, now=now)
    request, dispatch = new_id(), new_id()
    put(
        session, "camera_requests", id=request, search_id=searched, investigation_id=case, organisation_id=force,
        staff_id=staff, look_for_enc=seal("A person in a red coat", "camera_requests.look_for"),
        window_from=now - timedelta(hours=5), window_to=now - timedelta(hours=3), dispatch_id=dispatch,
        asked_band="fewer than 3", opened_at=now, expires_at=now + timedelta(days=7),
    )  # fmt: skip
    put(
        session, "request_recipients", id=new_id(), request_id=request, owner_id=theirs, camera_ids=[str(camera)],
        asked_at=now, answer="have-it", answered_at=now,
    )  # fmt: skip
    put(
        session, "disclosures", id=new_id(), request_id=request, investigation_id=case, organisation_id=force,
        owner_id=theirs, answer="have-it", channel="email", name_enc=seal("Ann Owner", "camera_owners.name"),
        address_enc=seal("ann@people.example", "contact_points.address"), facts=FACTS, entry_id=-number, made_xid="3",
        at=now,
    )  # fmt: skip
    return case, searched, request, dispatch
