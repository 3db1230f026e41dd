"""Who goes where: for every area that a plan touches, the new area of each place that lies in it.

Places by postcode follow the plan's table, pins the boundary (or the nearest postcode in use), and who gave only a
ward goes with most of it. Previews count this, the preparation writes it down: one query for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models.area_changes import AreaPlan
from app.services.area_changes import postcodes, steps
from app.services.area_changes.steps import DRAWN_KINDS, Tomorrow
from geo import boundaries, boundary_file
from geo.boundaries import WardIndex

EVERYBODY = UUID(int=0)
# So many areas are reckoned at once: of the wards of London, some hundred and forty thousand places of a million.
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Source:
    """An area of today whose places may have to move. ``largest``: where most of it goes, if it ends."""

    area_id: int
    code: str
    ward: bool
    ends: bool
    largest: str | None
    alone: bool  # it has one successor


@dataclass(frozen=True, slots=True)
class Ground:
    """A plan against today's areas. ``index``: the boundaries that say where pins will lie, if any do."""

    plan_id: UUID
    after: Tomorrow
    index: WardIndex | None
    sources: tuple[Source, ...]


# Where places go: (place_id, from_area_id, from_code, to_code, how), only those for whom that is another area than now.
# Binds plan, the columns of Source as arrays, pins with their codes, and floor: places with smaller ids are left out.
TARGETS = f"""
    SELECT * FROM (
        SELECT p.id AS place_id, src.area_id AS from_area_id, src.code AS from_code,
            CASE
                WHEN NOT src.ward THEN src.largest
                WHEN p.kind = 'pin' THEN coalesce(pin.code, near.ward, src.largest, src.code)
                WHEN p.kind = 'postcode' AND src.ends
                    THEN coalesce(pp.ward_code, pc.ward_code, near.ward, src.largest)
                WHEN p.kind = 'postcode' AND pp.ward_code IS DISTINCT FROM pp.old_ward_code THEN pp.ward_code
                WHEN p.kind = 'postcode' THEN src.code
                ELSE coalesce(src.largest, src.code)
            END AS to_code,
            CASE
                WHEN NOT src.ward THEN 'share'
                WHEN pin.code IS NOT NULL THEN 'boundary'
                WHEN p.kind = 'postcode' AND coalesce(pp.live, pc.live) THEN 'postcode'
                WHEN coalesce(near.ward, pp.ward_code, pc.ward_code) IS NOT NULL THEN 'nearest'
                ELSE 'share'
            END AS how
        FROM unnest(CAST(:areas AS int[]), CAST(:codes AS text[]), CAST(:wards AS boolean[]),
            CAST(:ends AS boolean[]), CAST(:largest AS text[]), CAST(:alone AS boolean[]))
            AS src(area_id, code, ward, ends, largest, alone)
        JOIN place_areas pa ON pa.area_id = src.area_id AND pa.valid_to IS NULL AND pa.place_id >= :floor
        JOIN places p ON p.id = pa.place_id
        LEFT JOIN postcodes pc ON p.kind = 'postcode' AND pc.postcode = p.postcode
        -- OFFSET 0: one search of the index for each. What was staged a moment ago has no statistics yet, and a plan made
        -- for one row would read all of it for every place.
        LEFT JOIN LATERAL (
            SELECT x.postcode, x.ward_code, x.old_ward_code, x.live FROM area_plan_postcodes x
            WHERE x.plan_id = :plan AND x.postcode = p.postcode OFFSET 0
        ) pp ON p.kind = 'postcode'
        LEFT JOIN unnest(CAST(:pins AS uuid[]), CAST(:pin_codes AS text[])) AS pin(id, code) ON pin.id = p.id
        -- Asked only for those whom nothing else places.
        LEFT JOIN LATERAL (
            SELECT n.ward FROM (SELECT 1 WHERE src.ends AND p.at IS NOT NULL AND (
                p.kind = 'pin' AND pin.code IS NULL AND NOT src.alone
                OR p.kind = 'postcode' AND pc.postcode IS NULL AND pp.postcode IS NULL)) gate
            CROSS JOIN LATERAL ({postcodes.NEAREST.format(at="p.at")}) n
        ) near ON true
    ) found WHERE to_code <> from_code
"""
_CHANGED_WARDS = sa.text(
    """
    SELECT DISTINCT old_ward_code FROM area_plan_postcodes
    WHERE plan_id = :plan AND old_ward_code IS DISTINCT FROM ward_code AND old_ward_code IS NOT NULL
    """
)
_PINS = sa.text(
    """
    SELECT p.id, p.at[0], p.at[1] FROM place_areas pa JOIN places p ON p.id = pa.place_id
    WHERE pa.area_id = ANY(CAST(:areas AS int[])) AND pa.valid_to IS NULL AND pa.place_id >= :floor
        AND p.kind = 'pin' AND p.at IS NOT NULL
    """
)
_NEWEST = sa.text(
    """
    SELECT boundaries FROM area_plans WHERE state = 'applied' AND boundaries IS NOT NULL AND id <> :plan
    ORDER BY applied_at DESC, id DESC LIMIT 1
    """
)


