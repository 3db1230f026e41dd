"""Ward teams: who looks after an area, and how the public reaches them. Names only by consent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.teams import Team, TeamArea, TeamMember
from app.services import contact_routes

LONGEST_NAME, LONGEST_ABOUT = 200, 2_000
MOST_AREAS, MOST_MEMBERS, MOST_LISTED = 700, 50, 200
MOST_OF_WARD = 20


@dataclass(frozen=True, slots=True)
class Member:
    """A role; the name of who has it only if that person agreed."""

    role: str
    name: str | None


@dataclass(frozen=True, slots=True)
class TeamView:
    """A team as the public sees it."""

    id: UUID
    controller_id: UUID
    organisation: str
    name: str
    about: str
    email: str | None
    phone: str | None
    url: str | None
    members: tuple[Member, ...]


def create(
    session: Session,
    *,
    controller: UUID,
    name: str,
    areas: Sequence[str],
    about: str = "",
    email: str | None = None,
    phone: str | None = None,
    url: str | None = None,
    actor: audit.Actor,
) -> Team:
    """A new team for areas of today, given by their codes. Invalid, Missing, or Conflict for a taken name."""
    if session.get(Organisation, controller) is None:
        raise Missing("There is no such organisation.")
    team = Team(controller_id=controller, name="")
    _fill(session, team, name=name, about=about, email=email, phone=phone, url=url)
    below = _areas(session, areas)
    session.add(team)
    session.flush()
    session.add_all(TeamArea(team_id=team.id, area_id=area) for area in below)
    session.flush()
    _record(session, team, "team:create", actor, areas=len(below))
    return team


def alter(
    session: Session,
    team_id: UUID,
    *,
    actor: audit.Actor,
    name: str | None = None,
    areas: Sequence[str] | None = None,
    about: str | None = None,
    email: str | None = None,
    phone: str | None = None,
    url: str | None = None,
) -> Team:
    """Change what is given; an empty text takes a contact route away. Raises what ``create`` raises."""
    team = _standing(session, team_id)
    _fill(session, team, name=name, about=about, email=email, phone=phone, url=url)
    if areas is not None:
        below = _areas(session, areas)
        session.execute(sa.delete(TeamArea).where(TeamArea.team_id == team.id))
        session.add_all(TeamArea(team_id=team.id, area_id=area) for area in below)
    session.flush()
    _record(session, team, "team:alter", actor)
    return team


def end(session: Session, team_id: UUID, *, actor: audit.Actor) -> None:
    """The team is no more: its page entry and the names on it go, its alerts and replies stay."""
    team = _standing(session, team_id)
    team.ended_at = utc_now()
    session.execute(sa.delete(TeamMember).where(TeamMember.team_id == team.id))
    session.flush()
    _record(session, team, "team:end", actor)


def add_member(
    session: Session,
    team_id: UUID,
    *,
    role: str,
    name: str | None = None,
    agreed: bool = False,
    actor: audit.Actor,
) -> TeamMember:
    """A role on the team's public entry; with a name only if ``agreed`` says that its bearer wants that."""
    team = _standing(session, team_id)
    role, name = role.strip(), (name or "").strip() or None
    if not role or len(role) > 100 or not role.isprintable():
        raise Invalid("role", "The role must have 1 to 100 characters.")
    if name is not None:
        if len(name) > 100 or not name.isprintable():
            raise Invalid("name", "The name must be at most 100 characters.")
        if not agreed:
            raise Invalid("agreed", "A name is shown to everybody: add it only if its bearer agreed to that.")
    last, count = session.execute(
        sa.select(sa.func.max(TeamMember.position), sa.func.count()).where(TeamMember.team_id == team.id)
    ).one()
    if count >= MOST_MEMBERS:
        raise Conflict(f"A team shows at most {MOST_MEMBERS} roles.")
    member = TeamMember(
        team_id=team.id,
        role=role,
        name=name,
        name_agreed_at=utc_now() if name else None,
        position=0 if last is None else last + 1,
    )
    session.add(member)
    session.flush()
    _record(session, team, "team:alter", actor, named=int(name is not None))
    return member


def remove_member(
    session: Session, team_id: UUID, *, role: str, name: str | None = None, actor: audit.Actor
) -> None:
    """Take one entry off, such as that of somebody who no longer agrees. Missing when there is none."""
    team = _standing(session, team_id)
    member = session.scalar(
        sa.select(TeamMember)
        .where(
            TeamMember.team_id == team.id,
            TeamMember.role == role.strip(),
            TeamMember.name.is_not_distinct_from((name or "").strip() or None),
        )
        .order_by(TeamMember.position)
        .limit(1)
    )
    if member is None:
        raise Missing("The team has no such member.")
    session.delete(member)
    session.flush()
    _record(session, team, "team:alter", actor)


def by_name(session: Session, controller: UUID, name: str) -> Team:
    """A team of an organisation by its name; Missing when there is none, or it has ended."""
    found = session.scalar(
        sa.select(Team).where(
            Team.controller_id == controller, Team.name == name.strip(), Team.ended_at.is_(None)
        )
    )
    if found is None:
        raise Missing("The organisation has no team of this name.")
    return found


