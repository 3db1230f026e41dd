"""Ward by boundary: inside, on borders, over the river, past London's edge, and nonsense."""

import math

import pytest
import shapely

from geo import boundaries
from geo.boundaries import WardIndex
from geo.grid import Point, in_london_box, to_grid


@pytest.fixture(scope="module")
def squares() -> WardIndex:
    """Two wards of 1 km side by side, and a river 400 m wide to their north."""
    wards = {"E05000002": shapely.box(1000, 0, 2000, 1000), "E05000001": shapely.box(0, 0, 1000, 1000)}
    return WardIndex(wards, shapely.box(0, 1000, 2000, 1400))


def test_a_point_inside_a_ward_is_in_that_ward(squares: WardIndex) -> None:
    assert squares.ward_at(Point(500, 500)) == "E05000001"
    assert squares.ward_at(Point(1500, 500)) == "E05000002"


def test_a_point_on_a_border_is_in_the_ward_with_the_lower_code(squares: WardIndex) -> None:
    assert squares.ward_at(Point(1000, 500)) == "E05000001"


def test_a_point_on_the_river_is_in_the_nearest_ward_within_150_metres(squares: WardIndex) -> None:
    assert squares.ward_at(Point(1500, 1149)) == "E05000002"
    assert squares.ward_at(Point(1000, 1100)) == "E05000001"
    assert squares.ward_at(Point(1500, 1151)) is None


def test_on_land_outside_london_only_the_width_of_the_line_is_forgiven(squares: WardIndex) -> None:
    assert squares.ward_at(Point(500, -19)) == "E05000001"
    assert squares.ward_at(Point(500, -21)) is None


def test_without_a_river_the_edge_is_all_that_is_forgiven() -> None:
    index = WardIndex({"E05000001": shapely.box(0, 0, 1000, 1000)})
    assert index.ward_at(Point(500, 1019)) == "E05000001"
    assert index.ward_at(Point(500, 1100)) is None


@pytest.mark.parametrize("point", [(math.nan, 0), (0, math.inf), (-math.inf, math.nan), (1e300, 1e300)])
def test_nonsense_is_in_no_ward(squares: WardIndex, point: tuple[float, float]) -> None:
    assert squares.ward_at(Point(*point)) is None
    assert squares.wards_at([point[0], 500], [point[1], 500]) == [None, "E05000001"]


def test_no_points_are_in_no_wards(squares: WardIndex) -> None:
    assert squares.wards_at([], []) == []


def test_the_distance_from_a_ward_is_zero_inside_and_metres_outside(squares: WardIndex) -> None:
    assert squares.metres_from("E05000001", Point(500, 500)) == 0
    assert squares.metres_from("E05000001", Point(1040, 500)) == 40
    with pytest.raises(KeyError):
        squares.metres_from("E05999999", Point(0, 0))


def test_the_bundle_has_a_valid_boundary_for_each_of_704_wards() -> None:
    index = boundaries.london()
    assert len(index.codes) == 704
    for code in index.codes:
        shape = index.shape(code)
        assert shape.is_valid, code
        west, south, east, north = shape.bounds
        assert in_london_box(Point(west, south)), code
        assert in_london_box(Point(east, north)), code


def test_no_two_bundled_wards_overlap_by_more_than_their_shared_line() -> None:
    index = boundaries.london()
    shapes = [index.shape(code) for code in index.codes]
    whole = shapely.union_all(shapes).area
    assert sum(shape.area for shape in shapes) == pytest.approx(whole, abs=2_000)
    assert whole == pytest.approx(1_573e6, rel=0.001)


@pytest.mark.parametrize(
    ("place", "latitude", "longitude", "found"),
    [
        ("Tower Bridge, between its towers", 51.50548, -0.07536, True),
        ("Trafalgar Square", 51.50799, -0.12806, True),
        ("Heathrow, Terminal 5", 51.4723, -0.48785, True),
        ("Epsom, Surrey", 51.3330, -0.2690, False),
        ("Dartford, Kent", 51.4460, 0.2170, False),
        ("the sea off Dover", 51.1, 1.4, False),
    ],
)
def test_known_places_are_in_or_out_of_london(
    place: str, latitude: float, longitude: float, found: bool
) -> None:
    assert (boundaries.london().ward_at(to_grid(latitude, longitude)) is not None) is found, place


def test_many_points_at_once_are_what_they_are_one_by_one() -> None:
    index = boundaries.london()
    eastings = list(range(505_000, 560_000, 2_750))
    northings = list(range(157_000, 200_000, 2_150))
    together = index.wards_at(eastings, northings)
    assert together == [index.ward_at(Point(*point)) for point in zip(eastings, northings, strict=True)]
    assert None in together
    assert len(set(together)) > 10
