"""Applying a plan: prepared in batches that change nothing, then done as a whole in one transaction.

``begin`` → ``batch`` for each area → ``finish``, each in a transaction of its own: what was prepared is kept, so a
process that dies goes on where it was. Until ``finish`` commits nobody has moved, and a plan may be stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict, Invalid
from app.models.area_changes import AreaPlan
from app.services.area_changes import outlines, placing, plans, postcodes, steps, targets
from app.services.area_changes.followers import FOLLOWERS
from app.services.area_changes.steps import DRAWN_KINDS, Tomorrow
from app.services.area_changes.targets import Ground

LONDON = ZoneInfo("Europe/London")
LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('wardlink.area_plans'))")
Transaction = Callable[[], AbstractContextManager[Session]]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a plan did. ``moved``: places; ``followed``: rows of other tables, by table."""

    moved: int
    followed: Mapping[str, int]


def today(now: datetime) -> date:
    """The day in London."""
    return now.astimezone(LONDON).date()


def due(session: Session, *, now: datetime) -> UUID | None:
    """The plan whose turn it is: one under way, else the first whose day has come."""
    running = sa.select(AreaPlan.id).where(AreaPlan.state == "running")
    scheduled = (
        sa.select(AreaPlan.id)
        .where(AreaPlan.state == "scheduled", AreaPlan.applies_on <= today(now))
        .order_by(AreaPlan.applies_on, AreaPlan.id)
        .limit(1)
    )
    return session.scalar(running) or session.scalar(scheduled)


