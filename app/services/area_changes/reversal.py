"""Reversing a plan: everybody back to where they were, and what happened in between kept.

Whoever the plan moved goes back to where it found them, if they are still where it put them. Who signed up or moved
in between goes where the older postcodes and boundaries say. One transaction, reckoned up like an application.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict
from app.models.area_changes import AreaPlan, AreaPlanArea
from app.services.area_changes import outlines, placing, plans, postcodes
from app.services.area_changes.application import LOCK, Outcome, today
from app.services.area_changes.followers import FOLLOWERS
from app.services.area_changes.steps import DRAWN_KINDS

_DRAWN = f"a.kind IN ({', '.join(repr(kind) for kind in DRAWN_KINDS)})"
# A plan that was applied later and touched the same: that one must go first.
_LATER = sa.text(
    """
    SELECT o.title FROM area_plans o JOIN area_plans mine ON mine.id = :plan
    WHERE o.state = 'applied' AND o.id <> mine.id AND (o.applied_at, o.id) > (mine.applied_at, mine.id) AND (
        EXISTS (
            SELECT 1 FROM area_plan_areas a JOIN area_plan_areas b ON b.area_id = a.area_id
            WHERE a.plan_id = o.id AND b.plan_id = mine.id)
        OR EXISTS (
            SELECT 1 FROM area_plan_postcodes a WHERE a.plan_id = o.id AND (
                SELECT true FROM area_plan_postcodes b WHERE b.plan_id = mine.id AND b.postcode = a.postcode)))
    LIMIT 1
    """
)
_BELOW = sa.text(
    f"""
    SELECT count(*) FROM areas a JOIN area_plan_areas b ON b.area_id = a.parent_id
    WHERE b.plan_id = :plan AND b.what = 'begun' AND a.valid_to IS NULL AND NOT {_DRAWN}
        AND NOT EXISTS (SELECT 1 FROM area_plan_areas m WHERE m.plan_id = :plan AND m.area_id = a.id
            AND m.what IN ('begun', 'moved'))
    """
)
_REOPEN = sa.text(
    """
    WITH back AS (
        UPDATE areas a SET valid_to = NULL FROM area_plan_areas e
        WHERE e.plan_id = :plan AND e.what = 'ended' AND a.id = e.area_id RETURNING a.id
    )
    DELETE FROM area_successors s USING back b WHERE s.area_id = b.id
    """
)
# Where the people of a new area came from, by its postcodes in use; without any, by the shares of before.
_CAME_FROM = sa.text(
    """
    WITH begun AS (
        SELECT a.id, a.code FROM area_plan_areas b JOIN areas a ON a.id = b.area_id
        WHERE b.plan_id = :plan AND b.what = 'begun'
    ), routes AS (
        SELECT e.area_id AS from_id, CAST(one AS int) AS to_id
        FROM area_plan_areas e CROSS JOIN LATERAL jsonb_array_elements_text(e.after -> 'into') one
        WHERE e.plan_id = :plan AND e.what = 'ended'
    ), lived AS (
        SELECT b.id, o.id AS from_id, CAST(count(*) AS float8) AS n
        FROM begun b JOIN area_plan_postcodes pp ON pp.plan_id = :plan AND pp.ward_code = b.code AND pp.live
        JOIN areas o ON o.code = pp.old_ward_code AND o.valid_to IS NULL
        GROUP BY 1, 2
        -- Maps differ by a few postcodes; who comes from there is no successor.
        HAVING EXISTS (SELECT 1 FROM routes r WHERE r.from_id = o.id AND r.to_id = b.id) OR count(*) > 20
    ), shares AS (
        SELECT id, from_id, n / sum(n) OVER (PARTITION BY id) AS share FROM lived
        UNION ALL
        SELECT r.to_id, r.from_id, 1.0 / count(*) OVER (PARTITION BY r.to_id)
        FROM routes r JOIN begun b ON b.id = r.to_id WHERE r.to_id NOT IN (SELECT id FROM lived)
    )
    INSERT INTO area_successors (area_id, successor_id, share)
    SELECT id, from_id, least(share, 1) FROM shares
    """
)
_BACK = """
    UPDATE areas a SET {what} FROM area_plan_areas j
    WHERE j.plan_id = :plan AND j.what = '{kind}' AND a.id = j.area_id AND {still}
