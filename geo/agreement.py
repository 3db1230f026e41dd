"""How well the official postcode table and the ward boundaries agree.

They need not: a postcode's point is the mean of its addresses and may fall across a border from most of them.
The table decides for postcodes, the boundary for pins; this names the postcodes where the two differ.
"""

from typing import NamedTuple

from geo import boundaries, releases
from geo.boundaries import WardIndex
from geo.grid import Point
from geo.releases import Postcodes


class Disagreement(NamedTuple):
    """A postcode whose point the boundaries put in another ward (or in none) than the table does.

    `metres` is the distance from the point to the ward that the table names.
    """

    postcode: str
    table_ward: str
    boundary_ward: str | None
    metres: float


def disagreements(postcodes: Postcodes | None = None, index: WardIndex | None = None) -> list[Disagreement]:
    """Every disagreement, by postcode; without arguments, over all live postcodes of the bundled release."""
    postcodes = releases.live_postcodes() if postcodes is None else postcodes
    index = boundaries.london() if index is None else index
    found = index.wards_at(postcodes.easting, postcodes.northing)
    return [
        Disagreement(postcode, table, boundary, round(index.metres_from(table, Point(easting, northing)), 1))
        for postcode, easting, northing, table, boundary in zip(
            postcodes.postcode, postcodes.easting, postcodes.northing, postcodes.ward_code, found, strict=True
        )
        if table != boundary
    ]
