"""The whole record in the order of its chain, for whoever takes it off the machine to check it there."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.record_search import files
from app.services.record_search.finding import SELECTED, found

_BATCH = 2_000
_CHAIN = sa.text(
    f"SELECT {SELECTED} FROM audit_seals s JOIN audit_entries e ON e.id = s.entry_id "
    "WHERE s.seq > :after ORDER BY s.seq LIMIT :most"
)


def lines(session: Session) -> Iterator[tuple[str, int]]:
    """JSON lines of every sealed entry, some thousand at a time, with how many. No transaction lasts longer than one."""
    after = 0
    while True:
        batch = [found(row) for row in session.execute(_CHAIN, {"after": after, "most": _BATCH})]
        session.rollback()
        if not batch:
            return
        yield "".join(files.json_lines(batch)), len(batch)
        after = batch[-1].seq or after
