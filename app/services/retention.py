"""What is kept for a time only, and goes when the time is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit

RAW_EVENTS_KEPT = timedelta(days=30)  # they hold addresses, and say nothing that the ledger has not learnt
SERVICE_MESSAGES_KEPT = timedelta(days=30)
MISUSE_KEPT = timedelta(days=6 * 366)  # after it was closed: as long as a claim may be brought
INVITATIONS_KEPT = timedelta(days=7)  # so that who comes late can be told that it has expired
CLOCKS_DIFFER = timedelta(hours=1)  # another process may still count in a window that is over here
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
    _note(session, "raw_events", gone)
    return gone


class _Kept(NamedTuple):
    """Rows of a table that go once ``until`` lies ``after`` in the past. ``noted``: they were about people."""

    table: str
    key: str
    until: str
    after: timedelta
    noted: bool

    def purge(self, session: Session, *, now: datetime, most: int = MOST) -> int:
        """Delete up to ``most``, oldest first; how many."""
        gone: int = session.execute(  # type: ignore[attr-defined]
            sa.text(
                f"DELETE FROM {self.table} WHERE ({self.key}) IN (SELECT {self.key} FROM {self.table} "
                f"WHERE {self.until} < :before ORDER BY {self.until} LIMIT :most)"
            ),
            {"before": now - self.after, "most": most},
        ).rowcount
        if self.noted:
            _note(session, self.table, gone)
        return gone


_NOW = timedelta(0)
# "It was not me" is read the morning after, and must still be taken.
CONFIRMATIONS_KEPT = timedelta(days=7)
SENDS_KEPT = timedelta(days=8)  # no weekly cap reaches further back
_TABLES = (
    # What nobody confirmed in seven days; a sign-up takes its confirmations with it.
    _Kept("signups", "id", "expires_at", _NOW, True),
    _Kept("confirmations", "id", "expires_at", CONFIRMATIONS_KEPT, True),
    _Kept("confirmation_refusals", "channel, digest", "until", _NOW, False),
    _Kept("rate_counters", 'scope, key, "window"', '"window"', CLOCKS_DIFFER, False),
    _Kept("web_sessions", "digest", "expires_at", _NOW, False),
    _Kept("staff_invitations", "digest", "expires_at", INVITATIONS_KEPT, False),
    _Kept("service_messages", "id", "created_at", SERVICE_MESSAGES_KEPT, True),
    _Kept("misuse_reports", "id", "closed_at", MISUSE_KEPT, True),
    _Kept("contact_sends", "contact_id, at, dispatch_id", "at", SENDS_KEPT, False),
)

# They go with the month of the ledger that their dispatches lie in.
_DIGEST_ITEMS = sa.text(
    """
    DELETE FROM digest_items WHERE (dispatch_id, contact_id) IN (
        SELECT i.dispatch_id, i.contact_id FROM ledger_dropped d
        CROSS JOIN LATERAL (
            SELECT dispatch_id, contact_id FROM digest_items
            WHERE dispatch_id >= d.low AND dispatch_id < d.high AND state <> 'waiting' LIMIT :most
        ) i LIMIT :most
    )
    """
)


def purge_digest_items(session: Session, *, now: datetime, most: int = MOST) -> int:
    """Delete up to ``most`` who had their place in a digest, of months that are no longer kept; how many."""
    gone: int = session.execute(_DIGEST_ITEMS, {"most": most}).rowcount  # type: ignore[attr-defined]
    _note(session, "digest_items", gone)
    return gone


Purge = Callable[..., int]
PURGES: Sequence[tuple[str, Purge]] = (
    ("raw_events", purge_raw_events),
    *((kept.table, kept.purge) for kept in _TABLES),
    ("digest_items", purge_digest_items),
)
"""All there is to delete: (table, function of session, ``now`` and ``most``), each as purge_raw_events."""


def _note(session: Session, table: str, gone: int) -> None:
    if gone:
        audit.record(
            session,
            event="ledger:purge",
            subject=f"table:{table}",
            actor=audit.SYSTEM,
            detail={"deleted": gone},
        )
