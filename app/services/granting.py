"""The policy of granting: who may give which role where, and so who may let go of whom, and widen which team.

Nobody gives to themselves, nor more than ``GRANTABLE`` says, nor where their own role does not reach. A role on a team
reaches the boroughs that the team's areas lie in, so it is judged by these: to give it, and to give the team more
areas while somebody holds it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Held, Who
from app.models.access import RoleGrant
from app.models.sign_in import GroupRole
from app.models.teams import Team
from app.permissions import GRANTABLE, INVESTIGATE, TABLE, WIDE, Permission, Role, Scope

# What these roles may do is bounded by their bearer's team, and by nothing for whoever has no team.
OF_TEAM = frozenset(role for rule in TABLE.values() if rule.scope is Scope.TEAM for role in rule.roles)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a role is granted: on an area and all below it, on a team's areas as they are, or (neither) everywhere."""

    area_id: int | None = None
    team_id: UUID | None = None


EVERYWHERE = Place()


class Bearer(Protocol):
    """Somebody of staff, as far as granting looks at them."""

    @property
    def id(self) -> UUID: ...

    @property
    def organisation_id(self) -> UUID: ...

    @property
    def team_id(self) -> UUID | None: ...


def may_grant(
    session: Session,
    by: Who,
    staff: Bearer,
    role: Role,
    place: Place,
    *,
    permission: Permission = Permission.ROLE_GRANT,
) -> bool:
    """Whether somebody may grant this role here to this person."""
    if staff.id == by.id or staff.organisation_id != by.organisation_id:
        return False
    if not able(session, by, role, place, permission=permission):
        return False
    if permission is not Permission.ROLE_GRANT or role not in OF_TEAM or _reads(session, staff.id):
        return True
    # With its first such role the person begins to see what belongs to their team.
    return able(session, by, role, Place(team_id=staff.team_id))


def able(
    session: Session, by: Who, role: Role, place: Place, *, permission: Permission = Permission.ROLE_GRANT
) -> bool:
    """Whether somebody may give this role here to anybody."""
    if role in INVESTIGATE and not by.competent:
        return False
    return any(_covers(session, by, one, place, permission) for one in _givers(by, role, permission))


def grantable(by: Who) -> list[Role]:
    """The roles that somebody may grant somewhere, in the order of the table."""
    return [
        role
        for role in Role
        if (by.competent or role not in INVESTIGATE) and any(_givers(by, role, Permission.ROLE_GRANT))
    ]


def may_let_go(session: Session, by: Who, staff: Bearer, *, now: datetime) -> bool:
    """Whether somebody may sign this person out or let them leave: only if all their roles are theirs to take.

    Of somebody without a role, whether the team is.
    """
    if staff.id == by.id or staff.organisation_id != by.organisation_id:
        return False
    held = session.execute(
        sa.select(RoleGrant.role, RoleGrant.area_id, RoleGrant.team_id)
        .where(RoleGrant.staff_id == staff.id, access.standing(now))
        .distinct()
    ).all()
    leave = Permission.STAFF_LEAVE
    if not held:
        return able(session, by, Role.OFFICER, Place(team_id=staff.team_id), permission=leave)
    return all(
        may_grant(session, by, staff, Role(role), Place(area, team), permission=leave)
        for role, area, team in held
    )


def may_place(session: Session, by: Who, team_id: UUID | None) -> bool:
    """Whether somebody may put people into this team, or take them out of it; None: into no team."""
    return able(session, by, Role.OFFICER, Place(team_id=team_id))


def may_widen(session: Session, by: Who, team: Team, area_ids: Collection[int], *, now: datetime) -> bool:
    """Whether somebody may let a team look after these areas as well.

    Every role that is granted on the team then reaches the areas' boroughs: so it must be theirs to grant there, and
    none of it may be their own. So for the roles that an identity provider's groups have there.
    """
    more = _roots(session, area_ids) - _roots_of_team(session, team.id)
    if not more:
        return True
    rows = session.execute(
        sa.select(RoleGrant.role, sa.func.bool_or(RoleGrant.staff_id == by.id))
        .where(RoleGrant.team_id == team.id, access.standing(now))
        .group_by(RoleGrant.role)
    ).all()
    if any(own for _, own in rows):
        return False
    of_groups = session.scalars(sa.select(GroupRole.role).where(GroupRole.team_id == team.id).distinct())
    given = {Role(role) for role, _ in rows} | {Role(role) for role in of_groups}
    return all(able(session, by, role, Place(area_id=area)) for role in given for area in more)


def _givers(by: Who, role: Role, permission: Permission) -> Iterable[Held]:
    """Those of somebody's roles by which this one can be given."""
    allowed = TABLE[permission].roles
    return (
        one
        for one in by.held
        if one.role in allowed
        and role in GRANTABLE.get(one.role, ())
        and (role not in WIDE or (one.area_id is None and one.team_id is None))
    )


def _covers(session: Session, by: Who, held: Held, place: Place, permission: Permission) -> bool:
    """Whether one role of somebody's reaches a place: where it is granted, not where another of theirs is."""
    alone = Who(by.id, by.organisation_id, by.team_id, by.name, by.competent, (held,))
    if place.team_id is None:
        return access.everything_in(session, alone, permission, place.area_id)
    team = session.get(Team, place.team_id)
    if team is None or team.controller_id != by.organisation_id:
        return False
    values = access.reach(alone, permission).values | {"team": team.id}
    outside: bool = session.execute(_TEAM_OUTSIDE, values).scalar_one()
    return not outside


def _reads(session: Session, staff_id: UUID) -> bool:
    found = sa.select(RoleGrant.id).where(
        RoleGrant.staff_id == staff_id,
        RoleGrant.role.in_([str(role) for role in OF_TEAM]),
        RoleGrant.taken_at.is_(None),
        RoleGrant.ends_at > sa.func.now(),
    )
    return session.execute(sa.select(found.exists())).scalar_one()


# As ``access.MINE`` has it: of a ward its borough, and only what there is today.
_ROOT = "CASE a.kind WHEN 'ward' THEN a.parent_id ELSE a.id END"
_TEAM_OUTSIDE = sa.text(
    f"""
    WITH RECURSIVE {access.MINE}
    SELECT EXISTS (
        SELECT 1 FROM team_areas t JOIN areas a ON a.id = t.area_id JOIN areas root ON root.id = {_ROOT}
        WHERE t.team_id = :team AND root.valid_to IS NULL AND root.id NOT IN (SELECT id FROM mine)
    )
    """
)
_ROOTS = sa.text(f"SELECT DISTINCT {_ROOT} FROM areas a WHERE a.id = ANY(CAST(:areas AS integer[]))")
_ROOTSOF_TEAM = sa.text(
    f"SELECT DISTINCT {_ROOT} FROM team_areas t JOIN areas a ON a.id = t.area_id WHERE t.team_id = :team"
)


def _roots(session: Session, area_ids: Collection[int]) -> set[int]:
    return set(session.execute(_ROOTS, {"areas": list(area_ids)}).scalars())


def _roots_of_team(session: Session, team_id: UUID) -> set[int]:
    return set(session.execute(_ROOTSOF_TEAM, {"team": team_id}).scalars())
