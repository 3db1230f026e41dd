"""The job of every minute that asks the providers, run now as it runs some minutes from now.

It waits a quarter of an hour before it calls a receipt missing; no case can. So the clock that it is given is put
forward, and everything else is real: its queries, the provider's lists, what it writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from app import queue
from app.db import utc_now
from config.fields import Part
from tests.chaos.harness import Scene
from workers import reconcile

# Until then what a webhook did not bring is asked for.
QUIET_MINUTES = 20
MOST_RUNS = 40  # a run asks a few hundred questions


def ask_providers(scene: Scene, enough: Callable[[], bool]) -> int:
    """Run the job minute by minute from 20 minutes after now on, until ``enough``; how many runs it took."""
    doorbell = queue._connection
    registry = scene.database.open(
        Part.WORKER,
        REDIS_URL=scene.redis_url,
        PUBLIC_URL=f"http://127.0.0.1:{scene.port}",
        **scene.sandbox.environ(),
    )
    try:
        asyncio.run(reconcile.run(registry, now=utc_now()))  # it takes note of what is silent
        for nth in range(MOST_RUNS):
            now = utc_now() + timedelta(minutes=QUIET_MINUTES + nth)
            asyncio.run(reconcile.run(registry, now=now))
            if enough():
                return nth + 1
        return MOST_RUNS
    finally:
        registry.engine.dispose()
        queue._connection = doorbell
