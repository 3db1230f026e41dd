"""Shapes, cameras and ways for tests of the register's geometry, and the database's functions asked about them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import shapely
from numpy.random import Generator
from numpy.typing import NDArray

from app.roles import libpq
from migrations import register_geometry_sql
from tests.conftest import Database

Floats = NDArray[np.float64]
Shape = tuple[str, str | None, float | None, str | None, str | None]

MANY = 10_000
CENTIMETRE = 0.01
# Somewhere in London, where coordinates have six figures.
EAST, NORTH = 530_000.0, 180_000.0


def opened(database: Database) -> Iterator[psycopg.Connection]:
    """A connection to a database with the functions; nothing stays."""
    with psycopg.connect(libpq(database.admin)) as connection:
        there = connection.execute("SELECT to_regproc('register.size') IS NOT NULL").fetchone()
        if there == (False,):
            connection.execute("CREATE SCHEMA IF NOT EXISTS register")
            for statement in register_geometry_sql.FUNCTIONS:
                connection.execute(statement)
        yield connection
        connection.rollback()


def pt(x: float, y: float) -> str:
    return f"({x!r},{y!r})"


def corners(points: list[tuple[float, float]]) -> str:
    return "(" + ",".join(pt(float(x), float(y)) for x, y in points) + ")"


def way(points: list[tuple[float, float]]) -> str:
    return "[" + corners(points)[1:-1] + "]"


def disc(x: float, y: float, radius: float) -> Shape:
    return "radius", pt(x, y), radius, None, None


def area(points: list[tuple[float, float]]) -> Shape:
    return "area", None, None, corners(points), None


def route(points: list[tuple[float, float]], radius: float) -> Shape:
    return "route", None, radius, None, way(points)


SHAPE = "%s::text, CAST(%s::text AS point), %s::float8, CAST(%s::text AS polygon), CAST(%s::text AS path)"


def squares(sql: psycopg.Connection, shape: Shape) -> Floats:
    """The touched squares as rows of west, south, east, north."""
    rows = sql.execute(
        "SELECT (s[1])[0], (s[1])[1], (s[0])[0], (s[0])[1] "
        f"FROM (SELECT register.squares({SHAPE}) AS s) t ORDER BY 1, 2",
        shape,
    ).fetchall()
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def size(sql: psycopg.Connection, shape: Shape) -> float:
    row = sql.execute(f"SELECT register.size({SHAPE})", shape).fetchone()
    assert row is not None
    return float(row[0])


def answers(sql: psycopg.Connection, expression: str, **columns: object) -> NDArray[np.bool_]:
    """The expression for each row of the columns, in one statement. Texts stand for points, paths and polygons."""
    names = list(columns)
    kinds = ["text" if isinstance(next(iter(c)), str) else "float8" for c in columns.values()]  # type: ignore[call-overload]
    unnest = ", ".join(f"%s::{kind}[]" for kind in kinds)
    rows = sql.execute(
        f"SELECT {expression} FROM unnest({unnest}) WITH ORDINALITY AS t({', '.join(names)}, n) ORDER BY n",
        [c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()],
    ).fetchall()
    return np.array([row[0] for row in rows], dtype=bool)


class Cameras:
    """Random sectors round London's middle, and for each a spot at up to 1.3 times its reach."""

    def __init__(self, chance: Generator, count: int = MANY) -> None:
        self.x, self.y = EAST + chance.uniform(-9e3, 9e3, count), NORTH + chance.uniform(-9e3, 9e3, count)
        self.bearing = chance.uniform(0, 360, count)
        self.field = np.where(chance.random(count) < 0.05, 360.0, chance.uniform(1, 359, count))
        self.reach = chance.uniform(2, 250, count)
        # Three in four somewhere ahead of the camera, where it is decided.
        ahead = chance.random(count) < 0.75
        angle = self.bearing + np.where(
            ahead, self.field * chance.uniform(-0.6, 0.6, count), chance.uniform(-180, 180, count)
        )
        away = self.reach * 1.3 * np.sqrt(chance.random(count))
        self.spot_x = self.x + away * np.sin(np.radians(angle))
        self.spot_y = self.y + away * np.cos(np.radians(angle))

    def polygons(self) -> NDArray[np.object_]:
        """As shapely's polygons: chords of at most a degree, less than a centimetre from the arc."""
        made = []
        for part in np.array_split(np.arange(len(self.x)), 5):
            share = np.linspace(-0.5, 0.5, 361)[None, :]
            angle = np.radians(self.bearing[part, None] + self.field[part, None] * share)
            ring = np.stack(
                [
                    self.x[part, None] + self.reach[part, None] * np.sin(angle),
                    self.y[part, None] + self.reach[part, None] * np.cos(angle),
                ],
                axis=2,
            )
            apex = np.stack([self.x[part], self.y[part]], axis=1)[:, None, :]
            full = self.field[part] >= 360
            found = np.empty(len(part), dtype=object)
            found[~full] = shapely.polygons(np.concatenate([apex, ring], axis=1)[~full])
            found[full] = shapely.polygons(ring[full])
            made.append(found)
        return np.concatenate(made)

    @property
    def spots(self) -> NDArray[np.object_]:
        return shapely.points(self.spot_x, self.spot_y)


def routes(chance: Generator, count: int) -> list[list[tuple[float, float]]]:
    """Ways of two to ten legs as people walk: each turns by up to a right angle."""
    made = []
    for _ in range(count):
        legs = int(chance.integers(1, 10))
        heading = np.cumsum(np.concatenate([[chance.uniform(0, 6.3)], chance.uniform(-1.5, 1.5, legs - 1)]))
        leg = chance.uniform(20, 250, legs)
        xs = EAST + chance.uniform(-5e3, 5e3) + np.concatenate([[0], np.cumsum(leg * np.cos(heading))])
        ys = NORTH + chance.uniform(-5e3, 5e3) + np.concatenate([[0], np.cumsum(leg * np.sin(heading))])
        made.append(list(zip(xs.tolist(), ys.tolist(), strict=True)))
    return made


def stars(chance: Generator, count: int) -> list[list[tuple[float, float]]]:
    """Outlines that do not cross themselves, of three to twelve corners, many of them hollow."""
    made = []
    for _ in range(count):
        number = int(chance.integers(3, 13))
        angle = np.sort(chance.uniform(0, 1, number) + np.arange(number)) * 2 * np.pi / number
        away = chance.uniform(30, 600, number)
        x, y = EAST + chance.uniform(-5e3, 5e3), NORTH + chance.uniform(-5e3, 5e3)
        made.append(
            list(zip((x + away * np.cos(angle)).tolist(), (y + away * np.sin(angle)).tolist(), strict=True))
        )
    return made


def rectangles(chance: Generator, count: int) -> list[list[tuple[float, float]]]:
    made = []
    for n in range(count):
        wide, high = chance.uniform(100, 1400, 2)
        turn = 0.0 if n % 3 == 0 else float(chance.uniform(0, 90))
        turned = shapely.affinity.rotate(shapely.box(0, 0, wide, min(high, 1.3e6 / wide)), turn)
        x, y = EAST + chance.uniform(0, 99), NORTH + chance.uniform(0, 99)
        made.append([(x + a, y + b) for a, b in list(turned.exterior.coords)[:-1]])
    return made


def literal(value: object) -> str:
    return "NULL" if value is None else f"'{value}'"