_VIEW = """
    SELECT t.id, t.controller_id, o.name AS organisation, t.name, t.about, t.email, t.phone, t.url,
        (SELECT coalesce(json_agg(json_build_array(m.role, m.name) ORDER BY m.position, m.id), '[]')
         FROM team_members m WHERE m.team_id = t.id) AS members
    FROM teams t JOIN organisations o ON o.id = t.controller_id
"""
# A part of a query that has a ``line`` of areas (id, height): the teams that look after any of them.
NEAR = """
    near AS (
        SELECT ta.team_id, min(line.height) AS height
        -- Nothing lies deeper; it tells the planner how few there are.
        FROM (SELECT id, height FROM line LIMIT 10) line
        JOIN team_areas ta ON ta.area_id = line.id GROUP BY ta.team_id
    )
"""
VIEW_NEAR = f"""
    {_VIEW} JOIN near ON near.team_id = t.id
    WHERE t.ended_at IS NULL ORDER BY near.height, o.name, t.name, t.id LIMIT {MOST_OF_WARD}
"""
_LINE = f"""
    WITH RECURSIVE line AS (
        SELECT id, parent_id, 0 AS height FROM areas WHERE id = :area
        UNION ALL
        SELECT a.id, a.parent_id, line.height + 1 FROM line JOIN areas a ON a.id = line.parent_id
    ), {NEAR}
"""
_OF_WARD = sa.text(f"{_LINE} {VIEW_NEAR}")
_OF_ORGANISATION = sa.text(
    f"""
    {_VIEW} WHERE t.controller_id = :controller AND t.ended_at IS NULL AND t.name > :after
    ORDER BY t.name LIMIT {MOST_LISTED}
    """
)
_ONE = sa.text(f"{_VIEW} WHERE t.id = :team AND t.ended_at IS NULL")
_CONTROLLERS = sa.text(
    f"""
    {_LINE}
    SELECT DISTINCT o.id, o.name FROM near
    JOIN teams t ON t.id = near.team_id AND t.ended_at IS NULL
    JOIN organisations o ON o.id = t.controller_id
    ORDER BY o.name, o.id
    """
)


def of_ward(session: Session, ward_area_id: int) -> list[TeamView]:
    """Teams that look after a ward, or a borough or more around it: the nearest first."""
    return [as_view(row) for row in session.execute(_OF_WARD, {"area": ward_area_id}).mappings()]


def of_organisation(session: Session, controller: UUID, *, after: str = "") -> list[TeamView]:
    """An organisation's teams by name, a page of them: ``after`` is the last name of the page before."""
    found = session.execute(_OF_ORGANISATION, {"controller": controller, "after": after})
    return [as_view(row) for row in found.mappings()]


def view(session: Session, team_id: UUID) -> TeamView | None:
    """One team as the public sees it; None when it has ended."""
    row = session.execute(_ONE, {"team": team_id}).mappings().one_or_none()
    return None if row is None else as_view(row)


def controllers_of_ward(session: Session, ward_area_id: int) -> list[tuple[UUID, str]]:
    """Organisations whose teams look after a ward, by name; without any, every police force."""
    found = session.execute(_CONTROLLERS, {"area": ward_area_id}).all()
    if not found:
        found = session.execute(
            sa.select(Organisation.id, Organisation.name)
            .where(Organisation.kind == "police")
            .order_by(Organisation.name, Organisation.id)
        ).all()
    return [(row[0], row[1]) for row in found]


def as_view(columns: Mapping[Any, Any]) -> TeamView:
    """From a row's columns, straight from the database or by way of JSON."""
    given = dict(columns)
    id, controller, members = (
        UUID(str(given.pop("id"))),
        UUID(str(given.pop("controller_id"))),
        given.pop("members"),
    )
    return TeamView(id, controller, **given, members=tuple(Member(role, name) for role, name in members))


def _standing(session: Session, team_id: UUID) -> Team:
    team = session.get(Team, team_id, with_for_update=True)
    if team is None or team.ended_at is not None:
        raise Missing("There is no such team.")
    return team


def _fill(
    session: Session,
    team: Team,
    *,
    name: str | None,
    about: str | None,
    email: str | None,
    phone: str | None,
    url: str | None,
) -> None:
    """Check what is given and put it into the team."""
    if name is not None:
        name = name.strip()
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise Invalid("name", f"The name must have 1 to {LONGEST_NAME} characters.")
        with session.no_autoflush:
            taken = session.scalar(
                sa.select(Team.id).where(
                    Team.controller_id == team.controller_id, Team.name == name, Team.ended_at.is_(None)
                )
            )
        if taken not in (None, team.id):
            raise Conflict("The organisation has a team of this name already.")
        team.name = name
    if about is not None:
        if len(about) > LONGEST_ABOUT or not about.isprintable():
            raise Invalid(
                "about", f"Describe the team in one paragraph of up to {LONGEST_ABOUT:,} characters."
            )
        team.about = about.strip()
    if email is not None:
        team.email = contact_routes.email(email)
    if phone is not None:
        team.phone = contact_routes.phone(phone)
    if url is not None:
        team.url = contact_routes.url(url)


def _areas(session: Session, codes: Sequence[str]) -> list[int]:
    wanted = list(dict.fromkeys(codes))
    if not wanted or len(wanted) > MOST_AREAS:
        raise Invalid("areas", f"Choose 1 to {MOST_AREAS} areas that the team looks after.")
    found = session.execute(
        sa.select(Area.code, Area.id).where(Area.code.in_(wanted), Area.valid_to.is_(None))
    ).all()
    if len(found) < len(wanted):
        raise Invalid("areas", "No area of today has one of these codes.")
    return [row[1] for row in found]


def _record(session: Session, team: Team, event: str, actor: audit.Actor, **detail: int) -> None:
    audit.record(
        session,
        event=event,
        subject=f"team:{team.id}",
        actor=actor,
        organisation=team.controller_id,
        detail=detail or None,
    )
