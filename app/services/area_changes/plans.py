"""Plans of changes: made, listed, scheduled, stopped. What they do is in application and reversal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.area_changes import AreaPlan
from app.services.area_changes import steps
from app.services.area_changes.steps import Step

PAGE = 50
LONGEST_TITLE = 200
# So far ahead one may plan, and so much smaller a share is a sliver of two maps' difference.
SLIVER = 0.01


@dataclass(frozen=True, slots=True)
class Listed:
    """A plan in a list. ``done`` of ``total`` areas are prepared."""

    id: UUID
    title: str
    applies_on: date
    state: str
    done: int
    total: int
    failed: str | None
    applied_at: datetime | None
    reversed_at: datetime | None


def create(
    session: Session,
    *,
    title: str,
    applies_on: date,
    given: Sequence[Step],
    actor: audit.Actor,
    boundaries: bytes | None = None,
    release: tuple[str, str, date] | None = None,
    table: Mapping[str, str] | None = None,
) -> AreaPlan:
    """A plan as a draft. ``release``: id, name and day of a release whose postcodes will be staged; ``table``: the
    new ward of single postcodes. Invalid says what cannot be.
    """
    title = " ".join(title.split())
    if not title or len(title) > LONGEST_TITLE or not title.isprintable():
        raise Invalid("title", f"Give the plan a title of 1 to {LONGEST_TITLE} characters.")
    if given or release is None:
        steps.tomorrow(session, given)
    plan = AreaPlan(
        title=title,
        applies_on=applies_on,
        steps=list(given),
        boundaries=boundaries,
        created_by=actor.id,
    )
    if release is not None:
        plan.release_id, plan.release_name, plan.release_published = release
    session.add(plan)
    session.flush()
    if table:
        _stage(session, plan, table)
    record(session, plan, "area:plan", actor, steps=len(given))
    return plan


_STAGE = sa.text(
    """
    INSERT INTO area_plan_postcodes (plan_id, postcode, at, ward_code, quality, live)
    SELECT :plan, p.postcode, p.at, given.ward, p.quality, p.live
    FROM unnest(CAST(:postcodes AS text[]), CAST(:wards AS text[])) AS given(postcode, ward)
    JOIN postcodes p ON p.postcode = given.postcode
    """
)


def _stage(session: Session, plan: AreaPlan, table: Mapping[str, str]) -> None:
    values = {"plan": plan.id, "postcodes": list(table), "wards": list(table.values())}
    found = session.execute(_STAGE, values)
    if found.rowcount != len(table):  # type: ignore[attr-defined]
        raise Invalid("postcodes", f"{len(table) - found.rowcount:,} of the postcodes are not known here.")  # type: ignore[attr-defined]


def find(session: Session, plan_id: UUID, *, lock: bool = False) -> AreaPlan:
    """A plan by its id. Missing when there is none."""
    plan = session.get(AreaPlan, plan_id, with_for_update=lock, populate_existing=True)
    if plan is None:
        raise Missing("There is no such plan.")
    return plan


def listed(session: Session, *, after: UUID | None = None, most: int = PAGE) -> list[Listed]:
    """Plans, the newest first, a page of them: ``after`` is the last of the page before."""
    query = sa.select(
        AreaPlan.id,
        AreaPlan.title,
        AreaPlan.applies_on,
        AreaPlan.state,
        AreaPlan.done,
        AreaPlan.total,
        AreaPlan.failed,
        AreaPlan.applied_at,
        AreaPlan.reversed_at,
    )
    if after is not None:
        query = query.where(AreaPlan.id < after)
    return [Listed(*row) for row in session.execute(query.order_by(AreaPlan.id.desc()).limit(most))]


def schedule(session: Session, plan_id: UUID, *, actor: audit.Actor) -> AreaPlan:
    """Let a plan be applied when its day has come; at once if it has. Invalid when its steps no longer fit."""
    plan = find(session, plan_id, lock=True)
    if plan.state != "draft":
        raise Conflict("This plan is no draft any more.")
    if plan.steps:
        steps.tomorrow(session, plan.steps)
    plan.state, plan.failed = "scheduled", None
    session.flush()
    record(session, plan, "area:schedule", actor)
    return plan


def stop(session: Session, plan_id: UUID, *, actor: audit.Actor) -> AreaPlan:
    """Never apply a plan. While it is being prepared nothing has changed yet. Conflict once it is applied."""
    plan = find(session, plan_id, lock=True)
    if plan.state not in ("draft", "scheduled", "running"):
        raise Conflict("This plan was applied or stopped already. To undo what was applied, reverse it.")
    plan.state = "stopped"
    session.flush()
    for table in ("area_moves", "area_plan_postcodes"):
        session.execute(sa.text(f"DELETE FROM {table} WHERE plan_id = :plan"), {"plan": plan.id})
    record(session, plan, "area:stop", actor)
    return plan


def record(session: Session, plan: AreaPlan, event: str, actor: audit.Actor, **detail: Any) -> None:
    """An act on a plan, on the record: counts and codes only."""
    audit.record(
        session,
        event=event,
        subject=f"area-plan:{plan.id}",
        actor=actor,
        detail={"applies": f"{plan.applies_on:%Y-%m-%d}", **detail},
    )
