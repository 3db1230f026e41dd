"""A batch of e-mail: one call to the provider, one attempt; more only where it named a fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.ledger import ordinary, recovery, results
from app.services.ledger.claims import Claim, Remaining
from app.services.ledger.results import Row
from messaging import links
from messaging.render import Tags, substitutions
from messaging.types import DeliveryStatus, EmailCall, EmailContent, EmailRecipient, Outcome, SendResult
from workers.sending.engine import UNREADABLE, Engine, Job
from workers.sending.pacing import HELD_BACK
from workers.sending.routes import Route, failed_percent


async def send_email(engine: Engine, job: Job) -> None:
    """Send a claimed batch and write down what happened to everybody in it."""
    held = job.held
    mail = content(engine, held)[0]
    route = job.route
    assert route is not None
    most = route.most
    # (attempt already open or None, people): later stretches get an attempt of their own.
    todo: list[tuple[int | None, list[Remaining]]] = [
        (None if at else job.attempt, job.left[at : at + most]) for at in range(0, len(job.left), most)
    ][::-1]
    delay: float | None = None
    progress = released = False
    while todo:
        attempt, people = todo.pop()
        if attempt is None:
            job.deadline = engine.deadline()
            attempt, people = await engine.record(
                "attempt",
                lambda s, p=people: _another(engine, s, held, p, route),  # type: ignore[misc]
            )
            if not people:
                continue
            if attempt is None:  # the lease is lost, or the dispatch was stopped: whoever holds it goes on
                delay = delay or 0.0
                continue
        written_to, unreadable = recipients(engine, held, people)
        if written_to:
            call = EmailCall(held.dispatch, held.batch, attempt, mail, written_to)
            result = await engine.pacer.call(
                route.name,
                partial(route.email.send, call, engine.timeout, may_start=job.may_start),
                urgent=held.urgency != "routine",
            )
            engine.routes.heard(held.channel, route.name, list(result.each.values()) or [result])
        else:
            result = SendResult(Outcome.REFUSED, reason=UNREADABLE)
        if (
            result.outcome is Outcome.TAKEN
            and not (result.each or unreadable or todo)
            and attempt == job.attempt
            and await _all_taken(engine, held, attempt, people, result)
        ):
            return
        rows, again = _decide(people, unreadable, result)
        progress = progress or bool(rows) or result.reason == HELD_BACK
        todo.extend((None, part) for part in again)
        if len(rows) + sum(map(len, again)) < len(people):  # refused for now: the rest waits
            told = [r for r in result.each.values() if r.outcome is Outcome.NOT_TAKEN] or [result]
            slow = bool(result.each) and told == [result] and result.outcome is Outcome.TAKEN  # not come to
            delay = max(delay or 0.0, 0.0 if slow else engine.again_in(held, route, told, result.retry_after))
        if todo and (
            _time_is_up(engine, job) or route.trial or engine.routes.closed(held.channel, route.name)
        ):
            todo.clear()  # the next stretch would fare alike
            delay = delay or 0.0
        released = not todo
        await engine.record(
            "result", _writer(engine, held, attempt, people, rows, result, released, delay, progress)
        )
    if not released:  # the last stretch had nobody left to write to, or was not ours to send
        await engine.record(
            "release",
            lambda s: engine.finish_batch(s, held, done=delay is None, delay=delay or 0.0, progress=progress),
        )


def _time_is_up(engine: Engine, job: Job) -> bool:
    """Where a batch takes many stretches: whether the next is another job's."""
    return engine.stopping or time.monotonic() > job.until


async def _all_taken(
    engine: Engine, held: Claim, attempt: int, people: Sequence[Remaining], result: SendResult
) -> bool:
    """The ordinary end of a batch, in one statement. False: it has to be written down step by step."""

    def write(session: Session) -> None:
        perhaps_last = ordinary.all_taken(
            session,
            held,
            attempt,
            [p.ordinal for p in people],
            ref=result.provider_ref,
            reason=result.reason,
            failed_percent=failed_percent([result]),
        )
        if perhaps_last:
            recovery.finish(session, held.dispatch)

    try:
        await engine.record("result", write)
    except (ordinary.NotOrdinaryError, sa.exc.IntegrityError):
        return False
    return True


