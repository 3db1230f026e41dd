"""The ways in: officers enrol, and what service messages hold that opens a page."""

from __future__ import annotations

import re
from decimal import Decimal
from uuid import UUID

import pyotp
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import new_id, utc_now
from app.models.service_messages import ServiceMessage
from app.models.sign_in import Passkey
from app.models.staff import Staff
from app.services import enrolment, invitations, passwords, recovery_codes, sessions
from app.services.confirmations.rations import Terms
from app.services.factors import Shown
from app.services.sessions import Whereabouts
from tests.factories import ACTOR

PASSWORD = "copper kettle upstairs 47"
DESK = Whereabouts("192.0.2.0/24", "192.0.2.0/24", "Firefox on Linux")


def enrol(session: Session, *, slug: str, team: str | None, address: str, name: str, site: str) -> Staff:
    """An officer who accepted the invitation, with PASSWORD."""
    now = utc_now()
    token = invite(session, slug=slug, team=team, address=address, name=name, site=site)
    enrolment.choose(session, token, passwords.make(PASSWORD), now=now)
    opened = enrolment.opened(session, token, now=now)
    assert opened.secret is not None
    code = pyotp.TOTP(opened.secret).now()
    assert enrolment.finish(session, token, Shown(typed=code), where=DESK, now=now)
    return session.get_one(Staff, opened.staff_id)


def invite(session: Session, *, slug: str, team: str | None, address: str, name: str, site: str) -> str:
    """Somebody is invited; the token of the invitation."""
    sent = invitations.invite(
        session,
        organisation=slug,
        email=address,
        name=name,
        team=team,
        public_url=site,
        fictional=True,
        actor=ACTOR,
        now=utc_now(),
    )
    return sent.url.rpartition("/")[2]


def ways_in(session: Session, officer: Staff) -> tuple[UUID, str, UUID]:
    """A passkey that nobody holds, recovery codes, and a second session: (passkey, a code, session)."""
    passkey, now = new_id(), utc_now()
    session.add(
        Passkey(
            id=passkey,
            credential_id=passkey.bytes,
            staff_id=officer.id,
            public_key=b"x",
            sign_count=0,
            name="A key",
        )
    )
    token = sessions.begin(session, staff=officer, where=DESK, now=now)
    found = sessions.find(session, token, now=now)
    assert found is not None
    return passkey, recovery_codes.make(session, officer.id, now=now)[0], found.id


def link_in(session: Session, address: str, part: str) -> str:
    """The token of a link in the newest service message to an address; ``part``: how its path begins."""
    rows = session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.created_at.desc()))
    for message in rows:
        found = re.search(re.escape(part) + r"([\w.~-]+)", message.text or "")
        if message.address == address and found:
            return found[1]
    raise AssertionError(f"no message to {address} holds a link {part}")


def code_in(session: Session, address: str) -> str:
    """The six digits in the newest service message to an address."""
    for message in session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.created_at.desc())):
        found = re.search(r"(?<![0-9])[0-9]{6}(?![0-9])", message.text or "")
        if message.address == address and found:
            return found[0]
    raise AssertionError(f"no message to {address} holds a code")


def terms(public_url: str) -> Terms:
    """Codes as asked for from a network of a test's own."""
    return Terms("198.51.100.0/24", public_url, 100_000, 100_000, 10_000_000, Decimal(4))
