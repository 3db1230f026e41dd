"""A team's answer to a reply: one service message to whoever wrote, by the channel of their address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.db import new_id
from app.errors import Conflict, Invalid
from app.models.alerts import Alert
from app.models.ledger import Attempt, Batch, Delivery, Dispatch
from app.models.organisations import Organisation, Sender
from app.models.people import ContactPoint
from app.models.replies import Reply, ReplyMessage
from app.permissions import Permission
from app.services import people, post, processing, published, receiving, replies
from messaging import links
from messaging.links import Signer
from messaging.notices import notice
from messaging.types import Channel

LONGEST = {Channel.SMS: 480, Channel.EMAIL: 2_000}
_LIFETIME = timedelta(days=2)
_ONCE = re.compile(r"[0-9a-f]{32}")
_EMERGENCY = "In an emergency call 999. If it is not urgent, call 101."


def answer(
    session: Session,
    who: Who,
    reply_id: UUID,
    *,
    body: str,
    once: str,
    signer: Signer,
    public_url: str,
    regions: Sequence[str],
    actor: audit.Actor,
    now: datetime,
    seen: datetime | None = None,
) -> None:
    """Answer a thread and queue the message. The same ``once`` again is the same answer.

    Missing for a thread that the officer may not answer; Invalid for a text that is empty or too long; Conflict for a
    thread that is closed or has words that its reader has not seen, and for whoever must not or cannot be written to.
    """
    reply = access.row(session, who, Permission.REPLY_ANSWER, Reply, reply_id, lock=True)
    if not _ONCE.fullmatch(once):
        raise Invalid("body", "Load the page again and send your answer once more.")
    token = f"out:{reply.id.hex}:{once}"
    if session.scalar(sa.select(ReplyMessage.id).where(ReplyMessage.once == token)) is not None:
        return
    contact = session.get_one(ContactPoint, reply.contact_id)
    channel = Channel(contact.channel)
    told = receiving.checked(body, LONGEST[channel], "Write your answer.")
    if reply.state == "closed":
        raise Conflict("This thread is closed. Open it again, then answer.")
    replies.unseen(reply, seen)
    cannot = replies.why_not(session, contact, reply.controller_id)
    if cannot is not None:
        raise Conflict(cannot)
    alert = None if reply.alert_id is None else session.get_one(Alert, reply.alert_id)
    dispatch = _dispatch(session, reply)
    base = public_url.rstrip("/")
    back = None
    if dispatch is not None:
        back = signer.batch(links.REPLY, dispatch, now + links.LIVES, base)(contact.id)
    if channel is Channel.SMS:
        _text(session, reply, contact, told, dispatch, back, regions, now)
    else:
        stop = signer.batch(links.STOP, dispatch, base_url=base)(contact.id) if dispatch else None
        _email(session, reply, contact, told, alert, back, stop, now)
    session.add(
        ReplyMessage(
            id=new_id(),
            reply_id=reply.id,
            direction="out",
            channel=str(channel),
            body=told,
            staff_id=who.id,
            once=token,
            at=now,
        )
    )
    reply.state, reply.last_at = "answered", max(reply.last_at, now)
    session.flush()
    audit.record(
        session,
        event="reply:answer",
        subject=f"reply:{reply.id}",
        actor=actor,
        organisation=reply.controller_id,
        s62=processing.s62(session, reply.controller_id, audit.S62.DISCLOSURE),
        detail={"channel": str(channel)},
    )


def text_of(reader: str, told: str, back: str | None) -> str:
    """An answer as a text; ``back``: the link to answer by, where there is one."""
    return f"{reader}: {told}\n" + (f"To answer: {back}" if back else "To answer, reply to this text.")


def _text(
    session: Session,
    reply: Reply,
    contact: ContactPoint,
    told: str,
    dispatch: UUID | None,
    back: str | None,
    regions: Sequence[str],
    now: datetime,
) -> None:
    if not writable(contact, regions):
        raise Conflict("We do not send texts to numbers of this country.")
    reader = receiving.reader_name(session, reply.controller_id, reply.team_id)
    queued = post.queue_text(
        session,
        kind="reply-answer",
        address=contact.address,
        text=text_of(reader, told, back),
        controller=reply.controller_id,
        contact_id=contact.id,
        sender_id=_number(session, contact.id, dispatch),
        expires_at=now + _LIFETIME,
        synthetic=contact.synthetic,
        now=now,
    )
    if queued is None:
        raise Conflict("Your organisation has no number to send texts from.")


def _email(
    session: Session,
    reply: Reply,
    contact: ContactPoint,
    told: str,
    alert: Alert | None,
    back: str | None,
    stop: str | None,
    now: datetime,
) -> None:
    reader = receiving.reader_name(session, reply.controller_id, reply.team_id)
    closing: list[str | tuple[str, str]] = [_EMERGENCY]
    if alert is not None:
        closing.append(f"Reference: {alert.reference}")
    if stop is not None:
        closing.append(("Stop all messages", stop))
    said = [f"You wrote to us about: {published.filled(alert.headline)}"] if alert else []
    content = notice(
        f"An answer from {reader}",
        [*said, *told.split("\n\n"), "Please do not reply to this e-mail. Nobody would see it."],
        button=("Write back", back) if back else None,
        controller_name=session.get_one(Organisation, reply.controller_id).name,
        closing=closing,
    )
    post.queue_email(
        session,
        kind="reply-answer",
        address=contact.address,
        content=content,
        controller=reply.controller_id,
        contact_id=contact.id,
        stop_url=stop,
        expires_at=now + _LIFETIME,
        synthetic=contact.synthetic,
        now=now,
    )


def writable(contact: ContactPoint, regions: Sequence[str]) -> bool:
    """Whether a text may go to a number at all: strangers' texts must not make us pay for calls abroad."""
    if contact.synthetic:
        return True
    try:
        people.read_address(Channel.SMS, contact.address, regions=regions, fictional=True)
    except Invalid:
        return False
    return True


def _dispatch(session: Session, reply: Reply) -> UUID | None:
    """The latest sending of the thread's alert: what a link to answer by is signed for."""
    if reply.alert_id is None:
        return None
    return session.scalar(
        sa.select(Dispatch.id)
        .where(Dispatch.alert_id == reply.alert_id)
        .order_by(Dispatch.id.desc())
        .limit(1)
    )


def _number(session: Session, contact_id: int, dispatch: UUID | None) -> int | None:
    """The number that the alert came from, so that the answer stands below it in their phone."""
    return session.scalar(
        sa.select(Sender.id)
        .select_from(Delivery)
        .join(Batch, sa.and_(Batch.dispatch_id == Delivery.dispatch_id, Batch.n == Delivery.batch_n))
        .outerjoin(
            Attempt,
            sa.and_(
                Attempt.dispatch_id == Delivery.dispatch_id,
                Attempt.batch_n == Delivery.batch_n,
                Attempt.n == Delivery.attempt_n,
            ),
        )
        # The number that stood in for the batch's own, if another one did.
        .join(Sender, Sender.id == sa.func.coalesce(Attempt.sender_id, Batch.sender_id))
        .where(
            Delivery.dispatch_id == dispatch,
            Delivery.contact_id == contact_id,
            Sender.channel == str(Channel.SMS),
            Sender.active,
        )
        .limit(1)
    )
