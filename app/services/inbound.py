"""Texts that people send us: STOP, START and HELP, for every controller of the number; all else is a reply.

A text is acted on once: its id at the provider is remembered for as long as it might come again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import utc_now
from app.errors import Invalid
from app.models.consent import Suppression
from app.models.organisations import Organisation, Sender, SenderController
from app.models.people import ContactPoint
from app.services import answers, consent, limits, people, post, processing, receiving, stand_ins
from messaging.types import Channel, InboundSms, Keyword

THANKS_UP_TO = Decimal("0.5")  # of the day's budget for texts that nobody pays for
REMEMBERED = timedelta(days=30)  # as long as raw events are kept
_LIFETIME = timedelta(hours=1)
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Reckoning:
    """What texts of our own may cost, and where they point: settings of the process.

    The budget is that of all texts which nobody pays for (``limits.spend``).
    """

    public_url: str
    pence_per_day: int
    segment_pence: Decimal
    regions: Sequence[str]


def receive(
    session: Session,
    message: InboundSms,
    *,
    reckoning: Reckoning | None = None,
    now: datetime | None = None,
) -> str | None:
    """Do what a keyword asks, or keep the text as a reply; a problem in words when it is neither.

    The sender's number may be nobody's here: a stop is kept all the same, for it may be
    imported later. Twice is once, so that an old START cannot undo a newer STOP. HELP and replies
    are answered by a text where there is a ``reckoning``.
    """
    now = now or utc_now()
    sender = session.scalar(
        sa.select(Sender)
        .where(Sender.channel == str(Channel.SMS), Sender.address == message.to)
        .order_by(Sender.active.desc(), Sender.id)
        .limit(1)
    )
    if sender is None:
        return "sent to a number that is not ours"
    seen = limits.Limit("text", message.provider_ref, 1, REMEMBERED)
    if limits.take(session, [seen], now=now) is not None:
        return None
    digest = crypto.keyring().digest("phone", message.sender)
    if message.keyword is Keyword.STOP:
        stop(session, sender.id, digest)
    elif message.keyword is Keyword.START:
        start(session, sender.id, digest, sent_at=message.sent_at)
    elif message.keyword is Keyword.HELP:
        if reckoning is not None:
            _help(session, message.sender, sender, digest, reckoning, now)
    else:
        received = receiving.receive_text(session, message, sender, digest, now)
        if received is None:
            return "from a sender that cannot be answered, or to a number of no organisation"
        if reckoning is not None and not received.known:
            _acknowledge(session, received, sender, reckoning, now)
    return None


def _help(
    session: Session, number: str, sender: Sender, digest: bytes, reckoning: Reckoning, now: datetime
) -> None:
    """Say who writes from this number and how to stop; to one number at most once an hour."""
    synthetic = number.startswith(receiving.DRAMA)
    try:
        people.read_address(Channel.SMS, number, regions=reckoning.regions, fictional=True)
    except Invalid:
        return
    once_an_hour = limits.Limit("help", digest, 1, timedelta(hours=1))
    if limits.take(session, [once_an_hour], now=now) is not None:
        return
    controllers = _controllers(session, sender.id)
    names = session.scalars(
        sa.select(Organisation.name)
        .where(Organisation.id.in_(controllers))
        .order_by(Organisation.name)
        .limit(_MOST_NAMED + 1)
    ).all()
    who = ", ".join(names[:_MOST_NAMED]) + (" and others" if len(names) > _MOST_NAMED else "")
    text = (
        f"Wardlink sends alerts about your area from {who or 'the police and councils'}. "
        f"Text STOP to stop them. Change what you get: {reckoning.public_url.rstrip('/')}/manage\n"
        "In an emergency call 999, otherwise 101."
    )
    if not _affordable(session, text, reckoning, now):
        return
    post.queue_text(
        session,
        kind="help",
        address=number,
        text=text,
        controller=controllers[0] if controllers else None,
        sender_id=sender.id,
        expires_at=now + _LIFETIME,
        synthetic=synthetic,
        now=now,
    )


def _acknowledge(
    session: Session, received: receiving.Received, sender: Sender, reckoning: Reckoning, now: datetime
) -> None:
    """Say that it came and who will read it; once a day for a thread, and never to who said stop."""
    contact = received.contact
    if not answers.writable(contact, reckoning.regions):
        return
    if consent.suppression_of(session, contact, received.controller_id) is not None:
        return
    once_a_day = limits.Limit("reply-receipt", str(received.reply_id), 1, timedelta(days=1))
    if limits.take(session, [once_a_day], now=now) is not None:
        return
    text = (
        f"Thank you. {received.reader} will read this. It is not watched all the time. "
        "In an emergency call 999, otherwise 101."
    )
    if not _affordable(session, text, reckoning, now):
        return
    post.queue_text(
        session,
        kind="reply-receipt",
        address=contact.address,
        text=text,
        controller=received.controller_id,
        contact_id=contact.id,
        sender_id=sender.id,
        expires_at=now + _LIFETIME,
        synthetic=contact.synthetic,
        now=now,
    )


def _affordable(session: Session, text: str, reckoning: Reckoning, now: datetime) -> bool:
    # A popular appeal must not use up what codes are sent from: somebody waits for those.
    return limits.spend(
        session,
        post.segments_of(text),
        pence_per_day=reckoning.pence_per_day,
        segment_pence=reckoning.segment_pence,
        now=now,
        up_to=THANKS_UP_TO,
    )


def _controllers(session: Session, sender_id: int) -> list[UUID]:
    return list(
        session.scalars(
            sa.select(SenderController.organisation_id)
            .join(Sender, Sender.id == SenderController.sender_id)
            # A number that stands in for another speaks for all who write from that one.
            .where(stand_ins.speaking_from(_address(sender_id)))
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
                s62=processing.s62(session, controller, audit.S62.ALTERATION),
                detail={"reason": "stop"},
            )


def start(session: Session, sender_id: int, digest: bytes, *, sent_at: datetime | None = None) -> None:
    """START undoes what STOP to the same number did, and only that.

    ``sent_at``: of one that comes late; what was stopped since stays so.
    """
    lifted = session.execute(
        sa.update(Suppression)
        .where(
            Suppression.digest == digest,
            Suppression.channel == str(Channel.SMS),
            Suppression.sender_id.in_(sa.select(Sender.id).where(Sender.address == _address(sender_id))),
            Suppression.reason.in_(("stop", "provider")),
            Suppression.lifted_at.is_(None),
            sa.true() if sent_at is None else Suppression.created_at < sent_at,
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
            s62=processing.s62(session, controller, audit.S62.ALTERATION),
            detail={"reason": "start"},
        )
