"""The job behind a ring for service messages: claim what is due, send it, write down what happened."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Coroutine
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy.orm import Session

from app import queue
from app.db import AWAY, utc_now
from app.services import inbound, outgoing
from app.services.outgoing import Outgoing
from app.services.post import PILE
from messaging.types import (
    Channel,
    DeliveryRef,
    EmailCall,
    EmailContent,
    EmailRecipient,
    Outcome,
    SendResult,
    SmsMessage,
)
from workers import runtime
from workers.sending.engine import Engine
from workers.sending.routes import Route
from workers.sending.sms import MOST_VALIDITY

log = structlog.get_logger(__name__)

DELIVER_SECONDS = 10.0  # then urgent alerts have their turn
LOOK_SECONDS = 0.5  # between looks for what fell due, while an urgent alert goes out
IN_FLIGHT = 20
NO_WAY = SendResult(Outcome.NOT_TAKEN, reason="no-way")  # every provider is down: later


def deliver() -> int:
    """Send for up to 10 seconds; how many messages were taken in hand."""
    queue.answered(PILE)
    return runtime.attempt(lambda: runtime.runner().run(send_due(runtime.engine(), DELIVER_SECONDS)))


async def send_due(engine: Engine, seconds: float) -> int:
    """Claim and send until nothing is due or time is up; how many messages."""
    until = time.monotonic() + seconds
    with engine.sessions.begin() as session:
        sweep(session, engine.lease)
    handled = 0
    while time.monotonic() < until and not engine.stopping:
        deadline = engine.deadline()
        engine.routes.refresh()
        channels = engine.routes.channels()
        with engine.sessions.begin() as session:
            claimed = outgoing.claim_due(session, IN_FLIGHT, utc_now(), channels)
        if not claimed:
            with engine.sessions() as session:
                if not outgoing.due(session, now=utc_now(), channels=channels):
                    break
            # Those that were due wait for their sender's turn, or were refused; others may be behind them.
            await asyncio.sleep(0.02)
            continue
        handled += len(claimed)
        heard = defaultdict(list)
        for route, result in await asyncio.gather(*(_carry(engine, m, deadline) for m in claimed)):
            if route is not None:
                heard[route.channel, route.name].append(result)
        for (channel, name), told in heard.items():
            engine.routes.heard(channel, name, told)
    return handled


async def beside(engine: Engine, work: Coroutine[object, object, int]) -> int:
    """Do ``work``, and while it goes on send what falls due: a code must not wait behind an alert."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)  # the alert first
    while not task.done():
        try:
            await send_due(engine, DELIVER_SECONDS)
        except AWAY as error:
            log.warning("database_away", error=type(error.orig).__name__)
        await asyncio.wait({task}, timeout=LOOK_SECONDS)
    return await task


def sweep(session: Session, lease_seconds: float) -> None:
    """Close what expired, and put in doubt what a lost worker had in hand."""
    for lost in outgoing.sweep(session, lease=timedelta(seconds=lease_seconds), now=utc_now()):
        log.warning("service_message_in_doubt", message=str(lost))


async def _carry(engine: Engine, message: Outgoing, deadline: float) -> tuple[Route | None, SendResult]:
    """Send one message and write down its fate. What goes wrong with it stops no other: it ends in doubt."""
    route: Route | None = None
    try:
        with engine.sessions.begin() as session:
            route = engine.routes.choose(session, message.channel, message.sender_id or 0, urgent=True)
    except AWAY as error:
        log.warning("database_away", error=type(error.orig).__name__)
    try:
        result = NO_WAY
        if route:
            result = await engine.pacer.call(
                route.name,
                partial(_send, engine, message, deadline, route),
                urgent=True,
                units=message.segments if message.channel is Channel.SMS else 1,
                sender=route.sender_id,
            )
    except Exception as error:
        # Whatever it was, bytes may have left.
        log.exception("service_message_failed", message=str(message.id))
        result = SendResult(Outcome.IN_DOUBT, reason=type(error).__name__, retryable=False)
    try:
        await engine.record("service message", lambda session: _write(session, message, result, route))
    except Exception:
        log.exception("service_message_not_recorded", message=str(message.id))
    return route, result


async def _send(engine: Engine, message: Outgoing, deadline: float, route: Route) -> SendResult:
    def may_start() -> bool:
        return time.monotonic() < deadline

    if message.channel is Channel.SMS:
        left = (message.expires_at - utc_now()).total_seconds()
        text = SmsMessage(
            ref=DeliveryRef(message.id, 0, message.tries, 1),
            sender=route.sender or message.sender,
            to=message.address,
            body=message.text,
            validity_seconds=max(1, min(MOST_VALIDITY, int(left))),
            synthetic=message.synthetic,
        )
        return await route.sms.send(text, engine.timeout, may_start=may_start)
    call = EmailCall(
        dispatch=message.id,
        batch=0,
        attempt=message.tries,
        content=EmailContent(
            from_email=message.sender or engine.email_from[0],
            from_name=message.sender_name if message.sender else engine.email_from[1],
            subject=message.subject,
            text=message.text,
            html=message.html,
        ),
        recipients=[EmailRecipient(1, message.address, message.stop_url, {}, message.synthetic)],
    )
    return await route.email.send(call, engine.timeout, may_start=may_start)


def _write(session: Session, message: Outgoing, result: SendResult, route: Route | None) -> None:
    outgoing.record(session, message, result, now=utc_now())
    if result.opted_out and message.sender_id is not None:
        # The provider holds a STOP that we had not heard of: it becomes ours.
        inbound.stop(session, route.sender_id if route else message.sender_id, message.digest)
