"""Which groups of an organisation's provider have which roles here: set by the operator."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.areas import Area
from app.models.sign_in import GroupRole
from app.models.teams import Team
from app.permissions import INVESTIGATE, Role
from app.services import granting, organisations, roles
from app.services.oidc import providers
from app.services.roles import EVERYWHERE, Place

MOST_MAPPED = 500


@dataclass(frozen=True, slots=True)
class Mapped:
    """A group and the role that its members have. ``where``: a name, or "everywhere"."""

    group: str
    role: Role
    where: str


def map_group(
    session: Session,
    organisation: str,
    group: str,
    role: Role,
    place: Place = EVERYWHERE,
    *,
    actor: audit.Actor,
) -> None:
    """Members of a group have a role from their next sign-in on. Raises Invalid, Missing or Conflict."""
    found = organisations.standing(session, organisation)
    if not 0 < len(group) <= 200 or not group.isprintable():
        raise Invalid("group", "A group has a name of 1 to 200 characters.")
    if role in INVESTIGATE and not found.competent_authority:
        raise Invalid("role", "Only a competent authority has investigators and supervisors.")
    roles.require_place(session, place, found)
    if role in granting.OF_TEAM and place.team_id is None and place.area_id is not None:
        raise Invalid(
            "team", "Give officers and approvers a team: without one they read every team's replies."
        )
    of_it = GroupRole.organisation_id == found.id
    if (session.scalar(sa.select(sa.func.count()).where(of_it)) or 0) >= MOST_MAPPED:
        raise Conflict(f"An organisation maps no more than {MOST_MAPPED} groups.")
    if session.scalar(_same(found.id, group, role, place)) is not None:
        raise Conflict("This group has this role already.")
    made = GroupRole(
        organisation_id=found.id,
        group_name=group,
        role=str(role),
        area_id=place.area_id,
        team_id=place.team_id,
    )
    session.add(made)
    session.flush()
    providers.note(session, "identity:map", found.id, actor, mapping=made.id, role=str(role))


def unmap_group(
    session: Session,
    organisation: str,
    group: str,
    role: Role,
    place: Place = EVERYWHERE,
    *,
    actor: audit.Actor,
) -> None:
    """Members of a group lose the role at their next sign-in, and a day after their last one at the latest."""
    found = organisations.standing(session, organisation)
    row = session.scalar(_same(found.id, group, role, place))
    if row is None:
        raise Missing("This group does not have this role.")
    session.delete(row)
    session.flush()
    providers.note(session, "identity:unmap", found.id, actor, mapping=row.id, role=str(role))


def mapped(session: Session, organisation: UUID) -> list[Mapped]:
    """Every group of an organisation that has a role, by name."""
    rows = session.execute(
        sa.select(GroupRole, Area.name, Team.name)
        .outerjoin(Area, Area.id == GroupRole.area_id)
        .outerjoin(Team, Team.id == GroupRole.team_id)
        .where(GroupRole.organisation_id == organisation)
        .order_by(GroupRole.group_name, GroupRole.role, GroupRole.id)
        .limit(MOST_MAPPED)
    )
    return [Mapped(one.group_name, Role(one.role), area or team or "everywhere") for one, area, team in rows]


def roles_of(
    session: Session, organisation: UUID, groups: Collection[str], *, competent: bool
) -> list[tuple[Role, Place]]:
    """What members of these groups have today, each once: nothing on areas and teams that are no more."""
    rows = session.execute(
        sa.select(GroupRole.role, GroupRole.area_id, GroupRole.team_id)
        .outerjoin(Area, Area.id == GroupRole.area_id)
        .outerjoin(Team, Team.id == GroupRole.team_id)
        .where(
            GroupRole.organisation_id == organisation,
            GroupRole.group_name.in_(list(groups)),
            Area.valid_to.is_(None),
            Team.ended_at.is_(None),
        )
        .order_by(GroupRole.id)
    )
    found = dict.fromkeys((Role(role), Place(area, team)) for role, area, team in rows)
    return [(role, place) for role, place in found if competent or role not in INVESTIGATE]


def _same(organisation: UUID, group: str, role: Role, place: Place) -> sa.Select[GroupRole]:
    return sa.select(GroupRole).where(
        GroupRole.organisation_id == organisation,
        GroupRole.group_name == group,
        GroupRole.role == str(role),
        GroupRole.area_id.is_not_distinct_from(place.area_id),
        GroupRole.team_id.is_not_distinct_from(place.team_id),
    )
