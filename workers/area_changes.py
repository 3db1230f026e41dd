"""The job that applies changes of areas whose day has come, and looks after who was on the way when one ended."""

from __future__ import annotations

import structlog

from app import queue
from app.audit import record as audit
from app.db import utc_now
from app.errors import ServiceError
from app.services.area_changes import application, placing
from app.services.register import cells
from workers import runtime

log = structlog.get_logger(__name__)

PILE = "area-changes"
EVERY_TICKS = 60
ACTOR = audit.Actor(audit.ActorKind.SYSTEM, origin="worker:area-changes")
MOST = 100


def apply_due() -> int:
    """Everything that is due; to do it again finds nothing. How many plans were applied."""
    queue.answered(PILE)
    return runtime.attempt(_apply_due)


def _apply_due() -> int:
    transaction = runtime.registry().sessions.begin
    applied = 0
    for _ in range(MOST):
        with transaction() as session:
            plan = application.due(session, now=utc_now())
        if plan is None:
            break
        try:
            done = application.run(transaction, plan, actor=ACTOR, now=utc_now())
        except ServiceError as error:  # it is a draft again, or was stopped: its list says why
            log.warning("area_plan_failed", plan=str(plan), code=error.code)
            continue
        log.info("area_plan_applied", plan=str(plan), moved=done.moved)
        applied += 1
    with transaction() as session:
        late = placing.chase(session, day=application.today(utc_now()))
    if late:
        log.info("area_stragglers", places=late)
    with transaction() as session:  # a release came in with a plan, or by a command
        built = cells.build(session, actor=ACTOR)
    if built:
        log.info("register_cells_built", release=built.release, cells=built.cells)
    return applied
