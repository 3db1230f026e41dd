"""Where places lie, changed set by set; and the proof that nobody was lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import ServiceError
from app.services.area_changes import steps
from app.services.area_changes.steps import DRAWN_KINDS, Tomorrow
from app.services.area_changes.targets import TARGETS, Ground, Source, bound, in_force

_OFFICIAL = f"a.kind NOT IN ({', '.join(repr(kind) for kind in DRAWN_KINDS)})"
RELEASE = "(SELECT r.id FROM releases r ORDER BY r.loaded_at DESC LIMIT 1)"
# An id is made so long before its place is there, at most.
SLOW = timedelta(minutes=10)
# Of no plan: what stands is what counts.
NOBODY = UUID(int=0)


class UnreconciledError(ServiceError):
    """Totals differ: nothing may be written."""

    code = "unreconciled"


_STANDING = sa.text(
    f"""
    SELECT count(DISTINCT pa.place_id) FROM place_areas pa JOIN areas a ON a.id = pa.area_id
    WHERE pa.valid_to IS NULL AND {_OFFICIAL}
    """
)
_LOST = sa.text(
    """
    SELECT count(*) FROM areas a JOIN place_areas pa ON pa.area_id = a.id AND pa.valid_to IS NULL
    WHERE a.valid_to IS NOT NULL
    """
)
_PREPARE = sa.text(
    f"""
    INSERT INTO area_moves (plan_id, place_id, from_area_id, to_code, how)
    SELECT :plan, place_id, from_area_id, to_code, how FROM ({TARGETS}) t ON CONFLICT DO NOTHING
    """
)
_LEFT = sa.text(
    """
    DELETE FROM area_moves m WHERE m.plan_id = :plan AND NOT EXISTS (
        SELECT 1 FROM place_areas pa
        WHERE pa.place_id = m.place_id AND pa.area_id = m.from_area_id AND pa.valid_to IS NULL)
    """
)
_CLOSE = """
    UPDATE place_areas pa SET valid_to = greatest(:day, pa.valid_from) FROM {moves} m
    WHERE pa.place_id = m.place_id AND pa.area_id = m.{here} AND pa.valid_to IS NULL
"""
# Whoever is there already stays there once. A row of today that was closed is opened again.
_OPEN = f"""
    INSERT INTO place_areas (place_id, area_id, valid_from, release_id)
    SELECT m.place_id, n.id, :day, {RELEASE} FROM {{moves}} m JOIN areas n ON n.code = m.to_code AND n.valid_to IS NULL
    WHERE NOT EXISTS (
        SELECT 1 FROM place_areas pa WHERE pa.place_id = m.place_id AND pa.area_id = n.id AND pa.valid_to IS NULL)
    ON CONFLICT (place_id, area_id, valid_from) DO UPDATE SET valid_to = NULL
"""
_MINE = "(SELECT * FROM area_moves WHERE plan_id = :plan)"
_CLOSE_PREPARED = sa.text(_CLOSE.format(moves=_MINE, here="from_area_id"))
_OPEN_PREPARED = sa.text(_OPEN.format(moves=_MINE))
_AT_ONCE = sa.text(
    f"""
    WITH found AS ({TARGETS}), closed AS (
        UPDATE place_areas pa SET valid_to = greatest(:day, pa.valid_from) FROM found m
        WHERE pa.place_id = m.place_id AND pa.area_id = m.from_area_id AND pa.valid_to IS NULL
    )
    {_OPEN.format(moves="found")}
    """
)
_STRAGGLERS = sa.text(
    f"""
    SELECT a.id, a.code, a.kind,
        (SELECT n.code FROM area_successors s JOIN areas n ON n.id = s.successor_id AND n.valid_to IS NULL
         WHERE s.area_id = a.id ORDER BY s.share DESC, n.code LIMIT 1),
        (SELECT count(*) FROM area_successors s WHERE s.area_id = a.id) = 1
    FROM areas a
    WHERE a.valid_to IS NOT NULL AND {_OFFICIAL}
        AND EXISTS (SELECT 1 FROM place_areas pa WHERE pa.area_id = a.id AND pa.valid_to IS NULL)
    ORDER BY a.id
    """
)
_END = sa.text(
    "UPDATE place_areas SET valid_to = greatest(:day, valid_from) WHERE area_id = ANY(:areas) AND valid_to IS NULL"
)


def prepare(session: Session, ground: Ground, sources: Sequence[Source], *, floor: UUID = NOBODY) -> None:
    """Write down where the places of some areas go. To do it again adds only who came since."""
    session.execute(_PREPARE, bound(session, ground, sources, floor))


_LATE = sa.text(
    """
    SELECT DISTINCT pa.area_id FROM unnest(CAST(:areas AS int[])) AS one(id)
    JOIN place_areas pa ON pa.area_id = one.id AND pa.valid_to IS NULL AND pa.place_id >= :floor
    """
)


def floor(since: datetime) -> UUID:
    """No place that came later has a smaller id: they grow with time, and some are slow to commit."""
    return UUID(int=int((since - SLOW).timestamp() * 1000) << 80)


def prepare_late(session: Session, ground: Ground, *, since: datetime) -> None:
    """The same for whoever came since a plan is being prepared."""
    first, areas = floor(since), [one.area_id for one in ground.sources]
    late = set(session.execute(_LATE, {"areas": areas, "floor": first}).scalars())
    prepare(session, ground, [one for one in ground.sources if one.area_id in late], floor=first)


def move_prepared(session: Session, plan_id: UUID, *, day: date) -> int:
    """Let everybody be where it is written that they go; who has left since goes nowhere. How many moved."""
    session.execute(_LEFT, {"plan": plan_id})
    closed = session.execute(_CLOSE_PREPARED, {"plan": plan_id, "day": day}).rowcount  # type: ignore[attr-defined]
    session.execute(_OPEN_PREPARED, {"plan": plan_id, "day": day})
    return int(closed)


def chase(session: Session, *, day: date) -> int:
    """Whoever still lies in an area that ended goes on, by the postcodes and boundaries that stand. How many.

    Those are who came into an area at the moment when it ended, and at a reversal all who came in between.
    """
    rows = session.execute(_STRAGGLERS).all()
    if not rows:
        return 0
    today = steps.today(session)
    after = Tomorrow(today, today, {}, (), {}, {}, {})
    ground = Ground(NOBODY, after, in_force(session, after.wards(), NOBODY), ())
    sources = [
        Source(area_id, code, kind == "ward", True, largest, alone)
        for area_id, code, kind, largest, alone in rows
    ]
    moved = session.execute(_AT_ONCE, bound(session, ground, sources) | {"day": day})
    return int(moved.rowcount)  # type: ignore[attr-defined]


def end_all(session: Session, area_ids: list[int], *, day: date) -> None:
    """Nobody belongs to these drawn areas any more."""
    session.execute(_END, {"areas": area_ids, "day": day})


def standing(session: Session) -> int:
    """How many places lie in an area of a kind that everybody lies in."""
    return int(session.execute(_STANDING).scalar_one())


def reconcile(session: Session, before: int) -> None:
    """UnreconciledError unless as many places lie in an area as before, and none in one that ended."""
    after, lost = standing(session), int(session.execute(_LOST).scalar_one())
    if after != before or lost:
        raise UnreconciledError(
            f"Of {before:,} places {after:,} would lie in an area, and {lost:,} in one that ended: nothing was changed."
        )
