"""Browsers that are signed in, kept here and not in the cookie: what ends here has ended everywhere."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.models.staff import Staff, WebSession

# An officer goes from the desk to the street and back; a resident looks once.
STAFF_IDLE, STAFF_LONGEST = timedelta(hours=1), timedelta(hours=12)
HALF_LONGEST = timedelta(minutes=10)
RESIDENT_LONGEST = timedelta(minutes=30)
MOST = 20  # of one officer: what comes on top ends the oldest
_TOUCH = timedelta(minutes=1)
LONGEST_TOKEN = 100


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who a browser belongs to: staff (``half``: the second factor is still to come), or the holder of an address.

    ``id`` stays when the token is renewed; ``digest`` is what is kept of the token.
    """

    digest: bytes
    id: UUID
    staff: Staff | None = None
    contact: ContactPoint | None = None
    half: bool = False
    shown_at: datetime | None = None  # when a factor was last shown

    @property
    def staff_id(self) -> UUID | None:
        return self.staff.id if self.staff and not self.half else None


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a browser is: its network for limits, the same for the record, and what it is, in plain words."""

    neighbours: str
    network: str
    browser: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A session as its bearer sees it. ``here``: it is the one that asks."""

    id: UUID
    began_at: datetime
    seen_at: datetime
    network: str | None
    browser: str | None
    here: bool


def digest(token: str) -> bytes:
    """What is kept of a token: it is random, so a plain hash hides it well enough."""
    return sha256(b"wardlink.session" + token.encode("utf-8", "replace")).digest()


def begin(
    session: Session,
    *,
    staff: Staff | None = None,
    contact_id: int | None = None,
    half: bool = False,
    where: Whereabouts | None = None,
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
            network=where.network if where and staff else None,
            agent=where.browser if where and staff else None,
        )
    )
    session.flush()
    if staff and not half:
        session.execute(sa.update(Staff).where(Staff.id == staff.id).values(signed_in_at=now))
    if staff is not None and not half:
        _end_oldest(session, staff.id)
    return token


def _end_oldest(session: Session, staff_id: UUID) -> None:
    newest = (
        sa.select(WebSession.digest)
        .where(WebSession.staff_id == staff_id)
        .order_by(WebSession.created_at.desc(), WebSession.digest)
        .offset(MOST)
    )
    session.execute(sa.delete(WebSession).where(WebSession.digest.in_(newest)))


def find(session: Session, token: str, *, now: datetime) -> Visitor | None:
    """Whose session a token opens; None when it opens none, or no longer."""
    if not token or len(token) > LONGEST_TOKEN:
        return None
    key = digest(token)
    stands = sa.select(Organisation.id).where(
        Organisation.id == Staff.organisation_id, Organisation.ended_at.is_(None)
    )
    works = stands.correlate(Staff).exists()
    row = session.execute(
        sa.select(WebSession, Staff, ContactPoint)
        .select_from(WebSession)
        .outerjoin(Staff, sa.and_(Staff.id == WebSession.staff_id, Staff.state == "active", works))
        .outerjoin(ContactPoint, ContactPoint.id == WebSession.contact_id)
        .where(WebSession.digest == key, WebSession.expires_at > now)
    ).one_or_none()
    if row is None:
        return None
    found, staff, contact = row
    if staff is None and contact is None:  # has left meanwhile, or the organisation has ended
        return None
    if staff is not None:
        if found.seen_at + STAFF_IDLE <= now:
            return None
        if found.seen_at + _TOUCH <= now:
            found.seen_at = now
            session.flush()
    return Visitor(key, found.id, staff, contact, found.half, found.stepped_up_at)


def renew(session: Session, key: bytes, where: Whereabouts, *, now: datetime) -> str | None:
    """A factor was shown again: the same session under another token, fresh. None when it has ended meanwhile.

    It lasts no longer for that.
    """
    old = session.execute(
        sa.delete(WebSession)
        .where(WebSession.digest == key, WebSession.half.is_(False))
        .returning(WebSession.id, WebSession.staff_id, WebSession.created_at, WebSession.expires_at)
    ).one_or_none()
    if old is None:
        return None
    token = secrets.token_urlsafe(32)
    session.add(
        WebSession(
            digest=digest(token),
            id=old.id,
            staff_id=old.staff_id,
            created_at=old.created_at,
            seen_at=now,
            expires_at=old.expires_at,
            stepped_up_at=now,
            network=where.network,
            agent=where.browser,
        )
    )
    session.flush()
    return token


def listed(session: Session, staff_id: UUID, *, here: UUID, now: datetime) -> list[Listed]:
    """Somebody's sessions that still open something, the newest first; never more than MOST."""
    rows = session.scalars(
        sa.select(WebSession)
        .where(
            WebSession.staff_id == staff_id,
            WebSession.half.is_(False),
            WebSession.expires_at > now,
            WebSession.seen_at > now - STAFF_IDLE,
        )
        .order_by(WebSession.created_at.desc(), WebSession.digest)
        .limit(MOST)
    )
    return [
        Listed(one.id, one.created_at, one.seen_at, one.network, one.agent, one.id == here) for one in rows
    ]


def end(session: Session, key: bytes) -> None:
    """Close one session, by its digest. Twice is once."""
    session.execute(sa.delete(WebSession).where(WebSession.digest == key))


def end_all(session: Session, *, staff_id: UUID | None = None, contact_id: int | None = None) -> None:
    """Close every session of somebody."""
    mine = WebSession.staff_id == staff_id if staff_id else WebSession.contact_id == contact_id
    session.execute(sa.delete(WebSession).where(mine))


def end_others(session: Session, staff_id: UUID, *, keep: UUID) -> int:
    """Close every session of somebody's but one; how many there were. The record is the caller's."""
    mine = sa.delete(WebSession).where(WebSession.staff_id == staff_id, WebSession.id != keep)
    return len(session.scalars(mine.returning(WebSession.id)).all())


def end_own(
    session: Session, staff_id: UUID, *, only: UUID | None = None, keep: UUID, actor: audit.Actor
) -> int:
    """Somebody ends ``only`` one session of theirs, or all but the one to ``keep``; how many ended."""
    if only is None:
        gone = end_others(session, staff_id, keep=keep)
    else:
        mine = sa.delete(WebSession).where(WebSession.staff_id == staff_id, WebSession.id == only)
        gone = len(session.scalars(mine.returning(WebSession.id)).all())
    if gone:
        owner = session.get_one(Staff, staff_id)
        audit.record(
            session,
            event="staff:end-sessions",
            subject=f"staff:{staff_id}",
            actor=actor,
            organisation=owner.organisation_id,
            detail={"sessions": gone},
        )
    return gone
