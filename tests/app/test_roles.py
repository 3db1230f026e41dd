from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from app.embedded import client
from app.embedded.state import Endpoints
from app.roles import GATE, ROLES, Role, create_database, ensure_roles, libpq

PASSWORDS = {role: f"a password for {role.value}' --" for role in ROLES}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """A cluster of these tests' own: roles belong to the cluster, and others use the shared one."""
    folder = tmp_path_factory.mktemp("roles") / ".local"
    yield client.ensure(folder)
    client.stop(folder)


def connect(endpoints: Endpoints, **changes: str) -> psycopg.Connection:
    return psycopg.connect(libpq(endpoints.admin_database_url), autocommit=True, **changes)  # type: ignore[arg-type]


@pytest.fixture
def bare(own: Endpoints) -> Iterator[Endpoints]:
    """The cluster as a stranger's: none of our roles, none of our databases."""
    with connect(own, dbname="postgres") as admin:
        names = [
            row[0] for row in admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'wardlink%'")
        ]
        for name in names:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for role in (*ROLES, GATE, "managed"):
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
    yield own


def url(endpoints: Endpoints, user: str, password: str, database: str = "wardlink") -> str:
    address = endpoints.admin_database_url.split("@")[1].split("/")[0]
    return f"postgresql+psycopg://{user}:{password}@{address}/{database}"


def elsewhere(endpoints: Endpoints) -> str:
    """The superuser's address, in the database that is there before ours."""
    return endpoints.admin_database_url.rpartition("/")[0] + "/postgres"


def by(endpoints: Endpoints, role: Role, database: str = "wardlink") -> psycopg.Connection:
    return connect(endpoints, user=role.value, password=PASSWORDS[role], dbname=database)


@pytest.mark.parametrize("managed", [False, True], ids=["by a superuser", "by a role that may make roles"])
def test_the_roles_and_the_database_are_made_and_to_repeat_it_changes_nothing(
    bare: Endpoints, managed: bool
) -> None:
    admin_url = elsewhere(bare)
    if managed:
        with connect(bare, dbname="postgres") as admin:
            admin.execute("CREATE ROLE managed LOGIN CREATEROLE CREATEDB PASSWORD 'm'")
        admin_url = url(bare, "managed", "m", "postgres")
    for _ in range(2):
        ensure_roles(admin_url, PASSWORDS)
    for role in ROLES:
        with by(bare, role) as connection:
            row = connection.execute(
                "SELECT has_schema_privilege('public', 'CREATE'), rolsuper, rolcreatedb, rolcreaterole "
                "FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
        assert row == (role is Role.OWNER, False, False, False)
    with by(bare, Role.APP) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET ROLE wardlink_owner")
    with by(bare, Role.OWNER) as connection:
        connection.execute("SET ROLE wardlink_gate")
        row = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row == (False,)
    for role in (Role.APP, Role.WORKER, Role.SEALER):
        with by(bare, role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET ROLE wardlink_gate")


def test_nobody_else_may_connect(bare: Endpoints) -> None:
    ensure_roles(elsewhere(bare), PASSWORDS)
    with connect(bare, dbname="postgres") as admin:
        admin.execute("CREATE ROLE managed LOGIN PASSWORD 'm'")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        connect(bare, user="managed", password="m", dbname="wardlink")


def test_a_second_database_of_the_owners_is_guarded_alike(bare: Endpoints) -> None:
    ensure_roles(elsewhere(bare), PASSWORDS, createdb=True)
    with connect(bare, dbname="postgres") as admin:  # a password that needs no quoting in a URL
        admin.execute("ALTER ROLE wardlink_owner PASSWORD 'o'")
    create_database(url(bare, Role.OWNER, "o"), "wardlink_two")
    with by(bare, Role.WORKER, "wardlink_two") as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine (n int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TEMPORARY TABLE mine (n int)")


def test_a_role_that_is_a_superuser_already_is_refused(bare: Endpoints) -> None:
    with connect(bare, dbname="postgres") as admin:
        admin.execute("CREATE ROLE wardlink_app SUPERUSER")
    with pytest.raises(PermissionError, match="wardlink_app has rights that it must not have"):
        ensure_roles(elsewhere(bare), PASSWORDS)


def test_a_missing_password_is_named(bare: Endpoints) -> None:
    with pytest.raises(ValueError, match="no password for wardlink_sealer"):
        ensure_roles(bare.admin_database_url, {**PASSWORDS, Role.SEALER: ""})
