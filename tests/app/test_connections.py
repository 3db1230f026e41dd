"""Connections that died: replaced unseen if they lay idle, and found by the first statement if they did not."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from app import db, registry, roles
from app.registry import Registry
from config.fields import Part
from tests.conftest import Database


def _cut(committed: Database, opened: Registry) -> int:
    """End the one connection of the pool from outside; its process id."""
    with opened.sessions() as session:
        pid: int = session.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(roles.libpq(committed.admin), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    return pid


def _asked(opened: Registry) -> int:
    with opened.sessions() as session:
        return int(session.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())


@pytest.mark.parametrize(("part", "trusted"), [(Part.APP, 3_600.0), (Part.WORKER, 0.0)])
def test_one_that_died_while_it_lay_idle_is_replaced_before_anybody_uses_it(
    committed: Database, monkeypatch: pytest.MonkeyPatch, part: Part, trusted: float
) -> None:
    """Trust is a worker's alone, and has run out here."""
    monkeypatch.setattr(registry, "TRUST_SECONDS", trusted)
    opened = committed.open(part)
    gone = _cut(committed, opened)
    assert _asked(opened) != gone
    opened.engine.dispose()


def test_a_workers_that_died_a_moment_after_its_use_is_found_by_the_first_statement_and_then_replaced(
    committed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "TRUST_SECONDS", 3_600.0)
    opened = committed.open(Part.WORKER)
    gone = _cut(committed, opened)
    with pytest.raises(db.AWAY):
        _asked(opened)
    assert _asked(opened) != gone
    opened.engine.dispose()


@pytest.mark.parametrize(("part", "asked"), [(Part.APP, 2), (Part.WORKER, 0)])
def test_only_a_workers_that_was_just_used_is_not_asked(
    committed: Database, monkeypatch: pytest.MonkeyPatch, part: Part, asked: int
) -> None:
    monkeypatch.setattr(registry, "TRUST_SECONDS", 3_600.0)
    opened = committed.open(part)
    pings: list[object] = []
    monkeypatch.setattr(opened.engine.dialect, "do_ping", pings.append)
    for _ in range(3):  # the first one makes it
        _asked(opened)
    assert len(pings) == asked
    opened.engine.dispose()
