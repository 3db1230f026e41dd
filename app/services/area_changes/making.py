"""The changes that people ask for, as steps of a plan: rename, recode, merge, split, move, draw, new boundaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.services.area_changes import outlines, steps
from app.services.area_changes.plans import SLIVER
from app.services.area_changes.steps import Known, Step
from geo import boundary_file
from geo.area_codes import AreaCodeError, AreaKind, kind_of
from geo.boundaries import WardIndex
from geo.shape import Shape


@dataclass(frozen=True, slots=True)
class Named:
    """A new area: its code and its name."""

    code: str
    name: str


def _today(session: Session, code: str) -> Known:
    found = steps.today(session).get(code)
    if found is None:
        raise Invalid("code", f"No area of today has the code {code[:40]}.")
    return found


def rename(session: Session, code: str, name: str) -> list[Step]:
    """The same area, called otherwise."""
    _today(session, code)
    return [steps.rename(code, name)]


def recode(session: Session, code: str, new: str) -> list[Step]:
    """The same area under another code: pages, people and roles follow."""
    old = _today(session, code)
    return [steps.begin(new, old.kind, old.name, old.parent), steps.end(code, {new: 1.0})]


def merge(session: Session, codes: Sequence[str], into: Named) -> list[Step]:
    """Several areas become one: a new one, or one of today's that grows (then its name stays)."""
    today = steps.today(session)
    old = [_today(session, code) for code in dict.fromkeys(codes)]
    if not old or len({one.kind for one in old}) != 1:
        raise Invalid("codes", "Choose areas of one kind to merge.")
    found = []
    if into.code not in today:
        parents = {one.parent for one in old}
        if len(parents) != 1:
            raise Invalid("codes", "These areas lie in different ones: move them into one first.")
        found.append(steps.begin(into.code, old[0].kind, into.name, parents.pop()))
    return found + [steps.end(one.code, {into.code: 1.0}) for one in old if one.code != into.code]


def split(session: Session, code: str, into: Sequence[Named], table: Mapping[str, str]) -> list[Step]:
    """One ward becomes several; ``table`` says which postcode goes where, and so how much of it each is."""
    old = _today(session, code)
    if len(into) < 2:
        raise Invalid("into", "Name at least two areas that it becomes.")
    counts = {one.code: sum(ward == one.code for ward in table.values()) for one in into}
    if not all(counts.values()) or sum(counts.values()) != len(table):
        raise Invalid("postcodes", "Every postcode must go to one of the new areas, and each needs one.")
    share = {code: count / len(table) for code, count in counts.items()}
    return [
        *(steps.begin(one.code, old.kind, one.name, old.parent) for one in into),
        steps.end(code, share),
    ]


def move(session: Session, codes: Sequence[str], parent: str) -> list[Step]:
    """Areas come to lie in another, such as boroughs in another BCU."""
    for code in codes:
        _today(session, code)
    return [steps.move(code, parent) for code in dict.fromkeys(codes)]


def draw(session: Session, code: str, name: str, shape: Shape, parent: str | None = None) -> list[Step]:
    """A new drawn area, or another outline for one of today's. Without ``parent`` it lies in the smallest area in which
    everybody inside lives; nothing smaller may be said.
    """
    try:
        kind = kind_of(code)
    except AreaCodeError:
        raise Invalid(
            "code", "Give a code such as PATCH:uxbridge, TOWN:ilford, STATION:bank or SHAPE:fair."
        ) from None
    if str(kind) not in steps.DRAWN_KINDS:
        raise Invalid(
            "code", "Wards, boroughs, BCUs and forces are not drawn. Use PATCH:, TOWN:, STATION: or SHAPE:."
        )
    today = steps.today(session)
    smallest = outlines.lies_in(session, shape.parts)
    above = smallest
    if parent is not None:
        if smallest is None or parent not in _line(today, smallest):
            raise Invalid("parent", f"The outline is not all within {parent[:40]}.")
        above = parent
    found = [steps.outline(code, shape.parts, shape.holes)]
    if code not in today:
        return [steps.begin(code, kind, name, above), *found]
    if above is not None and above != today[code].parent:
        found.append(steps.move(code, above))
    elif above is None and today[code].parent is not None:
        raise Invalid(
            "shape", f"The new outline is not all within {today[code].parent}. Draw a new area instead."
        )
    return found


