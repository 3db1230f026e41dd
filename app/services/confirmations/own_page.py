"""Opening the page of one's own alerts: a code, or a fresh link, to an address that is known here.

Whether it is known shows nowhere: for an unknown address everything happens but the sending, in as many steps.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Missing
from app.models.confirmations import Confirmation
from app.models.consent import Consent
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.services import people, sessions
from app.services.confirmations import entering, rations, tokens
from app.services.confirmations.entering import Entered
from app.services.confirmations.rations import Terms
from app.services.confirmations.sending import CODE_LASTS, MANAGE, Letter, send
from app.services.confirmations.signups import confirmation_of, mask
from app.services.people import Address
from messaging.types import Channel

# The page of a code that was asked for by the link in a message must not say where the code went.
QUIET = "q."
_NOBODY = 0


@dataclass(frozen=True, slots=True)
class CodePage:
    """What the page that asks for the code may say. ``masked`` is empty where it must not say the address."""

    channel: str
    masked: str


def ask(session: Session, address: Address, terms: Terms, *, now: datetime) -> str:
    """Send a code to an address if its own page exists; the token of the page that asks for it. TooMany."""
    contact = people.find_contact(session, address)
    return _begin(session, address, contact, terms, now=now, prefix="")


def ask_by_link(session: Session, contact_id: int, terms: Terms, *, now: datetime) -> str:
    """The same for the address that a message came to. TooMany."""
    contact = session.get(ContactPoint, contact_id)
    if contact is not None:
        address = people.stored_address(contact.channel, contact.address)
    else:  # erased: a name that nobody can have, so that no two share a limit
        nobody = f"{secrets.token_hex(16)}@erased.example"
        address = Address(Channel.EMAIL, nobody, nobody, 1)
    return _begin(session, address, contact, terms, now=now, prefix=QUIET)


def _begin(
    session: Session,
    address: Address,
    contact: ContactPoint | None,
    terms: Terms,
    *,
    now: datetime,
    prefix: str,
) -> str:
    rations.knock(session, terms, 1, now=now)
    known = contact is not None and contact.confirmed_at is not None
    controller, name = _writer(session, contact.id if known and contact else _NOBODY)
    token = prefix + tokens.new()
    confirmation = confirmation_of(address, MANAGE, now=now, expires_at=now + CODE_LASTS)
    confirmation.contact_id = contact.id if known and contact else None
    confirmation.page_digest = tokens.digest(token)
    session.add(confirmation)
    session.flush()
    send(session, confirmation, Letter(controller, name), terms, now=now, known=known)
    return token


_WRITER = (
    sa.select(Organisation.id, Organisation.name)
    .outerjoin(
        Consent,
        sa.and_(Consent.controller_id == Organisation.id, Consent.contact_id == sa.bindparam("contact")),
    )
    .order_by(
        (Consent.withdrawn_at.is_(None) & Consent.id.is_not(None)).desc(),
        Consent.given_at.desc().nulls_last(),
        Organisation.name,
    )
    .limit(1)
)


def _writer(session: Session, contact_id: int) -> tuple[UUID | None, str]:
    """The organisation that somebody hears from; for nobody, some organisation."""
    found = session.execute(_WRITER, {"contact": contact_id}).one_or_none()
    return (None, "Wardlink") if found is None else (found[0], found[1])


def page(session: Session, token: str, *, now: datetime) -> CodePage:
    """The page that asks for a code; Missing when there is none, or the code has run out."""
    confirmation = _find(session, token, now)
    quiet = token.startswith(QUIET)
    return CodePage(confirmation.channel, "" if quiet else mask(confirmation.channel, confirmation.address))


def _find(session: Session, token: str, now: datetime, *, lock: bool = False) -> Confirmation:
    query = sa.select(Confirmation).where(
        Confirmation.page_digest == tokens.digest(token),
        Confirmation.purpose == MANAGE,
        Confirmation.expires_at > now,
        Confirmation.used_at.is_(None),
    )
    found = session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise Missing("This page has run out. Ask for a new code.")
    return found


def enter(
    session: Session, token: str, code: str, terms: Terms, *, now: datetime
) -> tuple[Entered, str | None]:
    """A code on that page; with the right one a session, as the token of its cookie. Missing or TooMany."""
    confirmation = _find(session, token, now, lock=True)
    result, found = entering.enter(session, [confirmation], code, terms, now=now)
    return result, open_page(session, found, now=now) if found is not None else None


def open_page(session: Session, confirmation: Confirmation, *, now: datetime) -> str:
    """Use a confirmation up and open a session; Missing when the address was erased meanwhile."""
    if confirmation.contact_id is None:
        raise Missing("This page has run out. Ask for a new code.")
    confirmation.used_at = now
    session.flush()
    return sessions.begin(session, contact_id=confirmation.contact_id, now=now)
