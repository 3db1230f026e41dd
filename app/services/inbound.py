"""Texts that people send us: STOP, START and HELP, for every controller of the number."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.models.consent import Suppression
from app.models.organisations import Sender, SenderController
from app.models.people import ContactPoint
from app.services import consent
from messaging.types import Channel, InboundSms, Keyword


def receive(session: Session, message: InboundSms) -> str | None:
    """Do what a keyword asks; a problem in words when the number it came to is not ours.

    The sender's number may be nobody's here: a stop is kept all the same, for it may be
    imported later. Twice is once.
    """
    sender = session.scalar(
        sa.select(Sender).where(Sender.channel == str(Channel.SMS), Sender.address == message.to).limit(1)
    )
    if sender is None:
        return "sent to a number that is not ours"
    digest = crypto.keyring().digest("phone", message.sender)
    if message.keyword is Keyword.STOP:
        stop(session, sender.id, digest)
    elif message.keyword is Keyword.START:
        start(session, sender.id, digest)
    return None


def _controllers(session: Session, sender_id: int) -> list[UUID]:
    return list(
        session.scalars(
            sa.select(SenderController.organisation_id)
            .join(Sender, Sender.id == SenderController.sender_id)
            .where(Sender.address == _address(sender_id))
            .distinct()
        )
    )


def _address(sender_id: int) -> sa.ScalarSelect[str]:
    # A number may stand in two lanes: whoever writes from it in either is meant.
    return sa.select(Sender.address).where(Sender.id == sender_id).scalar_subquery()


def _actor(session: Session, digest: bytes) -> audit.Actor:
    contact = session.scalar(
        sa.select(ContactPoint.id).where(
            ContactPoint.digest == digest, ContactPoint.channel == str(Channel.SMS)
        )
    )
    return audit.Actor(audit.ActorKind.RESIDENT, id=None if contact is None else str(contact), origin="sms")


def stop(session: Session, sender_id: int, digest: bytes) -> None:
    """STOP to a number stops all controllers on that number."""
    actor = _actor(session, digest)
    for controller in _controllers(session, sender_id):
        added = consent.suppress(
            session,
            channel=str(Channel.SMS),
            digest=digest,
            digest_key=crypto.keyring().index_id,
            controller=controller,
            reason="stop",
            sender_id=sender_id,
        )
        if added:
            audit.record(
                session,
                event="suppression:add",
                subject=f"sender:{sender_id}",
                actor=actor,
                organisation=controller,
                detail={"reason": "stop"},
            )


def start(session: Session, sender_id: int, digest: bytes) -> None:
    """START undoes what STOP to the same number did, and only that."""
    lifted = session.execute(
        sa.update(Suppression)
        .where(
            Suppression.digest == digest,
            Suppression.channel == str(Channel.SMS),
            Suppression.sender_id.in_(sa.select(Sender.id).where(Sender.address == _address(sender_id))),
            Suppression.reason.in_(("stop", "provider")),
            Suppression.lifted_at.is_(None),
        )
        .values(lifted_at=sa.func.now())
        .returning(Suppression.controller_id)
    ).scalars()
    actor = _actor(session, digest)
    for controller in lifted:
        audit.record(
            session,
            event="suppression:lift",
            subject=f"sender:{sender_id}",
            actor=actor,
            organisation=controller,
            detail={"reason": "start"},
        )