"""
_NAMES = sa.text(
    _BACK.format(
        what="name = j.before ->> 'name', former_name = j.before ->> 'former_name'",
        kind="renamed",
        still="a.name = j.after ->> 'name'",
    )
)
_PARENTS = sa.text(
    _BACK.format(
        what="parent_id = CAST(j.before ->> 'parent_id' AS int)",
        kind="moved",
        still="a.parent_id IS NOT DISTINCT FROM CAST(j.after ->> 'parent_id' AS int)",
    )
)
# What was drawn in between, in an area that is no more, lies in what is above that.
_DRAWN_BELOW = sa.text(
    f"""
    UPDATE areas a SET parent_id = p.parent_id FROM area_plan_areas b JOIN areas p ON p.id = b.area_id
    WHERE b.plan_id = :plan AND b.what = 'begun' AND a.parent_id = p.id AND a.valid_to IS NULL AND {_DRAWN}
    """
)
_CLOSE_BEGUN = sa.text(
    """
    UPDATE areas a SET valid_to = greatest(:day, a.valid_from + 1) FROM area_plan_areas b
    WHERE b.plan_id = :plan AND b.what = 'begun' AND a.id = b.area_id AND a.valid_to IS NULL
    """
)
_MOVE = """
    WITH found AS ({found}), closed AS (
        UPDATE place_areas pa SET valid_to = greatest(:day, pa.valid_from) FROM found f
        WHERE pa.place_id = f.place_id AND pa.area_id = f.here AND pa.valid_to IS NULL
    )
    INSERT INTO place_areas (place_id, area_id, valid_from, release_id)
    SELECT f.place_id, f.there, :day, {release} FROM found f
    WHERE NOT EXISTS (
        SELECT 1 FROM place_areas pa WHERE pa.place_id = f.place_id AND pa.area_id = f.there AND pa.valid_to IS NULL)
    ON CONFLICT (place_id, area_id, valid_from) DO UPDATE SET valid_to = NULL
