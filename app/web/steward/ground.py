"""A search's place as a drawing: its shape, and the postcodes in and around it. Metres, north up, no tiles."""

from __future__ import annotations

from dataclasses import dataclass

from app.services.register.shown import Ground

_MARGIN = 0.08
_SCALES = (50, 100, 200, 500, 1_000, 2_000, 5_000)


@dataclass(frozen=True, slots=True)
class Drawing:
    """What the template draws, in a box of ``width`` × ``height`` metres whose y runs southwards."""

    width: float
    height: float
    circle: tuple[float, float, float] | None
    outline: str
    route: str
    reach: float  # how wide the route is drawn
    dots: tuple[tuple[float, float, bool], ...]
    dot: float
    scale: int  # metres that the bar stands for


def drawing(ground: Ground) -> Drawing:
    """The drawing of a search's ground."""
    corners = [*ground.outline, *ground.route, *([ground.centre] if ground.centre else [])]
    reach = max(ground.radius, 50.0)
    points = [(one.easting, one.northing) for one in corners]
    points += [(x + dx, y + dy) for x, y in points for dx in (-reach, reach) for dy in (-reach, reach)]
    west, east = min(x for x, _ in points), max(x for x, _ in points)
    south, north = min(y for _, y in points), max(y for _, y in points)
    margin = max(east - west, north - south) * _MARGIN
    west, north = west - margin, north + margin
    width, height = east + margin - west, north - south + margin

    def at(one: tuple[float, float]) -> tuple[float, float]:
        return round(one[0] - west, 1), round(north - one[1], 1)

    def line(some: tuple[tuple[float, float], ...]) -> str:
        return " ".join("{},{}".format(*at(one)) for one in some)

    dots = [(*at(spot.at), spot.inside) for spot in ground.spots]
    return Drawing(
        round(width, 1),
        round(height, 1),
        (*at(ground.centre), round(reach, 1)) if ground.centre and not ground.outline else None,
        line(ground.outline),
        line(ground.route),
        round(2 * reach, 1),
        tuple(one for one in dots if 0 <= one[0] <= width and 0 <= one[1] <= height),
        round(max(width, height) / 120, 1),
        max(one for one in _SCALES if one <= max(width / 3, _SCALES[0])),
    )
