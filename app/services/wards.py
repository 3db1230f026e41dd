"""A ward as its page shows it: where it lies, who looks after it, what was sent there last. One query."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services import areas, published, team_entries
from app.services.areas import AreaLine
from app.services.published import Listed
from app.services.team_entries import TeamView
from geo.area_codes import AreaKind


@dataclass(frozen=True, slots=True)
class WardView:
    """``recent``: public alerts to the ward or to what lies around it, the newest first."""

    line: AreaLine
    teams: tuple[TeamView, ...]
    recent: tuple[Listed, ...]


# Most people see no other page than this one, so it asks once: rows that are of different kinds come as JSON.
_VIEW = sa.text(
    f"""
    WITH RECURSIVE {areas.LINE}, {team_entries.NEAR}
    SELECT
        (SELECT json_agg(json_build_array(id, code, name, kind, former_name) ORDER BY height) FROM line),
        {areas.RELEASE},
        (SELECT json_agg(t) FROM ({team_entries.VIEW_NEAR}) t),
        (SELECT json_agg(a) FROM ({
        published.NEWEST.format(
            areas="(SELECT id FROM line LIMIT 10)", left_out="(SELECT array_agg(code) FROM line)"
        )
    }) a)
    """
)


def view(session: Session, code: str, *, most: int, now: datetime | None = None) -> WardView | None:
    """A ward of today by its code, with up to ``most`` alerts; None when there is none."""
    values = {"code": code, "kind": str(AreaKind.WARD), "most": most} | published.newest(None, now=now)
    line, release, looking_after, recent = session.execute(_VIEW, values).one()
    if line is None:
        return None
    return WardView(
        areas.as_line(line, release),
        tuple(team_entries.as_view(one) for one in looking_after or ()),
        tuple(published.as_listed(one) for one in recent or ()),
    )