def run(
    transaction: Transaction,
    plan_id: UUID,
    *,
    actor: audit.Actor,
    now: datetime,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """All of it; the caller gives the transactions. Conflict when it was stopped meanwhile; what cannot be is kept
    with the plan, which is a draft again.
    """
    try:
        with transaction() as session:
            ground = begin(session, plan_id, now=now)
            left = remaining(session, plan_id, ground)
        for first in range(0, len(left), targets.AT_ONCE):
            some = left[first : first + targets.AT_ONCE]
            with transaction() as session:
                done = batch(session, ground, some)
            progress(done, len(ground.sources))
        with transaction() as session:
            return finish(session, ground, actor=actor, now=now)
    except (Invalid, placing.UnreconciledError) as error:
        with transaction() as session:
            fail(session, plan_id, error.message, actor=actor)
        raise


def begin(session: Session, plan_id: UUID, *, now: datetime) -> Ground:
    """Take a plan in hand, or again. Conflict unless it is scheduled and due, or while another one is under way."""
    session.execute(LOCK)
    plan = plans.find(session, plan_id, lock=True)
    if plan.state == "scheduled":
        if plan.applies_on > today(now):
            raise Conflict(f"This plan is for {plan.applies_on:%d %B %Y}.")
        if session.scalar(sa.select(AreaPlan.id).where(AreaPlan.state == "running")) is not None:
            raise Conflict("Another plan is being applied. Wait until it is done, or stop it.")
        plan.state, plan.began_at, plan.failed, plan.prepared_to = "running", now, None, 0
    elif plan.state != "running":
        raise Conflict("Only a plan that is scheduled can be applied.")
    ground = targets.survey(session, plan)
    plan.total = len(ground.sources)
    plan.done = sum(one.area_id <= plan.prepared_to for one in ground.sources)
    session.flush()
    return ground


def remaining(session: Session, plan_id: UUID, ground: Ground) -> list[targets.Source]:
    """The areas that are not prepared yet."""
    reached = plans.find(session, plan_id).prepared_to
    return [one for one in ground.sources if one.area_id > reached]


_STEP = sa.text(
    """
    UPDATE area_plans SET prepared_to = :area, done = done + :count WHERE id = :plan AND state = 'running' RETURNING done
    """
)


def batch(session: Session, ground: Ground, sources: Sequence[targets.Source]) -> int:
    """Prepare some areas, in the order in which they remain; how many are done. Conflict when the plan was stopped."""
    values = {"plan": ground.plan_id, "area": sources[-1].area_id, "count": len(sources)}
    done = session.execute(_STEP, values).scalar_one_or_none()
    if done is None:
        raise Conflict("The plan was stopped. Nothing was changed.")
    placing.prepare(session, ground, sources)
    return int(done)


def fail(session: Session, plan_id: UUID, why: str, *, actor: audit.Actor) -> None:
    """Say why a plan could not be applied; it is a draft again."""
    plan = plans.find(session, plan_id, lock=True)
    if plan.state in ("scheduled", "running"):
        plan.state, plan.failed = "draft", why
        session.execute(sa.text("DELETE FROM area_moves WHERE plan_id = :plan"), {"plan": plan_id})
        session.flush()
        plans.record(session, plan, "area:fail", actor)


def finish(session: Session, ground: Ground, *, actor: audit.Actor, now: datetime) -> Outcome:
    """Let it be. Everything in the caller's transaction: areas, postcodes, places, followers, and the reckoning."""
    session.execute(LOCK)
    plan = plans.find(session, ground.plan_id, lock=True)
    if plan.state != "running" or plan.began_at is None:
        raise Conflict("The plan was stopped. Nothing was changed.")
    if plan.steps and steps.tomorrow(session, plan.steps) != ground.after:
        raise Invalid("steps", "Areas changed meanwhile. Look at the plan, and schedule it again.")
    day, before = today(now), placing.standing(session)
    placing.prepare_late(session, ground, since=plan.began_at)
    _change_areas(session, plan, ground.after, day=day)
    if plan.release_id is not None:
        _load(session, plan, now)
    postcodes.apply(session, plan)
    moved = placing.move_prepared(session, plan.id, day=day)
    moved += placing.chase(session, day=day)
    _draw(session, plan, ground.after, day=day)
    followed: dict[str, int] = {}
    for one in FOLLOWERS:
        followed[one.table] = one.apply(session, plan.id, now)
    placing.reconcile(session, before)
    plan.state, plan.applied_at = "applied", now
    plan.counts = {"moved": moved, **followed}
    session.flush()
    plans.record(session, plan, "area:apply", actor, moved=moved, **followed)
    return Outcome(moved, followed)


_LOAD = sa.text(
    """
    INSERT INTO releases (id, name, published, live_postcodes, loaded_at)
    SELECT :id, :name, :published, count(*) FILTER (WHERE live),
        greatest(:now, (SELECT max(loaded_at) + interval '1 microsecond' FROM releases))
    FROM area_plan_postcodes WHERE plan_id = :plan
    ON CONFLICT (id) DO UPDATE SET loaded_at = excluded.loaded_at
    """
)


def _load(session: Session, plan: AreaPlan, now: datetime) -> None:
    session.execute(
        _LOAD,
        {
            "id": plan.release_id,
            "name": plan.release_name,
            "published": plan.release_published,
            "plan": plan.id,
            "now": now,
        },
    )


# An area that began today, ended at a reversal and begins again is the same one.
_BEGIN = sa.text(
    """
    WITH begun AS (
        INSERT INTO areas (code, kind, name, at, valid_from)
        SELECT g.code, g.kind, g.name, g.at, :day
        FROM unnest(CAST(:codes AS text[]), CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:ats AS point[]))
            AS g(code, kind, name, at)
        ON CONFLICT (code, valid_from) DO UPDATE
            SET name = excluded.name, kind = excluded.kind, at = excluded.at, valid_to = NULL
        RETURNING id
    ), forgotten AS (
        DELETE FROM area_successors s USING begun b WHERE s.area_id = b.id
    )
    INSERT INTO area_plan_areas (plan_id, area_id, what) SELECT :plan, id, 'begun' FROM begun
    """
)
_RENAME = sa.text(
    """
    WITH g AS (SELECT * FROM unnest(CAST(:codes AS text[]), CAST(:names AS text[])) AS g(code, name)), told AS (
        INSERT INTO area_plan_areas (plan_id, area_id, what, before, after)
        SELECT :plan, a.id, 'renamed', jsonb_build_object('name', a.name, 'former_name', a.former_name),
            jsonb_build_object('name', g.name)
        FROM g JOIN areas a ON a.code = g.code AND a.valid_to IS NULL
    )
    UPDATE areas a SET former_name = a.name, name = g.name FROM g WHERE a.code = g.code AND a.valid_to IS NULL
    """
)
_MOVE = sa.text(
    """
    WITH g AS (
        SELECT a.id, p.id AS parent_id FROM unnest(CAST(:codes AS text[]), CAST(:parents AS text[])) AS g(code, parent)
        JOIN areas a ON a.code = g.code AND a.valid_to IS NULL
        LEFT JOIN areas p ON p.code = g.parent AND p.valid_to IS NULL
    ), told AS (
        INSERT INTO area_plan_areas (plan_id, area_id, what, before, after)
        SELECT :plan, a.id, 'moved', jsonb_build_object('parent_id', a.parent_id),
            jsonb_build_object('parent_id', g.parent_id)
        FROM g JOIN areas a ON a.id = g.id WHERE :tell
    )
    UPDATE areas a SET parent_id = g.parent_id FROM g WHERE a.id = g.id
    """
)
_END = sa.text(
    """
    WITH g AS (
        SELECT a.id, n.id AS successor_id, g.share
        FROM unnest(CAST(:codes AS text[]), CAST(:into AS text[]), CAST(:shares AS float8[])) AS g(code, successor, share)
        JOIN areas a ON a.code = g.code AND a.valid_to IS NULL
        LEFT JOIN areas n ON n.code = g.successor AND n.valid_to IS NULL
    ), ended AS (
        UPDATE areas a SET valid_to = greatest(:day, a.valid_from + 1) WHERE a.id IN (SELECT id FROM g)
    ), became AS (
        INSERT INTO area_successors (area_id, successor_id, share)
        SELECT id, successor_id, share FROM g WHERE successor_id IS NOT NULL
    )
    INSERT INTO area_plan_areas (plan_id, area_id, what, after)
    SELECT :plan, id, 'ended',
        jsonb_build_object('into', coalesce(jsonb_agg(successor_id) FILTER (WHERE successor_id IS NOT NULL), '[]'))
    FROM g GROUP BY id
    """
)


def _change_areas(session: Session, plan: AreaPlan, after: Tomorrow, *, day: date) -> None:
    mine: dict[str, Any] = {"plan": plan.id, "day": day}
    session.execute(
        _BEGIN,
        mine
        | {
            "codes": [one["code"] for one in after.begun],
            "kinds": [one["kind"] for one in after.begun],
            "names": [after.areas[one["code"]].name for one in after.begun],
            "ats": [f"({one['at'][0]},{one['at'][1]})" if one.get("at") else None for one in after.begun],
        },
    )
    renamed = {code: name for code, name in after.renamed.items() if code in after.before}
    session.execute(_RENAME, mine | {"codes": list(renamed), "names": list(renamed.values())})
    born = {one["code"]: after.areas[one["code"]].parent for one in after.begun}
    moved = {code: parent for code, parent in after.moved.items() if code in after.before}
    for parents, tell in ((born, False), (moved, True)):
        values = {"codes": list(parents), "parents": list(parents.values()), "tell": tell}
        session.execute(_MOVE, mine | values)
    routes = [
        (code, successor, share)
        for code, into in after.ended.items()
        for successor, share in (into.items() or [(None, None)])
    ]
    columns = list(zip(*routes, strict=True)) or [(), (), ()]
    ends = dict(zip(("codes", "into", "shares"), map(list, columns), strict=True))
    session.execute(_END, mine | ends)


def _draw(session: Session, plan: AreaPlan, after: Tomorrow, *, day: date) -> None:
    """Outlines, and who lies in them. Where postcodes moved, everybody's."""
    ids = {
        row[0]: row[1]
        for row in session.execute(sa.text("SELECT code, id FROM areas WHERE valid_to IS NULL"))
    }
    for code, step in after.outlined.items():
        outlines.draw(session, plan, ids[code], step)
        session.execute(
            sa.text("INSERT INTO area_plan_areas (plan_id, area_id, what) VALUES (:plan, :area, 'outlined')"),
            {"plan": plan.id, "area": ids[code]},
        )
    ended = [
        one.id
        for code in after.ended
        if (one := after.before[code]).kind in DRAWN_KINDS and one.id is not None
    ]
    placing.end_all(session, ended, day=day)
    if plan.release_id is not None:
        outlines.settle_all(session, day=day)
    else:
        for code in after.outlined:
            outlines.settle(session, ids[code], day=day)
