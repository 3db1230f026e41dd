"""What the sandbox posts to webhooks: a small HTTP client with retries, and both providers' signatures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlencode, urlsplit

import httptools
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

CONNECT, READ, CLIENT_ERROR, SERVER_ERROR = "ct", "rt", "4xx", "5xx"
_CONNECTIONS = 8  # at once to one host
DAY = 86_400.0  # seconds for which SendGrid tries a batch of events
LONGEST_GAP = 15.0  # SendGrid's grow to hours; nobody who looks at a sandbox waits that long


@dataclass(slots=True)
class Post:
    """One request to a webhook.

    ``retry_on`` names the failures after which it is tried again: ``ct`` no connection, ``rt`` no
    answer, ``4xx``, ``5xx``. ``gaps`` gives the seconds before each further try; when it ends,
    so do the tries. Times in seconds.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes
    retry_on: frozenset[str] = frozenset()
    gaps: Iterator[float] = field(default_factory=lambda: iter(()))
    connect_timeout: float = 5.0
    read_timeout: float = 10.0
    done: Callable[[int], None] | None = None  # called once, with the last status or 0


class _Exchange(asyncio.Protocol):
    """One connection to a webhook, one request at a time."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] | None = None
        self.closed = False
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._end(exc or ConnectionResetError("closed by the webhook"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.transport.abort()
            self._end(error)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        keep = self._parser.should_keep_alive()
        self._parser = httptools.HttpResponseParser(self)
        if status < 200:
            return
        if not keep:
            self.closed = True
            self.transport.close()
        self._end(status)

    def _end(self, outcome: int | Exception) -> None:
        answer, self.answer = self.answer, None
        if answer is None or answer.done():
            return
        if isinstance(outcome, int):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)


@dataclass(slots=True)
class _Lane:
    """The requests that wait for one host, and who works on them."""

    jobs: deque[Post] = field(default_factory=deque)
    workers: set[asyncio.Task[None]] = field(default_factory=set)


class Courier:
    """Delivers posts, a few connections to each host, in order of arrival."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._closed = False
        self.pending = 0
        self.delivered = 0
        self.failed = 0

    def submit(self, post: Post) -> None:
        self.pending += 1
        self._queue(post)

    def _queue(self, post: Post) -> None:
        if self._closed:
            return
        parts = urlsplit(post.url)
        lane = self._lanes.setdefault((parts.scheme, parts.netloc), _Lane())
        lane.jobs.append(post)
        if len(lane.workers) < _CONNECTIONS:
            task = asyncio.get_running_loop().create_task(self._work(lane))
            lane.workers.add(task)
            task.add_done_callback(lane.workers.discard)

    async def _work(self, lane: _Lane) -> None:
        exchange: _Exchange | None = None
        try:
            while lane.jobs:
                post = lane.jobs.popleft()
                exchange, status, failure = await self._try(exchange, post)
                self._settle(post, status, failure)
        finally:
            if exchange and not exchange.closed:
                exchange.transport.abort()

    async def _try(self, exchange: _Exchange | None, post: Post) -> tuple[_Exchange | None, int, str]:
        """(the connection if it can be kept, status or 0, class of failure or "")."""
        used = exchange is not None and not exchange.closed
        try:
            if exchange is None or exchange.closed:
                async with asyncio.timeout(post.connect_timeout):
                    exchange = await _connect(post.url)
        except (OSError, TimeoutError, ValueError):
            return None, 0, CONNECT
        try:
            async with asyncio.timeout(post.read_timeout):
                status = await _send(exchange, post)
        except (OSError, TimeoutError, httptools.HttpParserError) as error:
            exchange.transport.abort()
            if used and isinstance(error, ConnectionError):
                return await self._try(None, post)  # the webhook had closed a kept connection
            return None, 0, READ
        failure = "" if status < 400 else CLIENT_ERROR if status < 500 else SERVER_ERROR
        return exchange, status, failure

    def _settle(self, post: Post, status: int, failure: str) -> None:
        gap = next(post.gaps, None) if failure in post.retry_on else None
        if gap is not None:
            timer: asyncio.TimerHandle | None = None

            def again() -> None:
                if timer:
                    self._timers.discard(timer)
                self._queue(post)

            timer = asyncio.get_running_loop().call_later(gap, again)
            self._timers.add(timer)
            return
        self.pending -= 1
        if failure:
            self.failed += 1
        else:
            self.delivered += 1
        if post.done:
            post.done(status)

    async def close(self) -> None:
        """Drop what waits and end the connections."""
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        tasks = [task for lane in self._lanes.values() for task in lane.workers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _connect(url: str) -> _Exchange:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    _, exchange = await asyncio.get_running_loop().create_connection(
        _Exchange,
        parts.hostname or "",
        parts.port or (443 if secure else 80),
        ssl=ssl.create_default_context() if secure else None,
    )
    return exchange


async def _send(exchange: _Exchange, post: Post) -> int:
    parts = urlsplit(post.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = {"Host": parts.netloc, **post.headers, "Content-Length": str(len(post.body))}
    head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    exchange.answer = answer
    exchange.transport.write(head.encode("latin-1") + post.body)
    return await answer


def doubling(first: float, longest: float, total: float) -> Iterator[float]:
    """Growing gaps in seconds until their sum passes ``total``."""
    gap, spent = first, 0.0
    while spent < total:
        yield gap
        spent += gap
        gap = min(gap * 2, longest)


_WORDS = {
    "4xx": {CLIENT_ERROR},
    "5xx": {SERVER_ERROR},
    "ct": {CONNECT},
    "rt": {READ},
    "all": {CLIENT_ERROR, SERVER_ERROR, CONNECT, READ},
}


def twilio_signature(token: str, url: str, fields: Mapping[str, str]) -> str:
    """X-Twilio-Signature: base64 of HMAC-SHA1 over the URL and the sorted fields."""
    text = url + "".join(name + fields[name] for name in sorted(fields))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def twilio_post(url: str, fields: Mapping[str, str], token: str) -> Post:
    """A signed form. The URL's fragment overrides the connection as Twilio documents it.

    ``#rc=`` retries 0–5 (default 1), ``rp=`` after what (ct, rt, 4xx, 5xx, all; default ct),
    ``ct=`` and ``rt=`` time-outs in milliseconds.
    """
    address, _, fragment = url.partition("#")
    wishes = dict(part.partition("=")[::2] for part in fragment.split("&"))
    retry_on: set[str] = set()
    for word in wishes.get("rp", "ct").split(","):
        retry_on |= _WORDS.get(word, set())
    retries = _whole(wishes.get("rc"), 1, 5)
    return Post(
        url=address,
        headers={
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "X-Twilio-Signature": twilio_signature(token, address, fields),
        },
        body=urlencode(fields).encode(),
        retry_on=frozenset(retry_on),
        gaps=iter([0.1 * 2**n for n in range(retries)]),
        connect_timeout=_whole(wishes.get("ct"), 5_000, 10_000) / 1000,
        read_timeout=_whole(wishes.get("rt"), 15_000, 15_000) / 1000,
    )


def _whole(text: str | None, default: int, most: int) -> int:
    return min(int(text), most) if text and text.isdecimal() and len(text) < 9 else default


def event_post(
    url: str,
    body: bytes,
    key: ec.EllipticCurvePrivateKey,
    done: Callable[[int], None],
    *,
    tries_for: float = DAY,
    longest_gap: float = LONGEST_GAP,
) -> Post:
    """A signed batch of events: ECDSA P-256 with SHA-256 over timestamp and raw body.

    Tried for ``tries_for`` seconds (SendGrid's day, or what stands for it), with gaps that double from a 172,800th
    part of it up to ``longest_gap``; signed once, as SendGrid repeats what it sent.
    """
    timestamp = str(int(time.time()))
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return Post(
        url=url,
        headers={
            "Content-Type": "application/json;charset=utf-8",
            "User-Agent": "SendGrid Event API",
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        },
        body=body,
        retry_on=frozenset((CONNECT, READ, CLIENT_ERROR, SERVER_ERROR)),
        gaps=doubling(tries_for / 172_800, longest_gap, tries_for),
        done=done,
    )
