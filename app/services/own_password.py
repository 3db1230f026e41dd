"""Somebody of staff changes their own password: with the old one, and to the end of all their other sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.services import account_notices, limits, sessions, sign_in
from app.services.factors import PER_ACCOUNT, PER_DAY, WINDOW
from app.services.limits import Limit


@dataclass(frozen=True, slots=True)
class Asked:
    """What the old password is compared with. ``about``: what the new one must not be made of."""

    limited: bool
    password_hash: str | None = None
    about: tuple[str, ...] = ()


def ask(session: Session, staff_id: UUID, *, now: datetime) -> Asked:
    """Count the try. The comparison takes long, and so happens between two transactions."""
    tries = [
        Limit("own-password", str(staff_id), PER_ACCOUNT, WINDOW),
        Limit("own-password", str(staff_id), PER_DAY, timedelta(days=1)),
    ]
    if limits.take(session, tries, now=now):
        return Asked(limited=True)
    row = session.execute(
        sa.select(Staff.password_hash, Staff.name, Staff.email, Organisation.name)
        .join(Organisation, Organisation.id == Staff.organisation_id)
        .where(Staff.id == staff_id)
    ).one()
    return Asked(False, row[0], tuple(row[1:]))


def refuse(session: Session, staff_id: UUID, where: sessions.Whereabouts, *, now: datetime) -> None:
    """The old password was wrong."""
    owner = session.get_one(Staff, staff_id)
    sign_in.refuse(
        session,
        staff_id,
        owner.organisation_id,
        "own-password",
        neighbours=where.neighbours,
        origin=where.network,
        now=now,
    )


def change(
    session: Session, staff_id: UUID, *, old: str, new: str, keep: UUID, actor: audit.Actor, now: datetime
) -> bool:
    """Put hash ``new`` in the place of hash ``old``; False if another has come there meanwhile.

    Every session of theirs ends but ``keep``.
    """
    changed = session.execute(
        sa.update(Staff)
        .where(Staff.id == staff_id, Staff.password_hash == old, Staff.state == "active")
        .values(password_hash=new)
        .returning(Staff.organisation_id)
    ).scalar_one_or_none()
    if changed is None:
        return False
    ended = sessions.end_others(session, staff_id, keep=keep)
    audit.record(
        session,
        event="staff:password",
        subject=f"staff:{staff_id}",
        actor=actor,
        organisation=changed,
        detail={"sessions": ended},
    )
    account_notices.tell(
        session,
        staff_id,
        "Your password was changed",
        ["All your other sessions were ended. The one in which it was changed goes on."],
        now=now,
    )
    return True
