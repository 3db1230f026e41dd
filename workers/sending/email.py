"""A batch of e-mail: one call to the provider, one attempt; more only where it named a fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy.orm import Session

from app.services.ledger import results
from app.services.ledger.claims import Claim, Remaining
from app.services.ledger.results import Row
from messaging import links
from messaging.render import Tags, substitutions
from messaging.types import DeliveryStatus, EmailCall, EmailContent, EmailRecipient, Outcome, SendResult
from workers.sending.engine import UNREADABLE, Engine, Job


async def send_email(engine: Engine, job: Job) -> None:
    """Send a claimed batch and write down what happened to everybody in it."""
    held = job.held
    mail = content(engine, held)[0]
    # (attempt already open or None, people): later stretches get an attempt of their own.
    todo: list[tuple[int | None, list[Remaining]]] = [(job.attempt, job.left)]
    delay: float | None = None
    progress = released = False
    while todo:
        attempt, people = todo.pop()
        if attempt is None:
            job.deadline = engine.deadline()
            attempt, people = await engine.record(
                "attempt",
                lambda s, p=people: _another(engine, s, held, p),  # type: ignore[misc]
            )
            if not people:
                continue
            if attempt is None:  # the lease is lost, or the dispatch was stopped: whoever holds it goes on
                delay = delay or 0.0
                continue
        written_to, unreadable = recipients(engine, held, people)
        if written_to:
            call = EmailCall(held.dispatch, held.batch, attempt, mail, written_to)
            result = await engine.email.send(call, engine.timeout, may_start=job.may_start)
            engine.heard(held.channel, doubtful=result.outcome is Outcome.IN_DOUBT)
        else:
            result = SendResult(Outcome.REFUSED, reason=UNREADABLE)
        rows, again = _decide(people, unreadable, result)
        progress = progress or bool(rows)
        todo.extend((None, part) for part in again)
        if len(rows) + sum(map(len, again)) < len(people):  # refused for now: the rest waits
            delay = max(delay or 0.0, engine.back_off(held, result.retry_after))
        released = not todo
        await engine.record(
            "result", _writer(engine, held, attempt, people, rows, result, released, delay, progress)
        )
    if not released:  # the last stretch had nobody left to write to, or was not ours to send
        await engine.record(
            "release",
            lambda s: engine.finish_batch(s, held, done=delay is None, delay=delay or 0.0, progress=progress),
        )


def _another(
    engine: Engine, session: Session, held: Claim, people: Sequence[Remaining]
) -> tuple[int | None, list[Remaining]]:
    left = engine.recheck(session, held, people)
    if not left:
        return None, []
    return engine.open(session, held, left, engine.email.name), left


def _decide(
    people: Sequence[Remaining], unreadable: Sequence[Remaining], result: SendResult
) -> tuple[list[Row], list[list[Remaining]]]:
    """Rows that are now certain, and stretches to send again in attempts of their own."""
    rows = [Row(p.ordinal, p.contact_id, DeliveryStatus.REFUSED, UNREADABLE) for p in unreadable]
    bad = {p.ordinal for p in unreadable}
    sent = [p for p in people if p.ordinal not in bad]
    match result.outcome:
        case Outcome.TAKEN:
            rows += [Row(p.ordinal, p.contact_id, DeliveryStatus.ACCEPTED) for p in sent]
        case Outcome.IN_DOUBT:
            rows += [Row(p.ordinal, p.contact_id, DeliveryStatus.IN_DOUBT, result.reason) for p in sent]
        case Outcome.REFUSED:
            rows += [Row(p.ordinal, p.contact_id, DeliveryStatus.REFUSED, result.reason) for p in sent]
        case Outcome.NOT_TAKEN if result.rejected:
            named = result.rejected
            rows += [
                Row(p.ordinal, p.contact_id, DeliveryStatus.REFUSED, named[p.ordinal])
                for p in sent
                if p.ordinal in named
            ]
            rest = [p for p in sent if p.ordinal not in named]
            return rows, [rest] if rest else []
        case Outcome.NOT_TAKEN if result.bisect:
            if len(sent) == 1:
                rows.append(Row(sent[0].ordinal, sent[0].contact_id, DeliveryStatus.REFUSED, result.reason))
                return rows, []
            half = len(sent) // 2
            return rows, [sent[half:], sent[:half]]
        case Outcome.NOT_TAKEN if not result.retryable:
            rows += [Row(p.ordinal, p.contact_id, DeliveryStatus.REFUSED, result.reason) for p in sent]
    return rows, []


def _writer(
    engine: Engine,
    held: Claim,
    attempt: int,
    people: Sequence[Remaining],
    rows: Sequence[Row],
    result: SendResult,
    last: bool,
    delay: float | None,
    progress: bool,
) -> Callable[[Session], None]:
    def write(session: Session) -> None:
        # Attempt, deliveries, batch: locked in the order in which receipts are merged.
        results.close_attempt(
            session, held, attempt, result.outcome, ref=result.provider_ref, reason=result.reason
        )
        engine.write_rows(session, held, attempt, rows)
        if result.outcome is Outcome.NOT_TAKEN:
            engine.not_taken(session, held, attempt, people)
        if last:
            engine.finish_batch(session, held, done=delay is None, delay=delay or 0.0, progress=progress)

    return write


def content(engine: Engine, held: Claim) -> tuple[EmailContent, str]:
    """What a batch says, and the nonce of its tags."""
    kept = engine.content(held.dispatch, str(held.channel), held.language, held.sender_kind)
    mail = EmailContent(held.sender, held.sender_name, kept.subject, kept.text, kept.html)
    return mail, kept.nonce


def recipients(
    engine: Engine, held: Claim, people: Sequence[Remaining]
) -> tuple[list[EmailRecipient], list[Remaining]]:
    """One personalisation for each of these people, and those whose address does not open."""
    mail, nonce = content(engine, held)
    tags = Tags(nonce)
    url, until = engine.public_url, links.expiry_of(held.dispatch)
    stop = engine.signer.batch(links.STOP, held.dispatch, base_url=url)
    manage = engine.signer.batch(links.MANAGE, held.dispatch, until, url)
    # A third link only where the content has a place for it.
    reply = engine.signer.batch(links.REPLY, held.dispatch, until, url) if tags.reply in mail.text else None
    addresses, names = engine.open_values(people)
    written, unreadable = [], []
    for person, address, name in zip(people, addresses, names, strict=True):
        if address is None:
            unreadable.append(person)
            continue
        contact = person.contact_id
        stop_url = stop(contact)
        written.append(
            EmailRecipient(
                person.ordinal,
                address,
                stop_url,
                substitutions(tags, stop_url, manage(contact), name, reply and reply(contact)),
                person.synthetic,
            )
        )
    return written, unreadable
