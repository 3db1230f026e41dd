"""A lean HTTP/1.1 client for one provider: kept connections, real timeouts, honest errors.

It exists because the ledger must know one thing that general clients blur: whether any byte
of a request may have left (docs/decisions, "in doubt"). :class:`NotSentError` says no byte did,
so the call may be tried again; :class:`InDoubtError` says bytes were written and no whole answer
was read, so it may not. No retries, no redirects, no proxies.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from messaging.providers.connection import (
    Connection,
    NotSentError,
    Response,
)

# A connection that lay idle longer is closed unasked: the longer one lies, the likelier it is
# that the provider closes it just as we write, which would put the call in doubt.
IDLE_SECONDS = 15.0
# After this long the event loop may not yet have seen that the provider closed its end.
LOOK_AGAIN_SECONDS = 0.05
_LONGEST_WAIT = 3_600.0  # seconds: no provider's clock stops us for longer than an hour


class HttpClient:
    """A pool of at most ``limit`` connections to one origin, for one event loop at a time.

    ``base_url``: ``http://host:port`` or ``https://host``, nothing after it. ``aclose()``
    before its loop ends; after that it may serve another loop.
    """

    def __init__(
        self,
        base_url: str,
        *,
        limit: int = 100,
        connect_timeout: float = 5.0,
        idle_seconds: float = IDLE_SECONDS,
        max_response: int = 1 << 20,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError("a provider's base address looks like https://host or http://host:port")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("a provider's base address holds no user, query or fragment")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.hostname
        self._netloc = parts.netloc
        self._tls = (tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._limit = limit
        self._connect_timeout = connect_timeout
        self._idle = idle_seconds
        self._max_response = max_response
        self._free: list[Connection] = []
        self._slots = asyncio.Semaphore(limit)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,
        may_start: Callable[[], bool] | None = None,
    ) -> Response:
        """One request and its whole answer within ``timeout`` seconds, waiting for a slot included.

        ``may_start`` is asked once, after a connection stands and right before the first byte;
        if it says no, NotSentError("deadline"). Raises NotSentError, InDoubtError, or ValueError for a header
        or target that would break the request.
        """
        head = self.prepare(method, target, headers)
        return await self.exchange(head, body, timeout=timeout, may_start=may_start)

    def prepare(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        """What stays the same from one such request to the next, for ``exchange``. ValueError as ``request``."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._netloc}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        text = "\r\n".join(lines)
        # One break between two lines; a value with a break in it would add to them.
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or " " in target:
            raise ValueError("a line break or space where a request line or header cannot hold one")
        return text.encode("latin-1") + b"\r\nContent-Length: "

    async def exchange(
        self,
        head: bytes,
        body: bytes,
        *,
        timeout: float,
        may_start: Callable[[], bool] | None = None,
    ) -> Response:
        """``request`` with a head from ``prepare``."""
        loop = self._own_loop()
        ends = loop.time() + timeout
        slots = self._slots
        await self._slot(slots, ends)
        connection: Connection | None = None
        try:
            connection = await self._connection(loop, ends)
            if may_start is not None and not may_start():
                self._give_back(connection, loop)
                connection = None
                raise NotSentError("deadline")
            left = ends - loop.time()
            if left <= 0:
                self._give_back(connection, loop)
                connection = None
                raise NotSentError("connect-timeout")
            answer = await connection.ask(whole(head, body), loop, left)
            self._give_back(connection, loop)
            return answer
        except asyncio.CancelledError:
            if connection is not None:
                connection.abort()
            raise
        finally:
            slots.release()

    async def aclose(self) -> None:
        """Close what is idle. Requests still under way are the caller's to end first."""
        free, self._free = self._free, []
        for connection in free:
            connection.abort()
        self._loop = None
        self._slots = asyncio.Semaphore(self._limit)
        await asyncio.sleep(0)  # let the transports close their sockets

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("this HTTP client serves another event loop: close it there first")
        return loop

    async def _slot(self, slots: asyncio.Semaphore, ends: float) -> None:
        if not slots.locked():
            await slots.acquire()  # does not wait
            return
        try:
            async with asyncio.timeout_at(ends):
                await slots.acquire()
        except TimeoutError:
            raise NotSentError("pool-timeout") from None

    async def _connection(self, loop: asyncio.AbstractEventLoop, ends: float) -> Connection:
        while self._free:
            connection = self._free.pop()
            idle = loop.time() - connection.idle_since
            if idle > self._idle or not connection.usable():
                connection.abort()
                continue
            if idle > LOOK_AGAIN_SECONDS:
                # Two turns of the loop: the first polls the sockets, the second acts on it.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                if not connection.usable():
                    connection.abort()
                    continue
            return connection
        return await self._connect(loop, ends)

    async def _connect(self, loop: asyncio.AbstractEventLoop, ends: float) -> Connection:
        try:
            async with asyncio.timeout_at(min(ends, loop.time() + self._connect_timeout)):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._max_response), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise NotSentError("connect-timeout") from None
        except socket.gaierror:
            raise NotSentError("dns") from None
        except ssl.SSLError:
            raise NotSentError("tls") from None
        except OSError:
            raise NotSentError("connect") from None
        return connection

    def _give_back(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        if connection.usable():
            connection.idle_since = loop.time()
            self._free.append(connection)


def whole(head: bytes, body: bytes) -> bytes:
    """A request as it goes over the wire; ``head`` from HttpClient.prepare."""
    return b"%b%d\r\n\r\n%b" % (head, len(body), body)


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds to wait from Retry-After (seconds) or X-RateLimit-Reset (Unix time); at most an hour."""
    seconds = _number(headers.get("retry-after"))
    if seconds is None:
        reset = _number(headers.get("x-ratelimit-reset"))
        if reset is None:
            return None
        seconds = reset - (time.time() if now is None else now)
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def used_up(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds until calls are given out again, when X-RateLimit-Remaining says that this was the last."""
    if _number(headers.get("x-ratelimit-remaining")) != 0:
        return None
    return retry_after(headers, now)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
