"""Processes that say they live, so that a silent one is noticed by the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

WORKER_KINDS = ("urgent", "bulk", "receipts", "back")
KINDS = (*WORKER_KINDS, "scheduler", "sealer")
# Seconds after which a process counts as gone. A worker may send for 30 s and then some before it says so again.
SILENT_AFTER = dict.fromkeys(WORKER_KINDS, 120.0) | {"scheduler": 30.0, "sealer": 60.0}
MOST = 500

_BEAT = sa.text(
    "SELECT heartbeat(CAST(:kind AS text), CAST(:host AS text), CAST(:instance AS uuid), CAST(:away AS boolean))"
)
_LISTED = sa.text(
    """
    SELECT kind, host, instance, CAST(extract(epoch FROM clock_timestamp() - at) AS float8),
        CAST(extract(epoch FROM clock_timestamp() - began_at) AS float8),
        CAST(extract(epoch FROM clock_timestamp() - queue_away_since) AS float8)
    FROM heartbeats WHERE at > clock_timestamp() - interval '1 hour' ORDER BY at DESC LIMIT :most
    """
)


@dataclass(frozen=True, slots=True)
class Beat:
    """One process as it last spoke: ages in seconds, in the database's time."""

    kind: str
    host: str
    instance: UUID
    age: float
    up_for: float
    queue_away_for: float | None

    @property
    def lives(self) -> bool:
        return self.age <= SILENT_AFTER[self.kind]


def beat(
    connection: sa.Connection | Session, kind: str, host: str, instance: UUID, *, queue_away: bool
) -> None:
    """Say that a process lives. The caller commits."""
    connection.execute(_BEAT, {"kind": kind, "host": host, "instance": instance, "away": queue_away})


def latest(session: Session) -> Sequence[Beat]:
    """Who spoke within the last hour, the newest first, at most 500."""
    return [Beat(*row) for row in session.execute(_LISTED, {"most": MOST})]


def scheduler_silence(beats: Sequence[Beat]) -> float:
    """Seconds since the scheduler last spoke; if it never did, since when somebody else waits for it."""
    ages = [b.age for b in beats if b.kind == "scheduler"]
    return min(ages) if ages else max((b.up_for for b in beats), default=0.0)
