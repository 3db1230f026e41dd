"""What is kept for a time only, and goes when the time is over."""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit

RAW_EVENTS_KEPT = timedelta(days=30)  # they hold addresses, and say nothing that the ledger has not learnt
MOST = 10_000

# An event that could not be merged in all that time never will be; it goes as well.
_RAW_EVENTS = sa.text(
    """
    DELETE FROM raw_events WHERE id IN (
        SELECT id FROM raw_events WHERE received_at < :before ORDER BY received_at LIMIT :most
    )
    """
)
_EARLY = sa.text("DELETE FROM early_receipts WHERE at < :before")


def purge_raw_events(session: Session, *, now: datetime, most: int = MOST) -> int:
    """Delete up to ``most`` raw events past their time, and receipts for rows that never came; how many.

    Call it again, in another transaction, while it returns ``most``.
    """
    before = now - RAW_EVENTS_KEPT
    gone: int = session.execute(_RAW_EVENTS, {"before": before, "most": most}).rowcount  # type: ignore[attr-defined]
    session.execute(_EARLY, {"before": before})
    if gone:
        audit.record(
            session,
            event="ledger:purge",
            subject="table:raw_events",
            actor=audit.SYSTEM,
            detail={"deleted": gone},
        )
    return gone
