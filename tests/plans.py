"""What the plan tests share: large tables made in one go, statements noted, and what their plans read whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

LARGE = 3_000  # rows; a smaller table may be read as PostgreSQL likes
Noted = list[tuple[str, object]]


def run_all(session: Session, statements: str, values: Mapping[str, object]) -> None:
    """Statements parted by a semicolon at the end of a line; each takes of ``values`` what it names."""
    for statement in statements.split(";\n"):
        if statement.strip():
            text = sa.text(statement.replace("::", "\\:\\:"))
            session.execute(text, {k: v for k, v in values.items() if k in text._bindparams})


def filled(session: Session, statements: str, values: Mapping[str, object]) -> frozenset[str]:
    """Run them, look at what is there, and say which tables are large now."""
    run_all(session, statements, values)
    session.execute(sa.text("ANALYZE"))
    large = sa.text("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples >= :n")
    return frozenset(session.scalars(large, {"n": LARGE}))


@contextmanager
def noting(session: Session) -> Iterator[Noted]:
    """Every statement of the block with its parameters."""
    noted: Noted = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        noted.append((statement, parameters))

    connection = session.connection()
    sa.event.listen(connection, "before_cursor_execute", note)
    try:
        yield noted
    finally:
        sa.event.remove(connection, "before_cursor_execute", note)


def nodes(plan: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every node of a plan that EXPLAIN gave as JSON."""
    waiting = [p["Plan"] for p in (orjson.loads(plan) if isinstance(plan, str) else plan)]
    every = []
    while waiting:
        every.append(waiting.pop())
        waiting += every[-1].get("Plans", [])
    return every


def explained(
    session: Session, statement: str, parameters: object, options: str = ""
) -> list[dict[str, Any]]:
    """The nodes of the plan of a statement as the driver has it; ``options`` such as "ANALYZE, "."""
    raw = session.connection().connection.driver_connection
    assert raw is not None
    with raw.cursor() as cursor:
        cursor.execute(f"EXPLAIN ({options}FORMAT JSON) {statement}", parameters)
        return nodes(cursor.fetchone()[0])


def scans(session: Session, large: frozenset[str], statement: str, parameters: object) -> list[str]:
    """Large tables that the plan of a statement reads from end to end."""
    found = explained(session, statement, parameters)
    return [n["Relation Name"] for n in found if n["Node Type"] == "Seq Scan" and n["Relation Name"] in large]
