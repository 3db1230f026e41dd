"""When cells are built of a newer release, cameras and what was searched go over to them, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from app.audit import record as audit
from app.registry import Registry
from app.services.register import cells
from config.fields import Part
from tests.conftest import Database
from tests.searching import SIDE, SOUTH, WEST, Town, build


@pytest.fixture
def town(committed: Database, app: Registry) -> Iterator[Town]:
    made = build(committed, app)
    yield made
    made.admin.close()


@pytest.fixture
def builder(committed: Database) -> Iterator[Registry]:
    opened = committed.open(Part.WORKER)
    yield opened
    opened.engine.dispose()


def newer(town: Town) -> None:
    """Another release: every postcode of before and as many again, so that its cells are others."""
    town.admin.execute(
        """
        INSERT INTO releases (id, name, published, live_postcodes) VALUES ('newer', 'Newer', '2026-06-01', 500);
        INSERT INTO postcodes (postcode, at, ward_code, quality, live, release_id)
        SELECT 'Z' || n || p.postcode, point(p.at[0] + n * 7 - 60, p.at[1] + n * 11 - 40), p.ward_code, 1, true, 'newer'
        FROM postcodes p CROSS JOIN generate_series(1, 10) n;
        UPDATE postcodes SET release_id = 'newer';
        """
    )


def test_cameras_and_searches_go_over_to_the_cells_of_a_newer_release(town: Town, builder: Registry) -> None:
    owner = town.owner()
    camera = town.camera(owner, 2, 5)
    token = town.token()
    ticket = town.open(token)
    town.run(ticket, token)
    box = "SELECT box(point(min(west), min(south)), point(max(east), max(north))) FROM register_cells c "
    searched = town.one(box + "JOIN register_searches s ON c.id = ANY (s.cells) WHERE s.id = %s", ticket)
    newer(town)
    with builder.sessions.begin() as session:
        made = cells.build(session, actor=audit.SYSTEM)
    assert made is not None and (made.replaced, made.reassigned) == (100, 1)
    held = town.one(
        "SELECT count(*) FROM cameras k JOIN register_cells c ON c.id = k.cell_id AND c.outline @> k.at "
        "WHERE k.id = %s AND c.release_id = 'newer'",
        camera,
    )
    assert held == 1
    strange = town.one(
        "SELECT count(*) FROM register_searches s, unnest(s.cells) AS u (id) "
        "WHERE NOT EXISTS (SELECT FROM register_cells c WHERE c.id = u.id)"
    )
    assert strange == 0
    covered = "SELECT bool_and(EXISTS (SELECT FROM register_cells c JOIN register_searches s ON c.id = ANY (s.cells) "
    covered += "WHERE s.id = %s AND c.outline @> point(x, y))) FROM generate_series(%s, %s, 20) x, "
    covered += "generate_series(%s, %s, 20) y WHERE CAST(%s AS box) @> point(x, y)"
    edges = (WEST, WEST + 10 * SIDE, SOUTH, SOUTH + 10 * SIDE)
    assert town.one(covered, ticket, *edges, str(searched)), "its owners still learn of it"
    assert town.search(town.token()).cells, "and a search finds what is there"


def test_a_camera_in_no_cell_stops_the_building_and_leaves_what_was(town: Town, builder: Registry) -> None:
    camera = town.camera(town.owner(), 2, 5)
    town.admin.execute("UPDATE cameras SET at = point(1, 1) WHERE id = %s", (camera,))
    newer(town)
    with pytest.raises(sa.exc.DBAPIError, match="no cell"), builder.sessions.begin() as session:
        cells.build(session, actor=audit.SYSTEM)
    assert town.one("SELECT count(*) FROM register_cells WHERE release_id = 'test'") == 100
    assert town.one("SELECT count(*) FROM register_cells") == 100


def test_nobody_else_may_move_them(town: Town) -> None:
    with (
        pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        town.registry.sessions() as session,
    ):
        session.execute(sa.text("SELECT register.reassign('test')"))
