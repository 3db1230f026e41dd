"""The wire limit: how fast the same messages go to the same sandbox when nothing else is to be done.

As many processes as there were workers keep as many calls under way as a worker may, without a database.
E-mail: the requests of the engine's own provider, byte for byte, built beforehand, through a protocol that
only counts. Texts: the messages, built beforehand, through the engine's own provider: there the client is
most of what a text costs, and the limit is to be the same client's.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import multiprocessing
import queue
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa

from app.models.ledger import WINDOW_SIZE
from app.providers import CALLS_IN_FLIGHT, SMS_IN_FLIGHT
from app.registry import open_registry
from app.services.ledger.claims import Claim, Remaining
from config.fields import Part
from messaging.providers.base import EmailProvider, SmsProvider
from messaging.providers.connection import NotSentError, Response
from messaging.providers.http import whole
from messaging.types import Channel, EmailCall, Outcome, SmsMessage
from workers.sending import email, sms
from workers.sending.drain import IN_FLIGHT
from workers.sending.engine import Engine

SECONDS = 4.0
PATIENCE = 600.0
_BATCHES = sa.text(
    """
    SELECT b.n, b.channel, b.language, b.controller_id, d.topic, b.urgency, b.size, b.expires_at,
        s.id, s.address, s.display_name, s.kind, b.reserved_segments / b.size, s.segments_per_second
    FROM batches b JOIN dispatches d ON d.id = b.dispatch_id JOIN senders s ON s.id = b.sender_id
    WHERE b.dispatch_id = :dispatch AND b.n % :processes = :mine ORDER BY b.n
    """
)
_PEOPLE = sa.text(
    """
    SELECT u.ordinal, c.id, c.address_enc, c.salutation_enc, c.synthetic
    FROM batches b CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
    JOIN contact_points c ON c.id = u.contact_id
    WHERE b.dispatch_id = :dispatch AND b.n = :batch ORDER BY u.ordinal
    """
)


class Request(NamedTuple):
    """A whole request, and how many people it reaches."""

    data: bytes
    people: int


class Wire(NamedTuple):
    """What all processes did together."""

    people: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.people / self.seconds


class _Tap:
    """Takes from a provider what it would write to its socket; nothing is written."""

    def __init__(self, provider: Any) -> None:
        self.data = b""
        provider._http.exchange = self._exchange

    async def _exchange(self, head: bytes, body: bytes, **_: Any) -> Response:
        self.data = whole(head, body)
        raise NotSentError("tapped")


async def calls(engine: Engine, dispatch: UUID, mine: int, processes: int) -> list[Request]:
    """This process's share of a dispatch by e-mail, byte for byte as the engine writes it."""
    provider = cast(EmailProvider, engine.routes.ways[Channel.EMAIL][0].provider)
    tap = _Tap(provider)
    made: list[Request] = []
    for held, people in _share(engine, dispatch, mine, processes):
        written, _ = email.recipients(engine, held, people)
        call = EmailCall(dispatch, held.batch, 1, email.content(engine, held)[0], written)
        await provider.send(call, 1.0)
        made.append(Request(tap.data, len(written)))
    return made


def texts(engine: Engine, dispatch: UUID, mine: int, processes: int) -> list[SmsMessage]:
    """This process's share of a dispatch by text, as the engine makes them."""
    made: list[SmsMessage] = []
    for held, people in _share(engine, dispatch, mine, processes):
        made += [m for m in sms.messages(engine, held, 1, people, held.seconds_left) if m is not None]
    return made


def _share(
    engine: Engine, dispatch: UUID, mine: int, processes: int
) -> Iterator[tuple[Claim, list[Remaining]]]:
    with engine.sessions() as session:
        share = {"dispatch": dispatch, "processes": processes, "mine": mine}
        for n, channel, language, controller, topic, urgency, size, expires, *sender in session.execute(
            _BATCHES, share
        ).all():
            held = Claim(  # type: ignore[call-arg]  # the row's last six columns fit its last fields but one
                dispatch, n, Channel(channel), language, controller, topic, urgency, size, 1, expires,
                True, False, dispatch, *sender, 3_600.0,
            )  # fmt: skip
            yield (
                held,
                [Remaining(*row) for row in session.execute(_PEOPLE, {"dispatch": dispatch, "batch": n})],
            )


