"""``wardlink services …``: the embedded PostgreSQL and Valkey."""

from __future__ import annotations

import os

import click

from app.embedded import client
from config.settings import Settings


def _settings() -> Settings:
    settings = Settings.load(os.environ)
    if not settings.embedded:
        raise click.ClickException("Servers of your own are set: there are no embedded ones.")
    return settings


@click.group()
def services() -> None:
    """The embedded PostgreSQL and Valkey, where no servers are set."""


@services.command()
def status() -> None:
    """Say whether they run, and where. Starts nothing."""
    folder = _settings().local_dir
    found = client.running(folder)
    if found is None:
        click.echo(f"{folder}: nothing runs")
        return
    for name, url, pid in (
        ("PostgreSQL", found.database_url, found.postgres_pid),
        ("Valkey", found.redis_url, found.valkey_pid),
    ):
        # Behind the last @: the password stands before it.
        click.echo(f"{name} at {url.rpartition('@')[2]}, process {pid}")
    click.echo(f"{folder}: kept by process {found.keeper_pid}")


@services.command()
def stop() -> None:
    """Stop them, whoever uses them."""
    folder = _settings().local_dir
    click.echo(f"{folder}: {'stopped' if client.stop(folder) else 'nothing runs'}")
