"""Signing up: what somebody asks for stands apart until each address is proved by its holder.

Two things are asked for in the same way, each under a consent of its own: alerts about a postcode, and a place in the
register of cameras (whose facts ``app.services.register`` keeps, and takes over once an address is proved).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import new_id
from app.errors import Conflict, Invalid, Missing
from app.models.alerts import TOPICS
from app.models.confirmations import Confirmation, Signup
from app.models.organisations import Organisation, Sender, SenderController
from app.services import areas, consent, people, team_entries
from app.services.confirmations import entering, rations, tokens
from app.services.confirmations.entering import Entered
from app.services.confirmations.rations import Terms
from app.services.confirmations.sending import SUBSCRIBE, Letter, send
from app.services.people import Address
from messaging.types import Channel

KEPT = timedelta(days=7)
HOW = "sign-up web"
HOW_REGISTER = "register sign-up"
TO_REGISTER = "to put a camera on its register of cameras, with this address as its owner's"
ALERTS, REGISTER = consent.ALERTS, consent.REGISTER
LONGEST_NAME = 50


@dataclass(frozen=True, slots=True)
class Wanted:
    """One address of a sign-up, as its page shows it."""

    channel: str
    masked: str
    confirmed: bool


@dataclass(frozen=True, slots=True)
class SignupView:
    """A sign-up, as its page shows it."""

    controller: UUID
    controller_name: str
    postcode: str
    ward_name: str
    borough_name: str
    topics: tuple[str, ...]
    addresses: tuple[Wanted, ...]
    purpose: str
    wording: int

    @property
    def confirmed(self) -> int:
        return sum(one.confirmed for one in self.addresses)

    @property
    def finished(self) -> bool:
        return self.confirmed == len(self.addresses)


def can_text(session: Session, controller: UUID) -> bool:
    """Whether an organisation sends text messages at all."""
    found = session.scalar(
        sa.select(Sender.id)
        .join(SenderController, SenderController.sender_id == Sender.id)
        .where(
            SenderController.organisation_id == controller,
            Sender.channel == str(Channel.SMS),
            Sender.active,
        )
        .limit(1)
    )
    return found is not None


def begin(
    session: Session,
    *,
    controller: UUID,
    postcode: str,
    topics: Sequence[str],
    wording: int,
    addresses: Sequence[Address],
    salutation: str | None,
    terms: Terms,
    now: datetime,
) -> str:
    """Keep what was asked for and send a code to each address; the token of the sign-up's page.

    Nothing here looks whether an address is known. Raises PostcodeError, Invalid, Conflict when ``wording`` (the
    id of what was shown) is no longer current, or TooMany.
    """
    wanted = [topic for topic in TOPICS if topic in topics]
    if not wanted:
        raise Invalid("topics", "Choose at least one topic.")
    ward = areas.find_ward(session, postcode)
    name = dict(team_entries.controllers_of_ward(session, ward.area_id)).get(controller)
    if name is None:
        raise Invalid("organisation", "Choose who should send you alerts.")
    asked = Asked(
        controller, name, ward.postcode, f"to send alerts about {ward.name} ward to this address", ALERTS
    )
    _, token = open_signup(
        session,
        asked,
        topics=wanted,
        wording=wording,
        addresses=addresses,
        salutation=salutation,
        terms=terms,
        now=now,
    )
    return token


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked for what (``purpose``), about which postcode; ``words`` say it: "X was asked …"."""

    controller: UUID
    name: str
    postcode: str
    words: str
    purpose: str
    linked: bool = False


def open_signup(
    session: Session,
    asked: Asked,
    *,
    topics: Sequence[str] = (),
    wording: int,
    addresses: Sequence[Address],
    salutation: str | None,
    terms: Terms,
    now: datetime,
) -> tuple[UUID, str]:
    """Keep a sign-up and send a code to each address; its id, and the token of its page. As ``begin``."""
    if not addresses:
        raise Invalid("email", "Enter an e-mail address, a mobile number, or both.")
    if salutation and (len(salutation) > LONGEST_NAME or not salutation.isprintable()):
        raise Invalid("name", f"The name must be at most {LONGEST_NAME} characters.")
    if consent.current_wording(session, asked.purpose).id != wording:
        raise Conflict("What you agree to has changed since you opened the page. Read it and agree again.")
    rations.knock(session, terms, len(addresses), now=now)
    token = tokens.new()
    signup = Signup(
        digest=tokens.digest(token),
        purpose=asked.purpose,
        controller_id=asked.controller,
        postcode=asked.postcode,
        topics=list(topics),
        wording_id=wording,
        salutation=salutation or None,
        created_at=now,
        expires_at=now + KEPT,
    )
    session.add(signup)
    session.flush()
    letter = Letter(asked.controller, asked.name, asked.words, asked.linked)
    for address in addresses:
        confirmation = confirmation_of(address, SUBSCRIBE, now=now, expires_at=signup.expires_at)
        confirmation.signup_id = signup.id
        session.add(confirmation)
        session.flush()
        send(session, confirmation, letter, terms, now=now)
    return signup.id, token


