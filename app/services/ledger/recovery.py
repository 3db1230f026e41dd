"""What the sweeper does, from PostgreSQL alone: leases that ran out, dispatches that ended."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

log = structlog.get_logger(__name__)

_ABANDONED = sa.text(
    """
    SELECT dispatch_id, n FROM batches
    WHERE state = 'claimed' AND lease_until < clock_timestamp()
    ORDER BY lease_until LIMIT :most
    """
)
# Attempts, deliveries, batches: the order in which a late worker writes down its proof. The other way round the two
# would wait for each other. Nobody is waited for: a worker that stands still with a lock in hand must not stop the sweep.
_LOCK_ATTEMPTS = sa.text(
    """
    WITH mine AS (
        SELECT n FROM attempts WHERE dispatch_id = :dispatch AND batch_n = :batch AND closed_at IS NULL
        ORDER BY n FOR UPDATE SKIP LOCKED
    )
    SELECT (SELECT count(*) FROM mine)
        = (SELECT count(*) FROM attempts WHERE dispatch_id = :dispatch AND batch_n = :batch AND closed_at IS NULL)
    """
)
_LOCK_BATCH = sa.text(
    """
    SELECT 1 FROM batches
    WHERE dispatch_id = :dispatch AND n = :batch AND state = 'claimed' AND lease_until < clock_timestamp()
    FOR UPDATE SKIP LOCKED
    """
)
# Closed first: proof of a late worker that comes now waits for us, and then finds its people in doubt.
# Whoever lies in an open attempt and has no row may have been written to: in doubt, never again.
_DOUBT = sa.text(
    """
    WITH open AS (
        UPDATE attempts SET closed_at = clock_timestamp(), outcome = 'in_doubt', reason = 'worker lost'
        WHERE dispatch_id = :dispatch AND batch_n = :batch AND closed_at IS NULL
        RETURNING n, ordinal_from, ordinal_to
    ), ins AS (
        INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status, reason)
        SELECT DISTINCT ON (u.contact_id) :dispatch, u.contact_id, :batch, u.ordinal, open.n, 10, 'worker lost'
        FROM batches b
        CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
        JOIN open ON u.ordinal BETWEEN open.ordinal_from AND open.ordinal_to
        WHERE b.dispatch_id = :dispatch AND b.n = :batch
        ORDER BY u.contact_id, open.n DESC
        ON CONFLICT (dispatch_id, contact_id) DO UPDATE
            SET status = 10, attempt_n = excluded.attempt_n, reason = excluded.reason, at = now()
            WHERE deliveries.status = 0
        RETURNING 1
    )
    SELECT count(*) FROM ins
    """
)
_FREE = sa.text(
    """
    UPDATE batches SET state = 'waiting', lease_token = NULL, lease_until = NULL, in_doubt = in_doubt + :doubt
    WHERE dispatch_id = :dispatch AND n = :batch
    """
)


def recover(session: Session, most: int = 50) -> list[tuple[UUID, int, int]]:
    """Take back batches whose lease ran out; (dispatch, batch, recipients now in doubt) each."""
    recovered = []
    for dispatch, batch in session.execute(_ABANDONED, {"most": most}).all():
        values = {"dispatch": dispatch, "batch": batch}
        try:
            with session.begin_nested() as point:
                free = session.execute(_LOCK_ATTEMPTS, values).scalar_one()
                if not free or session.execute(_LOCK_BATCH, values).one_or_none() is None:
                    point.rollback()  # its worker, or another sweeper, is at it
                    continue
                doubt = session.execute(_DOUBT, values).scalar_one()
                session.execute(_FREE, values | {"doubt": doubt})
        except sa.exc.ProgrammingError:  # one batch that cannot be recovered must not stop all others
            log.exception("batch_not_recovered", dispatch=str(dispatch), batch=batch)
            continue
        recovered.append((dispatch, batch, doubt))
    return recovered


_FINISH = sa.text(
    """
    UPDATE dispatches d SET finished_at = clock_timestamp(),
        state = CASE d.state WHEN 'stopped' THEN 'stopped' ELSE 'done' END
    WHERE d.finished_at IS NULL AND (CAST(:only AS uuid) IS NULL OR d.id = :only)
      AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.dispatch_id = d.id AND b.state <> 'done')
    RETURNING d.id
    """
)


# Few enough that those who close the last ones may meet: the row of the dispatch makes them take turns.
_LAST_FEW = 16
_LEFT = sa.text(
    "SELECT count(*) FROM (SELECT 1 FROM batches WHERE dispatch_id = :only AND state <> 'done' LIMIT :few) few"
)
_TURN = sa.text("SELECT 1 FROM dispatches WHERE id = :only AND finished_at IS NULL FOR NO KEY UPDATE")


def finish(session: Session, only: UUID | None = None) -> list[UUID]:
    """Mark the dispatches (or ``only`` this one) that have nothing left to do; their ids.

    Two who close the last two batches at once each see the other's still open. So with few left they take turns: who
    comes second waits for the first's commit, and looks after it.
    """
    if only is not None:
        if session.execute(_LEFT, {"only": only, "few": _LAST_FEW}).scalar_one() == _LAST_FEW:
            return []
        if session.execute(_TURN, {"only": only}).one_or_none() is None:
            return []
    return list(session.execute(_FINISH, {"only": only}).scalars())


# Proof that somebody was not taken reopens a batch, perhaps while another marks the dispatch as ended.
_REOPEN = sa.text(
    """
    WITH again AS (
        UPDATE dispatches d SET finished_at = NULL, state = CASE d.state WHEN 'done' THEN 'running' ELSE d.state END
        WHERE d.finished_at IS NOT NULL
          AND d.id IN (SELECT DISTINCT dispatch_id FROM batches WHERE state <> 'done')
        RETURNING d.id
    ), unsettled AS (
        UPDATE reservations SET settled_at = NULL WHERE dispatch_id IN (SELECT id FROM again)
    )
    SELECT id FROM again
    """
)


def reopen(session: Session) -> list[UUID]:
    """Put right what is marked as ended and has an open batch; the ids. For the sweeper."""
    return list(session.execute(_REOPEN).scalars())


_WAITING = sa.text(
    """
    SELECT lane, count(*) FROM (
        SELECT lane FROM batches WHERE state = 'waiting' AND not_before <= now() LIMIT 1000
    ) ready GROUP BY lane
    """
)


def waiting(session: Session) -> dict[int, int]:
    """Batches ready to be claimed, by lane (counted up to 1,000)."""
    return {row[0]: row[1] for row in session.execute(_WAITING)}
