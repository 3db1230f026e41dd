"""E-mail in doubt, by what SendGrid did not say: it reports every call that it took, again and again for a day.

An event proves a call taken as soon as it is merged. Silence proves that it was not taken

- after 15 minutes, if we listened without a break and turned nothing away since, and events came of at least three
  calls made later with the same key;
- otherwise after 26 hours, if we listened without a break through the second half of SendGrid's day, and events of
  that key came at all within a month.

All else stays in doubt.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.reconcile import HeardCall
from app.services import listening

QUIET = timedelta(minutes=15)
# Refusals of the last minute may not be written down yet, and raw events not be merged.
SETTLING = timedelta(minutes=1)
LATER_CALLS = 3
LONGEST = timedelta(hours=26)
# SendGrid's gaps grow: its last tries of the day lie in the second half of it.
DEAF_MAY = timedelta(hours=12)
KEPT = timedelta(days=30)
OLDEST = listening.LOOK_BACK


class Call(NamedTuple):
    """An attempt in doubt."""

    dispatch: UUID
    batch: int
    attempt: int


_UNMERGED = sa.text(
    "SELECT EXISTS (SELECT 1 FROM raw_events WHERE merged_at IS NULL AND source = :source AND received_at < :before)"
)
_SILENT = sa.text(
    """
    SELECT a.dispatch_id, a.batch_n, a.n
    FROM attempts a JOIN batches b ON b.dispatch_id = a.dispatch_id AND b.n = a.batch_n AND b.channel = 'email'
    WHERE a.outcome = 'in_doubt' AND a.provider = :provider AND a.opened_at >= :oldest AND a.opened_at < :quiet
      AND coalesce(a.closed_at < :quiet, false)
      -- One event was heard, perhaps before the call was in doubt: it was taken.
      AND NOT EXISTS (
          SELECT 1 FROM heard_calls h
          WHERE h.dispatch_id = a.dispatch_id AND h.batch_n = a.batch_n AND h.attempt_n = a.n)
      AND ((a.opened_at >= :calm AND a.opened_at < :later)
        OR (:heard AND a.opened_at >= :calm_day AND a.opened_at < :day))
    ORDER BY a.opened_at LIMIT :most
    """
)


def silent(session: Session, provider: str, *, now: datetime, most: int = 200) -> Sequence[Call]:
    """Attempts in doubt whose silence proves that they were not taken, the oldest first."""
    before = now - SETTLING
    if session.execute(_UNMERGED, {"source": provider, "before": before}).scalar_one():
        return []  # what they say may lie here unread
    calm = listening.calm_since(session, provider, now=now)
    heard = session.scalars(
        sa.select(HeardCall.opened_at)
        .where(HeardCall.provider == provider, HeardCall.opened_at > now - KEPT)
        .order_by(HeardCall.opened_at.desc())
        .limit(LATER_CALLS)
    ).all()
    rows = session.execute(
        _SILENT,
        {
            "provider": provider,
            "oldest": now - OLDEST,
            "quiet": before - QUIET,
            "calm": calm,
            "later": heard[-1] if len(heard) == LATER_CALLS else now - OLDEST,
            "heard": bool(heard),
            "calm_day": calm - DEAF_MAY,
            "day": before - LONGEST,
            "most": most,
        },
    )
    return [Call(*row) for row in rows]


def purge(session: Session, *, now: datetime) -> None:
    """Forget which calls were heard long ago."""
    session.execute(sa.delete(HeardCall).where(HeardCall.opened_at < now - KEPT))
