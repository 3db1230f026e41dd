"""``wardlink db …``: roles, migrations, and whether all is well."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

import click
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from click.core import ParameterSource

from app import migrate, queue, roles
from app.cli import opened
from app.cli.plain import TEXT
from app.embedded import client
from app.registry import Registry
from app.roles import Role
from app.services import areas
from config.fields import Part
from config.settings import Settings

_URLS = {
    Role.OWNER: "OWNER_DATABASE_URL",
    Role.APP: "DATABASE_URL",
    Role.WORKER: "WORKER_DATABASE_URL",
    Role.SEALER: "SEALER_DATABASE_URL",
}


@click.group()
def db() -> None:
    """The database: its roles, its tables, its health."""


@db.command(name="roles")
@click.option(
    "--admin-url",
    type=TEXT,
    envvar="ADMIN_DATABASE_URL",
    required=True,
    help="PostgreSQL as a superuser, or as somebody who may make roles and databases [ADMIN_DATABASE_URL].",
)
def make_roles(admin_url: str) -> None:
    """Make the four roles and the database, once per cluster; their passwords come from the role URLs."""
    given = click.get_current_context().get_parameter_source("admin_url")
    if given is ParameterSource.COMMANDLINE and (read_url(admin_url) or ("", "", ""))[1]:
        raise click.UsageError(
            "Give an address with a password in ADMIN_DATABASE_URL: a command line can be read by others."
        )
    if read_url(admin_url) is None:
        raise click.UsageError("The admin URL must look like postgresql://user:password@host/database.")
    settings = Settings.load(os.environ, Part.OWNER)
    passwords: dict[Role, str] = {}
    databases: set[str] = set()
    for role, name in _URLS.items():
        parts = read_url(getattr(settings, name.lower()))
        if parts is None or parts[0] != role.value or not parts[1]:
            raise click.ClickException(f"{name} must name the user {role.value} and its password.")
        passwords[role] = parts[1]
        databases.add(parts[2])
    if len(databases) != 1:
        raise click.ClickException("The four role URLs must name one and the same database.")
    try:
        roles.ensure_roles(admin_url, passwords, database=databases.pop())
    except (PermissionError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"made or mended: {', '.join(role.value for role in Role)}")


def read_url(url: str) -> tuple[str, str, str] | None:
    """User, password and database of a PostgreSQL address, or None if it is none."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"postgresql", "postgres", "postgresql+psycopg"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        return None
    if not known or not parts.username:
        return None
    return unquote(parts.username), unquote(parts.password or ""), parts.path.strip("/")


@db.command()
def upgrade() -> None:
    """Bring the tables up to date, as the owner. Run again it does nothing."""
    settings = client.complete(Settings.load(os.environ, Part.OWNER))
    migrate.upgrade(settings.owner_database_url)
    click.echo("the database is up to date")


@db.command()
def check() -> None:
    """Say whether the database, its tables, London and the queue are there. Status 1 if one is missing."""
    with opened.registry() as registry:
        findings = _findings(registry)
    for what, problem in findings.items():
        click.echo(f"{what:<10} {problem or 'ok'}")
    if any(findings.values()):
        raise click.exceptions.Exit(1)


def _findings(registry: Registry) -> dict[str, str]:
    found = {"database": "", "tables": "", "London": "", "queue": ""}
    with registry.sessions() as session:
        there = session.execute(sa.text("SELECT to_regclass('alembic_version') IS NOT NULL")).scalar_one()
        at = (
            session.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all()
            if there
            else []
        )
        if list(at) != ScriptDirectory.from_config(migrate.configuration()).get_heads():
            found["tables"] = "not up to date: run `wardlink db upgrade`"
        elif areas.loaded_release(session) is None:
            found["London"] = "not loaded: run `wardlink london load`"
    if not queue.reachable():
        found["queue"] = "does not answer; work goes on, slower"
    return found
