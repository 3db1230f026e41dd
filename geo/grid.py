"""WGS84 degrees ↔ British National Grid metres (EPSG:27700).

One fixed transformation, Ordnance Survey's published seven-parameter shift, whatever grid files a machine
may have: the same pin is in the same ward everywhere. It is true to a few metres, less than the 20 m to which
the ward boundaries are generalised.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

# Where EPSG:27700 is defined, in degrees.
_SOUTH, _NORTH, _WEST, _EAST = 49.75, 61.01, -9.01, 2.01
# The same area in metres.
_MAX_EASTING, _MAX_NORTHING = 700_000.0, 1_300_000.0

# The box round Greater London in metres, rounded outwards to a kilometre.
LONDON_WEST, LONDON_EAST = 503_000, 562_000
LONDON_SOUTH, LONDON_NORTH = 155_000, 201_000

_PIPELINE = (
    "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=push +v_3"
    " +step +proj=cart +ellps=WGS84"
    " +step +inv +proj=helmert +x=446.448 +y=-125.157 +z=542.06 +rx=0.15 +ry=0.247 +rz=0.842 +s=-20.489"
    " +convention=position_vector"
    " +step +inv +proj=cart +ellps=airy +step +proj=pop +v_3"
    " +step +proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996012717 +x_0=400000 +y_0=-100000 +ellps=airy"
)


class Point(NamedTuple):
    """A place on the British National Grid, in metres."""

    easting: float
    northing: float


class Degrees(NamedTuple):
    """A place in WGS84 degrees, latitude first."""

    latitude: float
    longitude: float


class GridError(ValueError):
    """A place that the British National Grid does not cover, with a `message` for people."""

    def __init__(self) -> None:
        self.message = "That place is not in Great Britain."
        super().__init__(self.message)


def to_grid(latitude: float, longitude: float) -> Point:
    """The grid point of WGS84 degrees. Raises GridError outside Great Britain and for NaN or infinity."""
    if not (_SOUTH <= latitude <= _NORTH and _WEST <= longitude <= _EAST):
        raise GridError
    easting, northing = _transformer().transform(longitude, latitude)
    return Point(float(easting), float(northing))


def to_degrees(point: Point) -> Degrees:
    """The WGS84 degrees of a grid point. Raises GridError outside Great Britain and for NaN or infinity."""
    if not (0 <= point.easting <= _MAX_EASTING and 0 <= point.northing <= _MAX_NORTHING):
        raise GridError
    longitude, latitude = _transformer().transform(point.easting, point.northing, direction="INVERSE")
    return Degrees(float(latitude), float(longitude))


def to_grid_arrays(
    latitudes: ArrayLike, longitudes: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eastings and northings of many places; both NaN where a place is outside Great Britain."""
    import numpy as np

    latitude = np.asarray(latitudes, dtype=np.float64)
    longitude = np.asarray(longitudes, dtype=np.float64)
    inside = (latitude >= _SOUTH) & (latitude <= _NORTH) & (longitude >= _WEST) & (longitude <= _EAST)
    easting, northing = _transformer().transform(
        np.where(inside, longitude, -2.0), np.where(inside, latitude, 52.0)
    )
    return np.where(inside, easting, np.nan), np.where(inside, northing, np.nan)


def to_degrees_arrays(
    eastings: ArrayLike, northings: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitudes and longitudes of many grid points; both NaN where a point is outside Great Britain."""
    import numpy as np

    easting = np.asarray(eastings, dtype=np.float64)
    northing = np.asarray(northings, dtype=np.float64)
    inside = (easting >= 0) & (easting <= _MAX_EASTING) & (northing >= 0) & (northing <= _MAX_NORTHING)
    longitude, latitude = _transformer().transform(
        np.where(inside, easting, 400_000.0), np.where(inside, northing, 200_000.0), direction="INVERSE"
    )
    return np.where(inside, latitude, np.nan), np.where(inside, longitude, np.nan)


def in_london_box(point: Point) -> bool:
    """Whether a point is in the box round Greater London: a cheap first check, no proof of a ward."""
    return LONDON_WEST <= point.easting <= LONDON_EAST and LONDON_SOUTH <= point.northing <= LONDON_NORTH


@cache
def _transformer() -> Any:
    # Takes 0.3 s with its import: only whoever converts pays.
    from pyproj import Transformer

    return Transformer.from_pipeline(_PIPELINE)
