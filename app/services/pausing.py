"""Pausing a dispatch within one batch or window, and letting it go on.

A pause is two things: no attempt opens any more (``attempts``), which holds back what is in a worker's hands; and the
batches that wait are set aside, out of the index that workers claim from. The sweeper mends what a batch that was on
its way between the two has missed, in both directions. Its time runs on: what expires meanwhile ends as *expired*.
"""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import queue
from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.alerts import Alert
from app.models.ledger import URGENT_LANE, Dispatch
from app.services import alerts
from config.queues import Queue

MOST_WHY = 500
MOST_RINGS = 8
MOST_SWEPT = 5_000

# Whoever holds one of them is about to find out by the attempt: it is not waited for.
_ASIDE = sa.text(
    """
    UPDATE batches b SET state = 'paused'
    FROM (
        SELECT b.dispatch_id, b.n FROM batches b JOIN dispatches d ON d.id = b.dispatch_id
        WHERE b.state = 'waiting' AND b.expires_at > now() AND d.finished_at IS NULL AND d.state = 'paused'
          AND (CAST(:only AS uuid) IS NULL OR d.id = :only)
        ORDER BY b.dispatch_id, b.n LIMIT :most FOR UPDATE OF b SKIP LOCKED
    ) found
    WHERE b.dispatch_id = found.dispatch_id AND b.n = found.n
    """
)
_BACK = sa.text(
    """
    UPDATE batches b SET state = 'waiting'
    FROM (
        SELECT b.dispatch_id, b.n FROM batches b JOIN dispatches d ON d.id = b.dispatch_id
        WHERE b.state = 'paused' AND (d.state <> 'paused' OR b.expires_at <= now())
          AND (CAST(:only AS uuid) IS NULL OR d.id = :only)
        ORDER BY b.dispatch_id, b.n LIMIT :most FOR UPDATE OF b SKIP LOCKED
    ) found
    WHERE b.dispatch_id = found.dispatch_id AND b.n = found.n
    """
)
# Of a dispatch that was stopped nothing waits for its hour: a worker writes down at once that it was stopped.
_HASTEN = sa.text(
    """
    UPDATE batches b SET state = 'waiting', not_before = now(), not_after = NULL
    FROM (
        SELECT b.dispatch_id, b.n FROM batches b JOIN dispatches d ON d.id = b.dispatch_id
        WHERE (b.state = 'paused' OR (b.state = 'waiting' AND (b.not_before > now() OR b.not_after IS NOT NULL)))
          AND d.finished_at IS NULL AND d.state = 'stopped' AND (CAST(:only AS uuid) IS NULL OR d.id = :only)
        ORDER BY b.dispatch_id, b.n LIMIT :most FOR UPDATE OF b SKIP LOCKED
    ) found
    WHERE b.dispatch_id = found.dispatch_id AND b.n = found.n
    """
)


def hasten(session: Session, dispatch_id: UUID) -> int:
    """Let workers settle at once what a stopped dispatch still had to send; how many batches.

    Those in a worker's hands at this moment are not waited for: the sweeper finds them.
    """
    return _move(session, _HASTEN, dispatch_id)


def pause(session: Session, dispatch_id: UUID, *, actor: audit.Actor, why: str) -> None:
    """Nothing more leaves but the batch or window that is under way. Twice is once.

    Raises Invalid without a reason, Missing, or Conflict when it was stopped or has ended.
    """
    if not why.strip() or len(why) > MOST_WHY:
        raise Invalid("why", "Say in up to 500 characters why it is paused.")
    dispatch = _open(session, dispatch_id)
    if dispatch.state == "paused":
        return
    dispatch.state = "paused"
    session.flush()
    _move(session, _ASIDE, dispatch_id)
    _note(session, "dispatch:pause", dispatch, actor, why)


def resume(session: Session, dispatch_id: UUID, *, actor: audit.Actor, why: str = "") -> None:
    """What is left goes on from where it was, and workers are told. Twice is once.

    Raises Invalid for a reason that is too long, Missing, or Conflict when it was stopped or has ended.
    """
    if len(why) > MOST_WHY:
        raise Invalid("why", "The reason must be 500 characters or fewer.")
    dispatch = _open(session, dispatch_id)
    if dispatch.state == "running":
        return
    dispatch.state = "running"
    session.flush()
    back = _move(session, _BACK, dispatch_id)
    _note(session, "dispatch:resume", dispatch, actor, why.strip() or None)
    urgent = dispatch.lane == URGENT_LANE
    lane = Queue.URGENT if urgent else Queue.BULK
    for nth in range(min(max(back, 1), MOST_RINGS)):
        queue.ring(session, lane, "workers.send.drain", urgent=urgent, nth=nth)


def sweep(session: Session) -> tuple[int, int]:
    """Set aside what came back to wait after its pause, and free what is paused no longer, stopped or expired.

    How many batches of each. The sweeper calls it every second.
    """
    aside = _move(session, _ASIDE, None)
    return aside, _move(session, _BACK, None) + _move(session, _HASTEN, None)


def _move(session: Session, which: sa.TextClause, only: UUID | None) -> int:
    most = MOST_SWEPT if only is None else None
    moved: int = session.execute(which, {"only": only, "most": most}).rowcount  # type: ignore[attr-defined]
    return moved


def _open(session: Session, dispatch_id: UUID) -> Dispatch:
    dispatch = session.get(Dispatch, dispatch_id, with_for_update=True, populate_existing=True)
    if dispatch is None:
        raise Missing("There is no such dispatch.")
    if dispatch.finished_at is not None:
        raise Conflict("This dispatch has already finished.")
    if dispatch.state == "stopped":
        raise Conflict("This dispatch was stopped.")
    return dispatch


def area_of(session: Session, dispatch: Dispatch) -> str | None:
    """The one area of a dispatch's alert; none, for several, and for a digest."""
    return alerts.area_of(session.get(Alert, dispatch.alert_id)) if dispatch.alert_id else None


def _note(session: Session, event: str, dispatch: Dispatch, actor: audit.Actor, why: str | None) -> None:
    audit.record(
        session,
        event=event,
        subject=f"dispatch:{dispatch.id}",
        actor=actor,
        organisation=dispatch.controller_id,
        area=area_of(session, dispatch),
        why=why,
    )
