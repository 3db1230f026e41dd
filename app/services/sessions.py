"""Browsers that are signed in, kept here and not in the cookie: what ends here has ended everywhere."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.people import ContactPoint
from app.models.staff import Staff, WebSession

# An officer goes from the desk to the street and back; a resident looks once.
STAFF_IDLE, STAFF_LONGEST = timedelta(hours=1), timedelta(hours=12)
HALF_LONGEST = timedelta(minutes=10)
RESIDENT_LONGEST = timedelta(minutes=30)
_TOUCH = timedelta(minutes=1)
LONGEST_TOKEN = 100


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who a browser belongs to: staff (``half``: the second factor is still to come), or the holder of an address."""

    digest: bytes
    staff: Staff | None = None
    contact: ContactPoint | None = None
    half: bool = False
    shown_at: datetime | None = None  # when a factor was last shown

    @property
    def staff_id(self) -> UUID | None:
        return self.staff.id if self.staff and not self.half else None


def digest(token: str) -> bytes:
    """What is kept of a token: it is random, so a plain hash hides it well enough."""
    return sha256(b"wardlink.session" + token.encode("utf-8", "replace")).digest()


def begin(
    session: Session,
    *,
    staff: Staff | None = None,
    contact_id: int | None = None,
    half: bool = False,
    now: datetime,
) -> str:
    """Open a session for staff or for a contact point; the token that its cookie holds."""
    token = secrets.token_urlsafe(32)
    longest = RESIDENT_LONGEST if staff is None else HALF_LONGEST if half else STAFF_LONGEST
    session.add(
        WebSession(
            digest=digest(token),
            staff_id=staff.id if staff else None,
            contact_id=contact_id,
            half=half,
            created_at=now,
            seen_at=now,
            expires_at=now + longest,
            stepped_up_at=now if staff and not half else None,
        )
    )
    session.flush()
    if staff and not half:
        session.execute(sa.update(Staff).where(Staff.id == staff.id).values(signed_in_at=now))
    return token


def find(session: Session, token: str, *, now: datetime) -> Visitor | None:
    """Whose session a token opens; None when it opens none, or no longer."""
    if not token or len(token) > LONGEST_TOKEN:
        return None
    key = digest(token)
    row = session.execute(
        sa.select(WebSession, Staff, ContactPoint)
        .outerjoin(Staff, sa.and_(Staff.id == WebSession.staff_id, Staff.state == "active"))
        .outerjoin(ContactPoint, ContactPoint.id == WebSession.contact_id)
        .where(WebSession.digest == key, WebSession.expires_at > now)
    ).one_or_none()
    if row is None:
        return None
    found, staff, contact = row
    if staff is None and contact is None:  # has left meanwhile
        return None
    if staff is not None:
        if found.seen_at + STAFF_IDLE <= now:
            return None
        if found.seen_at + _TOUCH <= now:
            found.seen_at = now
            session.flush()
    return Visitor(key, staff, contact, found.half, found.stepped_up_at)


def end(session: Session, key: bytes) -> None:
    """Close one session, by its digest. Twice is once."""
    session.execute(sa.delete(WebSession).where(WebSession.digest == key))


def end_all(session: Session, *, staff_id: UUID | None = None, contact_id: int | None = None) -> None:
    """Close every session of somebody."""
    mine = WebSession.staff_id == staff_id if staff_id else WebSession.contact_id == contact_id
    session.execute(sa.delete(WebSession).where(mine))
