"""Ward teams as the public sees them: who looks after an area, and how to reach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.organisations import Organisation

MOST_LISTED, MOST_OF_WARD = 200, 20


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
            .where(Organisation.kind == "police", Organisation.ended_at.is_(None))
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