def survey(session: Session, plan: AreaPlan) -> Ground:
    """Lay a plan out against what stands today. Invalid when it does not fit any more."""
    after = steps.tomorrow(session, plan.steps) if plan.steps else _unchanged(session)
    own = _unpacked(plan.boundaries) if plan.boundaries else None
    if own is not None and not set(own.codes) <= after.wards():
        raise Invalid("boundaries", "There are boundaries of wards that there will not be.")
    postcodes.lay_out(session, plan, after, own)
    return Ground(
        plan.id,
        after,
        own or in_force(session, after.wards(), plan.id),
        tuple(_sources(session, plan, after, own)),
    )


def _unchanged(session: Session) -> Tomorrow:
    """A release that changes no area moves postcodes only."""
    today = steps.today(session)
    return Tomorrow(today, today, {}, (), {}, {}, {})


def in_force(session: Session, wards: set[str], plan_id: UUID) -> WardIndex | None:
    """The boundaries of exactly these wards, if any are known: those of the last plan but this, or the bundled."""
    newest = session.execute(_NEWEST, {"plan": plan_id}).scalar_one_or_none()
    for index in (_unpacked(newest) if newest else None, boundaries.london()):
        if index is not None and set(index.codes) == wards:
            return index
    return None


@lru_cache(2)
def _unpacked(packed: bytes) -> WardIndex:
    shapes = boundary_file.decode(packed)
    return WardIndex(shapes, shapes.pop(boundaries.TIDAL_WATER, None))


def _sources(session: Session, plan: AreaPlan, after: Tomorrow, own: WardIndex | None) -> list[Source]:
    touched = set(session.execute(_CHANGED_WARDS, {"plan": plan.id}).scalars()) | set(after.ended)
    if own is not None:
        touched |= set(own.codes)
    found = []
    for code in touched & set(after.before):
        one = after.before[code]
        if one.kind in DRAWN_KINDS or one.id is None:
            continue
        ends = code in after.ended
        largest = after.largest(code) if ends else None
        found.append(
            Source(one.id, code, one.kind == "ward", ends, largest, ends and len(after.ended[code]) == 1)
        )
    return sorted(found, key=lambda one: one.area_id)


def bound(
    session: Session, ground: Ground, sources: Sequence[Source], floor: UUID = EVERYBODY
) -> dict[str, Any]:
    """What TARGETS is bound with for some areas. A ``ground`` of no plan goes by the postcodes that stand."""
    pins: list[UUID] = []
    codes: list[str | None] = []
    wards = [one.area_id for one in sources if one.ward]
    if ground.index is not None and wards:
        rows = session.execute(_PINS, {"areas": wards, "floor": floor}).all()
        pins = [row[0] for row in rows]
        codes = ground.index.wards_at([row[1] for row in rows], [row[2] for row in rows]) if rows else []
    return {
        "plan": ground.plan_id,
        "areas": [one.area_id for one in sources],
        "codes": [one.code for one in sources],
        "wards": [one.ward for one in sources],
        "ends": [one.ends for one in sources],
        "largest": [one.largest for one in sources],
        "alone": [one.alone for one in sources],
        "pins": pins,
        "pin_codes": codes,
        "floor": floor,
    }
