"""The four database roles that sign in, the one that does not, and their database; migrations only grant.

The one place that holds this SQL: the embedded keeper uses it at its first start, and
``wardlink db roles`` for servers of your own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import psycopg
from psycopg import sql

VERSION = 2  # raise it when the SQL below changes: the embedded keeper then runs it again


class Role(StrEnum):
    """Who speaks to the database (design §13). None is a superuser, none may make roles."""

    OWNER = "wardlink_owner"  # migrations
    APP = "wardlink_app"  # web and commands
    WORKER = "wardlink_worker"
    SEALER = "wardlink_sealer"


ROLES = tuple(Role)
# Owns what opens the register. Nobody signs in as it; the owner of the tables is a member, to give it its functions.
GATE = "wardlink_gate"
_LOCK = 7_203_551_901  # two processes that make roles at once would collide in the catalogue


def libpq(url: str) -> str:
    """A SQLAlchemy URL as libpq reads it (``postgresql+psycopg://`` → ``postgresql://``)."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def ensure_roles(
    admin_url: str, passwords: Mapping[Role, str], *, database: str = "wardlink", createdb: bool = False
) -> None:
    """Make or mend the four roles, their passwords and the database; to run it again changes nothing.

    ``admin_url`` belongs to a superuser, or to a role that may make roles and databases. ``createdb``
    lets the owner make databases (the embedded cluster's tests do). Passwords leave as SCRAM
    verifiers, so no server log can hold one. Raises psycopg.Error.
    """
    missing = [role.value for role in ROLES if not passwords.get(role)]
    if missing:
        raise ValueError(f"no password for {', '.join(missing)}")
    with psycopg.connect(libpq(admin_url), autocommit=True) as admin:
        admin.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        for role in ROLES:
            _ensure_role(admin, role, passwords[role], createdb=createdb and role is Role.OWNER)
        _ensure_gate(admin)
        known = admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
        if not known:
            _create_database(admin, database)
    with psycopg.connect(libpq(admin_url), dbname=database, autocommit=True) as admin:
        secure_database(admin, database)


def create_database(owner_url: str, database: str) -> None:
    """Another database of the owner's, as well guarded as the first (tests: one per process).

    ``owner_url`` belongs to the owner, who needs CREATEDB.
    """
    with psycopg.connect(libpq(owner_url), autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(database)))
    with psycopg.connect(libpq(owner_url), dbname=database, autocommit=True) as owner:
        secure_database(owner, database)


def secure_database(connection: psycopg.Connection, database: str) -> None:
    """Only the four roles may connect, and only the owner may create; ``connection`` is to that database."""
    name = sql.Identifier(database)
    roles = sql.SQL(", ").join(sql.Identifier(role) for role in ROLES)
    for statement in (
        sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC"),
        sql.SQL("GRANT CONNECT ON DATABASE {name} TO {roles}"),
        sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC"),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {roles}"),
        sql.SQL("GRANT CREATE ON SCHEMA public TO {owner}"),
    ):
        connection.execute(statement.format(name=name, roles=roles, owner=sql.Identifier(Role.OWNER)))


def _ensure_role(admin: psycopg.Connection, role: Role, password: str, *, createdb: bool) -> None:
    name = sql.Identifier(role)
    if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.value,)).fetchone():
        admin.execute(sql.SQL("CREATE ROLE {}").format(name))
    verifier = admin.pgconn.encrypt_password(
        password.encode(), role.value.encode(), b"scram-sha-256"
    ).decode()
    admin.execute(
        sql.SQL("ALTER ROLE {} LOGIN NOCREATEROLE {} PASSWORD {}").format(
            name, sql.SQL("CREATEDB" if createdb else "NOCREATEDB"), sql.Literal(verifier)
        )
    )
    row = admin.execute(
        "SELECT rolsuper OR rolbypassrls OR rolreplication FROM pg_roles WHERE rolname = %s", (role.value,)
    ).fetchone()
    if row and row[0]:
        raise PermissionError(
            f"{role.value} has rights that it must not have: make it an ordinary role first"
        )


def _ensure_gate(admin: psycopg.Connection) -> None:
    gate = sql.Identifier(GATE)
    if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (GATE,)).fetchone():
        admin.execute(sql.SQL("CREATE ROLE {}").format(gate))
    admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN NOCREATEDB NOCREATEROLE").format(gate))
    admin.execute(sql.SQL("GRANT {} TO {}").format(gate, sql.Identifier(Role.OWNER)))


def _create_database(admin: psycopg.Connection, database: str) -> None:
    owner = sql.Identifier(Role.OWNER)
    row = admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if not (row and row[0]):  # only a superuser, or a member of a role, may give it a database
        admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(owner))
    admin.execute(
        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'").format(
            sql.Identifier(database), owner
        )
    )