def _line(today: Mapping[str, Known], code: str) -> list[str]:
    found: list[str] = []
    here: str | None = code
    while here is not None and here not in found:
        found.append(here)
        here = today[here].parent
    return found


def end(session: Session, code: str) -> list[Step]:
    """A drawn area is no more."""
    if _today(session, code).kind not in steps.DRAWN_KINDS:
        raise Invalid("code", "Only drawn areas end without a successor.")
    return [steps.end(code, {})]


_POSTCODES = sa.text(
    "SELECT p.ward_code, p.at[0], p.at[1] FROM postcodes p WHERE p.live AND p.ward_code = ANY(CAST(:wards AS text[]))"
)


def boundaries(
    session: Session,
    wards: Mapping[str, tuple[Any, Mapping[str, str]]],
    *,
    shares: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[list[Step], bytes]:
    """New boundaries of whole boroughs: steps, and the boundaries packed for the plan.

    ``wards``: by code, each with its shape in grid metres and its properties (``name``, ``borough``). A ward of those
    boroughs that is not among them ends; its successors are where its postcodes in use lie, or what ``shares`` says.
    """
    today = steps.today(session)
    boroughs = {str(known.get("borough", "")) for _, known in wards.values()}
    unknown = sorted(code for code in boroughs if today.get(code) is None)
    if unknown:
        raise Invalid(
            "boundaries", f"No borough of today has the code {unknown[0] or 'of a ward without one'}."
        )
    for code in wards:
        try:
            if kind_of(code) is not AreaKind.WARD:
                raise AreaCodeError
        except AreaCodeError:
            raise Invalid("boundaries", f"{code[:40]} is not the code of a ward.") from None
    found: list[Step] = []
    for code, (shape, known) in sorted(wards.items()):
        name = str(known.get("name", ""))
        if code not in today:
            at = shape.representative_point()
            found.append(
                steps.begin(code, AreaKind.WARD, name, known["borough"], (round(at.x, 1), round(at.y, 1)))
            )
        else:
            if name and name != today[code].name:
                found.append(steps.rename(code, name))
            if today[code].parent != known["borough"]:
                found.append(steps.move(code, known["borough"]))
    ended = sorted(
        one.code
        for one in today.values()
        if one.kind == AreaKind.WARD and one.parent in boroughs and one.code not in wards
    )
    shapes = {code: shape for code, (shape, _) in wards.items()}
    lie = _shares(session, ended, WardIndex(shapes))
    for code in ended:
        into = (shares or {}).get(code) or lie.get(code) or {}
        found.append(steps.end(code, without_slivers(into)))
    return found, boundary_file.encode(shapes)


def _shares(session: Session, ended: Sequence[str], index: WardIndex) -> dict[str, dict[str, float]]:
    rows = session.execute(_POSTCODES, {"wards": list(ended)}).all()
    counts: dict[str, dict[str, float]] = {}
    lies = index.wards_at([row[1] for row in rows], [row[2] for row in rows]) if rows else []
    for row, ward in zip(rows, lies, strict=True):
        if ward is not None:
            into = counts.setdefault(row[0], {})
            into[ward] = into.get(ward, 0) + 1
    return counts


def without_slivers(into: Mapping[str, float]) -> dict[str, float]:
    """Weights as shares of their sum, without what only the difference of two maps made; the largest always stays."""
    total = sum(into.values())
    if not total:
        return {}
    largest = max(into.values())
    kept = {code: n for code, n in into.items() if n / total >= SLIVER or n == largest}
    whole = sum(kept.values())
    return {code: min(n / whole, 1.0) for code, n in sorted(kept.items())}
