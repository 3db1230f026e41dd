"""Drawn areas: who lies inside an outline, set by set, through the indexes of points and of outlines.

Inside is what lies in one of an area's outlines and in none that leaves out. PostgreSQL's index finds what *lies in* a
polygon; which polygon holds a spot it finds by a box first (design §9).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.area_changes import AreaPlan, AreaShape
from app.services.area_changes.steps import Step

_IN = "s.area_id = :area AND s.ended_by IS NULL AND {not_}s.leaves_out"
# Everybody inside one area: postcodes in its outlines and their people, and pins.
_INSIDE = f"""
    inside AS (
        SELECT DISTINCT found.id FROM (
            SELECT p.id, c.at FROM area_shapes s
            JOIN postcodes c ON c.at <@ s.outline
            JOIN places p ON p.postcode = c.postcode AND p.kind = 'postcode'
            WHERE {_IN.format(not_="NOT ")}
            UNION ALL
            SELECT p.id, p.at FROM area_shapes s JOIN places p ON p.at <@ s.outline AND p.kind = 'pin'
            WHERE {_IN.format(not_="NOT ")}
        ) found
        WHERE NOT EXISTS (
            SELECT 1 FROM area_shapes s WHERE {_IN.format(not_="")} AND s.outline @> found.at)
    )
"""
_LEAVE = sa.text(
    f"""
    WITH {_INSIDE}, gone AS (
        DELETE FROM place_areas pa WHERE pa.area_id = :area AND pa.valid_to IS NULL AND pa.valid_from = :day
            AND NOT EXISTS (SELECT 1 FROM inside i WHERE i.id = pa.place_id)
    )
    UPDATE place_areas pa SET valid_to = :day WHERE pa.area_id = :area AND pa.valid_to IS NULL
        AND pa.valid_from < :day AND NOT EXISTS (SELECT 1 FROM inside i WHERE i.id = pa.place_id)
    """
)
_ENTER = sa.text(
    f"""
    WITH {_INSIDE}
    INSERT INTO place_areas (place_id, area_id, valid_from, release_id)
    SELECT i.id, :area, :day, {{release}} FROM inside i
    WHERE NOT EXISTS (
        SELECT 1 FROM place_areas pa WHERE pa.area_id = :area AND pa.place_id = i.id AND pa.valid_to IS NULL)
    ON CONFLICT (place_id, area_id, valid_from) DO UPDATE SET valid_to = NULL
    """.format(release="(SELECT r.id FROM releases r ORDER BY r.loaded_at DESC LIMIT 1)")
)
# The other way about: which drawn areas hold these places.
HOLDS = """
    SELECT DISTINCT spot.id, s.area_id FROM spot
    JOIN area_shapes s ON s.ended_by IS NULL AND NOT s.leaves_out
        AND s.outline && polygon(box(spot.at, spot.at)) AND s.outline @> spot.at
    JOIN areas a ON a.id = s.area_id AND a.valid_to IS NULL
    WHERE NOT EXISTS (
        SELECT 1 FROM area_shapes x WHERE x.area_id = s.area_id AND x.ended_by IS NULL AND x.leaves_out
            AND x.outline && polygon(box(spot.at, spot.at)) AND x.outline @> spot.at)
