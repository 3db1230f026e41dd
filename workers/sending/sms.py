"""A batch of text messages: windows of at most 100 numbers, each on record before it leaves."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from app.models.ledger import BACKLOG_SECONDS, WINDOW_SIZE
from app.models.people import ContactPoint
from app.services import inbound
from app.services.ledger import attempts, results
from app.services.ledger.claims import Claim, Remaining
from app.services.ledger.results import Row
from messaging import links
from messaging.render import fill_sms, one_way
from messaging.types import DeliveryRef, DeliveryStatus, Outcome, SendResult, SmsMessage
from workers.sending.engine import UNREADABLE, Engine, Job, worst
from workers.sending.routes import Route, failed_percent

log = structlog.get_logger(__name__)

MOST_VALIDITY = 36_000


@dataclass(slots=True)
class Window:
    """What may be sent now: people with their open attempt, or a reason to let the batch go."""

    people: list[Remaining]
    attempt: int | None = None
    come_back: float | None = None  # seconds: the sender's queue is full enough
    lost: bool = False  # lease lost, dispatch stopped, or time over


async def send_sms(engine: Engine, job: Job) -> None:
    """Send a claimed batch window by window, as long as the lease and the sender's pace allow."""
    heard = Heard(engine)
    try:
        delay, progress = await _windows(engine, job, heard)
    except Exception:
        await heard.alone()  # whatever it was, evidence is not lost for it
        raise

    def release(session: Session) -> None:
        heard.write(session)
        engine.finish_batch(session, job.held, done=delay is None, delay=delay or 0.0, progress=progress)

    await engine.record("release", release)


async def _windows(engine: Engine, job: Job, heard: Heard) -> tuple[float | None, bool]:
    """Seconds until the batch goes on, None when nobody is left; and whether anything was got done."""
    held, route, left = job.held, job.route, job.left
    assert route is not None
    urgent = held.urgency != "routine"
    size = min(route.most, window_size(held, route.rate))
    if not urgent:
        segments = max(1, held.segments)
        size = max(1, int(engine.pacer.at_once(route.name, size * segments) / segments))
    progress = False
    while left:
        if engine.stopping or time.monotonic() > job.until:
            return 0.0, progress
        people, rest = left[:size], left[size:]
        window = await _window(engine, job, people, route, heard, urgent=urgent)
        if window.lost:
            return 0.0, progress
        if window.come_back is not None:
            return window.come_back, True  # to wait for one's turn is no failure
        left = rest
        if window.attempt is None:
            progress = True
            continue
        sent = await _send_window(engine, job, window.attempt, window.people, route)
        rows, again, wait = _decide(sent)
        progress = progress or bool(rows)
        heard.note(_writer(engine, held, window.attempt, sent, rows, again, route))
        # Asked to wait, or out of reach: the next window would fare alike.
        if again:
            told = [r for _, r in sent if r.outcome is Outcome.NOT_TAKEN and r.retryable]
            return engine.again_in(held, route, told, wait), progress
        engine.routes.refresh()
        if left and (route.trial or engine.routes.closed(held.channel, route.name)):
            return 0.0, progress
    return None, progress


class Heard:
    """What the calls of the last window told, until it is written down: with the next window, or the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._write: Callable[[Session], None] | None = None

    def note(self, write: Callable[[Session], None]) -> None:
        self._write = write

    def write(self, session: Session) -> None:
        """In the caller's transaction, which may yet fail: ``over`` says when it did not."""
        if self._write is not None:
            self._write(session)

    def over(self) -> None:
        self._write = None

    async def alone(self) -> None:
        """Write it down now, in a transaction of its own."""
        if self._write is not None:
            await self._engine.record("result", self._write)
            self.over()


def window_size(held: Claim, rate: float) -> int:
    """How many texts may be in doubt at once: at most 100, and what the sender passes on in 2.5 s."""
    return max(1, min(WINDOW_SIZE, int(rate * BACKLOG_SECONDS / max(1, held.segments))))


async def _window(
    engine: Engine, job: Job, people: Sequence[Remaining], route: Route, heard: Heard, *, urgent: bool
) -> Window:
    """Take the turn of account and sender among all workers, then put the window on record."""
    held = job.held
    units = held.segments * len(people)
    buckets = engine.pacer.buckets(
        route.name, units, urgent=urgent, sender=route.sender_id if route.paced else None, rate=route.rate
    )
    refused = engine.pacer.take(units, buckets)
    if refused is not None:
        await heard.alone()  # answers do not wait for a turn
        refused = await engine.pacer.turn(units, buckets)
    if refused is not None:
        return Window([], come_back=refused.seconds)
    job.deadline = engine.deadline()
    try:
        window = await engine.record("window", lambda s: _open(engine, s, held, people, route, heard))
        heard.over()
    except _NotNowError as error:
        window = error.window
        await heard.alone()
    used = 0 if window.attempt is None else held.segments * len(window.people)
    engine.pacer.give_back(units - used, buckets)
    return window


