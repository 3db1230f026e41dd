"""The job behind a ring for service messages: claim what is due, send it, write down what happened."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import structlog
from sqlalchemy.orm import Session

from app import queue
from app.db import utc_now
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
from workers.sending.sms import MOST_VALIDITY

log = structlog.get_logger(__name__)

DELIVER_SECONDS = 10.0  # then urgent alerts have their turn
IN_FLIGHT = 20


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
        channels = [c for c in Channel if time.monotonic() >= engine.quiet_until[c]]
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
        outcomes = await asyncio.gather(*(_carry(engine, message, deadline) for message in claimed))
        for channel in {m.channel for m in claimed}:
            heard = [o for m, o in zip(claimed, outcomes, strict=True) if m.channel is channel]
            engine.heard(channel, doubtful=all(o is Outcome.IN_DOUBT for o in heard))
    return handled


def sweep(session: Session, lease_seconds: float) -> None:
    """Close what expired, and put in doubt what a lost worker had in hand."""
    for lost in outgoing.sweep(session, lease=timedelta(seconds=lease_seconds), now=utc_now()):
        log.warning("service_message_in_doubt", message=str(lost))


async def _carry(engine: Engine, message: Outgoing, deadline: float) -> Outcome:
    """Send one message and write down its fate. What goes wrong with it stops no other: it ends in doubt."""
    try:
        result = await _send(engine, message, deadline)
    except Exception as error:
        # Whatever it was, bytes may have left.
        log.exception("service_message_failed", message=str(message.id))
        result = SendResult(Outcome.IN_DOUBT, reason=type(error).__name__, retryable=False)
    try:
        await engine.record("service message", lambda session: _write(session, message, result))
    except Exception:
        log.exception("service_message_not_recorded", message=str(message.id))
    return result.outcome


async def _send(engine: Engine, message: Outgoing, deadline: float) -> SendResult:
    def may_start() -> bool:
        return time.monotonic() < deadline

    if message.channel is Channel.SMS:
        left = (message.expires_at - utc_now()).total_seconds()
        text = SmsMessage(
            ref=DeliveryRef(message.id, 0, message.tries, 1),
            sender=message.sender,
            to=message.address,
            body=message.text,
            validity_seconds=max(1, min(MOST_VALIDITY, int(left))),
            synthetic=message.synthetic,
        )
        return await engine.sms.send(text, engine.timeout, may_start=may_start)
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
    return await engine.email.send(call, engine.timeout, may_start=may_start)


def _write(session: Session, message: Outgoing, result: SendResult) -> None:
    outgoing.record(session, message, result, now=utc_now())
    if result.opted_out and message.sender_id is not None:
        # The provider holds a STOP that we had not heard of: it becomes ours.
        inbound.stop(session, message.sender_id, message.digest)
