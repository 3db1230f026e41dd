"""Areas and postcodes: loading the bundled London, and from a postcode to its ward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import Pt
from app.models.areas import Area, Postcode, Release
from geo import postcode, releases
from geo.area_codes import AreaKind

# Electoral wards of London as they stand came into force on this day (City of London included).
IN_FORCE_SINCE = date(2022, 5, 5)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ward:
    """A ward, its borough and the postcode that led there."""

    area_id: int
    code: str
    name: str
    borough_code: str
    borough_name: str
    postcode: str
    at: Pt
    release: str


@dataclass(frozen=True, slots=True)
class AreaName:
    """An area as it is linked to."""

    area_id: int
    code: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class AreaLine:
    """An area of today with everything above it, the nearest first."""

    area: AreaName
    former_name: str | None
    above: tuple[AreaName, ...]
    release: str | None

    @property
    def ids(self) -> list[int]:
        return [one.area_id for one in (self.area, *self.above)]

    @property
    def codes(self) -> list[str]:
        return [one.code for one in (self.area, *self.above)]


def loaded_release(session: Session) -> str | None:
    """The id of the release that the areas and postcodes come from, or None."""
    return session.scalar(sa.select(Release.id).order_by(Release.loaded_at.desc()).limit(1))


def load_london(session: Session, *, actor: audit.Actor, progress: Progress = lambda _: None) -> str:
    """Load the bundled release: areas, live and terminated postcodes. Does nothing when it is there.

    Areas are updated in place by code, so a second load keeps everybody's membership.
    """
    bundle = releases.release()
    # Two processes at once would both find nothing: the second waits, and then finds it loaded.
    session.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('wardlink.load_london'))"))
    if session.get(Release, bundle.id) is not None:
        return bundle.id
    progress("areas")
    session.add(
        Release(id=bundle.id, name=bundle.name, published=bundle.date, live_postcodes=bundle.live_postcodes)
    )
    session.flush()
    known = {a.code: a for a in session.scalars(sa.select(Area).where(Area.valid_to.is_(None)))}
    for found in releases.areas():  # every parent comes before its children
        area = known.get(found.code)
        if area is None:
            area = Area(code=found.code, kind=str(found.kind), valid_from=IN_FORCE_SINCE, name=found.name)
            session.add(area)
        area.name = found.name
        area.former_name = found.former_name
        area.parent_id = known[found.parent_code].id if found.parent_code else None
        area.at = Pt(*found.point) if found.point else None
        session.flush()
        known[found.code] = area
    progress("postcodes")
    session.execute(sa.delete(Postcode))
    _copy(session, releases.live_postcodes(), bundle.id, live=True)
    _copy(session, releases.terminated_postcodes(), bundle.id, live=False)
    for event, subject in (("area:load", f"release:{bundle.id}"), ("postcode:load", f"release:{bundle.id}")):
        audit.record(
            session, event=event, subject=subject, actor=actor, detail={"postcodes": bundle.live_postcodes}
        )
    return bundle.id


def _copy(session: Session, table: releases.Postcodes, release_id: str, *, live: bool) -> None:
    # Quality may be unknown for postcodes that ended: written as 0.
    template = (
        f"{{postcode}}\t({{easting}},{{northing}})\t{{ward_code}}\t0{{quality}}\t{live}\t{release_id}\n"
    )
    raw = session.connection().connection.driver_connection
    assert raw is not None
    with (
        raw.cursor() as cursor,
        cursor.copy("COPY postcodes (postcode, at, ward_code, quality, live, release_id) FROM STDIN") as copy,
    ):
        for block in table.copy_text(template):
            copy.write(block)


_FIND = sa.text(
    """
    SELECT p.live, CAST(p.at AS text), p.release_id, w.id, w.code, w.name, b.code, b.name
    FROM postcodes p
    JOIN areas w ON w.code = p.ward_code AND w.valid_to IS NULL
    JOIN areas b ON b.id = w.parent_id
    WHERE p.postcode = :postcode
    """
)


def find_ward(session: Session, typed: str) -> Ward:
    """The ward of a postcode as somebody typed it.

    Raises geo.postcode.PostcodeError: malformed, outward-only, terminated or not-london.
    """
    wanted = postcode.parse(typed)
    row = session.execute(_FIND, {"postcode": wanted}).one_or_none()
    if row is None:
        raise postcode.not_london()
    live, at, release, area_id, code, name, borough_code, borough_name = row
    if not live:
        raise postcode.terminated()
    easting, northing = at.strip("()").split(",")
    return Ward(
        area_id, code, name, borough_code, borough_name, wanted, Pt(float(easting), float(northing)), release
    )


# A recursive part of a query: an area by its code and all above it, by height.
LINE = """
    line AS (
        SELECT id, code, name, kind, former_name, parent_id, 0 AS height
        FROM areas WHERE code = :code AND kind = :kind AND valid_to IS NULL
        UNION ALL
        SELECT a.id, a.code, a.name, a.kind, a.former_name, a.parent_id, line.height + 1
        FROM line JOIN areas a ON a.id = line.parent_id
    )
