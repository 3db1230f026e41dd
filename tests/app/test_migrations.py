"""The migrations make what the models say, can be gone back over, and cut the ledger into months."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app import migrate
from app.db import make_engine, new_id
from app.registry import metadata
from app.roles import libpq
from tests.conftest import Database


@contextmanager
def owner(database: Database) -> Iterator[sa.Connection]:
    engine = make_engine(database.environ()["OWNER_DATABASE_URL"])
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def catalogue(database: Database) -> list[tuple[str, ...]]:
    """Tables, columns, indexes, constraints, functions, triggers and grants, as text."""
    with psycopg.connect(libpq(database.admin)) as admin:
        found: list[tuple[str, ...]] = []
        for query in (
            (
                "SELECT table_name, column_name, data_type, is_nullable, coalesce(column_default, '') "
                "FROM information_schema.columns WHERE table_schema = 'public'"
            ),
            "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
            (
                "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
                "WHERE connamespace = 'public'::regnamespace"
            ),
            "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
            "SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal",
            (
                "SELECT table_name, grantee, privilege_type FROM information_schema.table_privileges "
                "WHERE table_schema = 'public'"
            ),
        ):
            found += [tuple(map(str, row)) for row in admin.execute(query)]
        return sorted(found)


def test_the_models_are_what_the_migrations_made(database: Database) -> None:
    with owner(database) as connection:
        partitions = set(
            connection.execute(sa.text("SELECT relname FROM pg_class WHERE relispartition")).scalars()
        )
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_object": lambda _, name, kind, *__: not (kind == "table" and name in partitions),
            },
        )
        assert compare_metadata(context, metadata) == []


def test_going_back_leaves_nothing_and_going_up_again_makes_the_same(committed: Database) -> None:
    before = catalogue(committed)
    assert len(before) > 300
    with owner(committed) as connection:
        command.downgrade(migrate.configuration(connection), "base")
        connection.commit()
    left = {row[0] for row in catalogue(committed)}
    assert left <= {"alembic_version"}
    migrate.upgrade(committed.environ()["OWNER_DATABASE_URL"])
    assert catalogue(committed) == before


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(committed: Database) -> None:
    before = catalogue(committed)
    migrate.upgrade(committed.environ()["OWNER_DATABASE_URL"])
    assert catalogue(committed) == before


# -- months
def months(admin: psycopg.Connection) -> set[str]:
    rows = admin.execute("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
    return {row[0] for row in rows}


def name(when: datetime) -> str:
    return f"deliveries_{when:%Y%m}"


def id_at(when: datetime) -> UUID:
    """A UUIDv7 of a moment."""
    milliseconds = int(when.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | 5)


def ahead(count: int) -> list[datetime]:
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    found = [month]
    for _ in range(count):
        found.append((found[-1] + timedelta(days=32)).replace(day=1))
    return found


def test_months_are_made_ahead_by_the_worker_and_a_second_call_makes_none(committed: Database) -> None:
    with (
        psycopg.connect(libpq(committed.environ()["WORKER_DATABASE_URL"]), autocommit=True) as worker,
        psycopg.connect(libpq(committed.admin)) as admin,
    ):
        assert months(admin) == {"deliveries_default", *(name(m) for m in ahead(3))}
        assert worker.execute("SELECT ledger_make_partitions(14)").fetchone() == (11,)
        assert worker.execute("SELECT ledger_make_partitions(14)").fetchone() == (0,)
        assert {name(m) for m in ahead(14)} <= months(admin)


def test_the_app_may_not_make_months(committed: Database) -> None:
    with (
        psycopg.connect(libpq(committed.environ()["DATABASE_URL"])) as app,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        app.execute("SELECT ledger_make_partitions(3)")


def test_a_row_lies_in_its_month_to_the_millisecond_and_outside_all_months_in_the_default(
    committed: Database,
) -> None:
    this, following = ahead(1)
    moments = {
        id_at(this): name(this),
        id_at(following - timedelta(milliseconds=1)): name(this),
        id_at(following): name(following),
        new_id(): name(datetime.now(UTC)),
        id_at(this - timedelta(milliseconds=1)): "deliveries_default",
        id_at(datetime(2031, 1, 1, tzinfo=UTC)): "deliveries_default",
    }
    with psycopg.connect(libpq(committed.environ()["WORKER_DATABASE_URL"])) as worker:
        for dispatch in moments:
            worker.execute(
                "INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, status) VALUES (%s, 1, 0, 1, 30)",
                (dispatch,),
            )
        rows = worker.execute("SELECT dispatch_id, tableoid::regclass::text FROM deliveries").fetchall()
    assert dict(rows) == moments
