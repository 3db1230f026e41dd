"""What a camera sees: a sector of a disc on the British National Grid.

PostgreSQL judges by the same formulas (`migrations/register_geometry_sql.py`); the two are compared in tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from geo.grid import Point
from geo.shape import Outline

# Metres. Beyond this nobody is recognised, and a typing mistake would cover a ward.
MOST_REACH = 300.0
# An outline is drawn round a slightly larger sector, so that rounding never leaves a spot of the true one out.
SLACK = 0.01
# Degrees of arc between two corners of an outline, at most: it lies at most 0.4 % of the reach outside the arc.
STEP = 10.0


class SectorError(ValueError):
    """Numbers that make no sector, with the `field` that is wrong and a `message` for people."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Sector:
    """Where a camera stands (grid metres), where it looks and how far.

    `bearing` is degrees clockwise from grid north (0 ≤ bearing < 360), `field` the whole angle of view in degrees
    (1 to 360), `reach` metres. Raises SectorError.
    """

    at: Point
    bearing: float
    field: float
    reach: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.at)):
            raise SectorError("at", "That place is not in Great Britain.")
        if not 0 <= self.bearing < 360:
            raise SectorError("bearing", "Enter a direction from 0 to 359 degrees.")
        if not 1 <= self.field <= 360:
            raise SectorError("field", "Enter an angle of view from 1 to 360 degrees.")
        if not 0 < self.reach <= MOST_REACH:
            raise SectorError("reach", f"Enter a reach of up to {MOST_REACH:.0f} metres.")


def sees(sector: Sector, spot: Point) -> bool:
    """Whether a spot lies in the sector, its edges and the camera's own position included."""
    east, north = spot[0] - sector.at[0], spot[1] - sector.at[1]
    distance = math.hypot(east, north)
    if not distance <= sector.reach:  # NaN is seen by nobody
        return False
    if sector.field >= 360:
        return True
    bearing = math.radians(sector.bearing)
    ahead = east * math.sin(bearing) + north * math.cos(bearing)
    return ahead >= distance * math.cos(math.radians(sector.field / 2))


def outline(sector: Sector) -> Outline:
    """A polygon that contains the sector: its arc is circumscribed. Grid metres, without the closing repeat."""
    steps = max(1, math.ceil(sector.field / STEP))
    step = sector.field / steps
    reach = sector.reach + 2 * SLACK
    first = sector.bearing - sector.field / 2
    corners = [
        _spot(sector.at, first + (n + 0.5) * step, reach / math.cos(math.radians(step / 2)))
        for n in range(steps)
    ]
    if sector.field >= 360:
        return tuple(corners)
    # From a little behind the camera: the angle of the sector is that of the outline, and its edges lie inside.
    apex = _spot(sector.at, sector.bearing, -SLACK)
    moved = apex[0] - sector.at[0], apex[1] - sector.at[1]
    arc = [_spot(sector.at, first, reach), *corners, _spot(sector.at, first + sector.field, reach)]
    return (apex, *((x + moved[0], y + moved[1]) for x, y in arc))


def _spot(at: Point, bearing: float, distance: float) -> tuple[float, float]:
    angle = math.radians(bearing)
    return at[0] + distance * math.sin(angle), at[1] + distance * math.cos(angle)


class Kind(StrEnum):
    """The kinds of camera that the register knows."""

    DOORBELL = "doorbell"
    FIXED = "fixed"
    PTZ = "ptz"
    DASH_CAM = "dash-cam"
    BUSINESS = "business"


@dataclass(frozen=True, slots=True)
class Default:
    """What an owner is offered to begin with: degrees, metres, days; `words` and `hint` are for pages."""

    words: str
    hint: str
    field: int
    reach: int
    height: float
    days_kept: int


# Where somebody may still be recognised, not merely detected; days as such cameras are commonly set when they are
# bought, and a business commonly keeps a month.
DEFAULTS: dict[Kind, Default] = {
    Kind.DOORBELL: Default(
        "Video doorbell", "At the front door, looking out over the path or the street.", 150, 10, 1.2, 30
    ),
    Kind.FIXED: Default(
        "Fixed camera", "On a wall or under a roof, always looking one way.", 100, 20, 3.0, 14
    ),
    Kind.PTZ: Default(
        "Camera that turns", "Can be turned or zoomed, so it may have looked any way.", 360, 40, 4.0, 14
    ),
    Kind.DASH_CAM: Default(
        "Dash cam", "In a vehicle, where it is usually parked. It overwrites itself soon.", 130, 20, 1.3, 2
    ),
    Kind.BUSINESS: Default(
        "Business CCTV", "A camera of a shop, an office or a site, with a recorder.", 90, 25, 3.0, 31
    ),
}