"""
RELEASE = "(SELECT r.id FROM releases r ORDER BY r.loaded_at DESC LIMIT 1)"
_LINE = sa.text(
    f"WITH RECURSIVE {LINE} SELECT id, code, name, kind, former_name, {RELEASE} FROM line ORDER BY height"
)
_BELOW = sa.select(Area.id, Area.code, Area.name, Area.kind).where(Area.valid_to.is_(None))


def line(session: Session, code: str, kind: AreaKind) -> AreaLine | None:
    """An area of today by its code, if it is of this kind, with what lies above it: one query."""
    rows = session.execute(_LINE, {"code": code, "kind": str(kind)}).all()
    if not rows:
        return None
    return as_line(rows, rows[0][5])


def as_line(rows: Sequence[Sequence[Any]], release: str | None) -> AreaLine:
    """From rows of (id, code, name, kind, former name), the lowest first."""
    names = [AreaName(*row[:4]) for row in rows]
    return AreaLine(names[0], rows[0][4], tuple(names[1:]), release)


# What an area that ended became, through as many changes as there were; its share of the old one beside each.
_BECAME = sa.text(
    """
    WITH RECURSIVE went AS (
        SELECT a.id, a.valid_to, CAST(1 AS float8) AS share, ARRAY[a.id] AS way FROM areas a
        WHERE a.code = :code AND a.kind = :kind AND a.valid_to IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM areas x WHERE x.code = a.code AND x.valid_from > a.valid_from)
        UNION ALL
        SELECT n.id, n.valid_to, went.share * s.share, went.way || n.id
        FROM went JOIN area_successors s ON s.area_id = went.id JOIN areas n ON n.id = s.successor_id
        WHERE went.valid_to IS NOT NULL AND n.id <> ALL(went.way) AND cardinality(went.way) < 30
    )
    SELECT a.id, a.code, a.name, a.kind, sum(went.share), old.name
    FROM went JOIN areas a ON a.id = went.id JOIN areas old ON old.id = went.way[1] WHERE went.valid_to IS NULL
    GROUP BY a.id, old.name ORDER BY 5 DESC, a.name, a.code LIMIT 50
    """
)
# So small a part of what was is a difference of maps, not what became of it.
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Became:
    """What an area of before, by its name, became: areas of today, the largest part first."""

    name: str
    areas: tuple[AreaName, ...]


def became(session: Session, code: str, kind: AreaKind) -> Became | None:
    """What became of an area that ended; None when there never was one, or it is one of today's."""
    rows = session.execute(_BECAME, {"code": code, "kind": str(kind)}).all()
    if not rows:
        return None
    kept = [row for row in rows if row[4] >= LEAST_SHARE] or rows[:1]
    return Became(rows[0][5], tuple(AreaName(*row[:4]) for row in kept))


def boroughs(session: Session) -> list[AreaName]:
    """The boroughs of today (the City of London among them), by name."""
    found = session.execute(_BELOW.where(Area.kind == str(AreaKind.BOROUGH)).order_by(Area.name))
    return [AreaName(*row) for row in found]


def wards_of(session: Session, borough_id: int) -> list[AreaName]:
    """The wards of a borough, by name."""
    found = session.execute(
        _BELOW.where(Area.parent_id == borough_id, Area.kind == str(AreaKind.WARD)).order_by(Area.name)
    )
    return [AreaName(*row) for row in found]
