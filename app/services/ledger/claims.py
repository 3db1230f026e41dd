"""Claiming a frozen batch, and who of it may still be written to.

A claim is a lease in database time. Everything here runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.ledger import BACKLOG_SECONDS
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


_CLAIM = sa.text(
    """
    WITH next AS (
        SELECT dispatch_id, n FROM batches
        WHERE state = 'waiting' AND lane = ANY(:lanes) AND channel = ANY(:channels) AND not_before <= now()
          -- A sender whose queue is full must not be claimed in vain, before batches that could go.
          AND (NOT EXISTS (
                  SELECT 1 FROM sender_pace p WHERE p.sender_id = batches.sender_id
                    AND p.free_at > clock_timestamp() + make_interval(secs => :backlog))
              OR EXISTS (SELECT 1 FROM dispatches s WHERE s.id = batches.dispatch_id AND s.state = 'stopped'))
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
    session: Session, *, lanes: Sequence[int], channels: Sequence[str], lease_seconds: float
) -> Claim | None:
    """The next waiting batch of these lanes, urgent first, or None. Skips what others hold."""
    row = session.execute(
        _CLAIM,
        {
            "lanes": list(lanes),
            "channels": list(channels),
            "token": uuid4(),
            "lease": lease_seconds,
            "backlog": BACKLOG_SECONDS,
        },
    ).one_or_none()
    if row is None:
        return None
    values = list(row)
    values[2] = Channel(values[2])
    return Claim(*values)


# The place where suppression is re-checked: at the claim, at each window, before any second try.
_REMAINING = sa.text(
    """
    SELECT u.ordinal, u.contact_id, c.address_enc, c.salutation_enc, c.synthetic,
        c.id IS NULL AS erased,
        EXISTS (
            SELECT 1 FROM suppressions s
            WHERE s.digest = c.digest AND s.channel = c.channel AND s.lifted_at IS NULL
              AND (s.controller_id IS NULL OR s.controller_id = :controller)
              AND (s.topic IS NULL OR s.topic = :topic)
        ) AS stopped
    FROM batches b
    CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
    LEFT JOIN contact_points c ON c.id = u.contact_id
    WHERE b.dispatch_id = :dispatch AND b.n = :batch AND u.ordinal BETWEEN :first AND :last
      AND NOT EXISTS (
          SELECT 1 FROM deliveries d
          WHERE d.dispatch_id = :dispatch AND d.contact_id = u.contact_id AND d.status <> :waiting
      )
    ORDER BY u.ordinal
    """
)


class Checked(NamedTuple):
    """Who of a stretch may be written to, and who no longer: (ordinal, contact id) pairs."""

    left: list[Remaining]
    stopped: list[tuple[int, int]]
    erased: list[tuple[int, int]]


def check(session: Session, held: Claim, first: int = 1, last: int = 1_000) -> Checked:
    """Re-check suppression and erasure for ordinals ``first`` to ``last`` of a batch."""
    rows = session.execute(
        _REMAINING,
        {
            "controller": held.controller,
            "topic": held.topic,
            "dispatch": held.dispatch,
            "batch": held.batch,
            "first": first,
            "last": last,
            "waiting": int(DeliveryStatus.WAITING),
        },
    ).all()
    left: list[Remaining] = []
    stopped: list[tuple[int, int]] = []
    erased: list[tuple[int, int]] = []
    for ordinal, contact, address, salutation, synthetic, gone, suppressed in rows:
        if gone:
            erased.append((ordinal, contact))
        elif suppressed:
            stopped.append((ordinal, contact))
        else:
            left.append(Remaining(ordinal, contact, address, salutation, synthetic))
    return Checked(left, stopped, erased)
