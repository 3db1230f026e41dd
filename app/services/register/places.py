"""In which borough each search was made, found once; and the figures that anybody may see, counted from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.areas import Area
from app.models.register_watch import FIGURES, RegisterFigure

MOST = 2_000
# What a column is called, and what it counts.
NAMES = {
    "searches": "searches of the register whose middle lies in the borough",
    "requests": "requests that were sent to owners after a search",
    "answers": "owners’ answers to requests, of every kind",
    "disclosures": "times an owner was made known to an investigation, after they answered",
    "withholdings": "searches that owners are told of later than is usual",
    "reviews": "searches that somebody else has reviewed",
    "proper": "reviews that found the search proper",
    "explain": "reviews that asked for an explanation",
    "improper": "reviews that found the search improper",
}
LONDON = ZoneInfo("Europe/London")
# Answers, reviews and verdicts come late: a quarter is counted again every day for so long after its end.
STILL_COUNTED = timedelta(days=120)
AGAIN = timedelta(hours=20)
SEEN_AGAIN = timedelta(days=40)  # a search is placed within the hour, or when the worker is back

# The middle of the shape, and the borough of the live postcode nearest to it.
_PLACE = sa.text(
    """
    INSERT INTO search_places (search_id, quarter, borough_code)
    SELECT s.id, CAST(date_trunc('quarter', s.opened_at AT TIME ZONE 'Europe/London') AS date), b.code
    FROM (
        SELECT s.id, s.opened_at, coalesce(s.centre, point(s.outline), point(polygon(pclose(s.route)))) AS middle
        FROM organisations o CROSS JOIN LATERAL (
            SELECT s.* FROM register_searches s
            WHERE s.organisation_id = o.id AND s.opened_at > CAST(:since AS timestamptz)
            ORDER BY s.opened_at, s.id
        ) s
        -- One step of the index for each: a join would read what was placed in all the years.
        CROSS JOIN LATERAL (SELECT count(*) AS known FROM search_places p WHERE p.search_id = s.id) p
        WHERE p.known = 0 LIMIT :most
    ) s
    CROSS JOIN LATERAL (SELECT p.ward_code FROM postcodes p WHERE p.live ORDER BY p.at <-> s.middle LIMIT 1) p
    JOIN areas w ON w.code = p.ward_code AND w.valid_to IS NULL
    JOIN areas b ON b.id = w.parent_id
    ON CONFLICT DO NOTHING
    """
)
_COUNT = sa.text("SELECT register.count_figures(:quarter, :now)")
_COUNTED = sa.text("SELECT max(counted_at) FROM register_figures WHERE quarter = :quarter")


@dataclass(frozen=True, slots=True)
class Line:
    """One borough in one quarter. A number that is None was smaller than five."""

    code: str
    borough: str
    numbers: tuple[int | None, ...]  # as FIGURES


@dataclass(frozen=True, slots=True)
class Figures:
    """One quarter. ``earlier``, ``later``: the neighbouring quarters that there are figures of."""

    quarter: date
    counted_at: datetime
    lines: tuple[Line, ...]
    earlier: date | None
    later: date | None


def place(session: Session, *, now: datetime, most: int = MOST) -> int:
    """Find the borough of up to ``most`` searches; how many. Again, in another transaction, while it was ``most``."""
    return int(session.execute(_PLACE, {"since": now - SEEN_AGAIN, "most": most}).rowcount)  # type: ignore[attr-defined]


def count(session: Session, *, now: datetime) -> int:
    """Count the quarters that have ended, and whose late answers may still come; how many were counted.

    A quarter that runs is not shown: from day to day its figures would say what happened that day.
    """
    today = now.astimezone(LONDON).date()
    this = quarter_of(today)
    wanted = [before(this)]
    while today - _end(wanted[-1]) < STILL_COUNTED:
        wanted.append(before(wanted[-1]))
    done = 0
    for quarter in wanted:
        last = session.scalar(_COUNTED, {"quarter": quarter})
        if today - _end(quarter) >= STILL_COUNTED and last is not None:
            continue
        if last is None or now - last > AGAIN:
            done += session.scalar(_COUNT, {"quarter": quarter, "now": now}) > 0
    return done


def figures(session: Session, quarter: date | None) -> Figures | None:
    """The figures of a quarter, or of the last there is; None without any."""
    known = RegisterFigure.quarter
    wanted = quarter or session.scalar(sa.select(sa.func.max(known)))
    rows = session.execute(
        sa.select(RegisterFigure, sa.func.coalesce(Area.name, RegisterFigure.borough_code))
        .outerjoin(Area, sa.and_(Area.code == RegisterFigure.borough_code, Area.valid_to.is_(None)))
        .where(known == wanted)
        .order_by(sa.func.coalesce(Area.name, RegisterFigure.borough_code))
    ).all()
    if wanted is None or not rows:
        return None
    lines = tuple(
        Line(one.borough_code, name, tuple(getattr(one, figure) for figure in FIGURES)) for one, name in rows
    )
    earlier = session.scalar(sa.select(sa.func.max(known)).where(known < wanted))
    later = session.scalar(sa.select(sa.func.min(known)).where(known > wanted))
    return Figures(wanted, rows[0][0].counted_at, lines, earlier, later)


def quarter_of(day: date) -> date:
    """The first day of the quarter in which a day lies."""
    return date(day.year, (day.month - 1) // 3 * 3 + 1, 1)


def before(quarter: date) -> date:
    """The quarter before."""
    return quarter_of(quarter - timedelta(days=1))


def _end(quarter: date) -> date:
    return quarter_of(quarter + timedelta(days=100))
