"""A newer release of postcodes, read from its publisher's file into a plan: nothing of it counts before that is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict, Invalid
from app.models.area_changes import AreaPlan
from app.models.areas import Release
from app.services.area_changes import making, plans, steps
from app.services.area_changes.steps import Step
from geo import postcode_files
from geo.area_codes import AreaKind
from geo.postcode_files import Fault, PostcodeFileError, Row, Told

Progress = Callable[[int], None]
BLOCK = 5_000
# A file that lacks more of what is in use is a part of a release, or one of somewhere else.
MOST_GONE = 0.1


class RefusedError(Invalid):
    """Lines that could not be read: ``told`` says which. Nothing was kept."""

    code = "refused"

    def __init__(self, told: Told) -> None:
        super().__init__("file", f"{told.faulty:,} lines of the file cannot be read. Nothing was kept.")
        self.told = told

    @property
    def faults(self) -> list[Fault]:
        return self.told.faults


@dataclass(frozen=True, slots=True)
class Report:
    """What a release changes. ``moved``: postcodes in use that change their ward."""

    plan_id: UUID
    lines: int
    london: int
    nowhere: int
    live: int
    new: int
    gone: int
    moved: int
    begun: tuple[str, ...]
    ended: tuple[str, ...]


_CHANGES = sa.text(
    """
    SELECT count(*) FILTER (WHERE pp.live AND p.live IS NOT TRUE),
        (SELECT count(*) FROM postcodes q LEFT JOIN area_plan_postcodes x ON x.plan_id = :plan AND x.postcode = q.postcode
            WHERE q.live AND x.live IS NOT TRUE),
        count(*) FILTER (WHERE pp.live AND p.live AND pp.ward_code <> p.ward_code),
        count(*) FILTER (WHERE pp.live), (SELECT count(*) FROM postcodes WHERE live)
    FROM area_plan_postcodes pp LEFT JOIN postcodes p ON p.postcode = pp.postcode WHERE pp.plan_id = :plan
    """
)
_SHARES = sa.text(
    """
    SELECT p.ward_code, pp.ward_code, count(*) FROM area_plan_postcodes pp JOIN postcodes p ON p.postcode = pp.postcode
    WHERE pp.plan_id = :plan AND pp.live AND p.live AND p.ward_code = ANY(CAST(:ended AS text[])) GROUP BY 1, 2
    """
)


def read(
    session: Session,
    path: Path,
    *,
    release: tuple[str, str, date],
    applies_on: date,
    actor: audit.Actor,
    names: Mapping[str, str] | None = None,
    shares: Mapping[str, Mapping[str, float]] | None = None,
    progress: Progress = lambda _: None,
) -> Report:
    """Read a release (its id, name and day) into a plan of its own, and say what it changes.

    ``names``: of wards, by code, if the file brings none. ``shares``: how much of each ward that ends goes where; else
    its postcodes say it. Raises RefusedError, Invalid or Conflict: then the caller must keep nothing.
    """
    if session.get(Release, release[0]) is not None:
        raise Conflict(f"The release {release[0]} was loaded already.")
    plan = plans.create(
        session, title=f"Release {release[1]}", applies_on=applies_on, given=[], actor=actor, release=release
    )
    told = Told()
    boroughs = _stage(session, plan, path, told, progress)
    if told.faulty:
        raise RefusedError(told)
    new, gone, moved, live, known = session.execute(_CHANGES, {"plan": plan.id}).one()
    if not live or gone > known * MOST_GONE:
        raise Invalid(
            "file",
            f"{gone:,} of {known:,} postcodes in use are not in the file: it is not a whole release of London.",
        )
    plan.steps = _steps(session, plan, boroughs, {**told.names, **(names or {})}, names or {}, shares or {})
    session.flush()
    ends = tuple(step["code"] for step in plan.steps if step["do"] == "end")
    begins = tuple(step["code"] for step in plan.steps if step["do"] == "begin")
    plans.record(session, plan, "postcode:import", actor, new=new, gone=gone, moved=moved)
    return Report(plan.id, told.lines, told.london, told.nowhere, live, new, gone, moved, begins, ends)


def _stage(
    session: Session, plan: AreaPlan, path: Path, told: Told, progress: Progress
) -> dict[str, Counter[str]]:
    """Copy the rows in, a block at a time; the boroughs in which each ward's postcodes in use lie."""
    boroughs: dict[str, Counter[str]] = {}
    seen: set[str] = set()
    raw = session.connection().connection.driver_connection
    assert raw is not None

    def once() -> Iterator[Row]:
        for row in postcode_files.rows(path, told, progress):
            if row.postcode in seen:
                told.fault(path.name, told.lines, "has a postcode that stands twice")
                continue
            seen.add(row.postcode)
            if row.live:
                boroughs.setdefault(row.ward_code, Counter())[row.borough_code] += 1
            yield row

    target = "COPY area_plan_postcodes (plan_id, postcode, at, ward_code, quality, live) FROM STDIN"
    try:
        with raw.cursor() as cursor, cursor.copy(target) as copy:
            lines = (_line(plan.id, row) for row in once())
            while block := "".join(islice(lines, BLOCK)):
                copy.write(block)
    except PostcodeFileError as error:
        raise Invalid("file", error.message) from None
    return boroughs


def _line(plan: UUID, row: Row) -> str:
    # Nothing needs escaping: the reader lets letters, digits and spaces through, and nothing else.
    at = f"({row.easting},{row.northing})"
    return f"{plan}\t{row.postcode}\t{at}\t{row.ward_code}\t{row.quality}\t{row.live}\n"


def _steps(
    session: Session,
    plan: AreaPlan,
    boroughs: Mapping[str, Counter[str]],
    names: Mapping[str, str],
    renaming: Mapping[str, str],
    shares: Mapping[str, Mapping[str, float]],
) -> list[Step]:
    today = steps.today(session)
    wards = {code for code, one in today.items() if one.kind == AreaKind.WARD}
    begun, ended = sorted(boroughs.keys() - wards), sorted(wards - boroughs.keys())
    nameless = [code for code in begun if code not in names]
    if nameless:
        raise Invalid("names", f"No name is known for {len(nameless):,} new wards, such as {nameless[0]}.")
    found = [
        steps.begin(code, AreaKind.WARD, names[code], boroughs[code].most_common(1)[0][0]) for code in begun
    ]
    found += [
        steps.rename(code, name)
        for code, name in sorted(renaming.items())
        if code in wards and code in boroughs and name != today[code].name
    ]
    went: dict[str, dict[str, float]] = {}
    for old, new, count in session.execute(_SHARES, {"plan": plan.id, "ended": ended}):
        went.setdefault(old, {})[new] = count
    found += [
        steps.end(code, making.without_slivers(shares.get(code) or went.get(code) or {})) for code in ended
    ]
    if found:
        steps.tomorrow(session, found)
    return found
