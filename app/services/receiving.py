"""Replies that come in, by the link of a message or as a text: into the thread of its alert and contact point.

Whatever comes twice is kept once. A new word opens a thread again that was answered or closed.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import new_id
from app.errors import Invalid, Missing, TooMany
from app.models.alerts import Alert
from app.models.ledger import Dispatch
from app.models.organisations import Organisation, Sender, SenderController
from app.models.people import ContactPoint
from app.models.replies import Reply, ReplyMessage
from app.models.teams import Team
from app.services import limits, people, processing, published, stand_ins
from messaging import phone
from messaging.types import Channel, InboundSms

LONGEST_BODY, LONGEST_NAME = 2_000, 60
PER_HOUR = 10
# A text without a word of what it answers is about the last message that its writer had from us.
ANSWERS_WITHIN = timedelta(days=30)
NO_WORDS = "(A text without words. Pictures do not reach us.)"
_ONCE = re.compile(r"[0-9a-f]{32}")
DRAMA = "+447700900"  # reaches nobody: whoever texts from it is synthetic


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reply link is about. ``reader``: the team or organisation that will read the reply."""

    reference: str
    headline: str
    reader: str


@dataclass(frozen=True, slots=True)
class Received:
    """A reply that is now kept, and who will read it. ``known``: it had come before."""

    reply_id: UUID
    contact: ContactPoint
    controller_id: UUID
    reader: str
    known: bool = False


# -- by the link of a message
def asked(session: Session, *, contact_id: int, dispatch_id: UUID) -> Asked:
    """What the holder of a reply link was asked. Missing when the address was erased, or the alert is gone."""
    return _asked(session, contact_id, dispatch_id)[0]


def _asked(session: Session, contact_id: int, dispatch_id: UUID) -> tuple[Asked, Alert, UUID, ContactPoint]:
    contact = session.get(ContactPoint, contact_id)
    row = session.execute(
        sa.select(Alert, Dispatch.controller_id)
        .join(Dispatch, Dispatch.alert_id == Alert.id)
        .where(Dispatch.id == dispatch_id)
    ).one_or_none()
    if row is None or contact is None:
        raise Missing("This link no longer works.")
    alert, controller = row
    reader = reader_name(session, controller, alert.team_id)
    return Asked(alert.reference, published.filled(alert.headline), reader), alert, controller, contact


def receive_web(
    session: Session,
    *,
    contact_id: int,
    dispatch_id: UUID,
    body: str,
    name: str | None,
    once: str,
    origin: str = "web",
    now: datetime,
) -> UUID:
    """Keep a reply from the page of its link; the thread's id. The same ``once`` again is the same reply.

    Raises Missing as ``asked``, Invalid naming the field, TooMany for the eleventh in an hour.
    """
    told = checked(body, LONGEST_BODY, "Write what you want to tell us.")
    called = " ".join((name or "").split()) or None
    if called is not None:
        checked(called, LONGEST_NAME, "", field="name")
    _, alert, controller, contact = _asked(session, contact_id, dispatch_id)
    # The form's token is the browser's own word, so it counts for this contact point alone.
    mark = once if _ONCE.fullmatch(once) else secrets.token_hex(16)
    token = f"web:{contact_id:016x}:{mark}"
    before = _thread_of(session, token)
    if before is not None:
        return before
    per_hour = limits.Limit("reply", str(contact_id), PER_HOUR, timedelta(hours=1))
    if limits.take(session, [per_hour], now=now) is not None:
        raise TooMany("You have sent many replies in the last hour. Try again in an hour.")
    actor = audit.Actor(audit.ActorKind.RESIDENT, id=str(contact_id), origin=origin)
    return _keep(
        session, contact, controller, alert, body=told, name=called, channel="web", once=token,
        actor=actor, now=now,
    )[0]  # fmt: skip


# -- as a text
def receive_text(
    session: Session, message: InboundSms, sender: Sender, digest: bytes, now: datetime
) -> Received | None:
    """Keep a text to one of our numbers in the thread of the alert that its writer last had from that number.

    None for a sender that no text could go back to, like a short code, and for a number without organisations.
    A text that answers nothing goes to the organisation of the number: with several, to the one whose alert
    its writer had last from there, else to the first by name.
    """
    if not message.sender.startswith("+"):
        return None
    contact = _contact(session, message.sender, digest)
    dispatch = _last_dispatch(session, contact.id, sender.address)
    alert: Alert | None = None
    # A request to somebody with a camera is no alert: it is answered by its link.
    if dispatch is not None and dispatch.alert_id is not None and dispatch.id >= _since(now):
        alert, controller = session.get_one(Alert, dispatch.alert_id), dispatch.controller_id
    else:
        found = _controller(session, sender.address, dispatch)
        if found is None:
            return None
        controller = found
    team = alert.team_id if alert else None
    token = f"sms:{message.provider_ref}"
    before = _thread_of(session, token)
    if before is not None:
        return Received(before, contact, controller, reader_name(session, controller, team), known=True)
    actor = audit.Actor(audit.ActorKind.RESIDENT, id=str(contact.id), origin="sms")
    reply_id, new = _keep(
        session, contact, controller, alert, body=message.body.strip() or NO_WORDS, name=None, channel="sms",
        once=token, actor=actor, now=now,
    )  # fmt: skip
    return Received(reply_id, contact, controller, reader_name(session, controller, team), known=not new)


