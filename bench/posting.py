"""Calls to a webhook, signed and written beforehand, over kept connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from app.cli.stack import StackError
from messaging.types import DeliveryStatus

PATIENCE = 120.0


class Call(NamedTuple):
    """One request, ready to be written, and what it stands for."""

    request: bytes
    digest: str  # md5 of the raw event that it must become
    says: Sequence[tuple[int, int, DeliveryStatus]] = ()


class _Poster(asyncio.Protocol):
    """One kept connection: the next call as soon as the last is answered with 204, until there are no more."""

    def __init__(self, calls: Iterator[Call], until: float, answered: list[Call]) -> None:
        self._calls, self._until, self._answered = calls, until, answered
        self._current: Call | None = None
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        self._current = next(self._calls, None) if time.monotonic() < self._until else None
        if self._current is None:
            self._transport.close()
        else:
            self._transport.write(self._current.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\r\n\r\n"):
            return
        if not self._buffer.startswith(b"HTTP/1.1 204"):
            self.done.set_exception(StackError(self._buffer[:400].decode("latin-1")))
            self._transport.abort()
            return
        assert self._current is not None
        self._answered.append(self._current)
        self._buffer = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            if self._current is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(StackError("The site closed a connection in the middle."))


def post(port: int, calls: Iterator[Call], connections: int, seconds: float = PATIENCE) -> list[Call]:
    """Post the calls over kept connections until they end or the time is over; those that were answered with 204."""
    answered: list[Call] = []

    async def go() -> None:
        loop, until = asyncio.get_running_loop(), time.monotonic() + seconds
        made = [
            (await loop.create_connection(lambda: _Poster(calls, until, answered), "127.0.0.1", port))[1]
            for _ in range(connections)
        ]
        await asyncio.gather(*(one.done for one in made))

    asyncio.run(go())
    return answered


def request(url: str, headers: dict[str, str], body: bytes) -> bytes:
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": "127.0.0.1", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {target} HTTP/1.1\r\n{head}\r\n".encode() + body
