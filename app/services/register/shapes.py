"""What is searched: a disc, an area, a route or what a camera may see, from what somebody typed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import Pt
from app.errors import Invalid
from app.models.areas import Postcode
from geo import grid, postcode
from geo.grid import GridError

__all__ = ["KINDS", "LONGEST", "Shape", "read"]

KINDS = {
    "radius": "Within a distance of a place",
    "area": "Inside an area",
    "route": "Along a route",
    "view": "Cameras that may see a place or an area",
}
MOST_CORNERS = 60
LONGEST = 4_000  # characters of everything that is typed of a shape
_NUMBER = r"[-+]?[0-9]{1,7}(?:\.[0-9]{1,12})?"
_PAIR = re.compile(rf"({_NUMBER})\s*[,;\s]\s*({_NUMBER})")


@dataclass(frozen=True, slots=True)
class Shape:
    """In metres of the National Grid. What a kind does not use is None.

    ``radius``: of the disc, or how far from the route on either side.
    """

    kind: str
    centre: Pt | None = None
    radius: float | None = None
    outline: tuple[Pt, ...] | None = None
    route: tuple[Pt, ...] | None = None


def read(session: Session, kind: str, places: str, metres: str) -> Shape:
    """A shape of ``kind`` from typed places, one a line, and a distance. Raises Invalid for “places” or “metres”."""
    spots = [_spot(session, line) for line in _lines(places)]
    if kind not in KINDS:
        raise Invalid("shape", "Choose what to search.")
    if kind == "area":
        return Shape(kind, outline=_outline(spots))
    if kind == "route":
        if len(spots) < 2:
            raise Invalid("places", "Enter two or more places along the route, each on a line of its own.")
        return Shape(kind, radius=_metres(metres, 5, 300), route=tuple(spots))
    if kind == "view" and len(spots) > 1:
        return Shape(kind, outline=_outline(spots))
    if len(spots) != 1:
        raise Invalid("places", "Enter one place only.")
    return Shape(kind, centre=spots[0], radius=_metres(metres, 10, 5_000) if kind == "radius" else None)


def _lines(text: str) -> list[str]:
    found = [line.strip() for line in text[: LONGEST + 1].splitlines() if line.strip()]
    if not found:
        raise Invalid("places", "Enter a place: a postcode, or a latitude and longitude.")
    if len(found) > MOST_CORNERS:
        raise Invalid("places", f"Enter {MOST_CORNERS} places or fewer.")
    return found


def _outline(spots: list[Pt]) -> tuple[Pt, ...]:
    corners = spots[:-1] if len(spots) > 3 and spots[0] == spots[-1] else spots
    if len(set(corners)) < 3:
        raise Invalid("places", "An area needs three or more different corners, each on a line of its own.")
    return tuple(corners)


def _metres(text: str, least: int, most: int) -> float:
    typed = text.strip().lower().removesuffix("metres").removesuffix("m").strip().replace(",", "")
    if not re.fullmatch(r"[0-9]{1,5}", typed) or not least <= int(typed) <= most:
        raise Invalid("metres", f"Enter a distance from {least} to {most:,} metres.")
    return float(typed)


def _spot(session: Session, line: str) -> Pt:
    pair = _PAIR.fullmatch(line)
    if pair is not None:
        return _pair(float(pair[1]), float(pair[2]), line)
    try:
        wanted = postcode.parse(line)
    except postcode.PostcodeError:
        raise Invalid(
            "places",
            f"“{line[:40]}” is neither a postcode nor a latitude and longitude such as 51.5033, -0.1276.",
        ) from None
    found = session.scalar(sa.select(Postcode.at).where(Postcode.postcode == wanted))
    if found is None:
        raise Invalid("places", f"{wanted} is not a postcode in London that we know.")
    return found


def _pair(first: float, second: float, line: str) -> Pt:
    """Degrees, latitude first, or metres of the National Grid: no number can be meant as both."""
    try:
        spot = grid.to_grid(first, second) if abs(first) <= 90 else grid.Point(first, second)
    except GridError as error:
        raise Invalid("places", f"“{line[:40]}”: {error.message}") from None
    if not (0 <= spot.easting <= 700_000 and 0 <= spot.northing <= 1_300_000):
        raise Invalid("places", f"“{line[:40]}” is not in Great Britain.")
    return Pt(round(spot.easting, 2), round(spot.northing, 2))