def _contact(session: Session, number: str, digest: bytes) -> ContactPoint:
    """Whose number it is; unknown ones become a contact point without consent, so that they can be answered."""
    found = session.scalar(
        sa.select(ContactPoint).where(ContactPoint.channel == str(Channel.SMS), ContactPoint.digest == digest)
    )
    if found is not None:
        return found
    # Whether a text may go back, by its country, is asked before one does: nobody's word is lost for it.
    address = people.Address(Channel.SMS, number, number, phone.FORM_VERSION)
    actor = audit.Actor(audit.ActorKind.RESIDENT, origin="sms")
    return people.add_contact(session, address, actor=actor, synthetic=number.startswith(DRAMA))


_LAST = sa.text(
    """
    SELECT d.dispatch_id
    FROM deliveries d
    JOIN batches b ON b.dispatch_id = d.dispatch_id AND b.n = d.batch_n
    LEFT JOIN attempts a ON a.dispatch_id = d.dispatch_id AND a.batch_n = d.batch_n AND a.n = d.attempt_n
    -- The number that stood in for the batch's own, if another one did.
    JOIN senders s ON s.id = coalesce(a.sender_id, b.sender_id)
    WHERE d.contact_id = :contact AND d.provider_ref IS NOT NULL AND b.channel = 'sms' AND s.address = :address
    ORDER BY d.dispatch_id DESC LIMIT 1
    """
)


def _last_dispatch(session: Session, contact_id: int, address: str) -> Dispatch | None:
    """The latest sending that reached this contact point from this number, whichever lane it was in."""
    found = session.execute(_LAST, {"contact": contact_id, "address": address}).scalar_one_or_none()
    return None if found is None else session.get(Dispatch, found)


def _since(now: datetime) -> UUID:
    """The least id of a dispatch that a text may still answer: ids begin with their time."""
    return UUID(int=int((now - ANSWERS_WITHIN).timestamp() * 1000) << 80)


def _controller(session: Session, address: str, last: Dispatch | None) -> UUID | None:
    found = session.scalars(
        sa.select(Organisation.id)
        .where(
            sa.exists()
            .where(SenderController.organisation_id == Organisation.id)
            .where(Sender.id == SenderController.sender_id, stand_ins.speaking_from(address))
        )
        .order_by(Organisation.name, Organisation.id)
    ).all()
    if last is not None and last.controller_id in found:
        return last.controller_id
    return found[0] if found else None


# -- keeping
def _thread_of(session: Session, once: str) -> UUID | None:
    return session.scalar(sa.select(ReplyMessage.reply_id).where(ReplyMessage.once == once))


def _keep(
    session: Session,
    contact: ContactPoint,
    controller: UUID,
    alert: Alert | None,
    *,
    body: str,
    name: str | None,
    channel: str,
    once: str,
    actor: audit.Actor,
    now: datetime,
) -> tuple[UUID, bool]:
    """The thread that a word now stands in, and whether it is new. Two at once are one after the other."""
    values: dict[Any, object] = {
        Reply.id: new_id(),
        Reply.controller_id: controller,
        Reply.team_id: alert.team_id if alert else None,
        Reply.alert_id: alert.id if alert else None,
        Reply.contact_id: contact.id,
        Reply.opened_at: now,
        Reply.last_at: now,
    }
    again: dict[str, object] = {
        "state": "new",
        "last_at": sa.func.greatest(Reply.last_at, now),
        "closed_at": None,
        "closed_by": None,
    }
    if name is not None:
        values[Reply.name] = name
    thread = insert(Reply).values(values)
    if name is not None:
        again["name_enc"] = thread.excluded.name_enc
    reply_id = session.execute(
        thread.on_conflict_do_update(
            index_elements=["alert_id", "contact_id", "controller_id"], set_=again
        ).returning(Reply.id)
    ).scalar_one()
    added = session.execute(
        insert(ReplyMessage)
        .values(
            {
                ReplyMessage.id: new_id(),
                ReplyMessage.reply_id: reply_id,
                ReplyMessage.direction: "in",
                ReplyMessage.channel: channel,
                ReplyMessage.body: body,
                ReplyMessage.once: once,
                ReplyMessage.at: now,
            }
        )
        .on_conflict_do_nothing(index_elements=["once"])
        .returning(ReplyMessage.id)
    ).scalar_one_or_none()
    if added is None:
        return reply_id, False
    audit.record(
        session,
        event="reply:receive",
        subject=f"reply:{reply_id}",
        actor=actor,
        organisation=controller,
        s62=processing.s62(session, controller, audit.S62.COLLECTION),
        detail={"message": str(added), "channel": channel},
    )
    return reply_id, True


def reader_name(session: Session, controller: UUID, team: UUID | None) -> str:
    """The team that reads a thread, else the organisation."""
    if team is not None:
        return session.get_one(Team, team).name
    return session.get_one(Organisation, controller).name


def checked(text: str, longest: int, needed: str, *, field: str = "body") -> str:
    """What somebody wrote, stripped. Invalid when it is empty, too long, or cannot be stored."""
    told = text.strip()
    if not told:
        raise Invalid(field, needed)
    if len(told) > longest:
        what = "The name" if field == "name" else "Your message"
        raise Invalid(field, f"{what} must be {longest:,} characters or fewer.")
    if "\x00" in told or any("\ud800" <= c <= "\udfff" for c in told):
        raise Invalid(field, "This holds a character that cannot be used. Type it again.")
    return told
