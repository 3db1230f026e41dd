"""Degrees and grid metres: against published points, there and back, and outside the grid."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.grid import GridError, Point, in_london_box, to_degrees, to_degrees_arrays, to_grid, to_grid_arrays


def test_a_known_postcode_lands_within_a_metre() -> None:
    # BR1 1AA in Code-Point Open: degrees to six places, metres to one.
    point = to_grid(51.401546, 0.015415)
    assert math.dist(point, (540291, 168873)) < 1


def test_the_ordnance_surveys_own_example_is_met_within_five_metres() -> None:
    # OS guide to coordinate systems: the Caister water tower, ETRS89 and OSGB36 (OSTN15).
    point = to_grid(52 + 39 / 60 + 28.8282 / 3600, 1 + 42 / 60 + 57.8663 / 3600)
    assert math.dist(point, (651409.804, 313177.450)) < 5


@settings(max_examples=200, deadline=None)
@given(st.floats(503_000, 562_000), st.floats(155_000, 201_000))
def test_metres_to_degrees_and_back_moves_nothing_by_a_centimetre(easting: float, northing: float) -> None:
    there = to_degrees(Point(easting, northing))
    assert math.dist(to_grid(there.latitude, there.longitude), (easting, northing)) < 0.01


def test_many_places_at_once_are_what_they_are_one_by_one() -> None:
    latitudes, longitudes = [51.5, 51.4, 52.0], [-0.1, 0.0, -1.0]
    eastings, northings = to_grid_arrays(latitudes, longitudes)
    singly = [to_grid(*place) for place in zip(latitudes, longitudes, strict=True)]
    assert [Point(*both) for both in zip(eastings.tolist(), northings.tolist(), strict=True)] == singly
    back = to_degrees_arrays(eastings, northings)
    assert back[0].tolist() == pytest.approx(latitudes, abs=1e-7)
    assert back[1].tolist() == pytest.approx(longitudes, abs=1e-7)


@pytest.mark.parametrize(
    "place", [(0, 0), (91, 0), (51.5, 200), (math.nan, 0), (51.5, math.inf), (-51.5, -0.1), (48.85, 2.35)]
)
def test_a_place_outside_great_britain_is_refused(place: tuple[float, float]) -> None:
    with pytest.raises(GridError) as caught:
        to_grid(*place)
    assert "Great Britain" in caught.value.message


@pytest.mark.parametrize("point", [(-1, 0), (1e9, 0), (math.nan, 0), (0, -math.inf)])
def test_metres_off_the_grid_are_refused(point: tuple[float, float]) -> None:
    with pytest.raises(GridError):
        to_degrees(Point(*point))


def test_places_outside_great_britain_are_nan_among_many() -> None:
    eastings, northings = to_grid_arrays([51.5, 0.0, math.nan], [-0.1, 0.0, -0.1])
    assert [math.isnan(value) for value in eastings] == [False, True, True]
    assert [math.isnan(value) for value in northings] == [False, True, True]
    latitudes, longitudes = to_degrees_arrays([530_000.0, math.inf], [180_000.0, 0.0])
    assert [math.isnan(value) for value in latitudes] == [False, True]
    assert [math.isnan(value) for value in longitudes] == [False, True]


def test_the_london_box_holds_charing_cross_and_not_brighton() -> None:
    assert in_london_box(Point(530_034, 180_380))
    assert not in_london_box(Point(531_000, 104_000))
    assert not in_london_box(Point(math.nan, 180_000))
