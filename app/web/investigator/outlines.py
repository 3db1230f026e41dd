"""Ward outlines for the map of investigators, as GeoJSON: our own vectors, so that it needs no tiles."""

from __future__ import annotations

import math
import re

import orjson
import shapely

from geo import boundaries, grid
from geo.grid import GridError

__all__ = ["read_box", "wards"]

Box = tuple[float, float, float, float]
_NUMBER = r"(-?[0-9]{1,3}(?:\.[0-9]{1,15})?)"
_BOX = re.compile(",".join([_NUMBER] * 4))
# Metres on a side: all of London, and more is not drawn. Outlines are drawn with so many corners as one can see.
_LONGEST = 120_000.0
_SHARE = 1_000


def read_box(text: str) -> Box | None:
    """West, south, east, north in degrees → the same in grid metres; None for what is no rectangle of ours."""
    match = _BOX.fullmatch(text)
    if match is None:
        return None
    west, south, east, north = (float(one) for one in match.groups())
    try:
        low, high = grid.to_grid(south, west), grid.to_grid(north, east)
    except GridError:
        return None
    if not (low.easting < high.easting and low.northing < high.northing):
        return None
    if max(high.easting - low.easting, high.northing - low.northing) > _LONGEST:
        return None
    return low.easting, low.northing, high.easting, high.northing


def wards(box: Box) -> bytes:
    """The wards that touch a rectangle, simplified to what its size lets one see."""
    index = boundaries.london()
    tolerance = max(5.0, math.dist(box[:2], box[2:]) / _SHARE)
    features = [
        {
            "type": "Feature",
            "properties": {"code": code},
            "geometry": {
                "type": "MultiLineString",
                "coordinates": _lines(shapely.simplify(index.shape(code).boundary, tolerance)),
            },
        }
        for code in index.touching(box)
    ]
    return orjson.dumps({"type": "FeatureCollection", "features": features})


def _lines(line: object) -> list[list[list[float]]]:
    """Each ring in degrees, longitude first, to about a metre."""
    found = []
    for part in shapely.get_parts(line):
        corners = shapely.get_coordinates(part)
        latitude, longitude = grid.to_degrees_arrays(corners[:, 0], corners[:, 1])
        found.append(
            [[round(x, 5), round(y, 5)] for x, y in zip(longitude.tolist(), latitude.tolist(), strict=True)]
        )
    return found
