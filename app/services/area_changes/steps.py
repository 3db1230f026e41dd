"""The steps of a plan, and the areas that there will be after them.

A step is a JSON object: ``begin`` {code, kind, name, parent, at?}, ``end`` {code, into: {code: share}}, ``rename``
{code, name}, ``move`` {code, parent}, ``outline`` {code, parts, holes}. A share of 0 to 1 is how much of the area goes
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Invalid
from geo.area_codes import DRAWN, OFFICIAL, AreaCodeError, AreaKind, kind_of

__all__ = [
    "DRAWN_KINDS",
    "Known",
    "Tomorrow",
    "begin",
    "end",
    "move",
    "outline",
    "rename",
    "today",
    "tomorrow",
]

Step = dict[str, Any]
LONGEST_NAME = 100
MOST_STEPS = 20_000
DRAWN_KINDS = tuple(str(kind) for kind in DRAWN)
_RANK = {str(kind): rank for rank, kind in enumerate(OFFICIAL)}


@dataclass(frozen=True, slots=True)
class Known:
    """An area as it is, or will be. ``id`` is None for one that does not begin before the plan is applied."""

    id: int | None
    code: str
    kind: str
    name: str
    parent: str | None
    began: date | None = None


@dataclass(frozen=True, slots=True)
class Tomorrow:
    """What there will be: every area by code, what began, what ended with its successors, who has another parent."""

    areas: Mapping[str, Known]
    before: Mapping[str, Known]
    ended: Mapping[str, dict[str, float]]
    begun: tuple[Step, ...]
    renamed: Mapping[str, str]
    moved: Mapping[str, str]  # code → code of the new parent, children of what ends among them
    outlined: Mapping[str, Step]

    def largest(self, code: str) -> str | None:
        """Where most of an area that ends goes; the lowest code where two are alike."""
        into = self.ended[code]
        return min(into, key=lambda one: (-into[one], one)) if into else None

    def wards(self) -> set[str]:
        return {code for code, one in self.areas.items() if one.kind == AreaKind.WARD}


def begin(
    code: str, kind: AreaKind | str, name: str, parent: str | None, at: tuple[float, float] | None = None
) -> Step:
    step: Step = {"do": "begin", "code": code, "kind": str(kind), "name": name, "parent": parent}
    return step | ({"at": list(at)} if at is not None else {})


def end(code: str, into: Mapping[str, float]) -> Step:
    return {"do": "end", "code": code, "into": dict(into)}


def rename(code: str, name: str) -> Step:
    return {"do": "rename", "code": code, "name": name}


def move(code: str, parent: str) -> Step:
    return {"do": "move", "code": code, "parent": parent}


def outline(code: str, parts: Sequence[Any], holes: Sequence[Any] = ()) -> Step:
    return {"do": "outline", "code": code, "parts": list(parts), "holes": list(holes)}


_TODAY = sa.text(
    """
    SELECT a.id, a.code, a.kind, a.name, p.code, a.valid_from FROM areas a LEFT JOIN areas p ON p.id = a.parent_id
    WHERE a.valid_to IS NULL
    """
)


def today(session: Session) -> dict[str, Known]:
    """Every area as it stands, by code."""
    return {row[1]: Known(*row) for row in session.execute(_TODAY)}


def tomorrow(session: Session, given: Sequence[Step]) -> Tomorrow:
    """What today's areas become by these steps. Invalid says which step cannot be, and why."""
    if not given or len(given) > MOST_STEPS:
        raise Invalid("steps", f"A plan has between 1 and {MOST_STEPS:,} steps.")
    before = today(session)
    areas = dict(before)
    of: dict[str, list[Step]] = {}
    for step in given:
        of.setdefault(step["do"], []).append(step)
    for step in of.get("begin", ()):
        _begins(areas, step)
    renamed = {step["code"]: _name(step) for step in of.get("rename", ()) if _stands(areas, step)}
    moved = {step["code"]: step["parent"] for step in of.get("move", ()) if _stands(areas, step)}
    outlined = {step["code"]: step for step in of.get("outline", ()) if _stands(areas, step)}
    ended = {step["code"]: dict(step["into"]) for step in of.get("end", ()) if _stands(before, step)}
    for code, into in ended.items():
        _ends(areas, ended, code, into)
    moved |= _children(areas, ended, moved)
    for code in ended:
        del areas[code]
    for code in moved.keys() | renamed.keys() | outlined.keys():
        if code not in areas:
            raise Invalid("steps", f"{code} ends: it cannot be changed as well.")
    for code, name in renamed.items():
        areas[code] = _with(areas[code], name=name)
    for code, parent in moved.items():
        areas[code] = _with(areas[code], parent=parent)
    _lies_right(areas, [*moved, *(step["code"] for step in of.get("begin", ()))])
    for code in outlined:
        if areas[code].kind not in DRAWN_KINDS:
            raise Invalid("steps", f"{code} has no outline of its own: only drawn areas have.")
    return Tomorrow(areas, before, ended, tuple(of.get("begin", ())), renamed, moved, outlined)


