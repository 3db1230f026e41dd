"""Claiming a frozen batch, and who of it may still be written to.

A claim is a lease in database time. Everything here runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import NamedTuple
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import BINARY
from app.models.ledger import BACKLOG_SECONDS, BETWEEN_TOPICS
from messaging.types import Channel, DeliveryStatus


@dataclass(frozen=True, slots=True)
class Claim:
    """A batch that is ours until the lease ends."""

    dispatch: UUID
    batch: int
    channel: Channel
    language: str
    controller: UUID
    topic: str
    urgency: str
    size: int
    tries: int  # this one included, from 1
    expires_at: datetime
    running: bool  # False: the dispatch was stopped
    expired: bool
    lease: UUID
    sender_id: int
    sender: str
    sender_name: str
    sender_kind: str
    segments: int  # per message
    rate: float  # segments per second of the sender
    seconds_left: float  # of its time, by the database's clock


class Remaining(NamedTuple):
    """One recipient of a batch who has no final row yet."""

    ordinal: int
    contact_id: int
    address_enc: bytes
    salutation_enc: bytes | None
    synthetic: bool


# States of dispatches are looked up by value: an EXISTS would be planned as one reading of all dispatches ever sent.
_CLAIM = sa.text(
    """
    WITH next AS (
        SELECT dispatch_id, n FROM batches
        WHERE state = 'waiting' AND lane = ANY(:lanes) AND channel = ANY(:channels) AND not_before <= now()
          -- Its people's quiet hours have begun: the scheduler puts it off until they end.
          AND (not_after IS NULL OR not_after > now() OR expires_at <= now())
          -- A sender whose queue is full must not be claimed in vain, before batches that could go.
          AND (NOT EXISTS (
                  SELECT 1 FROM sender_pace p WHERE p.sender_id = batches.sender_id
                    AND p.free_at > clock_timestamp() + make_interval(secs => :backlog))
              OR expires_at <= now()
              OR (SELECT s.state FROM dispatches s WHERE s.id = batches.dispatch_id) = 'stopped')
          -- Every provider that could carry it is down, or the complaint brake holds it: it waits. Those that
          -- were stopped or ran out of time end all the same.
          AND (NOT 2 * sender_id + lane = ANY(CAST(:held AS int[])) OR expires_at <= now()
              OR (SELECT h.state FROM dispatches h WHERE h.id = batches.dispatch_id) = 'stopped')
          -- What came back to wait after a pause, until the sweeper sets it aside.
          AND (expires_at <= now()
              OR (SELECT p.state FROM dispatches p WHERE p.id = batches.dispatch_id) <> 'paused')
        ORDER BY lane, n, dispatch_id
        LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE batches b
    SET state = 'claimed', tries = least(b.tries + 1, 30000), lease_token = :token,
        lease_until = clock_timestamp() + make_interval(secs => :lease)
    FROM next, dispatches d, senders s
    WHERE b.dispatch_id = next.dispatch_id AND b.n = next.n AND d.id = b.dispatch_id AND s.id = b.sender_id
    RETURNING b.dispatch_id, b.n, b.channel, b.language, b.controller_id, d.topic, b.urgency, b.size, b.tries,
        b.expires_at, d.state <> 'stopped', b.expires_at <= clock_timestamp(), b.lease_token,
        s.id, s.address, s.display_name, s.kind, b.reserved_segments / b.size, s.segments_per_second,
        CAST(extract(epoch FROM b.expires_at - clock_timestamp()) AS float8)
    """
)


def claim(
    session: Session,
    *,
    lanes: Sequence[int],
    channels: Sequence[str],
    lease_seconds: float,
    held_senders: Sequence[int] = (),
) -> Claim | None:
    """The next waiting batch of these lanes, urgent first, or None. Skips what others hold.

    ``channels``: those that the caller can carry. ``held_senders``: whose batches have to wait, each as
    ``2 * sender + lane``; of theirs comes only what was stopped or ran out of time.
    """
    row = session.execute(
        _CLAIM,
        {
            "lanes": list(lanes),
            "channels": list(channels),
            "token": uuid4(),
            "lease": lease_seconds,
            "backlog": BACKLOG_SECONDS,
            "held": list(held_senders),
        },
    ).one_or_none()
    if row is None:
        return None
    values = list(row)
    values[2] = Channel(values[2])
    return Claim(*values)


# The place where suppression is re-checked: at the claim, at each window, before any second try. The
# look-ups stand as subqueries of their own, so that each is one search of a unique index whatever the
# planner believes: joined while the ledger was nearly empty, it would read the whole dispatch for everybody.
# The ledger is asked about each person only if it holds anybody between the least and the greatest of the batch's ids:
# a batch that nobody has tried pays for one search instead of a thousand.
_REMAINING = sa.text(
    """
    WITH ends AS MATERIALIZED (
        SELECT min(i) AS least, max(i) AS greatest
        FROM batches CROSS JOIN LATERAL unnest(contact_ids) i WHERE dispatch_id = :dispatch AND n = :batch
    )
    SELECT u.ordinal, u.contact_id, c.address_enc, c.salutation_enc, c.synthetic,
        CASE WHEN c.id IS NULL THEN 2 WHEN EXISTS (
            SELECT 1 FROM suppressions s
            WHERE s.digest = c.digest AND s.channel = :channel AND s.lifted_at IS NULL
              AND (s.controller_id IS NULL OR s.controller_id = :controller)
              AND (s.topic IS NULL OR s.topic = ANY(CAST(:topics AS text[])))
        ) THEN 1 ELSE 0 END AS gone
    FROM batches b
    CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
    LEFT JOIN contact_points c ON c.id = u.contact_id
    WHERE b.dispatch_id = :dispatch AND b.n = :batch AND u.ordinal BETWEEN :first AND :last
      AND (
          (SELECT coalesce((
              SELECT d.contact_id FROM deliveries d
              WHERE d.dispatch_id = :dispatch AND d.contact_id >= (SELECT least FROM ends)
              ORDER BY d.contact_id LIMIT 1
          ) > (SELECT greatest FROM ends), true))
          OR coalesce((
              SELECT d.status FROM deliveries d
              WHERE d.dispatch_id = :dispatch AND d.contact_id = u.contact_id
          ), :waiting) = :waiting
      )
    """
)
_STOPPED, _ERASED = 1, 2
# A row of the driver's becomes a Remaining without a call of Python's per person.
_remaining = partial(tuple.__new__, Remaining)


class Checked(NamedTuple):
    """Who of a stretch may be written to, and who no longer: (ordinal, contact id) pairs."""

    left: list[Remaining]
    stopped: list[tuple[int, int]]
    erased: list[tuple[int, int]]


def check(session: Session, held: Claim, first: int = 1, last: int = 1_000) -> Checked:
    """Re-check suppression and erasure for ordinals ``first`` to ``last`` of a batch."""
    found = session.execute(
        _REMAINING,
        {
            "controller": held.controller,
            "channel": str(held.channel),
            "topics": held.topic.split(BETWEEN_TOPICS),
            "dispatch": held.dispatch,
            "batch": held.batch,
            "first": first,
            "last": last,
            "waiting": int(DeliveryStatus.WAITING),
        },
        execution_options=BINARY,
    )
    rows = found.cursor.fetchall()  # type: ignore[attr-defined]  # the driver's own: a thousand a batch
    found.close()
    rows.sort(key=itemgetter(0))
    left: list[Remaining] = [_remaining(row[:5]) for row in rows if not row[5]]
    if len(left) == len(rows):
        return Checked(left, [], [])
    return Checked(
        left,
        [(row[0], row[1]) for row in rows if row[5] == _STOPPED],
        [(row[0], row[1]) for row in rows if row[5] == _ERASED],
    )
