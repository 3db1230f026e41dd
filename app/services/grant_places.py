"""Where somebody may grant roles, as a form offers it: everywhere, on teams, on areas. ``granting`` has the last word."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.errors import Invalid
from app.models.areas import Area
from app.permissions import Permission
from app.services.granting import EVERYWHERE, Place

MOST = 1_000
ALL, TEAM, AREA = "all", "team:", "area:"
# Of London's parts the larger first.
_KINDS = ("force", "bcu", "borough", "ward")


@dataclass(frozen=True, slots=True)
class Places:
    """``teams`` and ``areas`` are (value, name); a value is what ``place`` reads."""

    everywhere: bool
    teams: tuple[tuple[str, str], ...]
    areas: tuple[tuple[str, str], ...]

    def values(self) -> list[tuple[str, str]]:
        """All of them, flat."""
        return [*([(ALL, "Everywhere")] if self.everywhere else []), *self.teams, *self.areas]


# The boroughs that a team's areas lie in are what a role on it reaches: all of them must be one's own.
_TEAMS = sa.text(
    f"""
    WITH RECURSIVE {access.MINE}
    SELECT t.id, t.name FROM teams t
    WHERE t.controller_id = :organisation AND t.ended_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM team_areas x JOIN areas a ON a.id = x.area_id
        JOIN areas root ON root.id = CASE a.kind WHEN 'ward' THEN a.parent_id ELSE a.id END
        WHERE x.team_id = t.id AND root.valid_to IS NULL AND root.id NOT IN (SELECT id FROM mine)
    )
    ORDER BY t.name, t.id LIMIT :most
    """
)
# With everything in reach the wards would be too many to choose from: their teams are there instead.
_AREAS = sa.text(
    f"""
    WITH RECURSIVE {access.MINE}
    SELECT a.code, a.name, a.kind, above.name FROM mine JOIN areas a ON a.id = mine.id
    LEFT JOIN areas above ON above.id = a.parent_id
    WHERE NOT (CAST(:everywhere AS boolean) AND a.kind = 'ward')
    ORDER BY array_position(CAST(:kinds AS text[]), a.kind) NULLS LAST, a.name, a.code LIMIT :most
    """
)


def places(session: Session, who: Who, permission: Permission = Permission.ROLE_GRANT) -> Places:
    """Where somebody may do this."""
    reach = access.reach(who, permission)
    teams = session.execute(_TEAMS, reach.values | {"organisation": who.organisation_id, "most": MOST})
    areas = session.execute(_AREAS, reach.values | {"kinds": list(_KINDS), "most": MOST})
    return Places(
        reach.everywhere,
        tuple((f"{TEAM}{id}", name) for id, name in teams),
        tuple((f"{AREA}{code}", _named(name, kind, above)) for code, name, kind, above in areas),
    )


def place(session: Session, value: str) -> Place:
    """From a form's value to a place. Invalid for what is none."""
    if value == ALL:
        return EVERYWHERE
    if value.startswith(TEAM):
        try:
            return Place(team_id=UUID(value.removeprefix(TEAM)))
        except ValueError:
            pass
    if value.startswith(AREA):
        return on_area(session, value.removeprefix(AREA))
    raise Invalid("where", "Choose where.")


def on_area(session: Session, code: str) -> Place:
    """An area of today by its code. Invalid when there is none."""
    area = session.scalar(sa.select(Area.id).where(Area.code == code, Area.valid_to.is_(None)))
    if area is None:
        raise Invalid("area", "There is no such area today.")
    return Place(area_id=area)


def _named(name: str, kind: str, above: str | None) -> str:
    if kind == "ward" and above:
        return f"{name} ward, {above}"
    return f"{name} (all of the force)" if kind == "force" else name
