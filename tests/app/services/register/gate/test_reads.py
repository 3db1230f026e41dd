"""As the roles that the service signs in with, nobody reads or changes what is private, or helps themselves to a ticket."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from migrations.register_sql import PRIVATE
from tests.gating import WHO, answer, connected, refused, ticket
from tests.searching import Town

READS = (
    "SELECT * FROM {}",
    "TABLE {}",
    "SELECT count(*) FROM {}",
    "SELECT FROM {} LIMIT 1",
    "COPY {} TO STDOUT",
    "COPY (SELECT * FROM {}) TO STDOUT",
    "EXPLAIN ANALYZE SELECT * FROM {}",
    "SELECT * FROM {} FOR UPDATE",
    "DECLARE c CURSOR FOR SELECT * FROM {}",
    "CREATE VIEW mine AS SELECT * FROM {}",
    "CREATE TEMP TABLE mine AS SELECT * FROM {}",
    "SELECT query_to_xml('SELECT * FROM {}', true, false, '')",
    "SELECT table_to_xml('{}', true, false, '')",
    "SELECT * FROM ONLY {}",
    "SELECT * FROM {} TABLESAMPLE SYSTEM (100)",
    "WITH r AS (DELETE FROM {} RETURNING *) SELECT * FROM r",
    "DELETE FROM {}",
    "TRUNCATE {}",
    "LOCK TABLE {} IN ACCESS SHARE MODE",
    "INSERT INTO {} DEFAULT VALUES",
    "CREATE INDEX mine ON {} (id)",
    "CREATE TRIGGER mine AFTER INSERT ON {} EXECUTE FUNCTION audit_refuse_change()",
    "ALTER TABLE {} OWNER TO CURRENT_USER",
    "GRANT SELECT ON {} TO CURRENT_USER",
    "ANALYZE {}",
)


@pytest.mark.parametrize("role", ["DATABASE_URL", "WORKER_DATABASE_URL", "SEALER_DATABASE_URL"])
@pytest.mark.parametrize("table", PRIVATE)
def test_nobody_of_the_service_reads_or_changes_a_private_table(town: Town, role: str, table: str) -> None:
    with connected(town, role, autocommit=True) as connection:
        for statement in READS:
            if statement.startswith("ANALYZE"):  # warns, and does nothing
                warned: list[str] = []
                connection.add_notice_handler(lambda notice: warned.append(notice.message_primary or ""))  # noqa: B023
                connection.execute(sql.SQL(statement).format(sql.Identifier(table)))
                assert any("permission denied" in one for one in warned), (role, statement)
                continue
            # Insufficient privilege, or a server that was built without XML.
            with refused("42501", "0A000"), connection.transaction():
                connection.execute(statement.format(table).encode())


@pytest.mark.parametrize("role", ["DATABASE_URL", "WORKER_DATABASE_URL"])
def test_no_catalogue_and_no_function_of_it_says_what_a_private_table_holds(town: Town, role: str) -> None:
    town.admin.execute("ANALYZE cameras")
    town.admin.execute("ANALYZE camera_owners")
    with connected(town, role, autocommit=True) as connection:
        stats = "SELECT count(*) FROM pg_stats WHERE tablename = ANY (%s)"
        assert connection.execute(stats, (list(PRIVATE),)).fetchone() == (0,)
        rights = "SELECT has_table_privilege(t, r) FROM unnest(%s::text[]) t, unnest(%s::text[]) r"
        kinds = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"]
        assert not any(row[0] for row in connection.execute(rights, (list(PRIVATE), kinds)))
        columns = "SELECT has_any_column_privilege(t, 'SELECT') FROM unnest(%s::text[]) t"
        assert not any(row[0] for row in connection.execute(columns, (list(PRIVATE),)))
        for statement in (
            "SELECT * FROM pg_statistic",
            "SELECT pg_read_binary_file(pg_relation_filepath('cameras'))",
            "SELECT pg_read_file('postgresql.conf')",
            "SELECT pg_ls_dir('base')",
            "COPY investigations TO PROGRAM 'cat'",
            "COPY investigations TO '/tmp/x'",
            "SELECT lo_import('/etc/hosts')",
            "SELECT pg_ls_waldir()",
            "SET ROLE wardlink_gate",
            "SET ROLE wardlink_owner",
            "SET SESSION AUTHORIZATION wardlink_gate",
            "ALTER ROLE wardlink_gate LOGIN",
            "GRANT wardlink_gate TO CURRENT_USER",
            "CREATE EXTENSION dblink",
            "CREATE EXTENSION pageinspect",
            "LOAD 'auto_explain'",
            "SET session_replication_role = replica",
            "SELECT pg_create_logical_replication_slot('mine', 'test_decoding')",
            "CREATE PUBLICATION mine FOR TABLE cameras",
        ):
            # Insufficient privilege; or the server has no such extension, or no logical replication.
            with refused("42501", "58P01", "0A000", "55000"), connection.transaction():
                connection.execute(statement.encode())


HELP = (
    "INSERT INTO register_searches (id) VALUES (gen_random_uuid())",
    "UPDATE register_searches SET opened_at = now()",
    "UPDATE register_searches SET settled = false",
    "UPDATE register_searches SET staff_id = staff_id",
    "DELETE FROM register_searches",
    "INSERT INTO register_lifts (id) VALUES (gen_random_uuid())",
    "UPDATE register_lifts SET used_at = NULL",
    "UPDATE register_lifts SET expires_at = now() + interval '1 year'",
    "DELETE FROM register_lifts",
    "INSERT INTO investigations (id) VALUES (gen_random_uuid())",
    "UPDATE investigations SET reference = 'x'",
    "INSERT INTO register_cells (west) VALUES (0)",
    "UPDATE register_cells SET east = west + 1",
    "DELETE FROM register_cells",
    "DELETE FROM audit_entries",
    "UPDATE audit_entries SET why = 'x'",
    "SELECT setval('register.used_0', 1)",
    "SELECT nextval('register.used_0')",
    "SELECT last_value FROM register.used_0",
    "SELECT setval('register.numbers', 1)",
    "SELECT nextval('register.numbers')",
    "ALTER SEQUENCE register.used_0 RESTART",
    "DROP SEQUENCE register.used_0",
    "SELECT register._use(1, 0, now(), '1', false)",
    "SELECT register._redeem(gen_random_uuid(), 'own', NULL, 1)",
    "SELECT register._ticket('own', 1, NULL, 1, NULL)",
    "SELECT register._blind(s) FROM register_searches s",
    "SELECT register._record('register:search', 'search:x', 'staff', 'x', NULL, NULL, NULL, NULL, NULL, NULL)",
    "SELECT * FROM register._who('x', ARRAY['investigator'], true)",
    "SELECT register._resident('x')",
    "SELECT register._lift_of(gen_random_uuid(), gen_random_uuid(), 'area')",
    "SELECT register._case_of(gen_random_uuid(), 'x', gen_random_uuid())",
    "SELECT register.lapse(10)",
    "CREATE OR REPLACE FUNCTION register.run_search(ticket uuid, token text) RETURNS jsonb LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION register.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE register.mine (a integer)",
    "ALTER FUNCTION register.run_search(uuid, text) SECURITY INVOKER",
    "ALTER FUNCTION register.run_search(uuid, text) SET search_path = public",
    "ALTER FUNCTION register.run_search(uuid, text) OWNER TO CURRENT_USER",
    "ALTER FUNCTION register._use(bigint, bigint, timestamptz, xid8, boolean) RENAME TO gone",
    "DROP FUNCTION register.run_search(uuid, text)",
    "DROP SCHEMA register CASCADE",
    "ALTER SCHEMA register RENAME TO elsewhere",
    "CREATE SCHEMA mine",
    "CREATE TEMP TABLE web_sessions (digest bytea)",
    "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1'",
    "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
    "CREATE OPERATOR public.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = uuid_ne)",
    "CREATE RULE mine AS ON SELECT TO web_sessions DO INSTEAD SELECT 1",
    "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION audit_refuse_change()",
    "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
    "PREPARE TRANSACTION 'mine'",
)  # fmt: skip


@pytest.mark.parametrize("statement", HELP)
def test_the_app_helps_itself_to_nothing(app: psycopg.Connection[Any], statement: str) -> None:
    with pytest.raises(psycopg.Error) as error:
        app.execute(statement.encode())
        app.commit()
    wanted = ("42501", "55000") if statement.startswith("PREPARE") else ("42501",)
    assert error.value.sqlstate in wanted, error.value


def test_every_function_of_the_register_is_the_gates_and_looks_where_it_must(town: Town) -> None:
    rows = town.admin.execute(
        "SELECT p.proname, r.rolname, p.prosecdef, coalesce(p.proconfig, '{}'), l.lanname, "
        "has_function_privilege('wardlink_app', p.oid, 'EXECUTE') OR "
        "has_function_privilege('wardlink_worker', p.oid, 'EXECUTE') AS called, "
        "has_function_privilege('wardlink_sealer', p.oid, 'EXECUTE') AS public "
        "FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner JOIN pg_language l ON l.oid = p.prolang "
        "WHERE p.pronamespace = 'register'::regnamespace"
    ).fetchall()
    assert len(rows) > 20
    for name, owner, definer, config, language, called, public in rows:
        assert owner == "wardlink_gate", name
        assert not public, name
        assert not (called and name.startswith("_")), name
        if called or (definer and language == "plpgsql"):
            assert definer, name
            # The catalogue first, what anybody may make last; in public nobody of the service makes anything.
            assert list(config) in (
                ["search_path=pg_catalog, pg_temp"],
                ["search_path=pg_catalog, public, pg_temp"],
            ), name


@pytest.mark.parametrize("path", ["pg_temp, public, pg_catalog", "public", "''", "register, pg_temp"])
def test_another_search_path_changes_nothing(town: Town, app: psycopg.Connection[Any], path: str) -> None:
    token = town.token()
    app.execute(f"SET search_path = {path}".encode())
    with refused(WHO):
        ticket(app, "no token at all")
    app.rollback()
    app.execute(f"SET search_path = {path}".encode())
    given = ticket(app, token)
    app.commit()
    assert answer(app, given, token)["total"] == "3-5"
