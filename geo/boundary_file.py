"""The bundle's boundary format: shapes on the National Grid as compressed JSON of whole decimetres.

`{"format": 1, "shapes": {CODE: [POLYGON, …]}}`; a polygon is its outer ring and then its holes; a ring is
`[x, y, dx, dy, …]`, the first corner and then the steps to each next one, without the closing repeat. Corners
that neighbours share are rounded alike, so no gap opens between them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from geo.columns import BundleError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

_FORMAT = 1
_UNITS_PER_METRE = 10


def encode(shapes: Mapping[str, BaseGeometry]) -> bytes:
    """Polygons and multipolygons (grid metres) by code, as bytes; equal shapes give equal bytes."""
    packed = {
        code: [
            [_steps(ring) for ring in (polygon.exterior, *polygon.interiors)]
            for polygon in getattr(shape, "geoms", [shape])
        ]
        for code, shape in sorted(shapes.items())
    }
    text = json.dumps({"format": _FORMAT, "shapes": packed}, separators=(",", ":"))
    return gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0)


def decode(packed: bytes) -> dict[str, BaseGeometry]:
    """The shapes by code, in grid metres. Raises BundleError on a damaged file or another version."""
    import shapely

    try:
        content = json.loads(gzip.decompress(packed))
        if content["format"] != _FORMAT:
            raise BundleError("the boundaries of the data bundle are of another version")
        shapes = {}
        for code, polygons in content["shapes"].items():
            parts = [
                shapely.Polygon(_corners(rings[0]), [_corners(hole) for hole in rings[1:]])
                for rings in polygons
            ]
            shapes[code] = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError("the boundaries of the data bundle cannot be read") from error
    return shapes


def _steps(ring: BaseGeometry) -> list[int]:
    import numpy as np
    import shapely

    corners = np.rint(shapely.get_coordinates(ring)[:-1] * _UNITS_PER_METRE).astype(np.int64)
    steps = np.diff(corners, axis=0, prepend=np.zeros((1, 2), dtype=np.int64))
    # Two corners closer than the unit are one; the first row is a place, not a step.
    moved = (steps != 0).any(axis=1)
    moved[0] = True
    kept = steps[moved]
    return [int(number) for number in kept.ravel()]


def _corners(steps: list[int]) -> NDArray[np.float64]:
    import numpy as np

    return np.cumsum(np.array(steps, dtype=np.int64).reshape(-1, 2), axis=0) / _UNITS_PER_METRE
