"""One HTTP/1.1 connection that knows whether any byte of a request may have left."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

import httptools


class Response(NamedTuple):
    """A whole answer. Header names are in lower case; a repeated one keeps its last value."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpError(Exception):
    """No answer. ``reason`` is a short code for the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotSentError(HttpError):
    """No byte left: ``dns``, ``connect``, ``connect-timeout``, ``tls``, ``pool-timeout``, ``deadline``."""


class InDoubtError(HttpError):
    """Bytes were written: ``timeout``, ``reset``, ``unreadable``, ``too-large``."""


class Connection(asyncio.Protocol):
    """One kept connection with at most one request under way."""

    def __init__(self, max_response: int) -> None:
        self._max = max_response
        self._answer: asyncio.Future[Response] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpResponseParser(
            self
        )  # of a kept connection: it is ready for the next answer
        self.broken = False
        self.idle_since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_done = False

    # asyncio's side -----------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked: this connection cannot be trusted
            self._fail(InDoubtError("unreadable"))
            return
        self._size += len(data)
        if self._size > self._max:
            self._fail(InDoubtError("too-large"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(InDoubtError("unreadable"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.broken = True
        answer = self._answer
        ends_with_connection = (
            exc is None
            and self._head_done
            and "content-length" not in self._headers
            and "transfer-encoding" not in self._headers
        )
        if answer is not None and ends_with_connection:
            self._finish(keep=False)
        else:
            self._fail(InDoubtError("reset"))

    # the parser's side --------------------------------------------------------------------
    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._head_done = self._parser.get_status_code() >= 200

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue and the like: the answer follows
            self._headers = {}
            return
        if self._answer is None:  # a second answer to one question
            self._fail(InDoubtError("unreadable"))
            return
        self._finish(keep=self._parser.should_keep_alive())

    # our side -----------------------------------------------------------------------------
    def usable(self) -> bool:
        return not self.broken and not self._transport.is_closing()

    def ask(self, data: bytes, loop: asyncio.AbstractEventLoop, timeout: float) -> asyncio.Future[Response]:
        """Write a request; the future holds the answer, or InDoubtError."""
        self._reset()
        answer: asyncio.Future[Response] = loop.create_future()
        self._answer = answer
        self._timer = loop.call_later(timeout, self._time_out, answer, loop, 2)
        self._transport.write(data)
        return answer

    def _time_out(
        self, answer: asyncio.Future[Response], loop: asyncio.AbstractEventLoop, looks: int
    ) -> None:
        # A process that was stopped, or a loop held up, finds timers due before it has looked at its
        # sockets. An answer that lies there is proof, and without it somebody would stay in doubt: one
        # turn of the loop polls the sockets, the next acts on what came.
        if answer is not self._answer:
            return
        if looks:
            loop.call_soon(self._time_out, answer, loop, looks - 1)
        else:
            self._fail(InDoubtError("timeout"))

    def abort(self) -> None:
        self.broken = True
        self._taken()
        self._transport.abort()

    def _taken(self) -> asyncio.Future[Response] | None:
        """Whoever waits for an answer, told for the last time: nobody waits any more."""
        answer, self._answer = self._answer, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return answer

    def _finish(self, *, keep: bool) -> None:
        answer = self._taken()
        if not keep:
            self.broken = True
            self._transport.close()
        if answer is not None and not answer.done():
            answer.set_result(Response(self._parser.get_status_code(), self._headers, b"".join(self._body)))

    def _fail(self, error: InDoubtError) -> None:
        answer = self._taken()
        self.broken = True
        self._transport.abort()
        if answer is not None and not answer.done():
            answer.set_exception(error)