def _with(area: Known, *, name: str | None = None, parent: str | None = None) -> Known:
    return Known(area.id, area.code, area.kind, name or area.name, parent or area.parent, area.began)


def _stands(areas: Mapping[str, Known], step: Step) -> bool:
    if step["code"] not in areas:
        raise Invalid("steps", f"No area of today has the code {step['code']}.")
    return True


def _name(step: Step) -> str:
    name = " ".join(str(step["name"]).split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid("name", f"Give {step['code']} a name of 1 to {LONGEST_NAME} characters.")
    return name


def _begins(areas: dict[str, Known], step: Step) -> None:
    code, kind = step["code"], step["kind"]
    try:
        fits = str(kind_of(code)) == kind
    except AreaCodeError as error:
        raise Invalid("code", f"{code[:40]}: {error.message}") from None
    if not fits:
        raise Invalid("code", f"{code} is not the code of a {kind}.")
    if code in areas:
        raise Invalid("code", f"There is an area with the code {code} already.")
    areas[code] = Known(None, code, kind, _name(step), step["parent"])


def _ends(areas: Mapping[str, Known], ended: Mapping[str, Any], code: str, into: Mapping[str, float]) -> None:
    kind = areas[code].kind
    if not into and kind not in DRAWN_KINDS:
        raise Invalid("steps", f"Say what becomes of {code}: nobody who lives there may be lost.")
    for successor, share in into.items():
        if successor not in areas or successor in ended:
            raise Invalid("steps", f"{successor} cannot follow {code}: it is no area then.")
        if areas[successor].kind != kind:
            raise Invalid("steps", f"{successor} cannot follow {code}: it is no {kind}.")
        if not 0 < share <= 1:
            raise Invalid("steps", f"The share of {code} that goes to {successor} must lie between 0 and 1.")
    if sum(into.values()) > 1.01:
        raise Invalid("steps", f"More than the whole of {code} would go to others.")


def _children(
    areas: Mapping[str, Known], ended: Mapping[str, Mapping[str, float]], moved: Mapping[str, str]
) -> dict[str, str]:
    """What lies below an area that ends goes to its one successor; of several, nobody but a person can choose."""
    found = {}
    for code, one in areas.items():
        if one.parent is not None and one.parent in ended and code not in ended and code not in moved:
            into = ended[one.parent]
            if len(into) != 1:
                raise Invalid("steps", f"Say where {code} belongs when {one.parent} ends.")
            found[code] = next(iter(into))
    return found


def _lies_right(areas: Mapping[str, Known], changed: Sequence[str]) -> None:
    for code in changed:
        one = areas[code]
        if one.parent is None:
            if one.kind in _RANK and one.kind != AreaKind.FORCE:
                raise Invalid("steps", f"Say in what {code} lies.")
            continue
        above = areas.get(one.parent)
        if above is None:
            raise Invalid("steps", f"{code} cannot lie in {one.parent}: there is no such area then.")
        if above.kind not in _RANK or (one.kind in _RANK and _RANK[above.kind] >= _RANK[one.kind]):
            raise Invalid("steps", f"A {one.kind} cannot lie in a {above.kind}.")
        if one.kind == AreaKind.WARD and above.kind != AreaKind.BOROUGH:
            raise Invalid("steps", f"{code} must lie in a borough.")
