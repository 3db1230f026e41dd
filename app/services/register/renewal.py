"""The yearly question whether somebody still has their cameras; silence ends in erasure. And pauses that are over.

Asked 30 days before the year ends, and again 7 days before, by the other address if there is one. Whoever was not asked
twice, the second time at least 6 days ago, is never erased for silence: a clock that stood still erases nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.services import consent, post, processing, terms
from app.services.erasure import engine
from app.services.register import calls
from app.services.retention_runs import note_removed
from messaging.links import KEEP, Signer
from messaging.notices import notice
from messaging.types import Channel

__all__ = ["FIRST", "SECOND", "lapse", "oldest", "remind", "wake"]

FIRST, SECOND = 30, 7  # days before the year ends
MOST = 200
LIFETIME = timedelta(days=3)
ANSWERED_FOR = timedelta(days=60)  # what the link of a reminder is good for
HOW = "not renewed"


def remind(session: Session, signer: Signer, *, public_url: str, now: datetime, most: int = MOST) -> int:
    """Ask up to ``most`` owners; how many. Again, in another transaction, while it returns any.

    The nearer question first: who is asked with a week to go need not be asked a month's question as well.
    """
    asked = 0
    for nth, days in ((2, SECOND), (1, FIRST)):
        due = calls.rows(session, "remind_owners", a_now=now, days=days, nth=nth, most=most)
        if due:
            _ask(session, due, nth, signer, public_url, now)
        asked += len(due)
    return asked


def _ask(
    session: Session, due: Sequence[sa.Row[Any]], nth: int, signer: Signer, public_url: str, now: datetime
) -> None:
    names = dict(
        session.execute(
            sa.select(Organisation.id, Organisation.name).where(
                Organisation.id.in_({one.controller_id for one in due})
            )
        ).all()
    )
    # The second by the other address, if there is one.
    chosen = {one.owner_id: (one.other_contact_id if nth == 2 else None) or one.contact_id for one in due}
    contacts = {
        one.id: one
        for one in session.scalars(sa.select(ContactPoint).where(ContactPoint.id.in_(chosen.values())))
    }
    for one in due:
        contact = contacts[chosen[one.owner_id]]
        link = signer.batch(KEEP, one.owner_id, now + ANSWERED_FOR, public_url)(contact.id)
        _write(session, contact, one.controller_id, names[one.controller_id], link, one.renew_by, now)
        audit.record(
            session,
            event="owner:remind",
            subject=f"owner:{one.owner_id}",
            actor=audit.SYSTEM,
            organisation=one.controller_id,
            detail={"nth": nth, "channel": contact.channel},
        )


def _write(
    session: Session,
    contact: ContactPoint,
    controller: UUID,
    name: str,
    link: str,
    ends: datetime,
    now: datetime,
) -> None:
    day = terms.last_day(ends)
    if contact.channel == Channel.SMS:
        post.queue_text(
            session,
            kind="reminder",
            address=contact.address,
            text=f"{name}: do you still have the camera that you put on our register? Answer by {day}, or we delete it: "
            f"{link}",
            controller=controller,
            contact_id=contact.id,
            expires_at=now + LIFETIME,
            synthetic=contact.synthetic,
            now=now,
        )
        return
    post.queue_email(
        session,
        kind="reminder",
        address=contact.address,
        content=notice(
            "Do you still have your camera?",
            [
                f"A year ago you put a camera on the register of {name}, or told us that you still had it.",
                f"Please tell us by {day} whether you still have it.",
                "If we do not hear from you, we delete what the register holds about you and your cameras.",
            ],
            button=("Answer", link),
            controller_name=name,
        ),
        controller=controller,
        contact_id=contact.id,
        expires_at=now + LIFETIME,
        synthetic=contact.synthetic,
        now=now,
    )


def lapse(session: Session, *, now: datetime, most: int) -> int:
    """Delete what the register holds of up to ``most`` owners who did not answer; how many."""
    gone = calls.rows(session, "lapse_owners", a_now=now, most=most)
    counts: dict[UUID, int] = {}
    contacts = []
    for one in gone:
        counts[one.controller_id] = counts.get(one.controller_id, 0) + 1
        for contact in (one.contact_id, one.other_contact_id):
            if contact is not None:
                contacts.append(contact)
                consent.withdraw(
                    session, contact, one.controller_id, purpose=consent.REGISTER, how=HOW, actor=audit.SYSTEM
                )
        audit.record(
            session,
            event="owner:lapse",
            subject=f"owner:{one.owner_id}",
            actor=audit.SYSTEM,
            organisation=one.controller_id,
            s62=processing.s62(session, one.controller_id, audit.S62.ERASURE),
        )
    for start in range(0, len(contacts), engine.MOST):
        block = contacts[start : start + engine.MOST]
        engine.unbound(session, block, actor=audit.SYSTEM, why="did not renew", now=now)
    note_removed(session, "camera_owners", counts, now=now)
    return len(gone)


def oldest(session: Session) -> datetime | None:
    """When the first of the years that run ends."""
    found: datetime | None = calls.call(session, "oldest_owner")
    return found


def wake(session: Session, *, now: datetime, most: int = MOST) -> int:
    """Put owners back into searches whose pause is over, up to ``most``; how many."""
    woken = calls.rows(session, "wake_owners", a_now=now, most=most)
    for one in woken:
        audit.record(
            session,
            event="owner:resume",
            subject=f"owner:{one.owner_id}",
            actor=audit.SYSTEM,
            organisation=one.controller_id,
            s62=processing.s62(session, one.controller_id, audit.S62.ALTERATION),
        )
    return len(woken)
