"""The ring that tells the receipts worker that raw events wait."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app import queue
from config.queues import Queue


def ring(session: Session) -> None:
    """Ring once ``session`` is committed. Unheard it loses nothing: the scheduler looks every second."""
    queue.ring(session, Queue.RECEIPTS, "workers.receipts.merge", coalesce="receipts")
