"""``wardlink keys …``: under which keys values stand, and encrypting them again under the newest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click
from sqlalchemy.orm import Session, sessionmaker

from app.cli import opened
from app.crypto import Keyring
from app.db import make_engine, make_sessions
from app.embedded import client
from app.services import rotation
from config.settings import Settings


@click.group()
def keys() -> None:
    """The keys that values are encrypted under (VALUE_KEYS)."""


@keys.command()
def status() -> None:
    """Count the values under each key. Status 1 if some are under a key that VALUE_KEYS lacks. Reads every table."""
    with _ground() as (sessions, ring), sessions() as session:
        counts = rotation.standing(session)
    _print(counts)
    click.echo(f"the current key is {ring.current}")
    for key in rotation.unused(counts, ring):
        click.echo(f"nothing is under key {key}: it is needed only for backups from before")
    lost = rotation.unknown(counts, ring)
    if lost:
        raise click.ClickException(
            f"Some values are under keys that VALUE_KEYS lacks: {', '.join(map(str, lost))}."
        )


@keys.command()
def rotate() -> None:
    """Encrypt everything again that is not under the current key.

    The service goes on meanwhile. Broken off, it is started again and goes on from where it was. Give every process
    the new key first, at the front of VALUE_KEYS; then put it at the end, which makes it the current one; then run
    this. Status 1 if some values do not open: they stay as they are.
    """
    with _ground() as (sessions, ring):
        shown: dict[str, int] = {}

        def progress(table: str, count: int) -> None:
            if count >= shown.get(table, 0) + 50_000:
                shown[table] = count
                click.echo(f"{table}: {count:,} so far")

        tallies = rotation.rotate(sessions, ring, actor=opened.OPERATOR, progress=progress)
    for one in tallies:
        click.echo(f"{one.table:<20} {one.rotated:>12,}")
    broken = {one.table: one.unreadable for one in tallies if one.unreadable}
    if broken:
        told = ", ".join(f"{count:,} of {table}" for table, count in broken.items())
        raise click.ClickException(f"Some values do not open and were left as they are: {told}.")
    click.echo(f"everything is under key {ring.current}")


@contextmanager
def _ground() -> Iterator[tuple[sessionmaker[Session], Keyring]]:
    """Sessions of the owner's role: it alone may write to every table."""
    settings = client.complete(Settings.load(os.environ))
    if not settings.owner_database_url:
        raise click.UsageError("Set OWNER_DATABASE_URL: only the owner's role may write to every table.")
    engine = make_engine(settings.owner_database_url, pool_size=1, application_name="wardlink keys")
    try:
        yield make_sessions(engine), Keyring.from_settings(settings)
    finally:
        engine.dispose()


def _print(counts: Mapping[str, Mapping[int, int]]) -> None:
    for table, found in counts.items():
        told = ", ".join(f"{count:,} under key {key}" for key, count in found.items()) or "none"
        click.echo(f"{table:<20} {told}")
