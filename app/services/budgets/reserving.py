"""Reserving at the freeze: two sends cannot both pass under the same limit.

The counters of the day and of the month are one row each. Whoever freezes adds to them and holds them until the
commit. Risk to life is never refused and never waits for a row: it is counted a moment later, by ``settling``. An
exercise costs what the real thing costs, and counts as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict
from app.models.ledger import Dispatch
from app.models.limits import Reservation
from app.services.budgets.allowances import (
    Allowance,
    Load,
    Prices,
    allowances,
    day_of,
    load,
    refusal,
    starts_of,
    tight,
)

LOCK_NOT_AVAILABLE = "55P03"
# Longer than any freeze takes from here to its commit: a process that hangs must not hold up all others.
PATIENCE = "5s"

_FROZEN = sa.text(
    """
    SELECT coalesce(sum(size) FILTER (WHERE channel = 'email'), 0), coalesce(sum(reserved_segments), 0)
    FROM batches WHERE dispatch_id = :dispatch
    """
)
# Locked in one order, so that two cannot wait for each other.
ADD = """
    INSERT INTO spend_counters AS c (organisation_id, period, starts, emails, segments, cost)
    SELECT organisation_id, period, starts, emails, segments, cost FROM {change}
    ORDER BY organisation_id, period, starts
    ON CONFLICT (organisation_id, period, starts) DO UPDATE
        SET emails = c.emails + excluded.emails, segments = c.segments + excluded.segments,
            cost = c.cost + excluded.cost
"""
_TAKE = sa.text(
    ADD.format(
        change="""(
            SELECT CAST(:organisation AS uuid), p.period, p.starts, CAST(:emails AS bigint), CAST(:segments AS bigint),
                CAST(:cost AS bigint)
            FROM (VALUES ('day', CAST(:day AS date)), ('month', CAST(:month AS date))) AS p(period, starts)
        ) AS change(organisation_id, period, starts, emails, segments, cost)"""
    )
)


def reserve(session: Session, dispatch: Dispatch, prices: Prices) -> Reservation:
    """Take what the frozen batches of a dispatch would use from the London day and month in which it begins.

    Conflict, with the figures, when a limit does not allow it: nothing is taken, and the caller must not commit. A
    risk-to-life dispatch is marked ``over`` instead. Call it late in the transaction: it holds the counters.
    """
    emails, segments = session.execute(_FROZEN, {"dispatch": dispatch.id}).one()
    wanted = load(int(emails), int(segments), prices)
    day = day_of(dispatch.not_before)
    vital = dispatch.urgency == "risk-to-life"
    if vital:
        over = tight(wanted, allowances(session, dispatch.controller_id, day))
    else:
        over = []
        _take_or_refuse(session, dispatch.controller_id, day, wanted)
    made = Reservation(
        dispatch_id=dispatch.id,
        organisation_id=dispatch.controller_id,
        day=day,
        emails=wanted.emails,
        segments=wanted.segments,
        cost=wanted.cost,
        email_pence=prices.email,
        segment_pence=prices.segment,
        over=bool(over),
        counted=not vital,
    )
    session.add(made)
    session.flush()
    if over:
        _note(session, dispatch, over)
    return made


def _take_or_refuse(session: Session, organisation: UUID, day: date, wanted: Load) -> None:
    """Hold the counters, look at the limits, then add: what is read is what all before us have left."""
    point = session.begin_nested()
    _add(session, organisation, day, Load())
    over = tight(wanted, allowances(session, organisation, day))
    if over:
        point.rollback()
        raise Conflict(refusal(over[0], wanted))
    _add(session, organisation, day, wanted)
    point.commit()


def _add(session: Session, organisation: UUID, day: date, taken: Load) -> None:
    values = {"organisation": organisation, **starts_of(day), **_figures(taken)}
    try:
        with session.begin_nested():
            session.execute(sa.text(f"SET LOCAL lock_timeout = '{PATIENCE}'"))
            session.execute(_TAKE, values)
            session.execute(sa.text("SET LOCAL lock_timeout = DEFAULT"))
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise Conflict(
            "Another alert of your organisation is being sent at this moment. Nothing was sent: try again."
        ) from None


def _figures(taken: Load) -> dict[str, int]:
    return {"emails": taken.emails, "segments": taken.segments, "cost": taken.cost}


def _note(session: Session, dispatch: Dispatch, over: list[Allowance]) -> None:
    audit.record(
        session,
        event="dispatch:exceed",
        subject=f"dispatch:{dispatch.id}",
        actor=audit.SYSTEM,
        organisation=dispatch.controller_id,
        detail={f"{one.measure}_per_{one.period}": one.most for one in over},
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a dispatch costs, in pence: at most (reserved) until it has ended, then what it used.

    ``over``: it went over a limit of its organisation, as only risk to life may.
    """

    pence: Decimal
    settled: bool
    over: bool


def cost(session: Session, dispatch_id: UUID) -> Cost | None:
    """Of a dispatch; None for one that was frozen before anything was reserved."""
    found = session.get(Reservation, dispatch_id)
    if found is None:
        return None
    hundredths = found.cost if found.spent_cost is None else found.spent_cost
    return Cost(Decimal(hundredths) / 100, found.settled_at is not None, found.over)
