"""Service messages: codes, invitations, answers. Queued in the transaction that wants them; a worker sends them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import queue
from app.db import new_id
from app.models.organisations import Sender, SenderController
from app.models.service_messages import ServiceMessage
from config.queues import Queue
from messaging import gsm7
from messaging.notices import Notice
from messaging.types import Channel

JOB, PILE = "workers.post.deliver", "post"


def segments_of(text: str) -> int:
    """How many segments a text takes, and so what it costs."""
    return gsm7.segments(text).segments


def queue_email(
    session: Session,
    *,
    kind: str,
    address: str,
    content: Notice,
    controller: UUID | None,
    contact_id: int | None = None,
    stop_url: str | None = None,
    expires_at: datetime,
    synthetic: bool = False,
    now: datetime,
) -> UUID:
    """Queue one e-mail; its id. Without a sender of the controller's it comes from EMAIL_FROM.

    ``stop_url`` answers the one-click POST of RFC 8058; without it the e-mail has no such header.
    """
    return _queue(
        session,
        ServiceMessage(
            kind=kind,
            channel=str(Channel.EMAIL),
            controller_id=controller,
            sender_id=_sender(session, Channel.EMAIL, controller),
            contact_id=contact_id,
            address=address,
            subject=content.subject,
            text=content.text,
            html=content.html,
            stop_url=stop_url,
            synthetic=synthetic,
            expires_at=expires_at,
            not_before=now,
            created_at=now,
        ),
    )


def queue_text(
    session: Session,
    *,
    kind: str,
    address: str,
    text: str,
    controller: UUID | None,
    contact_id: int | None = None,
    sender_id: int | None = None,
    expires_at: datetime,
    synthetic: bool = False,
    now: datetime,
) -> UUID | None:
    """Queue one text to a number in E.164; its id, or None when the controller has no sender of texts.

    ``sender_id`` answers from the number that somebody wrote to.
    """
    sender = sender_id or _sender(session, Channel.SMS, controller)
    if sender is None:
        return None
    return _queue(
        session,
        ServiceMessage(
            kind=kind,
            channel=str(Channel.SMS),
            controller_id=controller,
            sender_id=sender,
            contact_id=contact_id,
            address=address,
            text=text,
            segments=segments_of(text),
            synthetic=synthetic,
            expires_at=expires_at,
            not_before=now,
            created_at=now,
        ),
    )


def _queue(session: Session, message: ServiceMessage) -> UUID:
    message.id = new_id()
    session.add(message)
    session.flush()
    queue.ring(session, Queue.URGENT, JOB, coalesce=PILE)
    return message.id


def _sender(session: Session, channel: Channel, controller: UUID | None) -> int | None:
    """One that can be answered before one that cannot, and the urgent lane's before the other's."""
    return session.scalar(
        sa.select(Sender.id)
        .join(SenderController, SenderController.sender_id == Sender.id)
        .where(SenderController.organisation_id == controller, Sender.channel == str(channel), Sender.active)
        .order_by((Sender.kind == "alphanumeric"), (Sender.lane != "urgent"), Sender.id)
        .limit(1)
    )
