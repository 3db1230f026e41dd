"""The scheduler: one for the site, under a PostgreSQL lock. It reads PostgreSQL alone and rings.

What it finds, a lost ring would have told: so losing every ring loses nothing but a second.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import logs, queue
from app.db import AWAY, utc_now
from app.models.ledger import URGENT_LANE
from app.registry import Registry
from app.services import deferral, digests, outgoing, pausing
from app.services.budgets import settling
from app.services.budgets.allowances import Prices
from app.services.ledger import recovery
from app.services.post import JOB
from app.services.post import PILE as POST
from app.services.register.requests import JOB as CAMERA_JOB
from app.services.register.requests import PILE as CAMERAS
from config.queues import Queue
from workers import post, runtime
from workers.area_changes import EVERY_TICKS as AREA_TICKS
from workers.area_changes import PILE as AREAS
from workers.cameras import EVERY_TICKS as CAMERA_TICKS
from workers.housekeeping import PILE as HOUSE
from workers.judge import judge
from workers.pulse import Pulse
from workers.receipts import PILE
from workers.reconcile import EVERY_TICKS as RECONCILE_TICKS
from workers.reconcile import PILE as RECONCILE
from workers.send import pile

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
HOUSE_TICKS = 3_600
_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtext('wardlink.scheduler'))")
_DUE_RECEIPTS = sa.text(
    "SELECT EXISTS (SELECT 1 FROM raw_events WHERE merged_at IS NULL) OR EXISTS (SELECT 1 FROM early_receipts)"
)
MOST_RINGS = 8


def sweep(session: Session, lease_seconds: float) -> None:
    """One look: leases that ran out, dispatches that ended or pause, work that is ready."""
    post.sweep(session, lease_seconds)
    if outgoing.due(session, now=utc_now()):
        queue.ring(session, Queue.URGENT, JOB, coalesce=POST)
    for dispatch, batch, doubt in recovery.recover(session):
        log.warning("lease_ran_out", dispatch=str(dispatch), batch=batch, in_doubt=doubt)
    recovery.finish(session)
    for dispatch in recovery.reopen(session):
        log.warning("dispatch_reopened", dispatch=str(dispatch))
    pausing.sweep(session)
    settling.settle(session)
    for lane, ready in recovery.waiting(session).items():
        lane_name = Queue.URGENT if lane == URGENT_LANE else Queue.BULK
        for nth in range(min(ready, MOST_RINGS)):
            queue.ring(
                session,
                lane_name,
                "workers.send.drain",
                coalesce=pile(lane_name, nth),
                urgent=lane == URGENT_LANE,
                nth=nth,
            )
    if session.execute(_DUE_RECEIPTS).scalar_one():
        queue.ring(session, Queue.RECEIPTS, "workers.receipts.merge", coalesce=PILE)


def _defer(registry: Registry) -> None:
    """Quiet hours that begin, and digests that are due: apart from the sweep, which must not wait for them."""
    settings = registry.settings
    prices = Prices(settings.sms_segment_pence, settings.email_pence)
    with registry.sessions.begin() as session:
        deferral.put_off(session, now=utc_now())
        digests.send_due(session, public_url=settings.public_url, prices=prices, now=utc_now())


def run(registry: Registry, ended: threading.Event) -> int:
    """Tick until ``ended``. Waits while another scheduler holds the lock, or the database is away."""
    ticks = 0
    pulse = Pulse(registry, "scheduler")
    while not ended.is_set():
        try:
            with registry.engine.connect() as held:
                if not held.execute(_LOCK).scalar_one():
                    ended.wait(TICK_SECONDS)
                    continue
                held.commit()
                log.info("scheduler_leads")
                while not ended.is_set():
                    held.execute(sa.text("SELECT 1"))  # the lock lives as long as this connection
                    held.commit()
                    with registry.sessions.begin() as session:
                        sweep(session, registry.settings.lease_seconds)
                    judge(registry, ticks)
                    _defer(registry)
                    pulse.lead()
                    if ticks % HOUSE_TICKS == 0:
                        queue.ring_now(Queue.BACK, "workers.housekeeping.keep_house", coalesce=HOUSE)
                    if ticks % RECONCILE_TICKS == 0:
                        queue.ring_now(Queue.BACK, "workers.reconcile.reconcile", coalesce=RECONCILE)
                    if ticks % AREA_TICKS == 0:
                        queue.ring_now(Queue.BACK, "workers.area_changes.apply_due", coalesce=AREAS)
                    if ticks % CAMERA_TICKS == 0:
                        queue.ring_now(Queue.URGENT, CAMERA_JOB, coalesce=CAMERAS)
                    ticks += 1
                    ended.wait(TICK_SECONDS)
        except AWAY as error:
            log.warning("database_away", error=type(error.orig).__name__)
            ended.wait(TICK_SECONDS)
    return 0


def main() -> int:
    argparse.ArgumentParser(prog="workers.schedule", description=__doc__).parse_args()
    registry = runtime.registry()
    logs.set_up(registry.settings.log_level, registry.settings.log_format)
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    try:
        return run(registry, ended)
    finally:
        runtime.close()


if __name__ == "__main__":
    sys.exit(main())
