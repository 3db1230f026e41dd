"""Roles: granted on an area, for a term, by somebody who may grant them there; taken back; listed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.access import RoleGrant
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import INVESTIGATE, Permission, Role
from app.services import granting
from app.services.granting import EVERYWHERE, Place

__all__ = [
    "EVERYWHERE", "LONGEST_TERM", "PAGE", "SOON", "USUAL_TERM", "Granted", "Place", "ending", "grant", "keep_one",
    "of_many", "of_staff", "renew", "take", "take_all", "take_everywhere",
]  # fmt: skip

USUAL_TERM, LONGEST_TERM = timedelta(days=365), timedelta(days=3 * 366)
MOST_GRANTS = 100  # of one person at a time
SOON = timedelta(days=30)
PAGE = 100


@dataclass(frozen=True, slots=True)
class Granted:
    """A role as lists show it. ``where``: the area's or the team's name, or "everywhere"."""

    id: UUID
    staff_id: UUID
    role: Role
    where: str
    starts_at: datetime
    ends_at: datetime
    source: str


def grant(
    session: Session,
    staff: Staff,
    role: Role,
    place: Place = EVERYWHERE,
    *,
    by: Who | None,
    actor: audit.Actor,
    now: datetime,
    ends_at: datetime | None = None,
    source: str = "given",
) -> RoleGrant:
    """Grant a role, or set a new end to it. ``by``: who grants; None: the operator, or an identity provider.

    Raises Invalid, Conflict, or Missing for a team of another organisation and for whoever may not grant this here.
    """
    if by is not None and staff.organisation_id != by.organisation_id:
        raise Missing("There is no such role to grant.")
    _hold_still(session, staff)
    if staff in session:  # it may have been looked up before somebody moved them
        session.refresh(staff, ["team_id"])
    controller = session.get_one(Organisation, staff.organisation_id)
    require_place(session, place, controller)
    if by is not None and not granting.may_grant(session, by, staff, role, place):
        raise Missing("There is no such role to grant.")
    ends_at = ends_at or now + USUAL_TERM
    if not now < ends_at <= now + LONGEST_TERM:
        raise Invalid("ends_at", "A role ends after today, and within three years.")
    if role in INVESTIGATE and not controller.competent_authority:
        raise Invalid("role", "Only a competent authority has investigators and supervisors.")
    found = session.scalar(_same(staff.id, role, place).with_for_update())
    if found is not None and found.ends_at > now and found.source != source == "group":
        return found  # what was given outlasts what a group says
    if found is not None and found.ends_at > now and found.source == source:
        found.ends_at = ends_at
    else:
        if found is not None:  # its term is over, or another source has the word: it stays as what it was
            over = found.ends_at <= now
            found.taken_at = found.ends_at if over else now
            found.taken_by = "term" if over else actor.id or str(actor.kind)
            session.flush()
        found = RoleGrant(
            staff_id=staff.id,
            organisation_id=controller.id,
            role=str(role),
            area_id=place.area_id,
            team_id=place.team_id,
            starts_at=now,
            ends_at=ends_at,
            source=source,
            given_by=actor.id or str(actor.kind),
        )
        if len(of_staff(session, staff.id, now=now)) >= MOST_GRANTS:
            raise Conflict(f"Nobody has more than {MOST_GRANTS} roles.")
        session.add(found)
    session.flush()
    _record(session, found, "role:grant", actor)
    return found


def renew(
    session: Session, grant_id: UUID, ends_at: datetime, *, by: Who, actor: audit.Actor, now: datetime
) -> RoleGrant:
    """Set a new end to a role that runs. Missing when there is none that ``by`` may grant; Invalid; Conflict."""
    found = access.row(session, by, Permission.STAFF_READ, RoleGrant, grant_id)
    if found.taken_at is not None or found.ends_at <= now:
        raise Conflict("This role has ended. Grant it again.")
    if found.source != "given":
        raise Conflict("This role comes with a group of your identity provider, and ends with that.")
    staff = session.get_one(Staff, found.staff_id)
    place = Place(found.area_id, found.team_id)
    return grant(session, staff, Role(found.role), place, by=by, actor=actor, now=now, ends_at=ends_at)


def take(session: Session, grant_id: UUID, *, by: Who | None, actor: audit.Actor, now: datetime) -> RoleGrant:
    """Take a role back: it ends at once. Missing when there is none that ``by`` may take back. Twice is once."""
    found = session.get(RoleGrant, grant_id)
    staff = session.get(Staff, found.staff_id) if found else None
    if found is None or staff is None:
        raise Missing("There is no such role.")
    place = Place(found.area_id, found.team_id)
    if by is not None and not granting.may_grant(
        session, by, staff, Role(found.role), place, permission=Permission.ROLE_TAKE
    ):
        raise Missing("There is no such role.")
    if by is not None and found.role == Role.FORCE_ADMINISTRATOR and found.taken_at is None:
        keep_one(session, staff, now=now, but=found.id)  # before the role is locked, as whoever leaves does
    session.refresh(found, with_for_update=True)
    if found.taken_at is None:
        found.taken_at, found.taken_by = now, actor.id or str(actor.kind)
        session.flush()
        _record(session, found, "role:take", actor)
    return found


def take_all(session: Session, staff_id: UUID, *, actor: audit.Actor, now: datetime) -> None:
    """Take back every role of somebody's, as when they leave or are invited anew."""
    standing = sa.select(RoleGrant).where(RoleGrant.staff_id == staff_id, RoleGrant.taken_at.is_(None))
    for found in session.scalars(standing.order_by(RoleGrant.id).with_for_update()):
        found.taken_at, found.taken_by = now, actor.id or str(actor.kind)
        session.flush()
        _record(session, found, "role:take", actor)


