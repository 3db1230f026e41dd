"""The database's exact geometry, held against shapely's: in metres of the National Grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
import shapely
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from geo import sector
from geo.grid import Point
from tests.conftest import Database
from tests.register_shapes import (
    CENTIMETRE,
    EAST,
    MANY,
    NORTH,
    Cameras,
    answers,
    corners,
    opened,
    routes,
    stars,
    way,
)


@pytest.fixture(scope="module")
def sql(database: Database) -> Iterator[psycopg.Connection]:
    yield from opened(database)


@pytest.fixture
def chance() -> Generator:
    return default_rng(20261125)


def settled(shapes: NDArray[np.object_], spots: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Those that do not lie within a centimetre of an edge, where rounding decides."""
    clear = shapely.distance(shapely.boundary(shapes), spots) >= CENTIMETRE
    assert clear.mean() > 0.99
    return clear


def test_what_a_camera_sees_is_what_shapely_says_of_ten_thousand_sectors(
    sql: psycopg.Connection, chance: Generator
) -> None:
    them = Cameras(chance)
    shapes, spots = them.polygons(), them.spots
    assert shapely.is_valid(shapes).all()
    expected, clear = shapely.contains(shapes, spots), settled(shapes, spots)
    columns = {
        "x": them.x,
        "y": them.y,
        "b": them.bearing,
        "f": them.field,
        "r": them.reach,
        "sx": them.spot_x,
        "sy": them.spot_y,
    }
    found = answers(sql, "register.sees(point(x, y), b, f, r, point(sx, sy))", **columns)
    assert (found == expected)[clear].all()
    assert 2_000 < found.sum() < 8_000
    # Python and the database agree on every one, and the outline that is indexed leaves none of them out.
    by_python = [
        sector.sees(sector.Sector(Point(x, y), b, f, r), Point(sx, sy))
        for x, y, b, f, r, sx, sy in zip(*columns.values(), strict=True)
    ]
    assert (found == by_python)[clear].all()
    outlined = answers(sql, "register.sector(point(x, y), b, f, r) @> point(sx, sy)", **columns)
    assert outlined[found].all()
    assert (outlined & ~found).mean() < 0.01, "it is hardly larger"


def test_the_outline_in_the_database_is_pythons_and_contains_the_whole_sector(
    sql: psycopg.Connection, chance: Generator
) -> None:
    them = Cameras(chance, 500)
    rows = sql.execute(
        "SELECT CAST(register.sector(point(x, y), b, f, r) AS text) "
        "FROM unnest(%s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::float8[]) "
        "WITH ORDINALITY AS t(x, y, b, f, r, n) ORDER BY n",
        [c.tolist() for c in (them.x, them.y, them.bearing, them.field, them.reach)],
    ).fetchall()
    found = [[tuple(map(float, c.split(","))) for c in row[0][2:-2].split("),(")] for row in rows]
    for ring, shape, x, y, b, f, r in zip(
        found, them.polygons(), them.x, them.y, them.bearing, them.field, them.reach, strict=True
    ):
        by_python = sector.outline(sector.Sector(Point(x, y), b, f, r))
        assert np.allclose(ring, by_python, rtol=0, atol=1e-6)
        drawn = shapely.Polygon(ring)
        assert drawn.is_valid and drawn.covers(shape)
        assert drawn.area < shape.area * 1.01 + 10


def test_a_radius_is_what_shapely_says(sql: psycopg.Connection, chance: Generator) -> None:
    x, y = EAST + chance.uniform(-5e3, 5e3, MANY), NORTH + chance.uniform(-5e3, 5e3, MANY)
    radius = chance.uniform(10, 700, MANY)
    sx, sy = x + chance.uniform(-700, 700, MANY), y + chance.uniform(-700, 700, MANY)
    spots = shapely.points(sx, sy)
    found = answers(
        sql,
        "register.within('radius', point(x, y), r, NULL, NULL, point(sx, sy))",
        x=x, y=y, r=radius, sx=sx, sy=sy,
    )  # fmt: skip
    away = shapely.distance(shapely.points(x, y), spots)
    clear = abs(away - radius) >= CENTIMETRE
    assert clear.mean() > 0.99
    assert (found == (away <= radius))[clear].all()
    assert 2_000 < found.sum() < 8_000
    # The same once more with outlines instead of distances.
    some = slice(0, 500)
    discs = shapely.buffer(shapely.points(x, y)[some], radius[some], quad_segs=256)
    clear = settled(discs, spots[some])
    assert (found[some] == shapely.contains(discs, spots[some]))[clear].all()


