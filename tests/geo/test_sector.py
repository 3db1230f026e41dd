"""What a camera sees: edges, the whole circle, and an outline that leaves nothing out."""

from __future__ import annotations

import math

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geo.grid import Point
from geo.sector import DEFAULTS, MOST_REACH, Kind, Sector, SectorError, outline, sees

AT = Point(530_000.0, 180_000.0)

sectors = st.builds(
    Sector,
    st.tuples(st.floats(503_000, 562_000), st.floats(155_000, 201_000)).map(lambda p: Point(*p)),
    st.floats(0, 360, exclude_max=True),
    st.one_of(st.sampled_from([1.0, 90.0, 180.0, 359.9, 360.0]), st.floats(1, 360)),
    st.floats(0.5, MOST_REACH),
)


def spot(sector: Sector, off: float, away: float) -> Point:
    """A spot so many degrees clockwise of where the camera looks."""
    angle = math.radians(sector.bearing + off)
    return Point(sector.at.easting + away * math.sin(angle), sector.at.northing + away * math.cos(angle))


def test_bearings_count_clockwise_from_north() -> None:
    for bearing, (east, north) in {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}.items():
        looks = Sector(AT, bearing, 60, 50)
        assert sees(looks, Point(AT.easting + 40 * east, AT.northing + 40 * north))
        assert not sees(looks, Point(AT.easting - 40 * east, AT.northing - 40 * north))
        assert not sees(looks, Point(AT.easting + 40 * north, AT.northing + 40 * east))


@given(sector=sectors, share=st.floats(-0.99, 0.99), away=st.floats(0, 0.999))
def test_whatever_lies_between_the_edges_and_in_reach_is_seen_and_within_the_outline(
    sector: Sector, share: float, away: float
) -> None:
    found = spot(sector, share * sector.field / 2, away * sector.reach)
    assert sees(sector, found)
    assert shapely.Polygon(outline(sector)).covers(shapely.Point(found))


@given(sector=sectors, share=st.floats(0.01, 0.99), away=st.floats(0.01, 1), side=st.sampled_from([-1, 1]))
def test_what_lies_beyond_an_edge_or_the_reach_is_not_seen(
    sector: Sector, share: float, away: float, side: int
) -> None:
    behind = sector.field / 2 + share * (180 - sector.field / 2)
    if sector.field < 359:
        assert not sees(sector, spot(sector, side * behind, away * sector.reach))
    assert not sees(sector, spot(sector, share * sector.field / 2, sector.reach * 1.001 + 0.001))


@given(sector=sectors)
def test_a_camera_sees_where_it_stands_and_nobody_sees_what_is_no_number(sector: Sector) -> None:
    assert sees(sector, sector.at)
    assert not sees(sector, Point(math.nan, sector.at.northing))
    assert not sees(sector, Point(math.inf, sector.at.northing))


@given(sector=sectors)
def test_an_outline_is_a_simple_polygon_hardly_larger_than_the_sector(sector: Sector) -> None:
    corners = outline(sector)
    drawn = shapely.Polygon(corners)
    assert drawn.is_valid
    assert len(corners) <= math.ceil(sector.field / 10) + 3
    true = math.pi * sector.reach**2 * sector.field / 360
    assert true < drawn.area < true * 1.01 + 0.1 * sector.reach + 0.1
    assert all(math.dist(sector.at, corner) < sector.reach * 1.004 + 0.1 for corner in corners)


@pytest.mark.parametrize(
    ("field", "numbers"),
    [
        ("bearing", (-0.1, 90, 20)),
        ("bearing", (360, 90, 20)),
        ("bearing", (math.nan, 90, 20)),
        ("field", (0, 0.5, 20)),
        ("field", (0, 361, 20)),
        ("field", (0, math.nan, 20)),
        ("reach", (0, 90, 0)),
        ("reach", (0, 90, MOST_REACH + 1)),
        ("reach", (0, 90, math.inf)),
    ],
)
def test_numbers_that_make_no_sector_are_refused_by_name(
    field: str, numbers: tuple[float, float, float]
) -> None:
    with pytest.raises(SectorError) as refused:
        Sector(AT, *numbers)
    assert refused.value.field == field and len(refused.value.message) > 20
    with pytest.raises(SectorError) as nowhere:
        Sector(Point(math.nan, 1.0), 0, 90, 20)
    assert nowhere.value.field == "at"


def test_every_kind_of_camera_has_defaults_that_make_a_sector() -> None:
    assert set(DEFAULTS) == set(Kind)
    for default in DEFAULTS.values():
        assert Sector(AT, 0, default.field, default.reach)
        assert default.words and default.hint.endswith(".")
        assert 0 < default.height < 10 and 1 <= default.days_kept <= 31
    assert DEFAULTS[Kind.PTZ].field == 360, "it may have looked any way"