def _another(
    engine: Engine, session: Session, held: Claim, people: Sequence[Remaining], route: Route
) -> tuple[int | None, list[Remaining]]:
    left = engine.recheck(session, held, people)
    if not left:
        return None, []
    return engine.open(session, held, left, route), left


def _decide(
    people: Sequence[Remaining], unreadable: Sequence[Remaining], result: SendResult
) -> tuple[list[Row], list[list[Remaining]]]:
    """Rows that are now certain, and stretches to send again in attempts of their own."""
    rows = [Row(p.ordinal, p.contact_id, DeliveryStatus.REFUSED, UNREADABLE) for p in unreadable]
    bad = {p.ordinal for p in unreadable}
    sent = [p for p in people if p.ordinal not in bad]
    if result.each:
        return rows + _each(sent, result), []
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


def _each(sent: Sequence[Remaining], result: SendResult) -> list[Row]:
    """Rows of those whose own message met its end; who was not taken, or not come to, waits."""
    rows = []
    for person in sent:
        one = result.each.get(person.ordinal)
        if one is None:
            continue
        match one.outcome:
            case Outcome.TAKEN:
                rows.append(Row(person.ordinal, person.contact_id, DeliveryStatus.ACCEPTED))
            case Outcome.IN_DOUBT:
                rows.append(Row(person.ordinal, person.contact_id, DeliveryStatus.IN_DOUBT, one.reason))
            case Outcome.REFUSED:
                rows.append(Row(person.ordinal, person.contact_id, DeliveryStatus.REFUSED, one.reason))
            case Outcome.NOT_TAKEN if not one.retryable:
                rows.append(Row(person.ordinal, person.contact_id, DeliveryStatus.REFUSED, one.reason))
    return rows


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
            session,
            held,
            attempt,
            result.outcome,
            ref=result.provider_ref,
            reason=result.reason,
            failed_percent=failed_percent(list(result.each.values()) or [result]),
        )
        engine.write_rows(session, held, attempt, rows)
        if result.each:
            engine.not_taken(session, held, attempt, _without_row(people, rows))
        elif result.outcome is Outcome.NOT_TAKEN:
            engine.not_taken(session, held, attempt, people)
        if last:
            engine.finish_batch(session, held, done=delay is None, delay=delay or 0.0, progress=progress)

    return write


def _without_row(people: Sequence[Remaining], rows: Sequence[Row]) -> list[Remaining]:
    written = {r.ordinal for r in rows}
    return [p for p in people if p.ordinal not in written]


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
    url, until, dispatch = engine.public_url, links.expiry_of(held.dispatch), held.dispatch
    contacts = [p.contact_id for p in people]
    stop = engine.signer.links(links.STOP, dispatch, contacts, base_url=url)
    manage = engine.signer.links(links.MANAGE, dispatch, contacts, until, url)

    def third(purpose: str, tag: str) -> Iterable[str | None]:
        """A third link only where the content has a place for it."""
        if tag in mail.text:
            return engine.signer.links(purpose, dispatch, contacts, until, url)
        return repeat(None, len(people))

    reply, camera = third(links.REPLY, tags.reply), third(links.CAMERA, tags.camera)
    addresses, names = engine.open_values(people)
    written, unreadable = [], []
    for person, address, name, stop_url, manage_url, reply_url, camera_url in zip(
        people, addresses, names, stop, manage, reply, camera, strict=True
    ):
        if address is None:
            unreadable.append(person)
            continue
        values = substitutions(tags, stop_url, manage_url, name, reply_url, camera_url)
        written.append(EmailRecipient(person.ordinal, address, stop_url, values, person.synthetic))
    return written, unreadable
