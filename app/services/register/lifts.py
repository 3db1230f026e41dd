"""A supervisor's leave to go beyond one cap of the register, once, for one investigator and one case."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.access import Who
from app.models.access import RoleGrant
from app.models.register import Investigation, RegisterLift
from app.models.staff import Staff
from app.permissions import Role
from app.services.register.errors import gate

CAPS = {
    "area": "An area larger than 1.3 square kilometres",
    "window": "A time longer than 12 hours, up to 7 days",
    "requests": "A third request to an owner in this case",
}
PAGE = 25

_GIVE = sa.text("SELECT register.give_lift(:token, :staff, :reference, :cap, :reason, :origin)").bindparams(
    sa.bindparam("staff", type_=sa.Uuid)
)


@dataclass(frozen=True, slots=True)
class Listed:
    """A leave as the supervisors of the organisation see it."""

    id: UUID
    investigator: str
    reference: str
    cap: str
    reason: str
    given_by: str
    given_at: datetime
    expires_at: datetime
    used_at: datetime | None


def give(
    session: Session,
    token: str,
    *,
    staff: UUID,
    reference: str,
    cap: str,
    reason: str,
    origin: str | None = None,
) -> UUID:
    """Lift a cap once, for a day. ``token``: of the supervisor's session, by which the database knows who it is.

    Raises Missing, StepUp, Invalid (“reference”, “cap”, “reason”, “staff”).
    """
    values = {"staff": staff, "reference": reference, "cap": cap, "reason": reason, "origin": origin}
    with gate():
        found: UUID = session.execute(_GIVE, values | {"token": token.replace("\x00", "")}).scalar_one()
    return found


def investigators(session: Session, who: Who, *, now: datetime) -> list[tuple[UUID, str]]:
    """Whom ``who`` may lift a cap for, by name."""
    holds = sa.exists().where(
        RoleGrant.staff_id == Staff.id,
        RoleGrant.organisation_id == who.organisation_id,
        RoleGrant.role == Role.INVESTIGATOR,
        RoleGrant.taken_at.is_(None),
        RoleGrant.starts_at <= now,
        RoleGrant.ends_at > now,
    )
    rows = session.execute(
        sa.select(Staff.id, Staff.name)
        .where(
            Staff.organisation_id == who.organisation_id, Staff.state == "active", Staff.id != who.id, holds
        )
        .order_by(Staff.name, Staff.id)
    )
    return [(id, name) for id, name in rows]


def listed(session: Session, who: Who, *, before: tuple[datetime, UUID] | None = None) -> list[Listed]:
    """A page of the organisation's, newest first, and one more if there is one."""
    giver = aliased(Staff)
    query = (
        sa.select(RegisterLift, Investigation.reference, Staff.name, giver.name)
        .join(Investigation, Investigation.id == RegisterLift.investigation_id)
        .join(Staff, Staff.id == RegisterLift.staff_id)
        .join(giver, giver.id == RegisterLift.given_by)
        .where(RegisterLift.organisation_id == who.organisation_id)
        .order_by(RegisterLift.given_at.desc(), RegisterLift.id.desc())
        .limit(PAGE + 1)
    )
    if before is not None:
        query = query.where(sa.tuple_(RegisterLift.given_at, RegisterLift.id) < sa.tuple_(*before))
    return [
        Listed(
            lift.id, name, reference, lift.cap, lift.reason, by, lift.given_at, lift.expires_at, lift.used_at
        )
        for lift, reference, name, by in session.execute(query)
    ]
