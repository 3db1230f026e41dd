"""The ledger's months: made ahead, and dropped when they have had their time.

A dispatch id begins with its time, so a month of dispatches is a partition of the deliveries. What goes with it are
the attempts and the ids in the batches; the batches' counters stay, so that reports remain, and dispatches and their
contents, so that stop links and the legal record do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit

MOST = 5_000  # rows forgotten in one transaction
# What PostgreSQL says when a table is held, or a month may not go yet.
BUSY, NOT_ENDED = "55P03", "55006"

_DUE = sa.text(
    """
    WITH bounds AS (
        SELECT date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => greatest(:keep, 3)) AS kept
    ), first AS (
        SELECT least(
            (SELECT to_timestamp(('x' || substr(replace(CAST(id AS text), '-', ''), 1, 12))::bit(48)::bigint / 1000.0)
             FROM dispatches ORDER BY id LIMIT 1) AT TIME ZONE 'UTC',
            (SELECT min(to_date(right(c.relname, 6), 'YYYYMM'))
             FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = CAST('deliveries' AS regclass) AND c.relname ~ '^deliveries_[0-9]{6}$')
        ) AS at
    )
    SELECT CAST(m AS date)
    FROM bounds, first, generate_series(date_trunc('month', first.at), bounds.kept - interval '1 month', '1 month') AS m
    WHERE NOT EXISTS (SELECT 1 FROM ledger_dropped d WHERE d.month = CAST(m AS date))
    ORDER BY m LIMIT 1200
    """.replace("::bit(48)::bigint", r"\:\:bit(48)\:\:bigint")
)


def due(session: Session, keep: int) -> list[date]:
    """The months that are over for more than ``keep`` whole months (3 at least) and were not dropped, oldest first.

    From the first dispatch or partition on; a month without either is in between.
    """
    return list(session.scalars(_DUE, {"keep": keep}))


def drop(session: Session, month: date, keep: int) -> bool:
    """Drop a month's deliveries; False when that was done before.

    It waits a second at most for whoever reads or writes the ledger, and for good when one of the month's dispatches
    has not ended: then PostgreSQL's OperationalError (``BUSY``, ``NOT_ENDED``) goes through, and nothing was done.
    """
    gone: bool = session.execute(
        sa.text("SELECT ledger_drop_month(:month, :keep)"), {"month": month, "keep": keep}
    ).scalar_one()
    if gone:
        audit.record(
            session,
            event="ledger:purge",
            subject=f"ledger:{month:%Y-%m}",
            actor=audit.SYSTEM,
            s62=audit.S62.ERASURE,
            detail={"kept_months": keep},
        )
    return gone


def forget(session: Session, most: int = MOST) -> int:
    """Remove up to ``most`` attempts and ids in batches of the months that were dropped; how many rows.

    Call it again, in another transaction, while it returns ``most``.
    """
    rows: int = session.execute(sa.text("SELECT ledger_forget(:most)"), {"most": most}).scalar_one()
    return rows


_DROPPED = sa.text("SELECT EXISTS (SELECT 1 FROM ledger_dropped WHERE low <= :dispatch AND :dispatch < high)")


def dropped(session: Session, dispatch: UUID) -> bool:
    """Whether the ledger no longer holds this dispatch's deliveries."""
    found: bool = session.execute(_DROPPED, {"dispatch": dispatch}).scalar_one()
    return found


@dataclass(frozen=True, slots=True)
class Partition:
    """A part of the ledger. ``begins``: its month, None for the default one. ``rows`` is PostgreSQL's estimate."""

    name: str
    begins: date | None
    rows: int
    bytes: int


_PARTITIONS = sa.text(
    """
    SELECT c.relname, to_date(substring(c.relname FROM '^deliveries_([0-9]{6})$'), 'YYYYMM'),
        CAST(greatest(c.reltuples, 0) AS bigint), pg_total_relation_size(c.oid)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('deliveries' AS regclass) ORDER BY c.relname
    """
)


def partitions(session: Session) -> list[Partition]:
    """Every part of the ledger by name: the months in their order, then the default one."""
    return [Partition(*row) for row in session.execute(_PARTITIONS)]


def make(session: Session, ahead: int) -> int:
    """Make the partitions of this month and ``ahead`` more; how many there were not yet."""
    made: int = session.execute(sa.text("SELECT ledger_make_partitions(:n)"), {"n": ahead}).scalar_one()
    return made
