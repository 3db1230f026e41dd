"""Attempts: on record before the first byte, behind the lease's fence, in the sender's pace."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.ledger.claims import Claim

# One statement renews the lease, refuses whoever lost it, and records the attempt: the fence
# and the mark cannot come apart.
_OPEN = sa.text(
    """
    WITH mine AS (
        UPDATE batches SET lease_until = clock_timestamp() + make_interval(secs => :lease)
        WHERE dispatch_id = :dispatch AND n = :batch AND lease_token = :token
          AND lease_until > clock_timestamp() AND expires_at > clock_timestamp()
          AND (not_after IS NULL OR not_after > clock_timestamp())
        RETURNING dispatch_id, n, sender_id, lease_token
    )
    INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, lease_token)
    SELECT m.dispatch_id, m.n,
        1 + coalesce((SELECT max(a.n) FROM attempts a WHERE a.dispatch_id = m.dispatch_id AND a.batch_n = m.n), 0),
        :provider, coalesce(CAST(:sender AS int), m.sender_id), :first, :last, m.lease_token
    FROM mine m JOIN dispatches d ON d.id = m.dispatch_id AND d.state NOT IN ('stopped', 'paused')
    RETURNING n
    """
)


def open_attempt(
    session: Session,
    held: Claim,
    *,
    provider: str,
    first: int,
    last: int,
    lease_seconds: float,
    sender_id: int | None = None,
) -> int | None:
    """Record that ordinals ``first`` to ``last`` are about to be sent; the attempt's number.

    ``sender_id``: the number that stands in for the batch's own, if it leaves from another one.

    None when the lease is lost, the dispatch was stopped or paused, its time is over or its people's quiet
    hours have begun: send nothing.
    The caller commits before the first byte.
    """
    return session.execute(
        _OPEN,
        {
            "lease": lease_seconds,
            "dispatch": held.dispatch,
            "batch": held.batch,
            "token": held.lease,
            "provider": provider,
            "sender": sender_id,
            "first": first,
            "last": last,
        },
    ).scalar_one_or_none()


_PACE = sa.text(
    """
    UPDATE sender_pace p
    SET free_at = greatest(p.free_at, clock_timestamp())
        + make_interval(secs => :segments / s.segments_per_second)
    FROM senders s
    WHERE s.id = p.sender_id AND p.sender_id = :sender
      AND p.free_at <= clock_timestamp() + make_interval(secs => :backlog)
    RETURNING p.free_at
    """
)
_WAIT = sa.text(
    "SELECT CAST(extract(epoch FROM free_at - clock_timestamp()) AS float8) - :backlog "
    "FROM sender_pace WHERE sender_id = :sender"
)


def take_turn(session: Session, sender_id: int, segments: int, backlog_seconds: float) -> float | None:
    """Reserve a place in the sender's queue at the provider, shared by all workers.

    None when granted. Otherwise the seconds until it is worth asking again: the provider would
    already hold ``backlog_seconds`` of messages, and an urgent alert or a STOP must not wait behind more.
    """
    values = {"segments": segments, "sender": sender_id, "backlog": backlog_seconds}
    if session.execute(_PACE, values).one_or_none() is not None:
        return None
    wait: float = session.execute(_WAIT, {"sender": sender_id, "backlog": backlog_seconds}).scalar_one()
    return max(0.0, wait)
