"""What an owner reads and answers behind the link of a request. No account: the signed link is the authority.

An answer takes two transactions. The first puts on the record that somebody answers by this link, and is committed; the
second takes the ticket and writes the answer, and with "have it" or "call me" the disclosure and its entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import EncryptedText
from app.errors import Invalid, Missing, TooMany
from app.models.people import ContactPoint
from app.models.register import CameraRequest, Investigation
from app.services import limits
from app.services.register.refusals import refusals
from app.services.register.requests import asker, reference

ANSWERS = {
    "have-it": "I have it",
    "have-not": "I looked, and it is not there",
    "overwritten": "It has been recorded over",
    "call-me": "Call me about it",
    "not-again": "Do not ask me about this again",
}
# With these the asker learns who answered.
TELLING = ("have-it", "call-me")
LONGEST_NOTE = 500
PER_HOUR = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as an owner reads it. ``portal``: name and address of where footage is handed over."""

    reference: str
    asker: str
    look_for: str
    window_from: datetime
    window_to: datetime
    expires_at: datetime
    open: bool
    outcome: str | None
    portal: tuple[str, str] | None


def asked(session: Session, *, contact_id: int, dispatch_id: UUID, now: datetime) -> Asked:
    """What the holder of a link was asked. Missing when the address was erased or the request is no longer kept."""
    row = session.execute(
        sa.select(CameraRequest, Investigation.reference)
        .join(Investigation, Investigation.id == CameraRequest.investigation_id)
        .where(CameraRequest.dispatch_id == dispatch_id)
    ).one_or_none()
    if row is None or session.get(ContactPoint, contact_id) is None:
        raise Missing("This link no longer works.")
    request, case = row
    who = asker(session, request.organisation_id)
    portal = None
    if who.portal_name and who.portal_url:
        portal = (who.portal_name, portal_address(who.portal_url, case, reference(request.id)))
    return Asked(
        reference=reference(request.id),
        asker=who.name,
        look_for=request.look_for,
        window_from=request.window_from,
        window_to=request.window_to,
        expires_at=request.expires_at,
        open=request.state == "asking" and request.expires_at > now,
        outcome=request.outcome,
        portal=portal,
    )


def portal_address(template: str, case: str, request: str) -> str:
    """A force's portal for one case and request."""
    return template.replace("{reference}", quote(case, safe="")).replace("{request}", quote(request, safe=""))


_OPEN = sa.text("SELECT register.open_answer(:dispatch, :contact)").bindparams(
    sa.bindparam("dispatch", type_=sa.Uuid)
)
_ANSWER = sa.text("SELECT register.answer(:ticket, :contact, :answer, :note)").bindparams(
    sa.bindparam("ticket", type_=sa.Uuid),
    sa.bindparam("note", type_=EncryptedText("request_recipients.note")),
)


def checked(answer: str, note: str) -> tuple[str, str | None]:
    """An answer as typed. Invalid naming the field."""
    if answer not in ANSWERS:
        raise Invalid("answer", "Choose an answer.")
    told = note.strip()
    if len(told) > LONGEST_NOTE:
        raise Invalid("note", f"The note must be {LONGEST_NOTE} characters or fewer.")
    if "\x00" in told or any("\ud800" <= c <= "\udfff" for c in told):
        raise Invalid("note", "This holds a character that cannot be used. Type it again.")
    return answer, told or None


def begin(session: Session, *, contact_id: int, dispatch_id: UUID, now: datetime) -> UUID:
    """Put on the record that somebody answers; the ticket to do it, once this transaction is committed.

    Raises Conflict when the question is closed, TooMany for the 21st answer in an hour.
    """
    per_hour = limits.Limit("camera-answer", str(contact_id), PER_HOUR, timedelta(hours=1))
    if limits.take(session, [per_hour], now=now) is not None:
        raise TooMany("You have answered many times in the last hour. Try again in an hour.")
    with refusals():
        ticket: UUID = session.execute(_OPEN, {"dispatch": dispatch_id, "contact": contact_id}).scalar_one()
    return ticket


def give(session: Session, ticket: UUID, *, contact_id: int, answer: str, note: str | None) -> None:
    """Write an answer down; a later one takes its place. Raises Conflict (closed, or no good ticket) and Missing when
    they are no longer on the register.
    """
    values = {"ticket": ticket, "contact": contact_id, "answer": answer, "note": note}
    with refusals():
        known: bool = session.execute(_ANSWER, values).scalar_one()
    if not known:
        raise Missing("You are no longer on this register.")