class _Line(asyncio.Protocol):
    """One kept connection: the next request as soon as the last is answered."""

    def __init__(self, requests: Iterator[Request], expected: bytes, until: float) -> None:
        self.requests, self.expected, self.until = requests, expected, until
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.people = 0
        self.under_way = 0
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.next()

    def next(self) -> None:
        request = next(self.requests)
        self.under_way = request.people
        self.transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found or len(rest) < _length(head):
            return
        if not head.startswith(self.expected):
            self.fail(RuntimeError(f"The sandbox refused: {self.buffer[:400].decode(errors='replace')}"))
            return
        self.buffer = b""
        self.people += self.under_way
        if time.monotonic() < self.until:
            self.next()
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.monotonic() < self.until:
            self.fail(exc or RuntimeError("The sandbox closed a connection."))
        elif not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        self.transport.abort()
        if not self.done.done():
            self.done.set_exception(error)


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.partition(b"\r\n")[0]) if found else 0


def in_flight(channel: Channel) -> int:
    """Calls that one process of the engine may have open at once."""
    if channel is Channel.EMAIL:
        return min(CALLS_IN_FLIGHT, IN_FLIGHT)
    return min(SMS_IN_FLIGHT, IN_FLIGHT * WINDOW_SIZE)


async def _load_email(made: list[Request], port: int, until: float) -> int:
    endless = itertools.cycle(made)
    loop = asyncio.get_running_loop()
    lines = [
        (await loop.create_connection(lambda: _Line(endless, b"HTTP/1.1 202", until), "127.0.0.1", port))[1]
        for _ in range(in_flight(Channel.EMAIL))
    ]
    await asyncio.gather(*(line.done for line in lines))
    return sum(line.people for line in lines)


async def _load_texts(engine: Engine, made: list[SmsMessage], until: float) -> int:
    endless = itertools.cycle(made)
    provider = cast(SmsProvider, engine.routes.ways[Channel.SMS][0].provider)

    async def line() -> int:
        taken = 0
        while time.monotonic() < until:
            result = await provider.send(next(endless), engine.timeout)
            if result.outcome is not Outcome.TAKEN:
                raise RuntimeError(f"The sandbox refused: {result.outcome} {result.reason}")
            taken += 1
        return taken

    return sum(await asyncio.gather(*(line() for _ in range(in_flight(Channel.SMS)))))


def _process(
    dispatch: UUID,
    channel: Channel,
    mine: int,
    processes: int,
    ready: Barrier,
    told: Queue[tuple[int, float, float]],
) -> None:
    """One of the processes; tells (people reached, first moment, last moment) by time.monotonic()."""
    import uvloop

    registry = open_registry(part=Part.WORKER)
    engine = Engine(registry)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if channel is Channel.EMAIL:
            requests = runner.run(calls(engine, dispatch, mine, processes))
        else:
            messages = texts(engine, dispatch, mine, processes)
        registry.engine.dispose()
        gc.collect()
        gc.freeze()
        port = urlsplit(registry.settings.sendgrid_base_url).port or 80
        ready.wait(PATIENCE)
        began = time.monotonic()
        if channel is Channel.EMAIL:
            people = runner.run(_load_email(requests, port, began + SECONDS))
        else:
            people = runner.run(_load_texts(engine, messages, began + SECONDS))
        told.put((people, began, time.monotonic()))


def limit(dispatch: UUID, channel: Channel, processes: int) -> Wire:
    """Send a dispatch's own requests over and over for a few seconds, with nothing else to do.

    The settings must name the sandbox. RuntimeError when it refused any, or a process failed.
    """
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(processes), context.Queue()
    children = [
        context.Process(target=_process, args=(dispatch, channel, n, processes, ready, told), daemon=True)
        for n in range(processes)
    ]
    for child in children:
        child.start()
    heard: list[tuple[int, float, float]] = []
    while len(heard) < processes:
        try:
            heard.append(told.get(timeout=0.5))
        except queue.Empty:
            if any(child.exitcode for child in children):
                for child in children:
                    child.kill()
                raise RuntimeError("The wire limit could not be measured: a process of it failed.") from None
    for child in children:
        child.join()
    seconds = max(end for _, _, end in heard) - min(start for _, start, _ in heard)
    return Wire(sum(people for people, _, _ in heard), seconds)
