"""What each database role may do: nobody of the service can change the record or empty a table."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from app.roles import libpq
from migrations import (
    area_changes_sql,
    deferral_sql,
    erasure_sql,
    front_door_sql,
    limits_sql,
    misuse_sql,
    oidc_sql,
    reconcile_sql,
    register_cells_sql,
    register_watch_sql,
    sign_in_sql,
)
from migrations.ground_sql import RIGHTS
from tests.conftest import Database

ROLES = ("APP", "WORKER", "SEALER")
RECORD = ("audit_entries", "audit_pending", "audit_seals")
# The one right on the record beyond reading and adding: the sealer strikes off what it has chained.
SEALER_LISTS = ("SEALER", "DELETE", "audit_pending")


@pytest.fixture(scope="module", params=ROLES)
def role(request: pytest.FixtureRequest, database: Database) -> Iterator[tuple[str, psycopg.Connection]]:
    name = request.param
    url = database.environ()["DATABASE_URL" if name == "APP" else f"{name}_DATABASE_URL"]
    with psycopg.connect(libpq(url), autocommit=True) as connection:
        yield name, connection


def tables(database: Database) -> list[str]:
    with psycopg.connect(libpq(database.admin)) as admin:
        rows = admin.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1"
        )
        return [row[0] for row in rows]


def refused(connection: psycopg.Connection, statement: sql.Composed) -> bool:
    """Whether PostgreSQL turns it away for want of the right; it is rolled back either way."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def test_nobody_can_truncate_any_table(database: Database, role: tuple[str, psycopg.Connection]) -> None:
    everything = tables(database)
    assert len(everything) > 30
    assert any(t.startswith("deliveries_2") for t in everything), "partitions too"
    for table in everything:
        for statement in ("TRUNCATE {}", "TRUNCATE {} CASCADE"):
            assert refused(role[1], sql.SQL(statement).format(sql.Identifier(table))), (role[0], table)


@pytest.mark.parametrize("table", RECORD)
@pytest.mark.parametrize("act", ["UPDATE", "DELETE"])
def test_nobody_can_change_or_delete_the_record(
    role: tuple[str, psycopg.Connection], table: str, act: str
) -> None:
    name, connection = role
    column = {"audit_entries": "why", "audit_pending": "entry_id", "audit_seals": "hash"}[table]
    statement = {
        "UPDATE": sql.SQL("UPDATE {} SET {} = NULL").format(sql.Identifier(table), sql.Identifier(column)),
        "DELETE": sql.SQL("DELETE FROM {}").format(sql.Identifier(table)),
    }[act]
    assert refused(connection, statement) == ((name, act, table) != SEALER_LISTS)


def test_nobody_can_make_or_drop_a_table_or_take_a_guard_away(
    role: tuple[str, psycopg.Connection],
) -> None:
    for statement in (
        "CREATE TABLE mine (a int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE audit_entries",
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
        "ALTER TABLE consents DISABLE TRIGGER consents_guard",
        "SET session_replication_role = replica",
        "ALTER ROLE CURRENT_USER SUPERUSER",
    ):
        assert refused(role[1], sql.SQL(statement)), statement


def test_the_rights_in_the_database_are_those_of_the_table_in_the_migration(database: Database) -> None:
    with psycopg.connect(libpq(database.admin)) as admin:
        later = front_door_sql.RIGHTS | limits_sql.RIGHTS | deferral_sql.RIGHTS | reconcile_sql.RIGHTS
        later |= (
            area_changes_sql.RIGHTS
            | erasure_sql.RIGHTS
            | misuse_sql.RIGHTS
            | oidc_sql.RIGHTS
            | register_watch_sql.RIGHTS
            | register_cells_sql.RIGHTS
            | sign_in_sql.RIGHTS
        )
        for table, both in (RIGHTS | later).items():
            for grantee, rights in zip(("wardlink_app", "wardlink_worker"), both, strict=True):
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
                    has = admin.execute(
                        "SELECT has_table_privilege(%s, %s, %s)", (grantee, f"public.{table}", right)
                    ).fetchone()
                    wanted = any(r.strip() == right for r in _outside_brackets(rights))
                    assert has == (wanted,), (grantee, table, right)


def _outside_brackets(rights: str) -> list[str]:
    """ "SELECT, UPDATE (a, b)" → SELECT and UPDATE (a, b): a right on columns is not one on the table."""
    parts, depth, current = [], 0, ""
    for c in rights:
        depth += (c == "(") - (c == ")")
        if c == "," and not depth:
            parts.append(current)
            current = ""
        else:
            current += c
    return [*parts, current]


def test_the_sealer_sees_the_record_and_nothing_of_anybody(database: Database) -> None:
    url = database.environ()["SEALER_DATABASE_URL"]
    with psycopg.connect(libpq(url), autocommit=True) as sealer:
        for table in tables(database):
            if table not in RECORD:
                assert refused(sealer, sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(table))), table
