"""A search as whoever watches sees it: who, for what case and why, where and when, and what followed.

No camera, owner or count of them is among it. The place is told by its shape and by the postcodes that lie in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from app.db import Pt
from app.models.areas import Area
from app.models.register import Investigation, RegisterSearch, SearchWithholding
from app.models.register_watch import SearchPlace
from app.models.staff import Staff

KINDS = {"radius": "Around a spot", "area": "Drawn area", "route": "Along a route", "view": "Who sees a spot"}
MOST_POSTCODES = 300
PAGE = 25


class Cursor(NamedTuple):
    """Where a page ends: the last thing that was shown."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Line:
    """A search in a list."""

    id: UUID
    opened_at: datetime
    searcher: str
    case: str
    case_id: UUID
    purpose: str
    kind: str
    size: float  # square kilometres
    cells: int
    borough: str | None
    lapsed: bool
    withheld_until: datetime | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """A live postcode near a search, and whether it lies inside."""

    postcode: str
    at: Pt
    inside: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a search was made, in metres of the British National Grid."""

    centre: Pt | None
    radius: float
    outline: tuple[Pt, ...]
    route: tuple[Pt, ...]
    spots: tuple[Spot, ...]
    more: bool  # there are more postcodes than are shown


@dataclass(frozen=True, slots=True)
class Followed:
    """A request that came of a search. The numbers are bands."""

    opened_at: datetime
    state: str
    asked: str
    answered: str
    disclosed: str


@dataclass(frozen=True, slots=True)
class Whole:
    """Everything about one search."""

    line: Line
    window_from: datetime
    window_to: datetime
    lifted: bool
    ground: Ground
    followed: tuple[Followed, ...]


_INSIDE = """CASE
    WHEN s.outline IS NOT NULL THEN p.at <@ s.outline
    WHEN s.route IS NOT NULL THEN p.at <-> s.route <= greatest(coalesce(s.radius, 0), 50)
    ELSE p.at <@ circle(s.centre, greatest(coalesce(s.radius, 0), 50)) END"""
# The postcodes within the box around the shape, by the index of points; those inside first.
_SPOTS = sa.text(
    f"""
    SELECT p.postcode, p.at[0], p.at[1], {_INSIDE} AS inside
    FROM (
        SELECT s.*, coalesce(box(s.outline), box(polygon(pclose(s.route))), box(s.centre, s.centre)) AS round,
            greatest(coalesce(s.radius, 0), 100) AS wide
        FROM register_searches s WHERE s.id = :search
    ) s JOIN postcodes p ON p.live AND p.at <@ box(
        point(((s.round)[0])[0] + s.wide, ((s.round)[0])[1] + s.wide),
        point(((s.round)[1])[0] - s.wide, ((s.round)[1])[1] - s.wide))
    ORDER BY inside DESC, p.postcode LIMIT :most
    """
)
_FOLLOWED = sa.text(
    "SELECT opened_at, state, asked, answered, disclosed FROM register.followed(:search) ORDER BY opened_at"
)


def lines(
    session: Session,
    where: Sequence[sa.ColumnElement[bool]],
    *,
    after: Cursor | None = None,
    reasons: bool = False,
) -> tuple[list[Line], Cursor | None]:
    """A page of searches under these conditions, the newest first; and where it goes on."""
    query = (
        sa.select(RegisterSearch, Staff.name, Investigation.reference, Area.name, SearchWithholding.until)
        .join(Staff, Staff.id == RegisterSearch.staff_id)
        .join(Investigation, Investigation.id == RegisterSearch.investigation_id)
        .outerjoin(SearchPlace, SearchPlace.search_id == RegisterSearch.id)
        .outerjoin(Area, sa.and_(Area.code == SearchPlace.borough_code, Area.valid_to.is_(None)))
        .outerjoin(SearchWithholding, SearchWithholding.search_id == RegisterSearch.id)
        .where(*where)
        .order_by(RegisterSearch.opened_at.desc(), RegisterSearch.id.desc())
        .limit(PAGE + 1)
    )
    if not reasons:
        query = query.options(defer(RegisterSearch.reason))
    if after is not None:
        place = sa.tuple_(RegisterSearch.opened_at, RegisterSearch.id)
        query = query.where(place < sa.tuple_(sa.literal(after.at), sa.literal(after.id)))
    found = [
        Line(
            one.id, one.opened_at, name, case, one.investigation_id, one.purpose, KINDS[one.kind], one.size,
            len(one.cells), borough, one.lapsed_at is not None, until, one.reason if reasons else None,
        )
        for one, name, case, borough, until in session.execute(query)
    ]  # fmt: skip
    shown = found[:PAGE]
    return shown, Cursor(shown[-1].opened_at, shown[-1].id) if len(found) > PAGE else None


def whole(session: Session, search_id: UUID) -> Whole:
    """Everything about one search. That it is read must be on the record, and committed, already."""
    (line,), _ = lines(session, [RegisterSearch.id == search_id], reasons=True)
    one = session.get_one(RegisterSearch, search_id)
    rows = session.execute(_SPOTS, {"search": search_id, "most": MOST_POSTCODES + 1}).all()
    spots = tuple(Spot(code, Pt(east, north), bool(inside)) for code, east, north, inside in rows)
    return Whole(
        line,
        one.window_from,
        one.window_to,
        one.lift_id is not None,
        Ground(
            one.centre,
            one.radius or 0.0,
            tuple(Pt(*corner) for corner in one.outline or ()),
            tuple(Pt(*corner) for corner in one.route or ()),
            spots[:MOST_POSTCODES],
            len(spots) > MOST_POSTCODES,
        ),
        tuple(Followed(*row) for row in session.execute(_FOLLOWED, {"search": search_id})),
    )