"""
_HOME = sa.text(
    _MOVE.format(
        release=placing.RELEASE,
        found="""
            SELECT m.place_id, n.id AS here, m.from_area_id AS there
            FROM area_moves m
            JOIN areas n ON n.code = m.to_code AND (n.valid_to IS NULL OR n.id IN (
                SELECT area_id FROM area_plan_areas WHERE plan_id = :plan AND what = 'begun'))
            JOIN place_areas pa ON pa.place_id = m.place_id AND pa.area_id = n.id AND pa.valid_to IS NULL
            WHERE m.plan_id = :plan
        """,
    )
)
# Of wards that go on: who signed up in between, by a postcode that belongs to another ward again.
_BETWEEN = sa.text(
    _MOVE.format(
        release=placing.RELEASE,
        found="""
            SELECT p.id AS place_id, n.id AS here, o.id AS there
            FROM area_plan_postcodes pp
            JOIN places p ON p.postcode = pp.postcode AND p.kind = 'postcode'
            JOIN areas n ON n.code = pp.ward_code AND n.valid_to IS NULL
            JOIN areas o ON o.code = pp.old_ward_code AND o.valid_to IS NULL
            JOIN place_areas pa ON pa.place_id = p.id AND pa.area_id = n.id AND pa.valid_to IS NULL
            WHERE pp.plan_id = :plan AND pp.old_ward_code <> pp.ward_code
                AND NOT EXISTS (SELECT 1 FROM area_moves m WHERE m.plan_id = :plan AND m.place_id = p.id)
        """,
    )
)
# The same of pins: where the nearest postcode in use lies again, if the ward that goes on had taken that in.
_PINS_BETWEEN = sa.text(
    _MOVE.format(
        release=placing.RELEASE,
        found="""
            SELECT p.id AS place_id, pa.area_id AS here, near.id AS there
            FROM (
                SELECT e.area_id AS from_id, CAST(one AS int) AS to_id
                FROM area_plan_areas e CROSS JOIN LATERAL jsonb_array_elements_text(e.after -> 'into') one
                WHERE e.plan_id = :plan AND e.what = 'ended'
            ) r
            JOIN areas n ON n.id = r.to_id AND n.valid_to IS NULL AND n.kind = 'ward'
            JOIN place_areas pa ON pa.area_id = n.id AND pa.valid_to IS NULL AND pa.place_id >= :since
            JOIN places p ON p.id = pa.place_id AND p.kind = 'pin'
            CROSS JOIN LATERAL (
                SELECT o.id FROM (
                    SELECT c.ward_code FROM postcodes c WHERE c.live ORDER BY c.at <-> p.at LIMIT 1) c
                JOIN areas o ON o.code = c.ward_code AND o.valid_to IS NULL
            ) near
            WHERE near.id = r.from_id
                AND NOT EXISTS (SELECT 1 FROM area_moves m WHERE m.plan_id = :plan AND m.place_id = p.id)
        """,
    )
)
_RELEASE_BACK = sa.text(
    """
    UPDATE releases SET loaded_at = (SELECT greatest(:now, max(loaded_at) + interval '1 microsecond') FROM releases)
    WHERE id = (SELECT old_release_id FROM area_plan_postcodes WHERE plan_id = :plan AND old_release_id IS NOT NULL
        GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)
    """
)


def reverse(session: Session, plan_id: UUID, *, actor: audit.Actor, now: datetime, why: str = "") -> Outcome:
    """Undo a plan. Conflict unless it is applied, or when a later one built on it."""
    session.execute(LOCK)
    plan = plans.find(session, plan_id, lock=True)
    mine: dict[str, Any] = {"plan": plan.id, "day": today(now), "now": now}
    _may_be_reversed(session, plan, mine)
    before = placing.standing(session)
    postcodes.restore(session, plan)
    if plan.release_id is not None:
        session.execute(_RELEASE_BACK, mine)
    for statement in (_REOPEN, _NAMES, _PARENTS, _DRAWN_BELOW, _CAME_FROM, _CLOSE_BEGUN):
        session.execute(statement, mine)
    moved = session.execute(_HOME, mine).rowcount  # type: ignore[attr-defined]
    mine["since"] = placing.floor(plan.applied_at or now)
    for statement in (_BETWEEN, _PINS_BETWEEN):
        moved += session.execute(statement, mine).rowcount  # type: ignore[attr-defined]
    plan.state, plan.reversed_at = "reversed", now
    session.flush()  # its boundaries hold no longer
    moved += placing.chase(session, day=mine["day"])
    _undraw(session, plan, mine["day"])
    followed = {one.table: one.reverse(session, plan.id, now) for one in FOLLOWERS}
    placing.reconcile(session, before)
    plans.record(session, plan, "area:reverse", actor, moved=moved, **followed)
    return Outcome(moved, followed)


def _may_be_reversed(session: Session, plan: AreaPlan, mine: dict[str, Any]) -> None:
    if plan.state != "applied":
        raise Conflict("Only a plan that was applied can be reversed.")
    later = session.execute(_LATER, mine).scalar_one_or_none()
    if later is not None:
        raise Conflict(f"A later plan changed the same areas: reverse “{later}” first.")
    if session.execute(_BELOW, mine).scalar_one():
        raise Conflict("Areas began later within those of this plan: it cannot be reversed.")


def _undraw(session: Session, plan: AreaPlan, day: date) -> None:
    areas = session.execute(
        sa.select(AreaPlanArea.area_id, AreaPlanArea.what)
        .where(AreaPlanArea.plan_id == plan.id)
        .order_by(AreaPlanArea.area_id)
    ).all()
    begun = [area for area, what in areas if what == "begun"]
    drawn = set(
        session.execute(
            sa.text(f"SELECT a.id FROM areas a WHERE a.id = ANY(:areas) AND {_DRAWN}"),
            {"areas": [area for area, _ in areas]},
        ).scalars()
    )
    for area, what in areas:
        if what == "outlined":
            outlines.undraw(session, plan, area)
    placing.end_all(session, [area for area in begun if area in drawn], day=day)
    if plan.release_id is not None:
        outlines.settle_all(session, day=day)
    else:
        for area in sorted(drawn - set(begun)):
            outlines.settle(session, area, day=day)
