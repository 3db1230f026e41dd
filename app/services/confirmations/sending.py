"""A code on its way to one address: what the message says, and when it is only pretended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.models.confirmations import Confirmation
from app.services import people, post
from app.services.confirmations import rations, tokens
from app.services.confirmations.rations import MOST_TRIES, Terms
from messaging.notices import Notice, notice
from messaging.types import Channel

CODE_LASTS = timedelta(minutes=30)
SUBSCRIBE, MANAGE = "subscribe", "manage"
_KIND = {SUBSCRIBE: "confirm", MANAGE: "manage"}


@dataclass(frozen=True, slots=True)
class Letter:
    """On whose behalf a code goes. ``about``: what somebody asked for, "to send alerts about Uxbridge ward to this
    address"; ``linked``: a text has the link as well, for who has no page open to type the code on.
    """

    controller: UUID | None
    controller_name: str
    about: str = ""
    linked: bool = False


def send(
    session: Session,
    confirmation: Confirmation,
    letter: Letter,
    terms: Terms,
    *,
    now: datetime,
    known: bool = True,
) -> None:
    """Queue a new code to the confirmation's address; it takes the place of the one before.

    Without a ration nothing leaves, and a code that is still good stays good. For an address that is not
    ``known`` here everything is done but to send: the message has run out when it is queued, so that the answer
    takes as long and no worker takes it.
    """
    dead = confirmation.code_expires_at is None or confirmation.code_expires_at <= now
    if dead or confirmation.tries >= MOST_TRIES:
        _replace(confirmation, tokens.no_code(), now)
    if not rations.may_send(session, confirmation, terms, now=now, known=known):
        session.flush()
        return
    code, link = tokens.new_code(), tokens.new()
    if _queue(session, confirmation, letter, terms, code, link, now=now, known=known):
        _replace(confirmation, tokens.code_digest(confirmation.id, code) if known else tokens.no_code(), now)
        confirmation.link_digest = tokens.digest(link)
        confirmation.sent += 1
    session.flush()


def _replace(confirmation: Confirmation, code_digest: bytes, now: datetime) -> None:
    confirmation.code_digest = code_digest
    confirmation.code_expires_at = now + CODE_LASTS
    confirmation.tries = 0


def _queue(
    session: Session,
    confirmation: Confirmation,
    letter: Letter,
    terms: Terms,
    code: str,
    link: str,
    *,
    now: datetime,
    known: bool,
) -> bool:
    address = people.stored_address(confirmation.channel, confirmation.address)
    not_me = f"{terms.public_url}/not-me/{tokens.not_me(confirmation.id)}"
    expires_at = now + CODE_LASTS if known else now
    synthetic = people.is_fictional(address)
    kind = _KIND[confirmation.purpose]
    confirm = f"{terms.public_url}/confirm/{link}"
    if confirmation.channel == Channel.SMS:
        words = text(code, not_me, confirm if letter.linked else "")
        if not rations.may_spend(session, post.segments_of(words) if known else 0, terms, now=now):
            return False
        queued = post.queue_text(
            session,
            kind=kind,
            address=address.as_sent,
            text=words,
            controller=letter.controller,
            contact_id=confirmation.contact_id,
            expires_at=expires_at,
            synthetic=synthetic,
            now=now,
        )
        return queued is not None
    post.queue_email(
        session,
        kind=kind,
        address=address.as_sent,
        content=email(confirmation.purpose, letter, code, confirm, not_me),
        controller=letter.controller,
        contact_id=confirmation.contact_id,
        stop_url=not_me,
        expires_at=expires_at,
        synthetic=synthetic,
        now=now,
    )
    return True


def text(code: str, not_me: str, confirm: str = "") -> str:
    """One segment of GSM-7 with a host of up to 24 characters, two with any; with the link to confirm, two or three."""
    link = f" Or confirm here: {confirm}" if confirm else ""
    return f"Wardlink: your code is {code}.{link} If you did not ask for it, ignore this or tell us: {not_me}"


def email(purpose: str, letter: Letter, code: str, link: str, not_me: str) -> Notice:
    """Nothing that was typed by whoever asked stands in it: it may go to a stranger."""
    if purpose == SUBSCRIBE:
        subject, button = "Confirm your e-mail address", "Confirm my e-mail address"
        first = f"Somebody, we hope you, asked {letter.controller_name} {letter.about}."
        last = "Or press the button. It works for 7 days. Until you confirm, we send you nothing more."
    else:
        subject, button = "See or change your alerts", "See or change my alerts"
        first = "Somebody, we hope you, asked to see or change the alerts that come to this address."
        last = "Or press the button. It works for 30 minutes too, and only once."
    paragraphs = [
        first,
        f"Your code is {code}. Type it on the page that asked for it. It works for 30 minutes.",
        last,
        "We never ask for this code by phone. Do not give it to anybody.",
    ]
    closing: list[str | tuple[str, str]] = [
        "If you did not ask for this, do nothing, or tell us and we send no more codes to this address:",
        ("It was not me", not_me),
    ]
    return notice(
        subject,
        paragraphs,
        button=(button, link),
        controller_name=letter.controller_name,
        closing=closing,
    )