def confirmation_of(address: Address, purpose: str, *, now: datetime, expires_at: datetime) -> Confirmation:
    """An address to be proved; not sent to yet."""
    return Confirmation(
        id=new_id(),
        purpose=purpose,
        channel=str(address.channel),
        address=address.as_sent,
        digest=people.digest(address),
        digest_key=crypto.keyring().index_id,
        form_version=address.form_version,
        tries=0,
        sent=0,
        created_at=now,
        expires_at=expires_at,
    )


def _letter(signup: Signup, name: str, ward: str) -> Letter:
    """Of a new code: it goes to whoever has the page of the sign-up open."""
    if signup.purpose == REGISTER:
        return Letter(signup.controller_id, name, TO_REGISTER, True)
    return Letter(signup.controller_id, name, f"to send alerts about {ward} ward to this address")


def view(session: Session, token: str, *, purpose: str = ALERTS, now: datetime) -> SignupView:
    """The sign-up of a page; Missing when there is none, or it has vanished."""
    return view_of(session, _find(session, token, now, purpose))


def view_of(session: Session, signup: Signup) -> SignupView:
    ward = areas.find_ward(session, signup.postcode)
    return SignupView(
        signup.controller_id,
        session.get_one(Organisation, signup.controller_id).name,
        signup.postcode,
        ward.name,
        ward.borough_name,
        tuple(signup.topics),
        tuple(
            Wanted(c.channel, mask(c.channel, c.address), c.used_at is not None)
            for c in confirmations(session, signup.id)
        ),
        signup.purpose,
        signup.wording_id,
    )


def _find(session: Session, token: str, now: datetime, purpose: str) -> Signup:
    signup = session.scalar(
        sa.select(Signup).where(
            Signup.digest == tokens.digest(token), Signup.expires_at > now, Signup.purpose == purpose
        )
    )
    if signup is None:
        raise Missing("This sign-up is no longer here.")
    return signup


def confirmations(session: Session, signup_id: UUID, *, lock: bool = False) -> list[Confirmation]:
    """The addresses of a sign-up, e-mail first."""
    query = (
        sa.select(Confirmation)
        .where(Confirmation.signup_id == signup_id)
        .order_by(Confirmation.channel, Confirmation.id)
    )
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return list(session.scalars(query))


def mask(channel: str, address: str) -> str:
    """Enough to see which of one's own addresses is meant, and a typing error in its end."""
    if channel == Channel.SMS:
        return f"••• {address[-3:]}"
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}"


def again(session: Session, token: str, terms: Terms, *, purpose: str = ALERTS, now: datetime) -> None:
    """Send new codes to the addresses that are not confirmed yet. Missing or TooMany."""
    signup = _find(session, token, now, purpose)
    waiting = [c for c in confirmations(session, signup.id, lock=True) if c.used_at is None]
    if not waiting:
        return
    rations.knock(session, terms, len(waiting), now=now)
    seen = view_of(session, signup)
    letter = _letter(signup, seen.controller_name, seen.ward_name)
    for confirmation in waiting:
        send(session, confirmation, letter, terms, now=now)


def enter(
    session: Session,
    token: str,
    code: str,
    terms: Terms,
    *,
    purpose: str = ALERTS,
    actor: audit.Actor,
    now: datetime,
) -> Entered:
    """A code on the page of a sign-up: it may be that of any of its addresses. Missing or TooMany.

    The same right code twice is once.
    """
    return entered(session, token, code, terms, purpose=purpose, actor=actor, now=now)[0]


def entered(
    session: Session, token: str, code: str, terms: Terms, *, purpose: str, actor: audit.Actor, now: datetime
) -> tuple[Entered, Confirmation | None]:
    """As ``enter``, with what the code has just proved."""
    signup = _find(session, token, now, purpose)
    every = confirmations(session, signup.id, lock=True)
    waiting = [c for c in every if c.used_at is None]
    if not waiting or any(entering.matches(c, code) for c in every if c.used_at is not None):
        return Entered.RIGHT, None
    result, found = entering.enter(session, waiting, code, terms, now=now)
    if found is not None:
        accept(session, signup, found, actor=actor, now=now)
    return result, found


def accept(
    session: Session, signup: Signup, confirmation: Confirmation, *, actor: audit.Actor, now: datetime
) -> None:
    """The holder proved the address: only now it becomes a contact point, with consent, place and topics."""
    address = people.stored_address(confirmation.channel, confirmation.address)
    contact = people.add_contact(
        session,
        address,
        actor=actor,
        salutation=signup.salutation,
        synthetic=people.is_fictional(address),
        controller=signup.controller_id,
    )
    if signup.salutation and not contact.salutation:
        contact.salutation = signup.salutation
    people.confirm(session, contact, actor=actor, now=now, controller=signup.controller_id)
    if signup.purpose == REGISTER:
        consent.give(
            session,
            contact,
            signup.controller_id,
            how=HOW_REGISTER,
            actor=actor,
            purpose=REGISTER,
            wording=signup.wording_id,
        )
    else:
        people.subscribe(
            session,
            contact,
            signup.controller_id,
            postcode=signup.postcode,
            topics=signup.topics,
            how=HOW,
            actor=actor,
            wording=signup.wording_id,
        )
    confirmation.contact_id = contact.id
    confirmation.used_at = now
    session.flush()
