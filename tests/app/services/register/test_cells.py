"""Cells are built from whatever release is loaded, once, and the site cannot touch them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.areas import Postcode, Release
from app.models.audit import AuditEntry
from app.models.register_cells import RegisterCell
from app.registry import Registry
from app.roles import libpq
from app.services.register import cells
from config.fields import Part
from geo import releases
from migrations import register_cells_sql
from tests.conftest import Database
from workers import area_changes

EAST, NORTH = 530_000, 180_000


def load(session: Session, release: str, day: int, count: int, *, apart: int = 200) -> None:
    """A release of so many live postcodes in a row, and one that ended among them."""
    loaded = datetime(2026, 1, day, tzinfo=UTC)
    session.execute(sa.delete(Postcode))
    known = session.get(Release, release)
    if known is None:
        session.add(
            Release(id=release, name=release, published=loaded.date(), loaded_at=loaded, live_postcodes=count)
        )
    else:
        known.loaded_at = loaded
    session.flush()
    for n in range(count + 1):
        session.add(
            Postcode(
                postcode=f"ZZ{n} 1AA",
                at=(float(EAST + apart * n), float(NORTH)),
                ward_code="E05000001",
                quality=10,
                live=n < count,
                release_id=release,
            )
        )
    session.flush()


@pytest.fixture
def ground(database: Database) -> Iterator[Session]:
    """A worker's session that leaves nothing behind."""
    opened = database.open(Part.WORKER)
    with opened.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as inner:
            yield inner
        outer.rollback()
    opened.engine.dispose()


def built(session: Session) -> list[RegisterCell]:
    return list(session.scalars(sa.select(RegisterCell).order_by(RegisterCell.south, RegisterCell.west)))


def test_live_postcodes_make_cells_and_a_second_time_nothing_changes(ground: Session) -> None:
    load(ground, "first", 1, 12)
    made = cells.build(ground, actor=audit.SYSTEM)
    assert made == cells.Built("first", 2, 0, 0)
    before = built(ground)
    assert [one.postcodes for one in before] == [6, 6], "the one that ended does not count"
    for one in before:
        assert one.release_id == "first"
        assert tuple(one.outline) == (one.west, one.south, one.east, one.north)
    assert cells.build(ground, actor=audit.SYSTEM) is None
    assert [one.id for one in built(ground)] == [one.id for one in before]
    entries = ground.scalars(sa.select(AuditEntry).where(AuditEntry.event == "register:cells")).all()
    assert len(entries) == 1


def test_another_release_replaces_them_and_going_back_brings_the_same_rectangles(ground: Session) -> None:
    load(ground, "first", 1, 12)
    cells.build(ground, actor=audit.SYSTEM)
    former = [(one.west, one.south, one.east, one.north) for one in built(ground)]
    load(ground, "second", 2, 25, apart=300)
    made = cells.build(ground, actor=audit.SYSTEM)
    assert made is not None and (made.release, made.replaced) == ("second", 2)
    assert [one.release_id for one in built(ground)] == ["second"] * made.cells
    load(ground, "first", 3, 12)
    back = cells.build(ground, actor=audit.SYSTEM)
    assert back == cells.Built("first", 2, made.cells, 0)
    assert [(one.west, one.south, one.east, one.north) for one in built(ground)] == former


def test_without_a_release_or_with_four_postcodes_there_is_no_cell(ground: Session) -> None:
    assert cells.build(ground, actor=audit.SYSTEM) is None
    load(ground, "small", 1, 4)
    assert cells.build(ground, actor=audit.SYSTEM) is None
    assert built(ground) == []


def test_the_database_itself_refuses_a_cell_of_four(ground: Session) -> None:
    load(ground, "first", 1, 12)
    with pytest.raises(sa.exc.IntegrityError), ground.begin_nested():
        ground.add(RegisterCell(release_id="first", west=0, south=0, east=100, north=100, postcodes=4))
        ground.flush()


def test_the_site_may_read_cells_and_not_write_them(database: Database) -> None:
    with psycopg.connect(libpq(database.environ()["DATABASE_URL"])) as site:
        site.execute("SELECT count(*) FROM register_cells")
        for act in (
            "INSERT INTO register_cells (release_id, west, south, east, north, postcodes) VALUES ('x', 0, 0, 1, 1, 5)",
            "UPDATE register_cells SET east = east + 1",
            "DELETE FROM register_cells",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), site.transaction():
                site.execute(act)


def test_a_position_is_found_in_its_one_cell_by_the_index(committed: Database) -> None:
    opened = committed.open(Part.WORKER)
    with opened.sessions.begin() as session:
        load(session, "first", 1, 40)
        cells.build(session, actor=audit.SYSTEM)
        first = built(session)[0]
    opened.engine.dispose()
    with psycopg.connect(libpq(committed.admin)) as admin:
        admin.execute("CREATE SCHEMA IF NOT EXISTS register")
        there = admin.execute("SELECT to_regproc('register.cell_at') IS NOT NULL").fetchone()
        if there == (False,):
            admin.execute(register_cells_sql.CELL_AT)
        for easting in (first.east - 0.001, first.east, first.east + 0.001):
            row = admin.execute("SELECT register.cell_at(point(%s, %s))", (easting, NORTH)).fetchone()
            assert row is not None and (row[0] == first.id) == (easting < first.east)
        assert admin.execute("SELECT register.cell_at(point(1, 1))").fetchone() == (None,)
        admin.execute("SET LOCAL enable_seqscan = off")
        body = register_cells_sql.CELL_AT.partition("RETURN (")[2].rpartition(")")[0]
        plan = admin.execute("EXPLAIN " + body.replace("spot", "(point '(530000,180000)')")).fetchall()
        assert "ix_register_cells_outline" in str(plan)


def test_the_worker_builds_them_when_a_release_came_in(worker: Registry) -> None:
    with worker.sessions.begin() as session:
        load(session, "first", 1, 12)
    area_changes.apply_due()
    area_changes.apply_due()
    with worker.sessions() as session:
        assert len(built(session)) == 2
        found = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "register:cells")).all()
        assert [entry.subject for entry in found] == ["release:first"]


@pytest.mark.slow
def test_the_cells_of_london_hold_every_live_postcode_and_at_least_five_each(london: Database) -> None:
    opened = london.open(Part.WORKER)
    with opened.engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            made = cells.build(session, actor=audit.SYSTEM)
            assert made is not None and made.cells > 25_000
            total, least = session.execute(
                sa.text("SELECT sum(postcodes), min(postcodes) FROM register_cells")
            ).one()
            assert (total, least >= 5) == (releases.release().live_postcodes, True)
            # Counted in the database, from the postcodes themselves.
            wrong = session.execute(
                sa.text(
                    """
                    SELECT count(*) FROM (
                        SELECT c.id, c.postcodes FROM register_cells c
                        JOIN postcodes p ON p.live AND p.at <@ c.outline AND p.at[0] < c.east AND p.at[1] < c.north
                        GROUP BY c.id HAVING count(*) <> c.postcodes OR count(*) < 5
                    ) x
                    """
                )
            ).scalar_one()
            assert wrong == 0
        outer.rollback()
    opened.engine.dispose()
