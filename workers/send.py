"""The job behind a ring for sending: drain what PostgreSQL says is ready."""

from __future__ import annotations

from app import queue
from app.models.ledger import BULK_LANE, URGENT_LANE
from app.services.ledger import recovery
from config.queues import Queue
from workers import post, runtime
from workers.sending import drain as sending

DRAIN_SECONDS = 30.0


def drain(urgent: bool = False, nth: int = 0) -> int:
    """Send for up to 30 seconds; how many batches were handled.

    The urgent lane's workers take nothing else; the bulk lane's look for urgent work before every
    batch. ``nth`` only tells one ring from another.
    """
    queue.answered(pile(Queue.URGENT if urgent else Queue.BULK, nth))
    lanes = [URGENT_LANE] if urgent else [URGENT_LANE, BULK_LANE]
    return runtime.attempt(lambda: _drain(lanes))


def pile(lane: Queue, nth: int) -> str:
    """The scheduler's ``nth`` ring of a lane: one is enough until somebody answers it."""
    return f"{lane}-{nth}"


def _drain(lanes: list[int]) -> int:
    with runtime.registry().sessions.begin() as session:
        recovery.recover(session)
    engine = runtime.engine()
    work = sending.drain(engine, lanes, DRAIN_SECONDS)
    # Who answers the post does not leave it for half a minute.
    return runtime.runner().run(work if BULK_LANE in lanes else post.beside(engine, work))
