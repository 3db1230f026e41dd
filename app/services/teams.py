"""Ward teams are made, changed and ended: who looks after which areas. Names only by consent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.teams import Team, TeamArea, TeamMember
from app.permissions import Permission
from app.services import contact_routes, granting

LONGEST_NAME, LONGEST_ABOUT = 200, 2_000
MOST_AREAS, MOST_MEMBERS = 700, 50
PAGE = 100


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
    by: Who | None = None,
    actor: audit.Actor,
) -> Team:
    """A new team for areas of today, given by their codes. Invalid, Missing, or Conflict for a taken name.

    ``by``: the administrator, whose reach bounds the areas; None: the operator.
    """
    found = session.get(Organisation, controller)
    if found is None or found.ended_at is not None or (by is not None and by.organisation_id != controller):
        raise Missing("There is no such organisation.")
    _inside(session, by, areas)
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
    by: Who | None = None,
    now: datetime | None = None,
) -> Team:
    """Change what is given; an empty text takes a contact route away. Raises what ``create`` raises.

    More areas reach whoever has a role on the team: an administrator must be able to grant them all of it there.
    """
    team = _standing(session, team_id)
    if by is not None and not access.may_on(session, by, Permission.TEAM_MANAGE, team):
        raise Missing("There is no such team.")
    _fill(session, team, name=name, about=about, email=email, phone=phone, url=url)
    if areas is not None:
        _inside(session, by, areas)
        below = _areas(session, areas)
        if by is not None and not granting.may_widen(session, by, team, below, now=now or utc_now()):
            raise Invalid(
                "areas",
                "People hold roles on this team that you cannot grant in all of these areas. Choose fewer, or ask "
                "an administrator of the whole organisation.",
            )
        session.execute(sa.delete(TeamArea).where(TeamArea.team_id == team.id))
        session.add_all(TeamArea(team_id=team.id, area_id=area) for area in below)
    session.flush()
    _record(session, team, "team:alter", actor)
    return team


def end(session: Session, team_id: UUID, *, actor: audit.Actor, now: datetime | None = None) -> None:
    """The team is no more: its page entry and the names on it go, its alerts and replies stay.

    Conflict while people are in it, or have roles on it: they would keep a reach that nobody looks after.
    """
    team = _standing(session, team_id)
    people, granted = session.execute(_HOLDERS, {"team": team.id, "now": now or utc_now()}).one()
    if people or granted:
        raise Conflict(
            "People are in this team, or have roles on it. Move them to other teams and take the roles back first."
        )
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


_HOLDERS = sa.text(
    """
    SELECT EXISTS (SELECT 1 FROM staff WHERE team_id = :team AND state <> 'left'),
        EXISTS (SELECT 1 FROM role_grants WHERE team_id = :team AND taken_at IS NULL AND ends_at > :now)
            OR EXISTS (SELECT 1 FROM group_roles WHERE team_id = :team)
    """
)


def for_administrator(session: Session, by: Who, *, after: str = "", most: int = PAGE) -> list[Team]:
    """The teams that somebody may change, by name, a page of them; ``after`` is the last name before."""
    query = (
        sa.select(Team)
        .where(
            Team.controller_id == by.organisation_id,
            Team.ended_at.is_(None),
            Team.name > after,
            sa.text(_INSIDE).bindparams(**access.reach(by, Permission.TEAM_MANAGE).values),
        )
        .order_by(Team.name)
        .limit(most)
    )
    return list(session.scalars(query)) if access.may(by, Permission.TEAM_MANAGE) else []


_INSIDE = f"""
    NOT EXISTS (
        WITH RECURSIVE {access.MINE}
        SELECT 1 FROM team_areas t WHERE t.team_id = teams.id AND t.area_id NOT IN (SELECT id FROM mine)
    )
"""


def own(session: Session, by: Who, team_id: UUID) -> Team:
    """A team that somebody may change; Missing otherwise, and for one that has ended."""
    found = access.row(session, by, Permission.TEAM_MANAGE, Team, team_id)
    if found.ended_at is not None:
        raise Missing("There is no such team.")
    return found


def codes_of(session: Session, team_id: UUID) -> list[str]:
    """The codes of the areas that a team looks after."""
    found = (
        sa.select(Area.code)
        .join(TeamArea, TeamArea.area_id == Area.id)
        .where(TeamArea.team_id == team_id)
        .order_by(Area.code)
    )
    return list(session.scalars(found))


def _inside(session: Session, by: Who | None, codes: Sequence[str]) -> None:
    if by is not None and not access.inside(session, by, Permission.TEAM_MANAGE, codes):
        raise Invalid("areas", "Choose only areas of your own.")


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
