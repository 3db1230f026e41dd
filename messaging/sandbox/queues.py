"""Twilio's queue of each sender: messages leave in turn, at so many segments per second."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Mapping

LONGEST = 36_000.0  # seconds a queue may be long
_TICK = 0.01


class Timetable:
    """Calls functions at their times from one timer, in order of time. Cheap for very many."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when: float, do: Callable[[], None]) -> None:
        """``when`` on the clock of time.monotonic()."""
        first = not self._heap or when < self._heap[0][0]
        heapq.heappush(self._heap, (when, next(self._order), do))
        if first and not self._closed:
            self._arm()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
        wait = max(self._heap[0][0] - time.monotonic(), _TICK)
        self._timer = asyncio.get_running_loop().call_later(wait, self._run)

    def _run(self) -> None:
        self._timer = None
        now = time.monotonic()
        try:
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]()
        finally:  # one that fails must not stop the others
            if self._heap and not self._closed and self._timer is None:
                self._arm()

    def close(self) -> None:
        self._closed = True
        if self._timer:
            self._timer.cancel()
        self._heap.clear()


class SenderQueues:
    """When each sender is free again. Times on the clock of time.monotonic()."""

    def __init__(self, rates: Mapping[str, float], default: float) -> None:
        self._rates = dict(rates)
        self._default = default
        self._free: dict[str, float] = {}

    def wait(self, sender: str) -> float:
        """Seconds until a message of this sender would have its turn."""
        return max(0.0, self._free.get(sender, 0.0) - time.monotonic())

    def waiting(self) -> dict[str, float]:
        """Segments of each sender that have still to leave; senders with none are left out."""
        now = time.monotonic()
        return {
            sender: round((free - now) * self._rates.get(sender, self._default), 3)
            for sender, free in self._free.items()
            if free > now
        }

    def turn(self, sender: str, segments: int, validity: float) -> float | None:
        """Queue a message: the moment it leaves; None if its validity is over before that.

        The turn of one that expires falls to the next: it takes no room.
        """
        now = time.monotonic()
        start = max(now, self._free.get(sender, 0.0))
        if start - now > validity:
            return None
        self._free[sender] = start + segments / self._rates.get(sender, self._default)
        return start
