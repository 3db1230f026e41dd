"""What owners hear after the question: once before footage is overwritten, and thanks when it has ended.

Service messages, with the same link and no more of the case than the question itself: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.services import post, terms
from app.services.register.requests import reference
from messaging import links
from messaging.links import Signer
from messaging.notices import notice
from messaging.types import Channel

MOST = 200
REMINDER_LIVES, THANKS_LIVE = timedelta(hours=12), timedelta(days=2)
# London's hours in which somebody is told; what is due in the night waits for the morning.
FROM, UNTIL = 8, 21

_REMIND = sa.text("SELECT * FROM register.remind(:now, :most)")
_THANK = sa.text("SELECT * FROM register.thank(:now)")

_Told = tuple[UUID, UUID, UUID, int]  # request, dispatch, organisation, contact


def by_day(now: datetime) -> bool:
    """Whether London is awake."""
    return FROM <= now.astimezone(terms.LONDON).hour < UNTIL


def remind(session: Session, *, signer: Signer, public_url: str, now: datetime) -> int:
    """Remind up to ``MOST`` owners whose footage goes within two days; how many. Again while it returns any."""
    due = [_told(row) for row in session.execute(_REMIND, {"now": now, "most": MOST})]
    _post(
        session,
        due,
        "Your camera's footage will soon be overwritten",
        [
            "Hello,",
            "{name} asked about your camera. If it recorded what they ask about, that will soon be overwritten.",
            "Open the link to see what they ask, how to keep the footage, and to answer.",
        ],
        "your camera may soon record over what we asked about. Please look here",
        signer=signer,
        public_url=public_url,
        expires_at=now + REMINDER_LIVES,
        now=now,
    )
    return len(due)


def thank(session: Session, *, signer: Signer, public_url: str, now: datetime) -> int:
    """Thank whoever answered requests that have ended; how many. Again while it returns any."""
    due = [_told(row) for row in session.execute(_THANK, {"now": now})]
    _post(
        session,
        due,
        "Thank you for answering about your camera",
        [
            "Hello,",
            "Thank you for answering {name}. They have closed their question: you need not look any more.",
            "If they left word of what came of it, you find it behind the link.",
        ],
        "thank you for answering about your camera. The question is closed. What came of it",
        signer=signer,
        public_url=public_url,
        expires_at=now + THANKS_LIVE,
        now=now,
    )
    return len(due)


def _told(row: Sequence[object]) -> _Told:
    request, dispatch, organisation, contact = row
    return request, dispatch, organisation, contact  # type: ignore[return-value]


def _post(
    session: Session,
    told: Sequence[_Told],
    subject: str,
    paragraphs: Sequence[str],
    words: str,
    *,
    signer: Signer,
    public_url: str,
    expires_at: datetime,
    now: datetime,
) -> None:
    contacts = {
        one.id: one
        for one in session.scalars(sa.select(ContactPoint).where(ContactPoint.id.in_({t[3] for t in told})))
    }
    ids = {t[2] for t in told}
    names = dict(
        session.execute(sa.select(Organisation.id, Organisation.name).where(Organisation.id.in_(ids))).all()
    )
    site = public_url.rstrip("/")
    for request, dispatch, organisation, contact_id in told:
        contact = contacts.get(contact_id)
        if contact is None:  # erased at this moment
            continue
        name = names[organisation]
        link = signer.batch(links.CAMERA, dispatch, now + links.LIVES, site)(contact_id)
        if contact.channel == Channel.SMS:
            post.queue_text(
                session,
                kind="camera",
                address=contact.address,
                text=f"{name}: {words}: {link}\nRef {reference(request)}.",
                controller=organisation,
                contact_id=contact_id,
                expires_at=expires_at,
                synthetic=contact.synthetic,
                now=now,
            )
            continue
        stop = signer.batch(links.STOP, dispatch, base_url=site)(contact_id)
        content = notice(
            subject,
            [one.replace("{name}", name) for one in paragraphs],
            button=("See the question", link),
            controller_name=name,
            closing=[
                f"You get this because you are on the camera register of {name}. Reference: {reference(request)}",
                ("Stop all messages from them", stop),
            ],
        )
        post.queue_email(
            session,
            kind="camera",
            address=contact.address,
            content=content,
            controller=organisation,
            contact_id=contact_id,
            stop_url=stop,
            expires_at=expires_at,
            synthetic=contact.synthetic,
            now=now,
        )
