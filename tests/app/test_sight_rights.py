"""Who may say that a process lives, and who may read how the record is doing: no role more than it needs."""

from __future__ import annotations

from uuid import uuid4

import psycopg
import pytest

from app.roles import libpq
from migrations.sight_sql import RIGHTS
from tests.app.test_roles_rights import _outside_brackets
from tests.conftest import Database

BEAT = f"SELECT heartbeat('sealer', 'host', '{uuid4()}', false)"
MAY = {
    "DATABASE_URL": {"SELECT * FROM heartbeats", "SELECT * FROM unsealed(10)"},
    "WORKER_DATABASE_URL": {"SELECT * FROM heartbeats", "SELECT * FROM unsealed(10)", BEAT},
    "SEALER_DATABASE_URL": {BEAT},
}
ACTS = {
    *set().union(*MAY.values()),
    "INSERT INTO heartbeats SELECT * FROM heartbeats",
    "UPDATE heartbeats SET at = now()",
    "UPDATE alarms SET code = 'x'",
    "UPDATE alarms SET raised_at = now()",
    "UPDATE doubt_samples SET in_doubt = 0",
    "UPDATE alarm_posts SET alarm_id = 1",
}


@pytest.mark.parametrize("url", MAY)
def test_each_role_may_do_its_own_acts_and_no_other(database: Database, url: str) -> None:
    with psycopg.connect(libpq(database.environ()[url]), autocommit=True) as connection:
        done = set()
        for act in ACTS:
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(act)
            except psycopg.errors.InsufficientPrivilege:
                continue
            done.add(act)
    assert done == MAY[url]


def test_the_rights_are_those_of_the_table_in_the_migration(database: Database) -> None:
    with psycopg.connect(libpq(database.admin)) as admin:
        for table, both in RIGHTS.items():
            for grantee, rights in zip(("wardlink_app", "wardlink_worker"), both, strict=True):
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
                    has = admin.execute(
                        "SELECT has_table_privilege(%s, %s, %s)", (grantee, f"public.{table}", right)
                    ).fetchone()
                    wanted = any(r.strip() == right for r in _outside_brackets(rights))
                    assert has == (wanted,), (grantee, table, right)
