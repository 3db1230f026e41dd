"""Where staff live, as a ward: they say it themselves, or an administrator does. Of the postcode nothing is kept."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Invalid, Missing
from app.models.areas import Area
from app.models.register_watch import StaffHome
from app.models.staff import Staff
from app.permissions import Permission
from app.services import areas, granting
from geo.postcode import PostcodeError


def of(session: Session, staff_id: UUID) -> str | None:
    """What the ward is called that somebody lives in, or None."""
    found: str | None = session.scalar(
        sa.select(sa.func.coalesce(Area.name, StaffHome.ward_code))
        .select_from(StaffHome)
        .outerjoin(Area, sa.and_(Area.code == StaffHome.ward_code, Area.valid_to.is_(None)))
        .where(StaffHome.staff_id == staff_id, StaffHome.until.is_(None))
    )
    return found


def say_own(session: Session, who: Who, postcode: str, *, actor: audit.Actor, now: datetime) -> None:
    """Somebody says where they live. Invalid for what is no postcode."""
    found = access.row(session, who, Permission.ACCOUNT_MANAGE, Staff, who.id, lock=True)
    _say(session, who, found, postcode, actor, now)


def person(session: Session, by: Who, staff_id: UUID) -> str:
    """What somebody is called whose home an administrator may say. Missing for others, and for oneself."""
    return _theirs(session, by, staff_id).name


def say_of(
    session: Session, by: Who, staff_id: UUID, postcode: str, *, actor: audit.Actor, now: datetime
) -> None:
    """An administrator says where somebody lives. Missing, or Invalid for what is no postcode."""
    _say(session, by, _theirs(session, by, staff_id), postcode, actor, now)


def _theirs(session: Session, by: Who, staff_id: UUID) -> Staff:
    found = access.row(session, by, Permission.STAFF_READ, Staff, staff_id, lock=True)
    if found.id == by.id or found.state == "left" or not granting.may_place(session, by, found.team_id):
        raise Missing("There is no such person.")
    return found


def _say(session: Session, who: Who, found: Staff, postcode: str, actor: audit.Actor, now: datetime) -> None:
    try:
        ward: str | None = areas.find_ward(session, postcode).code
    except PostcodeError as error:
        if error.code != "not-london":
            raise Invalid("postcode", error.message) from None
        ward = None  # they live elsewhere
    stands = sa.and_(StaffHome.staff_id == found.id, StaffHome.until.is_(None))
    if ward == session.scalar(sa.select(StaffHome.ward_code).where(stands)):
        return
    session.execute(sa.update(StaffHome).where(stands).values(until=now))
    if ward is not None:
        session.add(StaffHome(staff_id=found.id, ward_code=ward, said_by=who.id, since=now))
    session.flush()
    audit.record(
        session,
        event="staff:home",
        subject=f"staff:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        s62=audit.S62.ALTERATION,
    )
