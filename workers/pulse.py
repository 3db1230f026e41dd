"""A process says that it lives, and looks after the alarms while the scheduler does not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import queue
from app.registry import Registry
from app.services import alarm_watch, heartbeats
from app.services.alarm_routes import Routes

log = structlog.get_logger(__name__)
T = TypeVar("T")

BEAT_SECONDS = 10.0
WATCH_SECONDS = 5.0
_BOUND = sa.text("SET LOCAL statement_timeout = 5000")


class Pulse:
    """One process's. ``kind`` is what it does: urgent, bulk, receipts, back or scheduler."""

    def __init__(self, registry: Registry, kind: str) -> None:
        self.registry, self.kind = registry, kind
        self.host, self.instance = socket.gethostname(), uuid4()
        self._routes = Routes.of(registry.settings)
        self._next_beat = self._next_watch = 0.0
        self._queue_away = False

    def beat(self, *, queue_away: bool) -> None:
        """Say so, if it is ten seconds since the last time or the queue has come or gone."""
        if time.monotonic() < self._next_beat and queue_away == self._queue_away:
            return
        if self._beat(queue_away) >= alarm_watch.SCHEDULER_SILENT[0]:
            self.watch()

    def lead(self) -> None:
        """A tick of the scheduler that leads: it has lived through the one before, and looks after the alarms."""
        if time.monotonic() >= self._next_watch:
            self._queue_away = not queue.reachable()
        self._beat(self._queue_away)
        self.watch()

    def watch(self) -> None:
        """One look at what could be wrong, at most every five seconds."""
        if time.monotonic() < self._next_watch:
            return
        self._next_watch = time.monotonic() + WATCH_SECONDS
        self._quietly(lambda session: alarm_watch.watch(session, self._routes))

    def _beat(self, queue_away: bool) -> float:
        """Seconds that the scheduler has been silent for."""

        def say(session: Session) -> float:
            heartbeats.beat(session, self.kind, self.host, self.instance, queue_away=queue_away)
            return heartbeats.scheduler_silence(heartbeats.latest(session))

        silence = self._quietly(say) or 0.0
        self._next_beat, self._queue_away = time.monotonic() + BEAT_SECONDS, queue_away
        return silence

    def _quietly(self, act: Callable[[Session], T]) -> T | None:
        """A transaction that is bounded in time, and whose failure stops no work."""
        try:
            with self.registry.sessions.begin() as session:
                session.execute(_BOUND)
                return act(session)
        except sa.exc.DBAPIError as error:
            log.warning("pulse_missed", kind=self.kind, error=type(error.orig).__name__)
        except Exception:  # a fault of ours in telling must not end whoever sends
            log.exception("pulse_failed", kind=self.kind)
        return None
