"""Draining: several claimed batches under way at once, urgent work first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from app.db import AWAY
from messaging.types import Channel
from workers.sending.email import send_email
from workers.sending.engine import Engine, Job
from workers.sending.sms import send_sms

log = structlog.get_logger(__name__)

IN_FLIGHT = 6  # batches at once


async def drain(engine: Engine, lanes: Sequence[int], seconds: float) -> int:
    """Claim and send until nothing is ready or time is up; how many batches were handled.

    Lanes are looked at in their order before every claim, so urgent work overtakes.
    """
    until = time.monotonic() + seconds
    under_way: set[asyncio.Task[None]] = set()
    handled = 0
    dry = False
    while True:
        while not dry and len(under_way) < IN_FLIGHT and time.monotonic() < until and not engine.stopping:
            try:
                job = engine.begin(lanes)
            except AWAY:
                if not under_way:
                    raise
                job = None  # what is under way must still be written down
            if job is None:
                dry = True
                break
            job.until = until
            handled += 1
            if job.left:
                under_way.add(asyncio.create_task(_carry(engine, job)))
            # Let the call leave before the next claim, and what is under way go on while many batches only end.
            await asyncio.sleep(0)
        if not under_way:
            return handled
        _, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
        dry = False


async def _carry(engine: Engine, job: Job) -> None:
    """Carry one batch. What goes wrong with it stops no other: its lease runs out, and its open
    attempt puts in doubt whoever it may have reached.
    """
    try:
        await (send_email if job.held.channel is Channel.EMAIL else send_sms)(engine, job)
    except Exception:
        log.exception("batch_failed", dispatch=str(job.held.dispatch), batch=job.held.batch)
