"""The ring that tells the receipts worker that raw events wait: at once, and then at most four times a second.

A burst of webhook calls must wait for nothing but its commits, least of all for a queue server that is away. So the
call only says that there is something; a thread that lives as long as the burst rings.
"""

from __future__ import annotations

import threading

from app import queue
from config.queues import Queue

PAUSE = 0.25  # seconds between two rings: a merge of many costs little more than one of a few
_LINGER = 2.0  # seconds that the thread waits for more


class Bell:
    """Rings for one process. Unheard it loses nothing: the scheduler looks every second."""

    def __init__(self) -> None:
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._ringing = False

    def ring(self) -> None:
        """Ring soon; returns at once."""
        if self._wanted.is_set():
            return  # the ring to come speaks for this call too
        self._wanted.set()
        if self._ringing:
            return
        with self._lock:
            if not self._ringing:
                self._ringing = True
                threading.Thread(target=self._work, name="bell", daemon=True).start()

    def _work(self) -> None:
        pause = threading.Event()
        while True:
            if not self._wanted.wait(_LINGER):
                with self._lock:
                    if not self._wanted.is_set():
                        self._ringing = False
                        return
            self._wanted.clear()  # before the ring: what is kept from now on is told by another
            queue.ring_now(Queue.RECEIPTS, "workers.receipts.merge", coalesce="receipts")
            pause.wait(PAUSE)
