"""HTTP/1.1 for the sandbox: an asyncio protocol on httptools, and how answers are written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, cast

import httptools
import orjson

MAX_BODY = 31_000_000  # bytes; SendGrid's own limit (30 MB) is judged where its rules are
_MAX_HEAD = 65_536
_MAX_WAITING = 32  # pipelined requests on one connection
_STATUS_LINE = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


class Request:
    """One request, wholly read. Header names are lower case."""

    __slots__ = ("body", "headers", "keep_alive", "method", "path", "query")

    def __init__(
        self, method: str, path: str, query: str, headers: dict[bytes, bytes], body: bytes, keep_alive: bool
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.keep_alive = keep_alive

    def header(self, name: bytes) -> str:
        return self.headers.get(name, b"").decode("latin-1")


Answer = bytes | Coroutine[Any, Any, bytes | None]
Handler = Callable[["Connection", Request], Answer]


def reply(
    status: int,
    body: bytes = b"",
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """A whole response as bytes."""
    extra = "".join(f"{k}: {v}\r\n" for k, v in headers.items()) if headers else ""
    kind = f"Content-Type: {content_type}\r\n" if body else ""
    head = f"{kind}{extra}Content-Length: {len(body)}\r\n\r\n"
    return _STATUS_LINE[status] + head.encode("latin-1") + body


def json_reply(status: int, value: object, headers: Mapping[str, str] | None = None) -> bytes:
    return reply(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS), headers=headers)


class Connection(asyncio.Protocol):
    """One client. Requests are answered in order; a handler gives bytes, or a coroutine when it must wait.

    A coroutine is cancelled when the client leaves; one that returns None leaves the connection
    without an answer and closes it.
    """

    def __init__(self, handle: Handler, known: set[Connection]) -> None:
        self._handle = handle
        self._known = known
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._refusal: bytes | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._read = 0
        self._partial = 0
        self._parser = httptools.HttpRequestParser(self)
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._head = 0
        self._in_head = True

    # -- asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._known.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._known.discard(self)
        self._writable.set()
        self._waiting.clear()
        if self._task:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        began, read = self._in_head, self._read
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refusal = self._refusal or reply(400, b'{"message":"That is not HTTP"}')
        # A packet that only brought more of one head: the parser tells of a line when it is whole.
        self._partial = self._partial + len(data) if began and self._in_head and read == self._read else 0
        if len(self._waiting) > _MAX_WAITING or self._partial > _MAX_HEAD:
            self._refusal = self._refusal or reply(431, b'{"message":"Too much at once"}')
        self._pump()

    # -- httptools
    def on_url(self, url: bytes) -> None:
        self._url += url
        self._head += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._in_head = False
        length = self._headers.get(b"content-length", b"0")
        if self._head > _MAX_HEAD:
            self._refusal = reply(431, b'{"message":"Too much at once"}')
        elif self._parser.should_upgrade():
            self._refusal = reply(400, b'{"message":"This server does not change protocols"}')
        elif length.isdigit() and int(length) > MAX_BODY:
            self._refuse_size()
        elif self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            self._refuse_size()
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        self._read += 1
        if self._refusal is None:
            path, _, query = self._url.partition(b"?")
            self._waiting.append(
                Request(
                    self._parser.get_method().decode("ascii"),
                    path.decode("latin-1"),
                    query.decode("latin-1"),
                    self._headers,
                    self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks),
                    self._parser.should_keep_alive(),
                )
            )
        self._reset()

    def _refuse_size(self) -> None:
        self._chunks.clear()
        self._refusal = json_reply(
            413, {"errors": [{"message": "Payload too large.", "field": None, "help": None}]}
        )

    # -- answering
    def _pump(self) -> None:
        while self._waiting and not self._task:
            request = self._waiting.popleft()
            answer = self._handle(self, request)
            if isinstance(answer, bytes):
                self._send(answer, request)
            else:
                self._task = asyncio.get_running_loop().create_task(self._wait(answer, request))
        if self._refusal is not None and not self._task:
            self._transport.write(self._refusal)
            self._transport.close()

    async def _wait(self, answer: Coroutine[Any, Any, bytes | None], request: Request) -> None:
        try:
            late = await answer
        except Exception:
            self._transport.abort()
            raise
        self._task = None
        if late is None:
            self._transport.abort()
        else:
            self._send(late, request)
            self._pump()

    def _send(self, answer: bytes, request: Request) -> None:
        self._transport.write(answer)
        if not request.keep_alive:
            self._transport.close()

    async def write(self, data: bytes) -> None:
        """Send a part of a long answer; waits while the client is slow."""
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        self._transport.abort()