def take_everywhere(
    session: Session,
    organisation: UUID,
    roles: Collection[Role],
    *,
    actor: audit.Actor,
    now: datetime,
) -> int:
    """Take back these roles from everybody of an organisation; how many. The caller puts that on the record."""
    taken = session.execute(
        sa.update(RoleGrant)
        .where(
            RoleGrant.organisation_id == organisation,
            RoleGrant.role.in_([str(role) for role in roles]),
            RoleGrant.taken_at.is_(None),
        )
        .values(taken_at=now, taken_by=actor.id or str(actor.kind))
        .returning(RoleGrant.id)
    ).all()
    return len(taken)


def keep_one(session: Session, staff: Staff, *, now: datetime, but: UUID | None = None) -> None:
    """Conflict unless the organisation still has a force administrator without this person, or without one role.

    Two who take from each other at once wait for each other here.
    """
    session.execute(
        sa.select(Organisation.id)
        .where(Organisation.id == staff.organisation_id)
        .with_for_update(key_share=True)
    )
    holds = (
        sa.select(RoleGrant.staff_id)
        .join(Staff, Staff.id == RoleGrant.staff_id)
        .where(
            RoleGrant.organisation_id == staff.organisation_id,
            RoleGrant.role == str(Role.FORCE_ADMINISTRATOR),
            access.standing(now),
            Staff.state == "active",
        )
    )
    here = holds.where(RoleGrant.staff_id == staff.id)
    others = holds.where(RoleGrant.staff_id != staff.id if but is None else RoleGrant.id != but)
    if session.scalar(here.limit(1)) and not session.scalar(others.limit(1)):
        raise Conflict(
            "An organisation keeps at least one force administrator. Make somebody else one first."
        )


def of_staff(session: Session, staff_id: UUID, *, now: datetime) -> list[Granted]:
    """Somebody's roles whose term runs, by role and place."""
    rows = session.execute(_listed(now).where(RoleGrant.staff_id == staff_id).limit(MOST_GRANTS + 1))
    return [_granted(*row) for row in rows]


def of_many(session: Session, staff_ids: Collection[UUID], *, now: datetime) -> dict[UUID, list[Granted]]:
    """The same for a page of people: id → roles."""
    found: dict[UUID, list[Granted]] = {}
    for row in session.execute(_listed(now).where(RoleGrant.staff_id.in_(staff_ids))):
        found.setdefault(row[0].staff_id, []).append(_granted(*row))
    return found


def ending(session: Session, organisation: UUID, *, now: datetime, most: int = PAGE) -> list[Granted]:
    """An organisation's roles that end soon, the next first."""
    rows = session.execute(
        _listed(now)
        .where(RoleGrant.organisation_id == organisation, RoleGrant.ends_at <= now + SOON)
        .order_by(None)
        .order_by(RoleGrant.ends_at, RoleGrant.id)
        .limit(most)
    )
    return [_granted(*row) for row in rows]


def _listed(now: datetime) -> sa.Select[RoleGrant, str | None, str | None]:
    return (
        sa.select(RoleGrant, Area.name, Team.name)
        .outerjoin(Area, Area.id == RoleGrant.area_id)
        .outerjoin(Team, Team.id == RoleGrant.team_id)
        .where(access.standing(now))
        .order_by(RoleGrant.role, Area.name, Team.name, RoleGrant.id)
    )


def _granted(found: RoleGrant, area: str | None, team: str | None) -> Granted:
    where = area or team or "everywhere"
    return Granted(
        found.id, found.staff_id, Role(found.role), where, found.starts_at, found.ends_at, found.source
    )


def _same(staff_id: UUID, role: Role, place: Place) -> sa.Select[RoleGrant]:
    return sa.select(RoleGrant).where(
        RoleGrant.staff_id == staff_id,
        RoleGrant.role == str(role),
        RoleGrant.area_id.is_not_distinct_from(place.area_id),
        RoleGrant.team_id.is_not_distinct_from(place.team_id),
        RoleGrant.taken_at.is_(None),
    )


def _hold_still(session: Session, staff: Staff) -> None:
    """Two who grant to one person at once come one after the other. Conflict for somebody who has left."""
    state = session.execute(
        sa.select(Staff.state).where(Staff.id == staff.id).with_for_update(key_share=True)
    ).scalar_one_or_none()
    if state in (None, "left"):
        raise Conflict("They have left.")


def require_place(session: Session, place: Place, controller: Organisation) -> None:
    """Invalid, or Missing, unless an organisation has roles in this place today."""
    if controller.ended_at is not None:
        raise Missing("There is no such organisation.")
    if place.area_id is not None:
        area = session.get(Area, place.area_id)
        if area is None or area.valid_to is not None:
            raise Invalid("area", "There is no such area today.")
    if place.team_id is not None:
        # Nobody gives it other areas, or ends it, before this is done.
        team = session.get(Team, place.team_id, with_for_update={"read": True}, populate_existing=True)
        if team is None or team.controller_id != controller.id or team.ended_at is not None:
            raise Missing("The organisation has no such team.")


def _record(session: Session, found: RoleGrant, event: str, actor: audit.Actor) -> None:
    code = None
    if found.area_id is not None:
        code = session.get_one(Area, found.area_id).code
    audit.record(
        session,
        event=event,
        subject=f"staff:{found.staff_id}",
        actor=actor,
        organisation=found.organisation_id,
        area=code,
        detail={
            "grant": found.id,
            "role": found.role,
            "team": found.team_id,
            "ends": f"{found.ends_at:%Y-%m-%d}",
        },
    )