def test_a_route_is_what_shapely_says(sql: psycopg.Connection, chance: Generator) -> None:
    ways = routes(chance, MANY)
    radius = chance.uniform(5, 150, MANY)
    near = np.array([way[int(chance.integers(len(way)))] for way in ways])
    sx, sy = (near + chance.uniform(-160, 160, (MANY, 2))).T
    lines, spots = np.array([shapely.LineString(one) for one in ways]), shapely.points(sx, sy)
    away = shapely.distance(lines, spots)
    clear = abs(away - radius) >= CENTIMETRE
    assert clear.mean() > 0.99
    found = answers(
        sql,
        "register.within('route', NULL, r, NULL, CAST(w AS path), point(sx, sy))",
        w=[way(one) for one in ways],
        r=radius,
        sx=sx,
        sy=sy,
    )
    assert (found == (away <= radius))[clear].all()
    assert 2_000 < found.sum() < 8_000
    # The same once more with outlines instead of distances.
    some = slice(0, 300)
    strips = shapely.buffer(lines[some], radius[some], quad_segs=128)
    clear = settled(strips, spots[some])
    assert (found[some] == shapely.contains(strips, spots[some]))[clear].all()


def test_an_area_is_what_shapely_says(sql: psycopg.Connection, chance: Generator) -> None:
    shapes = stars(chance, MANY)
    polygons = np.array([shapely.Polygon(one) for one in shapes])
    good = shapely.is_valid(polygons)
    assert good.mean() > 0.9
    middle = shapely.get_coordinates(shapely.centroid(polygons))
    sx, sy = (middle + chance.uniform(-400, 400, (MANY, 2))).T
    spots = shapely.points(sx, sy)
    found = answers(
        sql,
        "register.within('area', NULL, NULL, CAST(w AS polygon), NULL, point(sx, sy))",
        w=[corners(one) for one in shapes],
        sx=sx,
        sy=sy,
    )
    clear = settled(polygons, spots) & good
    assert (found == shapely.contains(polygons, spots))[clear].all()
    assert 2_000 < found.sum() < 8_000


@pytest.mark.parametrize("kind", ["radius", "area", "route", "view", "nonsense"])
def test_what_is_missing_matches_nothing(sql: psycopg.Connection, kind: str) -> None:
    row = sql.execute("SELECT register.within(%s, NULL, NULL, NULL, NULL, point(1, 1))", (kind,)).fetchone()
    assert row in {(None,), (False,)}


def test_a_route_of_one_point_matches_nothing(sql: psycopg.Connection) -> None:
    # PostgreSQL says that such a path is at no distance from anything.
    found = answers(
        sql, "register.within('route', NULL, 50, NULL, CAST(w AS path), point(9e4, 1))", w=["[(1,1)]"]
    )
    assert found.tolist() == [False]


def test_nothing_matches_within_a_distance_that_is_no_number(sql: psycopg.Connection) -> None:
    # NaN is more than every number to PostgreSQL.
    for radius in (float("nan"), float("inf")):
        for kind in ("radius", "route"):
            row = sql.execute(
                "SELECT register.within(%s, point(1, 1), %s, NULL, path '[(1,1),(2,2)]', point(1, 1))",
                (kind, radius),
            ).fetchone()
            assert row == (False,), (kind, radius)


CALLED_FOR_EVERY_CAMERA = {
    "sees": "register.sees(at, n, n, n, point(1, 1))",
    "within": "register.within('route', NULL, 50, NULL, path '[(1,1),(2,2)]', at)",
    "may_see": "register.may_see(box(at), n, n, n, box(point(1, 1), point(2, 2)))",
}


@pytest.mark.parametrize("name", CALLED_FOR_EVERY_CAMERA)
def test_what_is_called_for_every_camera_is_written_into_the_query(
    sql: psycopg.Connection, name: str
) -> None:
    plan = sql.execute(
        "EXPLAIN (VERBOSE) SELECT FROM (SELECT point(n, n) AS at, CAST(n AS float8) AS n "
        f"FROM generate_series(1, 9) AS n OFFSET 0) t WHERE {CALLED_FOR_EVERY_CAMERA[name]}"
    ).fetchall()
    assert "Filter" in str(plan)
    assert "register." not in str(plan), "it is called instead"


def test_no_function_looks_names_up_where_its_caller_says(sql: psycopg.Connection) -> None:
    """Bound when it was made, or a search path of its own, or complete names and no operator."""
    rows = sql.execute(
        "SELECT p.proname, p.prosqlbody IS NOT NULL, p.proconfig, p.prosrc FROM pg_proc p "
        "WHERE pronamespace = 'register'::regnamespace "
        "AND proname = ANY(%s)",
        (["sees", "sector", "within", "may_see", "bounds", "squares", "size"],),
    ).fetchall()
    assert len(rows) == 8
    for name, bound, settings, source in rows:
        if not bound and settings != ["search_path=pg_catalog, pg_temp"]:
            assert name == "may_see" and not set(source) & set("<>+-*/|&@~!"), name