class _NotNowError(Exception):
    """The lease is lost, or it is not the sender's turn: nothing of the transaction is to stay."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window


def _open(
    engine: Engine, session: Session, held: Claim, people: Sequence[Remaining], route: Route, heard: Heard
) -> Window:
    """Write down what the last window told, re-check suppression, move the mark, take the sender's turn:
    one transaction. The sender is locked last, so that whoever holds it waits for nobody.
    """
    heard.write(session)
    left = engine.recheck(session, held, people)
    if not left:
        return Window([])
    attempt = engine.open(session, held, left, route)
    if attempt is None:
        raise _NotNowError(Window(left, lost=True))
    if route.paced:
        wait = attempts.take_turn(session, route.sender_id, held.segments * len(left), BACKLOG_SECONDS)
        if wait is not None:
            raise _NotNowError(Window(left, come_back=max(0.05, wait)))
    return Window(left, attempt)


Sent = list[tuple[Remaining, SendResult]]


async def _send_window(
    engine: Engine, job: Job, attempt: int, people: Sequence[Remaining], route: Route
) -> Sent:
    held = job.held

    async def one(person: Remaining, message: SmsMessage | None) -> tuple[Remaining, SendResult]:
        if message is None:
            return person, SendResult(Outcome.REFUSED, reason=UNREADABLE)
        try:
            return person, await route.sms.send(message, engine.timeout, may_start=job.may_start)
        except Exception as error:
            # Whatever it was, bytes may have left: it is never sent again without proof.
            log.exception("sms_send_failed", dispatch=str(held.dispatch), batch=held.batch)
            return person, SendResult(Outcome.IN_DOUBT, reason=type(error).__name__, retryable=False)

    seconds = job.ends - time.monotonic()
    sent = list(
        await asyncio.gather(*map(one, people, messages(engine, held, attempt, people, seconds, route)))
    )
    engine.routes.heard(held.channel, route.name, [result for _, result in sent])
    busy = [result for _, result in sent if result.busy]
    if busy:  # many say the same: the longest wait holds
        longest = max(busy, key=lambda r: r.retry_after or 0.0)
        engine.pacer.heard(route.name, longest, sender=route.sender_id)
    return sent


def messages(
    engine: Engine,
    held: Claim,
    attempt: int,
    people: Sequence[Remaining],
    seconds_left: float,
    route: Route | None = None,
) -> list[SmsMessage | None]:
    """What these people are sent, in their order; None for a number that does not open.

    ``seconds_left`` of the batch's time: the provider is to drop what it could not pass on by then.
    """
    kept = engine.content(held.dispatch, str(held.channel), held.language, held.sender_kind)
    stop = engine.signer.batch(links.STOP, held.dispatch, base_url=engine.public_url)
    until = links.expiry_of(held.dispatch)
    reply, camera = (
        engine.signer.batch(purpose, held.dispatch, until, engine.public_url) if place in kept.text else None
        for purpose, place in ((links.REPLY, "{reply}"), (links.CAMERA, "{camera}"))
    )
    validity = max(1, min(MOST_VALIDITY, int(seconds_left)))
    sender, text = (route.sender if route else held.sender), kept.text
    if route and route.way.own_sender:  # nobody can answer it
        text = one_way(text)
    made: list[SmsMessage | None] = []
    for person, number, name in zip(people, *engine.open_values(people), strict=True):
        if number is None:
            made.append(None)
            continue
        body = text
        if "{" in body:
            body = fill_sms(
                body,
                stop_url=stop(person.contact_id),
                name=name,
                reply_url=reply(person.contact_id) if reply else "",
                camera_url=camera(person.contact_id) if camera else "",
            )
        ref = DeliveryRef(held.dispatch, held.batch, attempt, person.ordinal)
        made.append(SmsMessage(ref, sender, number, body, validity, person.synthetic))
    return made


def _decide(sent: Sent) -> tuple[list[Row], list[Remaining], float | None]:
    """Rows that are now certain, people to try again, and how long the provider asks us to wait."""
    rows: list[Row] = []
    again: list[Remaining] = []
    wait: float | None = None
    for person, result in sent:
        match result.outcome:
            case Outcome.TAKEN:
                status, reason = DeliveryStatus.ACCEPTED, None
            case Outcome.IN_DOUBT:
                status, reason = DeliveryStatus.IN_DOUBT, result.reason
            case Outcome.REFUSED if result.opted_out:
                status, reason = DeliveryStatus.STOPPED, result.reason
            case Outcome.NOT_TAKEN if result.retryable:
                again.append(person)
                wait = max(wait or 0.0, result.retry_after or 0.0)
                continue
            case _:
                status, reason = DeliveryStatus.REFUSED, result.reason
        rows.append(Row(person.ordinal, person.contact_id, status, reason, result.provider_ref))
    return rows, again, wait


def _writer(
    engine: Engine,
    held: Claim,
    attempt: int,
    sent: Sent,
    rows: Sequence[Row],
    again: Sequence[Remaining],
    route: Route,
) -> Callable[[Session], None]:
    outcome = worst(Counter(result.outcome for _, result in sent))
    opted_out = [person.contact_id for person, result in sent if result.opted_out]

    def write(session: Session) -> None:
        # Attempt, deliveries, batch: locked in the order in which receipts are merged.
        results.close_attempt(
            session,
            held,
            attempt,
            outcome,
            reason=sent[0][1].reason if again else "",
            failed_percent=failed_percent(result for _, result in sent),
        )
        engine.write_rows(session, held, attempt, rows)
        engine.not_taken(session, held, attempt, again)
        # The provider holds a STOP that we had not heard of: it becomes ours.
        for contact_id in opted_out:
            contact = session.get(ContactPoint, contact_id)
            if contact is not None:
                inbound.stop(session, route.sender_id, contact.digest)

    return write
