"""Values under a new key while the service goes on: nothing forgotten, nothing overwritten, nothing lost."""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import orjson
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from app import crypto
from app.crypto import Keyring
from app.db import make_engine, make_sessions
from app.embedded.keys import ensure_keys
from app.models.audit import AuditEntry
from app.models.people import ContactPoint
from app.registry import Registry
from app.services import rotation
from config.fields import Part
from tests.conftest import Database
from tests.factories import ACTOR, Makes

NEW = base64.b64encode(bytes(range(32))).decode()


def ring(database: Database, *, front: bool = False) -> str:
    """VALUE_KEYS with a second key: the current one, or at the ``front``, where it opens and does not encrypt."""
    old = ensure_keys(Path(os.environ["LOCAL_DIR"]))["VALUE_KEYS"]
    return f"2:{NEW},{old}" if front else f"{old},2:{NEW}"


@pytest.fixture
def owner(committed: Database) -> Iterator[sessionmaker[Session]]:
    engine = make_engine(committed.settings(Part.OWNER).owner_database_url)
    yield make_sessions(engine)
    engine.dispose()


@pytest.fixture
def app(committed: Database) -> Iterator[Registry]:
    """The service with the new key as the current one; what stood before is under the old."""
    before = committed.open()
    with before.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        _, ward, _ = makes.borough()
        for n in range(7):
            makes.resident(police, ward, salutation=f"Person {n}" if n % 2 else None)
        makes.officer(police)
    before.engine.dispose()
    opened = committed.open(VALUE_KEYS=ring(committed))
    yield opened
    opened.engine.dispose()
    committed.open().engine.dispose()  # the process's keyring is that of the other tests again


def clear(sessions: sessionmaker[Session]) -> dict[int, tuple[str, str | None]]:
    with sessions() as session:
        return {
            c.id: (c.address, c.salutation)
            for c in session.scalars(sa.select(ContactPoint).execution_options(populate_existing=True))
        }


def test_no_encrypted_column_of_the_database_is_forgotten(owner: sessionmaker[Session]) -> None:
    """As the owner of the tables sees it: of what only the register's gate may touch the app knows no column."""
    with owner() as session:
        there = session.execute(
            sa.text(
                "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
                "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') "
                "AND NOT c.relispartition AND NOT a.attisdropped AND a.attname LIKE '%\\_enc'"
            )
        ).all()
    known = {(one.name, column.name) for one in rotation.sealed() for column in one.columns}
    assert known == {tuple(row) for row in there}


def test_everything_is_under_the_new_key_and_reads_the_same_without_the_old(
    app: Registry, owner: sessionmaker[Session]
) -> None:
    said = clear(app.sessions)
    with owner() as session:
        assert rotation.standing(session)["contact_points"] == {1: 10}
    tallies = rotation.rotate(owner, crypto.keyring(), actor=ACTOR)
    assert {t.table: t.rotated for t in tallies if t.rotated} == {"contact_points": 10, "staff": 3}
    with owner() as session:
        counts = rotation.standing(session)
    assert (counts["contact_points"], counts["staff"]) == ({2: 10}, {2: 3})
    assert rotation.unused(counts, crypto.keyring()) == [1]
    only = Keyring({2: bytes(range(32))}, 2, bytes(32), 1)
    assert (rotation.unknown(counts, only), rotation.unused(counts, only)) == ([], [])
    crypto.install(only)
    assert clear(app.sessions) == said


def test_a_second_run_changes_nothing_and_the_record_has_one_entry_for_each_table(
    app: Registry, owner: sessionmaker[Session]
) -> None:
    rotation.rotate(owner, crypto.keyring(), actor=ACTOR)
    again = rotation.rotate(owner, crypto.keyring(), actor=ACTOR)
    assert not any(t.rotated or t.unreadable for t in again)
    with app.sessions() as session:
        entries = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "key:rotate")).all()
    assert sorted((orjson.loads(e.detail or "") for e in entries), key=itemgetter("table")) == [
        {"table": "contact_points", "rotated": 10, "unreadable": 0},
        {"table": "staff", "rotated": 3, "unreadable": 0},
    ]


