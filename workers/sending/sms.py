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
from messaging.render import fill_sms
from messaging.types import DeliveryRef, DeliveryStatus, Outcome, SendResult, SmsMessage
from workers.sending.engine import UNREADABLE, Engine, Job, worst

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
    held = job.held
    size = window_size(held)
    left = job.left
    delay: float | None = None
    progress = False
    while left:
        if engine.stopping or time.monotonic() > job.until:
            delay = delay or 0.0
            break
        people, rest = left[:size], left[size:]
        job.deadline = engine.deadline()
        window = await engine.record("window", lambda s, p=people: _open(engine, s, held, p))  # type: ignore[misc]
        if window.lost:
            delay = delay or 0.0
            break
        if window.come_back is not None:
            delay = max(delay or 0.0, window.come_back)
            progress = True  # to wait for one's turn is no failure
            break
        left = rest
        if window.attempt is None:
            progress = True
            continue
        sent = await _send_window(engine, job, window.attempt, window.people)
        rows, again, wait = _decide(sent)
        progress = progress or bool(rows)
        if again:
            delay = max(delay or 0.0, engine.back_off(held, wait))
        await engine.record("result", _writer(engine, held, window.attempt, sent, rows, again))
        doubtful = all(result.outcome is Outcome.IN_DOUBT for _, result in sent)
        engine.heard(held.channel, doubtful=doubtful)
        if again or (doubtful and left):  # asked to wait, or out of reach: the next window would fare alike
            delay = delay or 0.0
            break
    await engine.record(
        "release",
        lambda s: engine.finish_batch(s, held, done=delay is None, delay=delay or 0.0, progress=progress),
    )


def window_size(held: Claim) -> int:
    """How many texts may be in doubt at once: at most 100, and what the sender passes on in 2.5 s."""
    return max(1, min(WINDOW_SIZE, int(held.rate * BACKLOG_SECONDS / max(1, held.segments))))


def _open(engine: Engine, session: Session, held: Claim, people: Sequence[Remaining]) -> Window:
    """Re-check suppression, take the sender's turn, move the mark: one transaction."""
    left = engine.recheck(session, held, people)
    if not left:
        return Window([])
    point = session.begin_nested()
    attempt = engine.open(session, held, left, engine.sms.name)
    if attempt is None:
        return Window(left, lost=True)
    wait = attempts.take_turn(session, held.sender_id, held.segments * len(left), BACKLOG_SECONDS)
    if wait is not None:
        point.rollback()
        return Window(left, come_back=max(0.05, wait))
    return Window(left, attempt)


Sent = list[tuple[Remaining, SendResult]]


async def _send_window(engine: Engine, job: Job, attempt: int, people: Sequence[Remaining]) -> Sent:
    held = job.held

    async def one(person: Remaining, message: SmsMessage | None) -> tuple[Remaining, SendResult]:
        if message is None:
            return person, SendResult(Outcome.REFUSED, reason=UNREADABLE)
        try:
            return person, await engine.sms.send(message, engine.timeout, may_start=job.may_start)
        except Exception as error:
            # Whatever it was, bytes may have left: it is never sent again without proof.
            log.exception("sms_send_failed", dispatch=str(held.dispatch), batch=held.batch)
            return person, SendResult(Outcome.IN_DOUBT, reason=type(error).__name__, retryable=False)

    return list(
        await asyncio.gather(
            *map(one, people, messages(engine, held, attempt, people, job.ends - time.monotonic()))
        )
    )


def messages(
    engine: Engine, held: Claim, attempt: int, people: Sequence[Remaining], seconds_left: float
) -> list[SmsMessage | None]:
    """What these people are sent, in their order; None for a number that does not open.

    ``seconds_left`` of the batch's time: the provider is to drop what it could not pass on by then.
    """
    kept = engine.content(held.dispatch, str(held.channel), held.language, held.sender_kind)
    stop = engine.signer.batch(links.STOP, held.dispatch, base_url=engine.public_url)
    reply = (
        engine.signer.batch(links.REPLY, held.dispatch, links.expiry_of(held.dispatch), engine.public_url)
        if "{reply}" in kept.text
        else None
    )
    validity = max(1, min(MOST_VALIDITY, int(seconds_left)))
    made: list[SmsMessage | None] = []
    for person, number, name in zip(people, *engine.open_values(people), strict=True):
        if number is None:
            made.append(None)
            continue
        body = kept.text
        if "{" in body:
            body = fill_sms(
                body,
                stop_url=stop(person.contact_id),
                name=name,
                reply_url=reply(person.contact_id) if reply else "",
            )
        ref = DeliveryRef(held.dispatch, held.batch, attempt, person.ordinal)
        made.append(SmsMessage(ref, held.sender, number, body, validity, person.synthetic))
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
    engine: Engine, held: Claim, attempt: int, sent: Sent, rows: Sequence[Row], again: Sequence[Remaining]
) -> Callable[[Session], None]:
    outcome = worst(Counter(result.outcome for _, result in sent))
    opted_out = [person.contact_id for person, result in sent if result.opted_out]

    def write(session: Session) -> None:
        # Attempt, deliveries, batch: locked in the order in which receipts are merged.
        results.close_attempt(session, held, attempt, outcome, reason=sent[0][1].reason if again else "")
        engine.write_rows(session, held, attempt, rows)
        engine.not_taken(session, held, attempt, again)
        # The provider holds a STOP that we had not heard of: it becomes ours.
        for contact_id in opted_out:
            contact = session.get(ContactPoint, contact_id)
            if contact is not None:
                inbound.stop(session, held.sender_id, contact.digest)

    return write
