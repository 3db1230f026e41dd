"""Shapes that somebody draws: read from GeoJSON, judged, and turned into outlines on the National Grid.

PostgreSQL's own polygon has neither parts nor holes, so a shape is several outlines: those of its parts, and those
of its holes, which leave out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geo.grid import to_grid_arrays

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

Outline = tuple[tuple[float, float], ...]

MAX_BYTES = 20_000_000
MAX_CORNERS = 20_000
LEAST_SQUARE_METRES = 100.0
# Great Britain on the National Grid, in metres.
_WIDEST = (0.0, 0.0, 700_000.0, 1_300_000.0)


class ShapeError(ValueError):
    """A text that is no shape we can use, with a `message` for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Shape:
    """Outlines in grid metres, each without its closing repeat: what belongs to it, and what is cut out of that."""

    parts: tuple[Outline, ...]
    holes: tuple[Outline, ...] = ()


def read(text: str | bytes, *, grid: bool = False) -> Shape:
    """One shape from GeoJSON: a geometry, a feature, or a collection whose features are its parts.

    Coordinates are WGS84 degrees, or grid metres if `grid`. Raises ShapeError.
    """
    document = _document(text)
    found = [_geometry(one, grid=grid) for one in _geometries(document)]
    if not found:
        raise ShapeError("The file holds no shape.")
    import shapely

    whole = shapely.union_all(found) if len(found) > 1 else found[0]
    return of_geometry(whole)


def of_geometry(geometry: BaseGeometry) -> Shape:
    """The outlines of a valid polygon or multipolygon in grid metres. Raises ShapeError."""
    polygons = [one for one in getattr(geometry, "geoms", [geometry]) if one.geom_type == "Polygon"]
    parts = tuple(_ring(one.exterior) for one in polygons)
    holes = tuple(_ring(hole) for one in polygons for hole in one.interiors)
    if not parts:
        raise ShapeError("The file holds no shape that encloses anything.")
    if sum(map(len, (*parts, *holes))) > MAX_CORNERS:
        raise ShapeError(f"A shape may have at most {MAX_CORNERS:,} corners. Please simplify it.")
    if geometry.area < LEAST_SQUARE_METRES:
        raise ShapeError(f"The shape is smaller than {LEAST_SQUARE_METRES:.0f} square metres.")
    return Shape(parts, holes)


def read_wards(text: str | bytes, *, grid: bool = False) -> dict[str, tuple[BaseGeometry, dict[str, str]]]:
    """Boundaries by ward code, each with its properties, from a collection of features.

    The code stands in a property such as `ward_code` or `WD22CD`. Raises ShapeError.
    """
    document = _document(text)
    features = document.get("features")
    if not isinstance(features, list) or not features:
        raise ShapeError("The file must be a collection of features, one for each ward.")
    found: dict[str, tuple[BaseGeometry, dict[str, str]]] = {}
    for number, feature in enumerate(features, 1):
        properties = feature.get("properties") if isinstance(feature, Mapping) else None
        if not isinstance(properties, Mapping):
            raise ShapeError(f"Feature {number} has no properties.")
        known = {_alias(str(name)): str(value) for name, value in properties.items() if value is not None}
        code = known.get("code", "")
        if not code or code in found:
            raise ShapeError(f"Feature {number} has no ward code, or one that stands twice.")
        found[code] = (_geometry(feature.get("geometry"), grid=grid), known)
    return found


def _alias(name: str) -> str:
    lower = name.lower()
    if lower == "ward_code" or (lower.startswith("wd") and lower.endswith("cd")):
        return "code"
    if lower == "ward_name" or (lower.startswith("wd") and lower.endswith("nm")):
        return "name"
    if lower == "borough_code" or (lower.startswith("lad") and lower.endswith("cd")):
        return "borough"
    return lower


def _document(text: str | bytes) -> Mapping[str, Any]:
    if len(text) > MAX_BYTES:
        raise ShapeError("The file is too large.")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ShapeError("The file is not GeoJSON.") from None
    if not isinstance(document, Mapping):
        raise ShapeError("The file is not GeoJSON.")
    return document


def _geometries(document: Mapping[str, Any]) -> list[Any]:
    match document.get("type"):
        case "FeatureCollection":
            features = document.get("features")
            if not isinstance(features, list):
                raise ShapeError("The file is not GeoJSON.")
            return [one.get("geometry") if isinstance(one, Mapping) else None for one in features]
        case "Feature":
            return [document.get("geometry")]
        case _:
            return [document]


def _geometry(given: Any, *, grid: bool) -> BaseGeometry:
    import shapely

    if not isinstance(given, Mapping) or given.get("type") not in ("Polygon", "MultiPolygon"):
        raise ShapeError("Only polygons and multipolygons can be used.")
    polygons = given.get("coordinates")
    if given["type"] == "Polygon":
        polygons = [polygons]
    if not isinstance(polygons, list) or not polygons:
        raise ShapeError("The file holds no shape.")
    parts = []
    for polygon in polygons:
        if not isinstance(polygon, list) or not polygon:
            raise ShapeError("A part of the shape has no outline.")
        rings = [_corners(ring, grid=grid) for ring in polygon]
        parts.append(shapely.Polygon(rings[0], rings[1:]))
    whole = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    if not whole.is_valid:
        reason = shapely.is_valid_reason(whole).partition("[")[0].strip().lower()
        raise ShapeError(f"The outline crosses or touches itself ({reason}). Please draw it again.")
    if whole.is_empty or whole.area <= 0:
        raise ShapeError("The file holds no shape that encloses anything.")
    return whole


def _corners(ring: Any, *, grid: bool) -> list[tuple[float, float]]:
    if not isinstance(ring, list) or not 4 <= len(ring) <= MAX_CORNERS:
        raise ShapeError(
            f"An outline needs between 4 and {MAX_CORNERS:,} positions, the last like the first."
        )
    if not all(
        isinstance(one, list)
        and len(one) >= 2
        and all(type(n) in (int, float) and abs(n) < 1e9 and math.isfinite(n) for n in one[:2])
        for one in ring
    ):
        raise ShapeError("A position of the outline is no pair of numbers.")
    if ring[0][:2] != ring[-1][:2]:
        raise ShapeError("An outline must end where it begins.")
    xs, ys = [float(one[0]) for one in ring], [float(one[1]) for one in ring]
    if not grid:
        if not all(-180 <= x <= 180 for x in xs) or not all(-90 <= y <= 90 for y in ys):
            raise ShapeError("These are no degrees. Are they grid metres?")
        eastings, northings = to_grid_arrays(ys, xs)
        xs, ys = eastings.tolist(), northings.tolist()
    low_e, low_n, high_e, high_n = _WIDEST
    if not all(low_e <= x <= high_e and low_n <= y <= high_n for x, y in zip(xs, ys, strict=True)):
        raise ShapeError("The shape lies outside Great Britain.")
    return list(zip(xs, ys, strict=True))


def _ring(ring: Any) -> Outline:
    return tuple((round(float(x), 1), round(float(y), 1)) for x, y in list(ring.coords)[:-1])
