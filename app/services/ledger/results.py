"""Writing down what happened to an attempt: set-wise, once, and repeatable.

Every function runs in the caller's transaction and may be called twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.ledger.claims import Claim
from messaging.types import DeliveryStatus, Outcome

COUNTERS = {
    DeliveryStatus.IN_DOUBT: "in_doubt",
    DeliveryStatus.EXPIRED: "expired",
    DeliveryStatus.STOPPED: "stopped",
    DeliveryStatus.ERASED: "erased",
    DeliveryStatus.REFUSED: "refused",
    DeliveryStatus.ACCEPTED: "accepted",
    DeliveryStatus.DEFERRED: "accepted",
    DeliveryStatus.DELIVERED: "delivered",
    DeliveryStatus.BOUNCED: "bounced",
    DeliveryStatus.COMPLAINED: "complained",
}


class Row(NamedTuple):
    """What became of one recipient."""

    ordinal: int
    contact_id: int
    status: DeliveryStatus
    reason: str | None = None
    provider_ref: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """``inserted`` new rows; ``moved`` that were in doubt or waiting; ``repeated``: alarm."""

    inserted: int
    moved: int
    repeated: int


_INSERT = sa.text(
    """
    INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status, reason, provider_ref)
    SELECT :dispatch, r.contact_id, :batch, r.ordinal, :attempt, r.status, r.reason,
        -- Of somebody erased meanwhile no name at a provider may come back.
        CASE WHEN EXISTS (SELECT 1 FROM contact_points c WHERE c.id = r.contact_id) THEN r.provider_ref END
    FROM unnest(CAST(:contacts AS bigint[]), CAST(:ordinals AS smallint[]), CAST(:statuses AS smallint[]),
                CAST(:reasons AS text[]), CAST(:refs AS text[]))
        AS r(contact_id, ordinal, status, reason, provider_ref)
    ON CONFLICT (dispatch_id, contact_id) DO NOTHING
    RETURNING status
    """
)
_INSERT_UNIFORM = sa.text(
    """
    INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status, reason)
    SELECT :dispatch, r.contact_id, :batch, r.ordinal, :attempt, :status, :reason
    FROM unnest(CAST(:contacts AS bigint[]), CAST(:ordinals AS smallint[])) AS r(contact_id, ordinal)
    ON CONFLICT (dispatch_id, contact_id) DO NOTHING
    """
)
# A worker that lost its lease still adds its evidence: a row in doubt learns what happened.
_MOVE = sa.text(
    """
    WITH new AS (
        SELECT * FROM unnest(CAST(:contacts AS bigint[]), CAST(:statuses AS smallint[]), CAST(:reasons AS text[]),
                             CAST(:refs AS text[])) AS r(contact_id, status, reason, provider_ref)
    ), was AS (
        SELECT d.contact_id, d.status FROM deliveries d JOIN new ON new.contact_id = d.contact_id
        WHERE d.dispatch_id = :dispatch AND d.status IN (0, 10) AND new.status > d.status
        ORDER BY d.contact_id FOR UPDATE OF d
    )
    UPDATE deliveries d
    SET status = new.status, reason = new.reason, attempt_n = :attempt, at = now(), provider_ref =
        CASE WHEN EXISTS (SELECT 1 FROM contact_points c WHERE c.id = d.contact_id) THEN new.provider_ref END
    FROM new JOIN was ON was.contact_id = new.contact_id
    WHERE d.dispatch_id = :dispatch AND d.contact_id = new.contact_id
    RETURNING was.status, new.status
    """
)
# Who was in doubt counted as sent to: what the dispatch cost is settled once more, when it has ended.
_UNSETTLE = sa.text(
    "UPDATE reservations SET settled_at = NULL WHERE dispatch_id = :dispatch AND settled_at IS NOT NULL"
)
_REPEATED = sa.text(
    """
    SELECT count(*) FROM deliveries d
    WHERE d.dispatch_id = :dispatch AND d.contact_id = ANY(CAST(:contacts AS bigint[]))
      AND d.attempt_n IS DISTINCT FROM :attempt
    """
)


def write(session: Session, dispatch: UUID, batch: int, attempt: int | None, rows: Sequence[Row]) -> Written:
    """One row per recipient, set-wise; counters of the batch follow what really changed."""
    if not rows:
        return Written(0, 0, 0)
    first = rows[0]
    values: dict[str, object] = {
        "dispatch": dispatch,
        "batch": batch,
        "attempt": attempt,
        "contacts": _array([r.contact_id for r in rows]),
        "ordinals": _array([r.ordinal for r in rows]),
    }
    changes: Counter[str] = Counter()
    uniform = all(
        r.status is first.status and r.reason is first.reason and r.provider_ref is None for r in rows
    )
    if uniform:
        done = session.execute(
            _INSERT_UNIFORM, values | {"status": int(first.status), "reason": first.reason}
        )
        inserted: int = done.rowcount  # type: ignore[attr-defined]
        changes[COUNTERS[first.status]] += inserted
    else:
        values |= _columns(rows)
        statuses = session.execute(_INSERT, values).scalars().all()
        inserted = len(statuses)
        changes.update(COUNTERS[DeliveryStatus(s)] for s in statuses)
    moved = repeated = 0
    if inserted < len(rows):
        values |= _columns(rows)
        for old, new in session.execute(_MOVE, values):
            moved += 1
            if old == DeliveryStatus.IN_DOUBT:
                changes["in_doubt"] -= 1
            changes[COUNTERS[DeliveryStatus(new)]] += 1
        if moved:
            session.execute(_UNSETTLE, values)
        if inserted + moved < len(rows):
            repeated = session.execute(_REPEATED, values).scalar_one()
    count(session, dispatch, batch, changes)
    return Written(inserted, moved, repeated)


def _columns(rows: Sequence[Row]) -> dict[str, object]:
    return {
        "statuses": _array([int(r.status) for r in rows]),
        "reasons": [r.reason for r in rows],
        "refs": [r.provider_ref for r in rows],
    }


def _array(numbers: Sequence[int]) -> str:
    """An array as PostgreSQL reads it: the driver takes 1 µs a number for the same."""
    return "{" + ",".join(map(str, numbers)) + "}"


def count(session: Session, dispatch: UUID, batch: int, changes: Counter[str]) -> None:
    """Add to a batch's counters."""
    sets = ", ".join(f"{name} = {name} + ({int(by)})" for name, by in sorted(changes.items()) if by)
    if sets:
        session.execute(
            sa.text(f"UPDATE batches SET {sets} WHERE dispatch_id = :dispatch AND n = :batch"),
            {"dispatch": dispatch, "batch": batch},
        )


