"""The register's gate by hand: the two calls that the site makes, on plain connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.db import utc_now
from app.roles import libpq
from tests.searching import REASON, Town, hours, middle

OPEN = """
    SELECT register.open_search(%(token)s, %(reference)s, %(purpose)s, %(reason)s, '\\x00', %(kind)s, %(centre)s,
        %(radius)s, %(outline)s, %(route)s, %(since)s, %(until)s, 'test')
"""
RUN = "SELECT register.run_search(%s, %s)"
WHO, TICKET, CAP = "WR001", "WR002", "WR004"


@contextmanager
def connected(town: Town, role: str = "DATABASE_URL", **options: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(libpq(town.database.environ()[role]), **options) as connection:
        yield connection
        if not connection.closed:
            connection.rollback()


def asked(token: str, **changes: Any) -> dict[str, Any]:
    x, y = middle(2, 5)
    until = utc_now() - hours(1)
    values: dict[str, Any] = {
        "token": token,
        "reference": "0100001/26",
        "purpose": "investigation",
        "reason": REASON,
        "kind": "radius",
        "centre": f"({x},{y})",
        "radius": 150.0,
        "outline": None,
        "route": None,
        "since": until - hours(2),
        "until": until,
    }
    return values | changes


def ticket(connection: psycopg.Connection[Any], token: str, **changes: Any) -> UUID:
    row = connection.execute(OPEN, asked(token, **changes)).fetchone()
    assert row is not None
    return UUID(str(row[0]))


def answer(connection: psycopg.Connection[Any], given: UUID, token: str) -> Any:
    row = connection.execute(RUN, (given, token)).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def refused(*states: str) -> Iterator[None]:
    with pytest.raises(psycopg.Error) as error:
        yield
    assert error.value.sqlstate in states, error.value


def used(town: Town, token: str, given: UUID) -> None:
    """The ticket serves nobody any more."""
    with connected(town) as connection, refused(TICKET):
        answer(connection, given, token)
