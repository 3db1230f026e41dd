"""Writing down that a doubt is settled: this was not taken after all."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.ledger import results
from app.services.ledger.evidence import SILENCE
from app.services.ledger.results import Row
from messaging.types import DeliveryStatus

# A second try must leave a worker the time to make it.
ENOUGH = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many of an attempt wait again, and for how many the time was over."""

    given_back: int = 0
    expired: int = 0


_LOCK = sa.text(
    """
    SELECT b.expires_at FROM attempts a
    JOIN batches b ON b.dispatch_id = a.dispatch_id AND b.n = a.batch_n
    WHERE a.dispatch_id = :dispatch AND a.batch_n = :batch AND a.n = :attempt AND a.outcome = 'in_doubt'
    FOR UPDATE OF a
    """
)
_DOUBTED = sa.text(
    """
    SELECT d.ordinal, d.contact_id
    FROM batches b
    CROSS JOIN LATERAL unnest(b.contact_ids) AS u(contact_id)
    JOIN deliveries d ON d.dispatch_id = b.dispatch_id AND d.contact_id = u.contact_id
    WHERE b.dispatch_id = :dispatch AND b.n = :batch AND d.status = 10 AND d.attempt_n = :attempt
    ORDER BY d.contact_id FOR UPDATE OF d
    """
)
_CLOSE = sa.text(
    """
    UPDATE attempts SET outcome = :outcome, reason = :reason
    WHERE dispatch_id = :dispatch AND batch_n = :batch AND n = :attempt
    """
)


def not_taken(
    session: Session,
    dispatch: UUID,
    batch: int,
    attempt: int,
    *,
    now: datetime,
    only: Collection[int] | None = None,
) -> Verdict:
    """Nobody who is in doubt by this attempt (or of the contacts ``only``) was written to.

    They wait again if time remains, else they are *expired*. What came meanwhile is stronger: whoever is no longer
    in doubt stays as they are. One attempt a transaction: locks go attempts, deliveries, batches.
    """
    values = {"dispatch": dispatch, "batch": batch, "attempt": attempt}
    expires_at = session.execute(_LOCK, values).scalar_one_or_none()
    if expires_at is None:
        return Verdict()
    doubted = session.execute(_DOUBTED, values).all()
    wanted = [(o, c) for o, c in doubted if only is None or c in only]
    given_back = expired = 0
    if expires_at > now + ENOUGH:
        given_back = results.give_back(session, dispatch, batch, attempt, [c for _, c in wanted])
    else:
        rows = [Row(o, c, DeliveryStatus.EXPIRED, SILENCE) for o, c in wanted]
        expired = results.write(session, dispatch, batch, attempt, rows).moved
    if len(wanted) == len(doubted):
        session.execute(_CLOSE, values | {"outcome": "not_taken", "reason": SILENCE})
    return Verdict(given_back, expired)


def settled(session: Session, dispatch: UUID, batch: int, attempt: int) -> None:
    """Of this attempt nobody is in doubt any more."""
    values = {"dispatch": dispatch, "batch": batch, "attempt": attempt}
    if session.execute(_LOCK, values).one_or_none() and not session.execute(_DOUBTED, values).all():
        session.execute(_CLOSE, values | {"outcome": "taken", "reason": "settled"})
