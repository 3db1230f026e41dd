"""The job behind the hourly ring: partitions made ahead, and what has had its time deleted."""

from __future__ import annotations

import sqlalchemy as sa
import structlog

from app import queue
from app.db import utc_now
from app.services import retention
from workers import runtime

log = structlog.get_logger(__name__)

PILE = "house"
MONTHS_AHEAD = 3


def keep_house() -> int:
    """Everything that is due; to do it again finds nothing. How many rows were deleted."""
    queue.answered(PILE)
    return runtime.attempt(_keep_house)


def _keep_house() -> int:
    sessions = runtime.registry().sessions
    total = 0
    while True:
        with sessions.begin() as session:
            gone = retention.purge_raw_events(session, now=utc_now())
        total += gone
        if gone < retention.MOST:
            break
    with sessions.begin() as session:
        session.execute(sa.text("SELECT ledger_make_partitions(:months)"), {"months": MONTHS_AHEAD})
    if total:
        log.info("raw_events_purged", deleted=total)
    return total