"""
_PLACED = sa.text(
    f"""
    WITH spot AS MATERIALIZED (
        SELECT p.id, coalesce(c.at, p.at) AS at FROM unnest(CAST(:places AS uuid[])) AS one(id)
        JOIN places p ON p.id = one.id
        LEFT JOIN postcodes c ON c.postcode = p.postcode AND p.kind = 'postcode'
        WHERE p.kind <> 'ward' AND coalesce(c.at, p.at) IS NOT NULL
    )
    INSERT INTO place_areas (place_id, area_id, valid_from, release_id)
    SELECT held.id, held.area_id, :day, :release FROM ({HOLDS}) held
    ON CONFLICT DO NOTHING
    """
)
# In what an outline lies: what all its postcodes in use have in common above them.
_ABOVE = sa.text(
    """
    WITH RECURSIVE outlines AS (
        SELECT CAST(one AS polygon) AS outline FROM unnest(CAST(:outlines AS text[])) AS one
    ), wards AS (
        SELECT DISTINCT a.id FROM outlines o JOIN postcodes c ON c.at <@ o.outline AND c.live
        JOIN areas a ON a.code = c.ward_code AND a.valid_to IS NULL
    ), line AS (
        SELECT w.id AS ward, w.id, a.parent_id, 0 AS height FROM wards w JOIN areas a ON a.id = w.id
        UNION ALL
        SELECT l.ward, a.id, a.parent_id, l.height + 1 FROM line l JOIN areas a ON a.id = l.parent_id
    )
    SELECT a.code, (SELECT count(*) FROM wards) FROM line l JOIN areas a ON a.id = l.id
    WHERE l.height > 0
    GROUP BY a.code HAVING count(DISTINCT l.ward) = (SELECT count(*) FROM wards)
    ORDER BY min(l.height)
    """
)
_NEAREST_WARD = sa.text(
    """
    SELECT b.code FROM (
        SELECT c.ward_code FROM postcodes c WHERE c.live ORDER BY c.at <-> CAST(:spot AS point) LIMIT 1) near
    JOIN areas a ON a.code = near.ward_code AND a.valid_to IS NULL JOIN areas b ON b.id = a.parent_id
    """
)


def settle(session: Session, area_id: int, *, day: date) -> None:
    """Let those and only those belong to a drawn area who lie inside it."""
    for statement in (_LEAVE, _ENTER):
        session.execute(statement, {"area": area_id, "day": day})


def settle_all(session: Session, *, day: date) -> None:
    """The same for every drawn area of today: postcodes have moved."""
    drawn = sa.text(
        "SELECT DISTINCT s.area_id FROM area_shapes s JOIN areas a ON a.id = s.area_id "
        "WHERE s.ended_by IS NULL AND a.valid_to IS NULL ORDER BY 1"
    )
    for area_id in session.execute(drawn).scalars().all():
        settle(session, area_id, day=day)


def enter(session: Session, places: Sequence[UUID], *, release: str, day: date) -> None:
    """Let new places belong to the drawn areas that hold them as well."""
    session.execute(_PLACED, {"places": list(places), "release": release, "day": day})


def draw(session: Session, plan: AreaPlan, area_id: int, step: Step) -> None:
    """Give a drawn area these outlines instead of those that it had."""
    session.execute(
        sa.update(AreaShape)
        .where(AreaShape.area_id == area_id, AreaShape.ended_by.is_(None))
        .values(ended_by=plan.id)
    )
    for leaves_out, outlines in ((False, step["parts"]), (True, step["holes"])):
        session.add_all(
            AreaShape(
                area_id=area_id,
                outline=[(float(x), float(y)) for x, y in outline],
                leaves_out=leaves_out,
                plan_id=plan.id,
            )
            for outline in outlines
        )
    session.flush()


def undraw(session: Session, plan: AreaPlan, area_id: int) -> None:
    """Take back what a plan drew: the outlines that it ended hold again."""
    mine = AreaShape.area_id == area_id
    session.execute(sa.update(AreaShape).where(mine, AreaShape.ended_by == plan.id).values(ended_by=None))
    session.execute(sa.update(AreaShape).where(mine, AreaShape.plan_id == plan.id).values(ended_by=plan.id))


def lies_in(session: Session, parts: Sequence[Sequence[tuple[float, float]]]) -> str | None:
    """The smallest area in which everybody inside these outlines lives; None when only all of London is.

    Where nobody lives (a station), the borough of the nearest postcode.
    """
    texts = ["(" + ",".join(f"({x!r},{y!r})" for x, y in part) + ")" for part in parts]
    found: list[Any] = list(session.execute(_ABOVE, {"outlines": texts}))
    if found:
        return str(found[0][0])
    anybody = sa.text(
        "SELECT EXISTS (SELECT 1 FROM unnest(CAST(:outlines AS text[])) AS one "
        "JOIN postcodes c ON c.at <@ CAST(one AS polygon) AND c.live)"
    )
    if session.execute(anybody, {"outlines": texts}).scalar_one():
        return None
    x, y = parts[0][0]
    return session.execute(_NEAREST_WARD, {"spot": f"({x!r},{y!r})"}).scalar_one_or_none()
