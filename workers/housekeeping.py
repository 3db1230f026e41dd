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
    with runtime.registry().sessions.begin() as session:
        session.execute(sa.text("SELECT ledger_make_partitions(:months)"), {"months": MONTHS_AHEAD})
    return sum(_purge(table, purge) for table, purge in retention.PURGES)


def _purge(table: str, purge: retention.Purge) -> int:
    """Delete in blocks, each in a transaction of its own, until nothing is past its time."""
    total = 0
    while True:
        with runtime.registry().sessions.begin() as session:
            gone = purge(session, now=utc_now())
        total += gone
        if gone < retention.MOST:
            break
    if total:
        log.info("purged", table=table, deleted=total)
    return total