_CLOSE_ATTEMPT = sa.text(
    """
    UPDATE attempts SET closed_at = clock_timestamp(), outcome = :outcome, provider_ref = :ref, reason = :reason,
        failed_percent = :failed
    WHERE dispatch_id = :dispatch AND batch_n = :batch AND n = :attempt
      AND (closed_at IS NULL OR outcome = 'in_doubt')
    """
)


def close_attempt(
    session: Session,
    held: Claim,
    attempt: int,
    outcome: Outcome,
    *,
    ref: str | None = None,
    reason: str = "",
    failed_percent: int | None = None,
) -> None:
    """``failed_percent``: the share of its calls that the provider failed; None if that says nothing of it."""
    session.execute(
        _CLOSE_ATTEMPT,
        {
            "outcome": outcome.value,
            "ref": ref,
            "reason": reason[:200],
            "failed": failed_percent,
            "dispatch": held.dispatch,
            "batch": held.batch,
            "attempt": attempt,
        },
    )


_RELEASE = sa.text(
    """
    UPDATE batches SET lease_token = NULL, lease_until = NULL,
        state = CASE WHEN :done AND accepted + delivered + bounced + complained + refused + stopped + erased
            + expired + in_doubt >= size THEN 'done' ELSE 'waiting' END,
        -- Never past its end: then the next claim writes down at once that it expired.
        not_before = greatest(not_before, least(expires_at, clock_timestamp() + make_interval(secs => :delay))),
        tries = CASE WHEN :progress THEN 0 ELSE tries END
    WHERE dispatch_id = :dispatch AND n = :batch AND lease_token = :token
    """
)
# An attempt still open when its own batch is let go carried nobody: the stretch was taken over or given back.
_CLOSE_UNUSED = sa.text(
    """
    UPDATE attempts SET closed_at = clock_timestamp(), outcome = 'not_taken', reason = 'never used'
    WHERE dispatch_id = :dispatch AND batch_n = :batch AND lease_token = :token AND closed_at IS NULL
    """
)
# A worker that lost its lease may have given people back while this one had the batch.
LEFT_OVER_SECONDS = 1.0


def release(
    session: Session, held: Claim, *, done: bool, delay_seconds: float = 0.0, progress: bool = False
) -> bool:
    """Let a batch go: finished (once everybody in it is accounted for), or to be tried again after
    ``delay_seconds``.

    ``progress``: somebody was reached, so the count of tries, which sets the back-off, begins anew.
    False when the lease was no longer ours.
    """
    values = {
        "done": done,
        "delay": LEFT_OVER_SECONDS if done else delay_seconds,
        "progress": progress,
        "dispatch": held.dispatch,
        "batch": held.batch,
        "token": held.lease,
    }
    if not session.execute(_RELEASE, values).rowcount:  # type: ignore[attr-defined]
        return False
    session.execute(_CLOSE_UNUSED, values)
    return True


_GIVE_BACK = sa.text(
    """
    UPDATE deliveries SET status = 0, at = now()
    WHERE dispatch_id = :dispatch AND contact_id = ANY(CAST(:contacts AS bigint[]))
      AND batch_n = :batch AND attempt_n = :attempt AND status = 10
    """
)
_REOPEN = sa.text(
    """
    UPDATE batches SET in_doubt = in_doubt - :moved, state = CASE state WHEN 'done' THEN 'waiting' ELSE state END
    WHERE dispatch_id = :dispatch AND n = :batch
    """
)
_UNFINISH = sa.text(
    """
    UPDATE dispatches SET finished_at = NULL, state = CASE state WHEN 'done' THEN 'running' ELSE state END
    WHERE id = :dispatch AND finished_at IS NOT NULL
    """
)


def give_back(session: Session, dispatch: UUID, batch: int, attempt: int, contacts: Sequence[int]) -> int:
    """Proof that these were not taken: those of them who were in doubt wait again. How many."""
    if not contacts:
        return 0
    values = {"dispatch": dispatch, "batch": batch, "attempt": attempt, "contacts": list(contacts)}
    moved: int = session.execute(_GIVE_BACK, values).rowcount  # type: ignore[attr-defined]
    if moved:
        session.execute(_REOPEN, values | {"moved": moved})
        session.execute(_UNFINISH, values)
        session.execute(_UNSETTLE, values)
    return moved
