"""Who would move from where to where by a plan, as counts: never who."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.services.area_changes import plans, targets
from app.services.area_changes.targets import AT_ONCE, TARGETS

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Pair:
    """So many places go from one area to another: by their postcode, by the boundary, and by neither.

    ``flagged``: pins and postcodes that followed their nearest neighbour, and who gave only a ward that is divided.
    """

    from_code: str
    from_name: str
    to_code: str
    to_name: str
    by_postcode: int
    by_boundary: int
    flagged: int
    others: int  # who gave only a ward, all of which goes there

    @property
    def places(self) -> int:
        return self.by_postcode + self.by_boundary + self.flagged + self.others


@dataclass(frozen=True, slots=True)
class Preview:
    """``postcodes``: how many change their ward, are new, are in use no more. ``rows``: what else follows, by table."""

    pairs: tuple[Pair, ...]
    begun: tuple[str, ...]
    ended: tuple[str, ...]
    postcodes: tuple[int, int, int]
    rows: tuple[tuple[str, int], ...]


_COUNT = sa.text(
    f"SELECT from_code, to_code, how, count(*) FROM ({TARGETS}) t GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
)
_POSTCODES = sa.text(
    """
    SELECT count(*) FILTER (WHERE live AND old_ward_code <> ward_code),
        count(*) FILTER (WHERE live AND old_live IS NOT TRUE),
        count(*) FILTER (WHERE NOT live AND old_live)
    FROM area_plan_postcodes WHERE plan_id = :plan
    """
)
_ROWS = """
    SELECT count(*) FROM {table} t JOIN areas a ON a.id = t.area_id
    WHERE a.code = ANY(CAST(:codes AS text[])) AND a.valid_to IS NULL {more}
"""
_FOLLOW = (
    ("roles", _ROWS.format(table="role_grants", more="AND t.taken_at IS NULL")),
    ("roles by group", _ROWS.format(table="group_roles", more="")),
    ("areas of teams", _ROWS.format(table="team_areas", more="")),
    ("alerts on pages", _ROWS.format(table="alert_areas", more="")),
    (
        "drafts",
        """
        SELECT count(*) FROM alerts
        WHERE state = 'draft' AND jsonb_exists_any(audience -> 'areas', CAST(:codes AS text[]))
        """,
    ),
)


def preview(session: Session, plan_id: UUID, *, progress: Progress = lambda *_: None) -> Preview:
    """Count what a plan would do today. Invalid when it does not fit. Writes only what the plan itself reckons with."""
    ground = targets.survey(session, plans.find(session, plan_id, lock=True))
    after = ground.after
    found: dict[tuple[str, str], dict[str, int]] = {}
    whole = {one.code for one in ground.sources if one.alone or not one.ends}
    for first in range(0, len(ground.sources), AT_ONCE):
        sources = ground.sources[first : first + AT_ONCE]
        for here, there, how, count in session.execute(_COUNT, targets.bound(session, ground, sources)):
            kind = "whole" if how == "share" and here in whole else how
            counts = found.setdefault((here, there), {})
            counts[kind] = counts.get(kind, 0) + count
        progress(first + len(sources), len(ground.sources))
    pairs = [
        Pair(
            here,
            after.before[here].name,
            there,
            after.areas[there].name,
            counts.get("postcode", 0),
            counts.get("boundary", 0),
            counts.get("nearest", 0) + counts.get("share", 0),
            counts.get("whole", 0),
        )
        for (here, there), counts in sorted(found.items())
    ]
    changed, new, gone = session.execute(_POSTCODES, {"plan": plan_id}).one()
    codes = {"codes": list(after.ended)}
    return Preview(
        tuple(pairs),
        tuple(sorted(one["code"] for one in after.begun)),
        tuple(sorted(after.ended)),
        (changed, new, gone),
        tuple((name, session.execute(sa.text(query), codes).scalar_one()) for name, query in _FOLLOW),
    )
