"""Contact points and what they subscribe to: from an address as typed to a row, and its erasure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import new_contact_id, utc_now
from app.errors import Invalid, Missing
from app.models.alerts import TOPICS
from app.models.people import (
    ContactPoint,
    Place,
    PlaceArea,
    Subscription,
)
from app.services import areas, consent, processing
from app.services.area_changes import outlines
from app.services.erasure import engine
from messaging import email_address, phone
from messaging.types import Channel

DIGEST_KIND = {Channel.EMAIL: "email", Channel.SMS: "phone"}


@dataclass(frozen=True, slots=True)
class Address:
    """An address that may be used: as it is sent to, and the normal form that is digested."""

    channel: Channel
    as_sent: str
    form: str
    form_version: int


def made_up(email: str) -> bool:
    """Whether an e-mail address is of those that reach nobody, and only a sandbox may be given."""
    try:
        read_address(Channel.EMAIL, email)
    except Invalid:
        return True
    return False


def read_address(
    channel: Channel, typed: str, *, regions: Sequence[str] = ("GB",), fictional: bool = False
) -> Address:
    """Check an address as typed; Invalid says in plain English why it cannot be used.

    ``fictional`` admits the drama range and special-use domains: the sandbox's alone.
    """
    try:
        if channel is Channel.EMAIL:
            mail = email_address.parse(typed, allow_special_use=fictional)
            return Address(channel, mail.as_typed, mail.form, email_address.FORM_VERSION)
        number = phone.parse_mobile(typed, tuple(regions), allow_fictional=fictional)
        return Address(channel, number, number, phone.FORM_VERSION)
    except (email_address.EmailError, phone.PhoneError) as error:
        raise Invalid("address", error.message) from None


def stored_address(channel: str, as_sent: str) -> Address:
    """An address that was checked when it came, as it was kept."""
    if channel == Channel.SMS:
        return Address(Channel.SMS, as_sent, as_sent, phone.FORM_VERSION)
    mail = email_address.parse(as_sent, allow_special_use=True)
    return Address(Channel.EMAIL, as_sent, mail.form, email_address.FORM_VERSION)


def is_fictional(address: Address) -> bool:
    """Whether an address is kept for examples: whoever has it is synthetic."""
    if address.channel is Channel.SMS:
        return phone.is_fictional(address.as_sent)
    return email_address.is_special_use(address.form)


def digest(address: Address) -> bytes:
    return crypto.keyring().digest(DIGEST_KIND[address.channel], address.form)


def find_contact(session: Session, address: Address) -> ContactPoint | None:
    """By exact address; nothing else finds a person."""
    return session.scalar(
        sa.select(ContactPoint).where(
            ContactPoint.channel == address.channel, ContactPoint.digest == digest(address)
        )
    )


def add_contact(
    session: Session,
    address: Address,
    *,
    actor: audit.Actor,
    salutation: str | None = None,
    confirmed_at: datetime | None = None,
    synthetic: bool = False,
    controller: UUID | None = None,
) -> ContactPoint:
    """The contact point of an address: the one that is there, or a new one. Shared by all who use it.

    ``controller``: for whom it is added, as the record says it.
    """
    if salutation is not None and (len(salutation) > 100 or "\x00" in salutation):
        raise Invalid("salutation", "The name must be at most 100 characters.")
    keyring = crypto.keyring()
    added = session.execute(
        insert(ContactPoint)
        .values(
            {
                ContactPoint.id: new_contact_id(),
                ContactPoint.channel: str(address.channel),
                ContactPoint.address: address.as_sent,
                ContactPoint.digest: digest(address),
                ContactPoint.digest_key: keyring.index_id,
                ContactPoint.form_version: address.form_version,
                ContactPoint.salutation: salutation,
                ContactPoint.confirmed_at: confirmed_at,
                ContactPoint.synthetic: synthetic,
            }
        )
        .on_conflict_do_nothing(index_elements=["channel", "digest"])
        .returning(ContactPoint.id)
    ).scalar_one_or_none()
    contact = find_contact(session, address)
    if contact is None:  # erased between the two statements
        raise Missing("This address was being erased. Please try again.")
    if added is not None:
        audit.record(
            session,
            event="contact:create",
            subject=f"contact:{contact.id}",
            actor=actor,
            organisation=controller,
            s62=processing.s62(session, controller, audit.S62.COLLECTION),
            detail={"channel": str(address.channel)},
        )
    return contact


def confirm(
    session: Session,
    contact: ContactPoint,
    *,
    actor: audit.Actor,
    now: datetime | None = None,
    controller: UUID | None = None,
) -> None:
    """The holder proved that the address is theirs."""
    if contact.confirmed_at is None:
        contact.confirmed_at = now or utc_now()
        session.flush()
        audit.record(
            session,
            event="contact:confirm",
            subject=f"contact:{contact.id}",
            actor=actor,
            organisation=controller,
            s62=processing.s62(session, controller, audit.S62.ALTERATION),
        )


def subscribe(
    session: Session,
    contact: ContactPoint,
    controller: UUID,
    *,
    postcode: str,
    topics: Sequence[str],
    how: str,
    actor: audit.Actor,
    wording: int | None = None,
) -> Place:
    """Consent, a place by postcode and its topics, for one contact point.

    The same again changes nothing. ``wording`` is the id of what was shown. Raises PostcodeError or Invalid.
    """
    unknown = set(topics) - set(TOPICS)
    if unknown or not topics:
        raise Invalid("topics", f"Choose from these topics: {', '.join(TOPICS)}.")
    ward = areas.find_ward(session, postcode)
    if consent.give(session, contact, controller, how=how, actor=actor, wording=wording):
        # Who had left and comes back gets what was chosen now, not all that was chosen before.
        session.execute(
            sa.update(Subscription)
            .where(
                Subscription.contact_id == contact.id,
                Subscription.controller_id == controller,
                Subscription.ended_at.is_(None),
            )
            .values(ended_at=sa.func.now())
        )
    consent.lift_topics(session, contact, controller, topics)
    place = settle(session, contact, controller, ward, topics)
    audit.record(
        session,
        event="subscription:add",
        subject=f"contact:{contact.id}",
        actor=actor,
        organisation=controller,
        area=ward.code,
        s62=processing.s62(session, controller, audit.S62.COLLECTION),
        detail={"topics": len(topics)},
    )
    return place


def settle(
    session: Session, contact: ContactPoint, controller: UUID, ward: areas.Ward, topics: Sequence[str]
) -> Place:
    """A place by postcode with these topics, under a consent that stands. The same again changes nothing."""
    place = session.scalar(
        sa.select(Place)
        .join(Subscription, Subscription.place_id == Place.id)
        .where(
            Subscription.contact_id == contact.id,
            Place.controller_id == controller,
            Place.postcode == ward.postcode,
            Subscription.ended_at.is_(None),
        )
        .limit(1)
    )
    if place is None:
        place = Place(controller_id=controller, kind="postcode", postcode=ward.postcode, at=ward.at)
        session.add(place)
        session.flush()
        session.add(
            PlaceArea(
                place_id=place.id, area_id=ward.area_id, release_id=ward.release, valid_from=utc_now().date()
            )
        )
        session.flush()
        outlines.enter(session, [place.id], release=ward.release, day=utc_now().date())
    for topic in dict.fromkeys(topics):
        session.execute(
            insert(Subscription)
            .values(place_id=place.id, contact_id=contact.id, controller_id=controller, topic=topic)
            .on_conflict_do_nothing()
        )
    return place


def erase(session: Session, contact_id: int, *, actor: audit.Actor, now: datetime | None = None) -> None:
    """Erase a contact point everywhere (``app.services.erasure``). The suppression digest stays; twice is once."""
    engine.contacts(session, [contact_id], actor=actor, now=now)
