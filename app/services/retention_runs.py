"""The report of the retention clock: by class and day, when it ran, what it removed, and the oldest that is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

__all__ = [
    "OVERDUE",
    "Line",
    "Report",
    "expect",
    "note_oldest",
    "note_removed",
    "note_run",
    "overdue",
    "report",
]

OVERDUE = timedelta(days=2)
LONDON = ZoneInfo("Europe/London")

_ADD = sa.text(
    """
    INSERT INTO retention_runs (name, day, organisation_id, removed, ran_at)
    SELECT :name, :day, r.owner, r.removed, :now
    FROM unnest(CAST(:owners AS uuid[]), CAST(:removed AS bigint[])) AS r(owner, removed) ORDER BY r.owner
    ON CONFLICT (name, organisation_id, day) DO UPDATE
        SET removed = retention_runs.removed + excluded.removed, ran_at = excluded.ran_at
    """
)
_RAN = sa.text(
    """
    INSERT INTO retention_runs (name, day, removed, oldest_left, ran_at)
    VALUES (:name, :day, :removed, :oldest, :now)
    ON CONFLICT (name, organisation_id, day) DO UPDATE SET removed = retention_runs.removed + excluded.removed,
        oldest_left = excluded.oldest_left, ran_at = excluded.ran_at
    RETURNING xmax = 0
    """
)
_EXPECT = sa.text(
    """
    INSERT INTO retention_runs (name, day)
    SELECT c.name, :day FROM unnest(CAST(:names AS text[])) AS c(name)
    WHERE NOT EXISTS (SELECT 1 FROM retention_runs r WHERE r.name = c.name AND r.organisation_id IS NULL)
    ON CONFLICT DO NOTHING
    """
)
# The newest row of each class that ran, or else the end of the first day on which it was known.
_SINCE = sa.text(
    """
    SELECT c.name, coalesce(
        (SELECT r.ran_at FROM retention_runs r
         WHERE r.name = c.name AND r.organisation_id IS NULL AND r.ran_at IS NOT NULL ORDER BY r.day DESC LIMIT 1),
        (SELECT CAST(r.day + 1 AS timestamp) AT TIME ZONE 'Europe/London' FROM retention_runs r
         WHERE r.name = c.name AND r.organisation_id IS NULL ORDER BY r.day LIMIT 1))
    FROM unnest(CAST(:names AS text[])) AS c(name)
    """
)


@dataclass(frozen=True, slots=True)
class Line:
    """One class on one day, as somebody may see it. ``ran_at`` None: its purge did not run that day."""

    name: str
    ran_at: datetime | None
    removed: int
    oldest_left: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """A day's lines, in the order of the table, and the days before and after it that there is anything of."""

    day: date
    lines: tuple[Line, ...]
    earlier: date | None
    later: date | None


def day_of(now: datetime) -> date:
    return now.astimezone(LONDON).date()


def note_removed(session: Session, name: str, removed: Mapping[UUID, int], *, now: datetime) -> None:
    """Count what went of each organisation's, in the transaction in which it goes."""
    if removed:
        values = {"owners": list(removed), "removed": list(removed.values())}
        session.execute(_ADD, values | {"name": name, "day": day_of(now), "now": now})


def note_run(session: Session, name: str, removed: int, oldest: datetime | None, *, now: datetime) -> bool:
    """A purge ran to its end: so much went in all, this is the oldest that is left. Whether it is the day's first run."""
    values = {"name": name, "day": day_of(now), "removed": removed, "oldest": oldest, "now": now}
    first: bool = session.execute(_RAN, values).scalar_one()
    return first


def expect(session: Session, names: Sequence[str], *, now: datetime) -> None:
    """From now on these classes are to be purged: one that never is will be missed."""
    session.execute(_EXPECT, {"names": list(names), "day": day_of(now)})


def overdue(session: Session, names: Sequence[str], *, now: datetime) -> dict[str, timedelta]:
    """Class → how long ago its purge ran, for those that it is two days or more."""
    found = session.execute(_SINCE, {"names": list(names)}).all()
    return {name: now - since for name, since in found if since is not None and now - since >= OVERDUE}


_OLDEST = """
    INSERT INTO retention_runs (name, day, organisation_id, oldest_left, ran_at)
    SELECT '{name}', :day, {owner}, min({until}), :now FROM {name}
    WHERE {owner} IS NOT NULL AND {where} GROUP BY {owner} ORDER BY {owner}
    ON CONFLICT (name, organisation_id, day) DO UPDATE SET oldest_left = excluded.oldest_left
"""
# The days that there is anything of, around one: itself or the newest before, and its neighbours.
_DAYS = sa.text(
    """
    SELECT d.day, (SELECT max(day) FROM retention_runs WHERE day < d.day),
        (SELECT min(day) FROM retention_runs WHERE day > d.day)
    FROM (SELECT max(day) AS day FROM retention_runs
          WHERE CAST(:day AS date) IS NULL OR day <= CAST(:day AS date)) d
    """
)
_LINES = sa.text(
    """
    SELECT c.name, r.ran_at,
        CASE WHEN c.owned THEN coalesce(o.removed, 0) ELSE r.removed END,
        CASE WHEN c.owned THEN o.oldest_left ELSE r.oldest_left END
    FROM unnest(CAST(:names AS text[]), CAST(:owned AS boolean[])) WITH ORDINALITY AS c(name, owned, place)
    LEFT JOIN retention_runs r ON r.name = c.name AND r.organisation_id IS NULL AND r.day = :day
    LEFT JOIN retention_runs o ON c.owned AND o.name = c.name AND o.organisation_id = :organisation AND o.day = :day
    ORDER BY c.place
    """
)
_ALL_LINES = sa.text(
    """
    SELECT c.name, r.ran_at, coalesce(r.removed, 0), r.oldest_left
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS c(name, place)
    LEFT JOIN retention_runs r ON r.name = c.name AND r.organisation_id IS NULL AND r.day = :day
    ORDER BY c.place
    """
)


def note_oldest(session: Session, name: str, owner: str, until: str, where: str, *, now: datetime) -> None:
    """The oldest that is left of each organisation's. Reads the whole class: once a day. The names are our own."""
    statement = _OLDEST.format(name=name, owner=owner, until=until, where=where)
    session.execute(sa.text(statement), {"day": day_of(now), "now": now})


def report(
    session: Session,
    classes: Mapping[str, bool],
    organisation: UUID | None = None,
    day: date | None = None,
) -> Report | None:
    """What ran on a day (the last one there is, without a day); None when nothing ever did.

    ``classes``: name → whether its rows belong to organisations. Of those the figures are ``organisation``'s alone;
    without one, whoever runs the service sees the sums.
    """
    found, earlier, later = session.execute(_DAYS, {"day": day}).one()
    if found is None:
        return None
    values = {"names": list(classes), "owned": list(classes.values()), "day": found}
    if organisation is None:
        rows = session.execute(_ALL_LINES, values).all()
    else:
        rows = session.execute(_LINES, values | {"organisation": organisation}).all()
    lines = tuple(Line(name, ran_at, removed or 0, oldest) for name, ran_at, removed, oldest in rows)
    return Report(found, lines, earlier, later)
