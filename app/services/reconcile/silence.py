"""Texts that Twilio took and of which it reported nothing final: read by their sids, a few hundred a minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from messaging.types import DeliveryRef

QUIET = timedelta(minutes=15)
# After each round; then the network will not tell any more.
ROUNDS = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
OLDEST = timedelta(days=8)


class Silent(NamedTuple):
    """A text that was taken, by the name that its provider gave it."""

    ref: DeliveryRef
    provider: str
    sid: str


@dataclass(frozen=True, slots=True)
class Round:
    """A part of a batch that is asked about: ``last`` is the last ordinal, None at the batch's end."""

    dispatch: UUID
    batch: int
    texts: Sequence[Silent]
    last: int | None


_NOTICE = sa.text(
    """
    INSERT INTO silent_batches (dispatch_id, batch_n, next_at)
    SELECT b.dispatch_id, b.n, :first FROM batches b
    WHERE b.channel = 'sms' AND b.accepted > 0 AND b.dispatch_id >= :since
      AND NOT EXISTS (SELECT 1 FROM silent_batches s WHERE s.dispatch_id = b.dispatch_id AND s.batch_n = b.n)
    ORDER BY 1, 2 LIMIT :most
    ON CONFLICT DO NOTHING
    """
)
_FORGET = sa.text("DELETE FROM silent_batches WHERE dispatch_id < :since")
_DUE = sa.text(
    "SELECT dispatch_id, batch_n, after FROM silent_batches WHERE next_at <= :now ORDER BY next_at LIMIT :most"
)
_TEXTS = sa.text(
    """
    SELECT d.ordinal, d.attempt_n, a.provider, d.provider_ref
    FROM batches b
    CROSS JOIN LATERAL unnest(b.contact_ids) AS u(contact_id)
    JOIN deliveries d ON d.dispatch_id = b.dispatch_id AND d.contact_id = u.contact_id
        AND d.status IN (30, 32) AND d.provider_ref IS NOT NULL AND d.at < :quiet
    JOIN attempts a ON a.dispatch_id = d.dispatch_id AND a.batch_n = d.batch_n AND a.n = d.attempt_n
        AND a.provider = ANY(CAST(:providers AS text[]))
    WHERE b.dispatch_id = :dispatch AND b.n = :batch AND d.ordinal > :after
    ORDER BY d.ordinal LIMIT :most
    """
)


def _since(now: datetime) -> UUID:
    """The least id of a dispatch that is still asked about: ids begin with their time."""
    return UUID(int=int((now - OLDEST).timestamp() * 1000) << 80)


def notice(session: Session, *, now: datetime, most: int = 2_000) -> None:
    """Take note of batches with texts that are not final; they are asked about in 15 minutes, if they still are."""
    session.execute(_NOTICE, {"first": now + QUIET, "since": _since(now), "most": most})
    session.execute(_FORGET, {"since": _since(now)})


def due(session: Session, providers: Sequence[str], *, now: datetime, most: int = 300) -> list[Round]:
    """What to ask about now: up to ``most`` texts of the batches that waited longest."""
    rounds: list[Round] = []
    left = most
    for dispatch, batch, after in session.execute(_DUE, {"now": now, "most": most}).all():
        if left <= 0:
            break
        values = {
            "dispatch": dispatch,
            "batch": batch,
            "after": after,
            "quiet": now - QUIET,
            "providers": list(providers),
            "most": left,
        }
        rows = session.execute(_TEXTS, values).all()
        texts = [
            Silent(DeliveryRef(dispatch, batch, n, ordinal), provider, sid)
            for ordinal, n, provider, sid in rows
        ]
        rounds.append(Round(dispatch, batch, texts, rows[-1].ordinal if len(rows) == left else None))
        left -= len(rows)
    return rounds


_ON = sa.text("UPDATE silent_batches SET after = :after WHERE dispatch_id = :dispatch AND batch_n = :batch")
_OVER = sa.text(
    """
    UPDATE silent_batches SET after = 0, asked = asked + 1,
        next_at = CASE asked WHEN 0 THEN :second WHEN 1 THEN :third WHEN 2 THEN :fourth ELSE 'infinity' END
    WHERE dispatch_id = :dispatch AND batch_n = :batch
    """
)
_DONE = sa.text(
    """
    DELETE FROM silent_batches s USING batches b
    WHERE s.dispatch_id = :dispatch AND s.batch_n = :batch AND b.dispatch_id = s.dispatch_id AND b.n = s.batch_n
      AND b.accepted = 0
    """
)


def asked(session: Session, one: Round, *, now: datetime) -> None:
    """A part of a batch was asked about: go on behind it, or come back in an hour, in six, in a day."""
    values = {"dispatch": one.dispatch, "batch": one.batch}
    if session.execute(_DONE, values).rowcount:  # type: ignore[attr-defined]
        return
    if one.last is not None:
        session.execute(_ON, values | {"after": one.last})
        return
    second, third, fourth = (now + wait for wait in ROUNDS)
    session.execute(_OVER, values | {"second": second, "third": third, "fourth": fourth})
