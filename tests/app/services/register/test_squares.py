"""The squares that a search touches, its size, and what a camera may see from somewhere in its cell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.random import Generator, default_rng

from tests.conftest import Database
from tests.register_shapes import (
    CENTIMETRE,
    EAST,
    MANY,
    NORTH,
    SHAPE,
    Cameras,
    Shape,
    answers,
    area,
    corners,
    disc,
    literal,
    opened,
    pt,
    rectangles,
    route,
    routes,
    size,
    squares,
    stars,
    way,
)


@pytest.fixture(scope="module")
def sql(database: Database) -> Iterator[psycopg.Connection]:
    yield from opened(database)


@pytest.fixture
def chance() -> Generator:
    return default_rng(20261125)


place = st.tuples(
    st.one_of(st.integers(0, 20).map(lambda n: n * 100.0), st.floats(0, 2000, width=32)),
    st.one_of(st.integers(0, 20).map(lambda n: n * 100.0), st.floats(0, 2000, width=32)),
).map(lambda p: (EAST + p[0], NORTH + p[1]))
shapes_drawn = st.one_of(
    st.builds(lambda p, r: disc(*p, r), place, st.one_of(st.just(100.0), st.floats(0.01, 700))),
    st.builds(area, st.lists(place, min_size=3, max_size=8)),
    st.builds(
        route, st.lists(place, min_size=2, max_size=6), st.one_of(st.just(100.0), st.floats(0.01, 150))
    ),
)


@settings(max_examples=60)
@given(shape=shapes_drawn, seed=st.integers(0, 2**32))
@example(shape=disc(EAST, NORTH, 100.0), seed=1)
@example(shape=route([(EAST + 10, NORTH + 10), (EAST + 20, NORTH + 20)], 5.0), seed=2)
@example(
    shape=area([(EAST, NORTH), (EAST + 100, NORTH + 100), (EAST + 100, NORTH), (EAST, NORTH + 100)]), seed=3
)
def test_whatever_matches_a_shape_lies_in_one_of_its_squares(
    sql: psycopg.Connection, shape: Shape, seed: int
) -> None:
    touched = squares(sql, shape)
    assert len(touched) and (touched % 100 == 0).all()
    assert len(np.unique(touched, axis=0)) == len(touched)
    assert (touched[:, 2:] - touched[:, :2] == 100).all()
    low, high = touched[:, :2].min(axis=0) - 150, touched[:, 2:].max(axis=0) + 150
    chance = default_rng(seed)
    spots = chance.uniform(low, high, (500, 2))
    spots[::5] = np.round(spots[::5] / 100) * 100  # corners of the grid
    found = answers(
        sql,
        f"register.within({SHAPE}, point(x, y))".replace("%s", "{}").format(*map(literal, shape)),
        x=spots[:, 0],
        y=spots[:, 1],
    )
    inside = spots[found]
    covered = (
        ((inside[:, None, :] >= touched[None, :, :2]) & (inside[:, None, :] <= touched[None, :, 2:]))
        .all(axis=2)
        .any(axis=1)
    )
    assert covered.all()


def test_the_squares_are_those_that_shapely_says_are_touched(
    sql: psycopg.Connection, chance: Generator
) -> None:
    """No fewer, and none that lies a centimetre or more away."""
    grid = np.array(
        [
            (x, y)
            for x in np.arange(EAST - 7e3, EAST + 7e3, 100)
            for y in np.arange(NORTH - 7e3, NORTH + 7e3, 100)
        ]
    )
    tree = shapely.STRtree(shapely.box(grid[:, 0], grid[:, 1], grid[:, 0] + 100, grid[:, 1] + 100))
    drawn: list[tuple[Shape, shapely.Geometry]] = []
    for way_, star in zip(routes(chance, 40), stars(chance, 40), strict=True):
        x, y, r = EAST + chance.uniform(0, 99), NORTH + chance.uniform(0, 99), float(chance.uniform(5, 640))
        drawn.append((disc(x, y, r), shapely.Point(x, y).buffer(r, quad_segs=256)))
        drawn.append((route(way_, 50.0), shapely.LineString(way_).buffer(50, quad_segs=128)))
        drawn.append((area(star), shapely.Polygon(star).buffer(0)))
        drawn.append((("view", pt(x, y), None, None, None), shapely.Point(x, y)))
        drawn.append((("view", pt(x, y), None, corners(star), None), shapely.Polygon(star).buffer(0)))
    for shape, geometry in drawn:
        found = {tuple(row) for row in squares(sql, shape)[:, :2].tolist()}
        surely = {tuple(grid[n].tolist()) for n in tree.query(geometry.buffer(-CENTIMETRE), "intersects")}
        perhaps = {tuple(grid[n].tolist()) for n in tree.query(geometry.buffer(CENTIMETRE), "intersects")}
        assert surely <= found <= perhaps, shape


REFUSED: list[Shape] = [
    ("nonsense", "(1,1)", 5.0, None, None),
    ("radius", None, 100.0, None, None),
    ("radius", "(530000,180000)", None, None, None),
    ("radius", "(530000,180000)", 0.0, None, None),
    ("radius", "(530000,180000)", -5.0, None, None),
    ("radius", "(530000,180000)", 2501.0, None, None),
    ("radius", "(530000,180000)", float("nan"), None, None),
    ("radius", "(530000,180000)", float("inf"), None, None),
    ("radius", "(NaN,180000)", 100.0, None, None),
    ("radius", "(530000,Infinity)", 100.0, None, None),
    ("radius", "(1e300,180000)", 100.0, None, None),
    ("area", None, None, None, None),
    ("area", None, None, "((1,1),(2,2))", None),
    ("area", None, None, "((530000,180000),(NaN,180100),(530100,180000))", None),
    ("area", None, None, "((NaN,180000),(530000,180100),(530100,180000))", None),
    ("area", None, None, "((530000,180000),(530000,-Infinity),(530100,180000))", None),
    ("area", None, None, "((530000,180000),(535001,180100),(530100,180000))", None),
    ("area", None, None, corners([(EAST + n, NORTH + n % 2) for n in range(201)]), None),
    ("route", None, 50.0, None, None),
    ("route", None, None, None, "[(530000,180000),(530100,180000)]"),
    ("route", None, 50.0, None, "[(530000,180000)]"),
    ("route", None, 50.0, None, "((530000,180000),(530100,180000),(530100,180100))"),
    ("route", None, 50.0, None, "[(530000,180000),(534950,180000)]"),
    ("route", None, 50.0, None, "[(530000,180000),(530100,NaN)]"),
    ("route", None, 50.0, None, way([(EAST + n, NORTH) for n in range(201)])),
    ("view", None, None, None, None),
    ("view", "(NaN,NaN)", None, None, None),
]


@pytest.mark.parametrize("shape", REFUSED)
@pytest.mark.parametrize("name", ["bounds", "squares", "size"])
def test_a_shape_that_is_none_is_refused_before_any_work(
    sql: psycopg.Connection, name: str, shape: Shape
) -> None:
    with pytest.raises(psycopg.Error) as refused, sql.transaction():
        sql.execute(f"SELECT register.{name}({SHAPE})", shape)
    assert refused.value.sqlstate == "WR003"


def test_a_kind_looks_at_nothing_but_its_own_shape(sql: psycopg.Connection) -> None:
    e, n = EAST + 50, NORTH + 50
    line, ring = way([(e, n), (e + 1000, n)]), corners([(e + 900, n), (e + 900, n + 10), (e + 910, n)])
    honest = {
        "radius": (pt(e, n), 300.0, None, None),
        "area": (None, None, ring, None),
        "route": (None, 300.0, None, line),
        "view": (pt(e, n), None, None, None),
    }
    for kind, shape in honest.items():
        more = [
            own if own is not None else other
            for own, other in zip(shape, (pt(e, n), 300.0, ring, line), strict=True)
        ]
        if kind == "view":
            more[2] = None  # an outline is a view's own
        assert squares(sql, (kind, *more)).tolist() == squares(sql, (kind, *shape)).tolist(), kind
        assert size(sql, (kind, *more)) == size(sql, (kind, *shape)), kind


# -- size
def test_an_honest_shape_has_its_size(sql: psycopg.Connection, chance: Generator) -> None:
    assert size(sql, disc(EAST, NORTH, 643.0)) == pytest.approx(np.pi * 0.643**2)
    off: list[float] = []
    for ring in [*stars(chance, 60), *rectangles(chance, 100)]:
        polygon = shapely.Polygon(ring)
        if polygon.is_valid and polygon.area > 5_000:
            off.append(size(sql, area(ring)) / (polygon.area / 1e6) - 1)
    for line in routes(chance, 160):
        radius = float(chance.uniform(35, 120))
        true = shapely.LineString(line).buffer(radius, quad_segs=64).area / 1e6
        off.append(size(sql, route(line, radius)) / true - 1)
    assert len(off) > 280
    assert max(map(abs, off)) < 0.03


def test_no_trick_makes_a_shape_smaller_than_what_it_reaches(sql: psycopg.Connection) -> None:
    e, n = EAST, NORTH
    # A bow-tie: its two halves cancel in the sum over its corners.
    bow = [(e, n), (e + 2000, n + 2000), (e + 2000, n), (e, n + 2000)]
    assert size(sql, area(bow)) > 0.97 * 2.0 * 0.97
    # The same square round and back again, which encloses nothing by sum.
    ring = [(e, n), (e, n + 1500), (e + 1500, n + 1500), (e + 1500, n)]
    assert size(sql, area([*ring, *ring])) >= 2.25 * 0.97
    # A comb of a hair's width: no area, and yet more than a thousand squares.
    comb = [(e + 50 * k + 1, n + (3000 if k % 2 else 0)) for k in range(80)]
    comb += [(x + 0.001, y) for x, y in reversed(comb)]
    assert len(squares(sql, area(comb))) > 1_000
    assert size(sql, area(comb)) > 1.3
    # A zigzag that nobody walks, a decimetre wide.
    zigzag = [(e + 60 * k, n + (3500 if k % 2 else 0)) for k in range(60)]
    assert len(squares(sql, route(zigzag, 0.1))) > 1_000
    assert size(sql, route(zigzag, 0.1)) > 1.3
    # There and back is no more than there.
    straight = [(e, n), (e + 1000, n)]
    assert size(sql, route(straight * 5, 50.0)) == pytest.approx(size(sql, route(straight, 50.0)), rel=0.03)


def test_a_cap_of_the_issue_never_reaches_more_than_four_square_kilometres(
    sql: psycopg.Connection, chance: Generator
) -> None:
    for _ in range(40):
        wide = float(chance.uniform(300, 4500))
        line = (np.array([EAST, NORTH]) + chance.uniform(0, wide, (int(chance.integers(2, 60)), 2))).tolist()
        shape = (
            route(line, float(chance.uniform(0.01, 30))) if chance.random() < 0.5 else area([*line, line[0]])
        )
        if size(sql, shape) <= 1.3:
            assert len(squares(sql, shape)) <= 3 * 130 + 12


# -- the blind view
def test_a_camera_that_sees_a_square_from_somewhere_in_its_cell_may_see_it(
    sql: psycopg.Connection, chance: Generator
) -> None:
    them = Cameras(chance)
    # A cell round each camera, and the grid square of the spot: if it sees the spot, its cell may see the square.
    west, east = them.x - chance.uniform(0, 200, MANY), them.x + chance.uniform(0, 200, MANY)
    south, north = them.y - chance.uniform(0, 200, MANY), them.y + chance.uniform(0, 200, MANY)
    left, low = np.floor(them.spot_x / 100) * 100, np.floor(them.spot_y / 100) * 100
    columns = {
        "x": them.x, "y": them.y, "b": them.bearing, "f": them.field, "r": them.reach, "sx": them.spot_x, "sy": them.spot_y,
        "w": west, "s": south, "e": east, "n_": north, "l": left, "o": low,
    }  # fmt: skip
    cell, target = "box(point(w, s), point(e, n_))", "box(point(l, o), point(l + 100, o + 100))"
    sees = answers(sql, "register.sees(point(x, y), b, f, r, point(sx, sy))", **columns)
    may = answers(sql, f"register.may_see({cell}, b, f, r, {target})", **columns)
    any_of = answers(
        sql, f"register.may_see({cell}, b, f, r, ARRAY[box(point(1, 1), point(2, 2)), {target}])", **columns
    )
    assert sees.sum() > 2_000
    assert may[sees].all()
    assert (may == any_of).all()


def test_may_see_is_hardly_more_than_what_can_be_seen(sql: psycopg.Connection, chance: Generator) -> None:
    them = Cameras(chance, 3_000)
    sides = chance.uniform(50, 300, (2, 3_000))
    # Squares all round at up to twice what matters.
    left = them.x + chance.uniform(-1, 1, 3_000) * (them.reach + 300)
    low = them.y + chance.uniform(-1, 1, 3_000) * (them.reach + 300)
    may = answers(
        sql,
        "register.may_see(box(point(x, y), point(x + w, y + h)), b, f, r, box(point(l, o), point(l + 100, o + 100)))",
        x=them.x, y=them.y, b=them.bearing, f=them.field, r=them.reach, w=sides[0], h=sides[1], l=left, o=low,
    )  # fmt: skip
    # All ways from cell to square, as a rectangle round the camera, against shapely's sector.
    ways = shapely.box(left - sides[0], low - sides[1], left + 100, low + 100)
    can = shapely.intersects(them.polygons(), ways)
    near = shapely.distance(them.polygons(), ways) < CENTIMETRE
    assert may[can].all()
    assert 500 < can.sum() < 2_500
    assert (may & ~near).sum() < 0.05 * can.sum()
