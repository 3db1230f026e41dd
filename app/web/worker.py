"""gunicorn's worker with threads, which besides lets nobody hold a thread by being slow.

gunicorn waits for a first byte without a thread, but from then on as long as the other side likes: a few that send a
byte a minute would hold every thread there is. Here a request has a time to come in, be answered and be taken.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

__all__ = ["Worker"]


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """One whose threads are free again after gunicorn's ``timeout``, in seconds."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._under_way: dict[Any, float] = {}

    def handle(self, conn: Any) -> Any:
        """A request of a connection, in a thread."""
        self._under_way[conn] = time.monotonic() + self.cfg.timeout
        try:
            return super().handle(conn)
        finally:
            self._under_way.pop(conn, None)

    def murder_pending(self) -> None:
        """Called about once a second in the main thread: ends what takes too long."""
        super().murder_pending()
        now = time.monotonic()
        for conn, ends in list(self._under_way.items()):
            if now > ends and self._under_way.pop(conn, None) is not None:
                # The thread that reads or writes finds that the other side has gone, and closes as it always does.
                with suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RDWR)
