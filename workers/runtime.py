"""What a worker process runs on, and its loop: listen for rings, and poll when the queue is away."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable
from functools import cache

import redis
import structlog
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from app.db import AWAY
from app.embedded import client
from app.registry import Registry, open_registry
from config.fields import Part
from config.queues import Queue
from workers.pulse import Pulse
from workers.sending.engine import Engine

log = structlog.get_logger(__name__)

POLL_SECONDS = 1.0
LONG_ENOUGH = 30.0  # a connection that held this long was well
IDLE_BEAT = 15  # seconds; RQ waits for work 15 s less than its ttl, and then says that it lives


@cache
def registry() -> Registry:
    """This process's registry, opened at the first job."""
    return open_registry(part=Part.WORKER)


@cache
def runner() -> asyncio.Runner:
    """One event loop for the life of the process, so that connections stay open between jobs."""
    try:
        import uvloop
    except ImportError:  # not made for every platform
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


@cache
def engine() -> Engine:
    made = Engine(registry())
    # A batch makes some ten thousand small objects, none of them in a circle: looking for circles every 700
    # would take longer than making them.
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)
    return made


def close() -> None:
    """Let go of connections; the process is about to end."""
    if engine.cache_info().currsize:
        runner().run(engine().aclose())
    if runner.cache_info().currsize:
        runner().close()
    if registry.cache_info().currsize:
        registry().engine.dispose()


class _Asked:
    """Whether this process was asked to end: by SIGTERM or SIGINT, idle or busy, queue or no queue."""

    to_end = False

    @classmethod
    def note(cls, *_: object) -> None:
        """Finish what is under way and claim no more."""
        cls.to_end = True
        if engine.cache_info().currsize:
            engine().stopping = True


class Listener(SimpleWorker):  # type: ignore[misc]  # rq is not typed
    """RQ's worker without a fork per job: connections live, and a ring costs 6 ms instead of 28."""

    pulse: Pulse | None = None

    def heartbeat(self, *args: object, **more: object) -> None:
        """RQ's own goes to the queue server, ours to PostgreSQL: idle or between two jobs."""
        away = False
        try:
            super().heartbeat(*args, **more)
        except redis.exceptions.RedisError:  # RQ waits by itself while it has nothing in hand
            away = True
            raise
        finally:
            if self.pulse is not None:
                self.pulse.beat(queue_away=away)

    def handle_warm_shutdown_request(self) -> None:
        _Asked.note()
        super().handle_warm_shutdown_request()


def listen(queues: list[Queue], poll: Callable[[], int], kind: str = "") -> int:
    """Work until asked to end. ``poll`` does what is due by PostgreSQL alone; it fills the gap while
    the queue server is away, for RQ's own worker ends when that happens at the end of a job.

    ``kind``: what this worker says it is while it lives; nameless, it says nothing.
    """
    opened = registry()
    pulse = Pulse(opened, kind) if kind else None
    wait = 0.5
    while True:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, _Asked.note)  # RQ puts its own in their place while it works
        began = time.monotonic()
        try:
            connection = redis.Redis.from_url(opened.settings.redis_url, health_check_interval=30)
            connection.ping()
            worker = Listener(
                [q.value for q in queues],
                connection=connection,
                serializer=JSONSerializer,
                worker_ttl=IDLE_BEAT + 15,
                log_job_description=False,
            )
            worker.pulse = pulse
            worker.work(logging_level="WARNING", with_scheduler=False)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            log.warning("queue_away", error=type(error).__name__, polling=POLL_SECONDS)
            if pulse is not None and not _Asked.to_end:
                pulse.beat(queue_away=True)
            if opened.settings.embedded and not _Asked.to_end:
                client.ensure(opened.settings.local_dir)
        if _Asked.to_end:
            return 0
        attempt(poll)
        wait = 0.5 if time.monotonic() - began > LONG_ENOUGH else min(wait * 2, POLL_SECONDS)
        time.sleep(wait)


def attempt(work: Callable[[], int]) -> int:
    """Do some work, or say that the database is away and go on: the next ring or poll finds it all."""
    try:
        return work()
    except AWAY as error:
        log.warning("database_away", error=type(error.orig).__name__)
        time.sleep(0.5)
        return 0
