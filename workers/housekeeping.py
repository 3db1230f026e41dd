"""The job behind the hourly ring: partitions made ahead, ends told of, and what has had its time deleted."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import queue
from app.db import utc_now
from app.services import reminders, retention
from app.services.ledger import months
from app.services.register import lapses, renewal
from workers import runtime, watching

log = structlog.get_logger(__name__)

PILE = "house"
MONTHS_AHEAD = 3


def keep_house() -> int:
    """Everything that is due; to do it again finds nothing. How many rows were deleted."""
    queue.answered(PILE)
    return runtime.attempt(_keep_house)


def _keep_house() -> int:
    gone = sum(_months() if one.name == retention.LEDGER else _purge(one) for one in retention.CLASSES)
    _remind()
    _ask_owners()
    _settle_tickets()
    watching.watch()
    return gone


def _months() -> int:
    """Make the ledger's months ahead and drop those that have had their time, each in a transaction of its own.

    One that is held by somebody, or not over yet, is left for the next hour. Months are counted in the report, not here.
    """
    sessions, keep = runtime.registry().sessions, runtime.registry().settings.ledger_months
    _unless_busy("make", lambda session: months.make(session, MONTHS_AHEAD))
    with sessions.begin() as session:
        due = months.due(session, keep)
    dropped = 0
    for month in due:
        if _unless_busy(f"drop {month:%Y-%m}", lambda session, m=month: months.drop(session, m, keep)):  # type: ignore[misc]
            dropped += 1
            log.info("ledger_month_dropped", month=f"{month:%Y-%m}")
    while True:
        with sessions.begin() as session:
            if months.forget(session) < months.MOST:
                break
    # A month that is due and could not go is not "ran": two days of it are told.
    if dropped == len(due):
        with sessions.begin() as session:
            retention.note_run(session, retention.CLASSES[0], dropped, now=utc_now())
    return 0


def _remind() -> None:
    """Tell of roles that end and agreements that are due, until everybody has been told."""
    url = runtime.registry().settings.public_url
    while True:
        with runtime.registry().sessions.begin() as session:
            told = reminders.tell(session, public_url=url, now=utc_now())
        if not told:
            return
        log.info("reminded", count=told)


def _ask_owners() -> None:
    """Ask owners of cameras whether they still have them, and put back those whose pause is over, until none is due."""
    registry = runtime.registry()
    while True:
        with registry.sessions.begin() as session:
            asked = renewal.remind(
                session, registry.signer, public_url=registry.settings.public_url, now=utc_now()
            )
            woken = renewal.wake(session, now=utc_now())
        if not asked and not woken:
            return
        log.info("owners_asked", count=asked, woken=woken)


def _settle_tickets() -> None:
    """What became of the register's tickets: who was shown nothing is on the record as shown nothing."""
    while True:
        with runtime.registry().sessions.begin() as session:
            settled = lapses.settle(session)
        if settled < lapses.MOST:
            return


def _unless_busy(what: str, act: Callable[[Session], int]) -> int:
    try:
        with runtime.registry().sessions.begin() as session:
            return act(session)
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) not in (months.BUSY, months.NOT_ENDED):
            raise
        log.warning("ledger_month_waits", what=what, reason=error.orig.sqlstate)  # type: ignore[union-attr]
        return 0


def _purge(one: retention.Kept | retention.Other) -> int:
    """Delete in blocks, each in a transaction of its own, until nothing is past its time; then report it."""
    total = 0
    while True:
        with runtime.registry().sessions.begin() as session:
            gone = one.purge(session, now=utc_now())
        total += gone
        if gone < retention.MOST:
            break
    with runtime.registry().sessions.begin() as session:
        retention.note_run(session, one, total, now=utc_now())
    if total:
        log.info("purged", table=one.name, deleted=total)
    return total