def test_broken_off_it_goes_on_from_where_it_was_and_both_parts_are_on_the_record(
    app: Registry, owner: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BLOCK", 2)

    def enough(table: str, count: int) -> None:
        if count >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(owner, crypto.keyring(), actor=ACTOR, progress=enough)
    with owner() as session:
        half = rotation.standing(session)["contact_points"]
    assert half[2] >= 4 and half[1] > 0
    rotation.rotate(owner, crypto.keyring(), actor=ACTOR)
    with owner() as session:
        assert rotation.standing(session)["contact_points"] == {2: 10}
        entries = session.scalars(sa.select(AuditEntry.detail).where(AuditEntry.event == "key:rotate")).all()
    assert sum('"contact_points"' in (e or "") for e in entries) == 2


def test_a_value_that_does_not_open_is_left_as_it_is_and_counted(
    app: Registry, owner: sessionmaker[Session]
) -> None:
    with owner.begin() as session:
        broken = session.execute(
            sa.text(
                "UPDATE contact_points SET salutation_enc = '\\x01ffff' "
                "WHERE id = (SELECT min(id) FROM contact_points WHERE salutation_enc IS NOT NULL) RETURNING id"
            )
        ).scalar_one()
    (tally,) = [
        t for t in rotation.rotate(owner, crypto.keyring(), actor=ACTOR) if t.table == "contact_points"
    ]
    assert (tally.rotated, tally.unreadable) == (9, 1)
    with owner() as session:
        left = session.execute(
            sa.text("SELECT salutation_enc FROM contact_points WHERE id = :id"), {"id": broken}
        ).scalar_one()
    assert bytes(left) == b"\x01\xff\xff"


def test_key_rotation_under_load_overwrites_nothing_that_people_change_meanwhile(
    app: Registry, owner: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "BLOCK", 1)
    said = {contact: name for contact, (_, name) in clear(app.sessions).items()}
    over, wrote = threading.Event(), threading.Semaphore(0)
    problems: list[BaseException] = []

    def write() -> None:
        """Somebody changes every name again and again, and new people come."""
        try:
            turn = 0
            while not over.is_set():
                for contact in list(said):
                    name = f"Turn {turn}"
                    with app.sessions.begin() as session:
                        session.get_one(ContactPoint, contact).salutation = name
                    said[contact] = name
                    wrote.release()
                with app.sessions.begin() as session:
                    made = Makes(session).contact(f"new{turn}@people.example", salutation="New")
                    session.flush()
                    said[made.id] = "New"
                turn += 1
        except BaseException as error:
            problems.append(error)
            wrote.release(1_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        # Between two blocks something is always written.
        rotation.rotate(
            owner, crypto.keyring(), actor=ACTOR, progress=lambda _t, _n: bool(wrote.acquire(timeout=30))
        )
    finally:
        over.set()
        writer.join(30)
    assert not problems
    with owner() as session:
        assert set(rotation.standing(session)["contact_points"]) == {2}
    assert {contact: name for contact, (_, name) in clear(app.sessions).items()} == said


def test_with_the_new_key_at_the_front_processes_open_what_others_write_and_rotation_moves_nothing(
    app: Registry, owner: sessionmaker[Session], committed: Database
) -> None:
    """The first step of an operator: every process knows the new key before the first one writes under it."""
    first = committed.open(VALUE_KEYS=ring(committed, front=True))
    assert not any(t.rotated for t in rotation.rotate(owner, crypto.keyring(), actor=ACTOR))
    under_new = Keyring({2: bytes(range(32))}, 2, bytes(32), 1).encrypt("Later", "contact_points.salutation")
    with owner.begin() as session:
        session.execute(sa.text("UPDATE contact_points SET salutation_enc = :v"), {"v": under_new})
    assert {name for _, name in clear(first.sessions).values()} == {"Later"}
    first.engine.dispose()
