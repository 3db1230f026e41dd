"""Which ward a place is in, by the bundled boundaries.

The boundaries end at the high-water mark and are generalised to 20 m. So a place in no ward is given to the
nearest one when that is within 150 m over the tidal Thames (a bridge, a pier, the foreshore, a houseboat),
and within 20 m anywhere else, where "just outside London" cannot be told from "just inside".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geo import boundary_file
from geo.grid import Point

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from shapely.geometry.base import BaseGeometry

RIVER_METRES = 150.0
EDGE_METRES = 20.0
# The key of the tidal river among the bundled shapes; no area code looks like it.
TIDAL_WATER = "TIDAL-WATER"

_BUNDLED = Path(__file__).parent / "data" / "boundaries.json.gz"


class WardIndex:
    """A search tree over ward boundaries. Reading it is safe from several threads.

    `wards` maps GSS codes to polygons or multipolygons in grid metres; `water` is where the wider tolerance
    holds, or None for nowhere.
    """

    def __init__(self, wards: Mapping[str, BaseGeometry], water: BaseGeometry | None = None) -> None:
        import shapely

        self._codes = sorted(wards)
        self._shapes = dict(wards)
        self._tree: Any = shapely.STRtree([wards[code] for code in self._codes])
        self._water = water
        if water is not None:
            shapely.prepare(water)

    @property
    def codes(self) -> tuple[str, ...]:
        """The GSS codes of all wards, sorted."""
        return tuple(self._codes)

    def ward_at(self, point: Point) -> str | None:
        """The GSS code of the ward at a grid point, or None where there is none near enough."""
        if not (math.isfinite(point.easting) and math.isfinite(point.northing)):
            return None
        return self.wards_at([point.easting], [point.northing])[0]

    def wards_at(self, eastings: ArrayLike, northings: ArrayLike) -> list[str | None]:
        """The ward of each of many grid points (metres), in their order, as `ward_at` gives it.

        On a border between wards the lowest code is taken, so that the answer never depends on order.
        """
        places = self._places(eastings, northings)
        return [self._codes[place] if place >= 0 else None for place in places.tolist()]

    def metres_from(self, code: str, point: Point) -> float:
        """How far a point lies outside a ward, in metres; 0 inside. Raises KeyError for an unknown code."""
        import shapely

        return float(shapely.distance(self._shapes[code], shapely.Point(point.easting, point.northing)))

    def shape(self, code: str) -> BaseGeometry:
        """A ward's polygon or multipolygon in grid metres. Raises KeyError for an unknown code."""
        return self._shapes[code]

    def touching(self, box: tuple[float, float, float, float]) -> list[str]:
        """The codes of the wards that touch a rectangle (west, south, east, north in grid metres), sorted."""
        import shapely

        found = self._tree.query(shapely.box(*box), predicate="intersects")
        return [self._codes[place] for place in sorted(found.tolist())]

    def _places(self, eastings: ArrayLike, northings: ArrayLike) -> NDArray[np.int64]:
        """Places in `_codes`, -1 for nowhere."""
        import numpy as np
        import shapely

        xs = np.asarray(eastings, dtype=np.float64)
        ys = np.asarray(northings, dtype=np.float64)
        # GEOS refuses to search for the nearest shape to NaN or infinity.
        asked = np.flatnonzero(np.isfinite(xs) & np.isfinite(ys))
        points: Any = shapely.points(xs[asked], ys[asked])
        nowhere = len(self._codes)
        found = np.full(len(asked), nowhere, dtype=np.int64)
        inside, wards = self._tree.query(points, predicate="intersects")
        np.minimum.at(found, inside, wards)

        lost = np.flatnonzero(found == nowhere)
        if len(lost):
            (near, wards), metres = self._tree.query_nearest(
                points[lost], max_distance=RIVER_METRES, return_distance=True
            )
            allowed = np.full(len(lost), EDGE_METRES)
            if self._water is not None:
                allowed[shapely.covers(self._water, points[lost])] = RIVER_METRES
            close = metres <= allowed[near]
            np.minimum.at(found, lost[near[close]], wards[close])
        found[found == nowhere] = -1

        places = np.full(len(xs), -1, dtype=np.int64)
        places[asked] = found
        return places


@cache
def london() -> WardIndex:
    """The index of the bundled 704 wards, built once per process (some 0.3 s with the shapely import)."""
    shapes = boundary_file.decode(_BUNDLED.read_bytes())
    water = shapes.pop(TIDAL_WATER)
    return WardIndex(shapes, water)
