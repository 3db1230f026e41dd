"""``wardlink london …``: the bundled geography of London."""

from __future__ import annotations

import time

import click

from app.cli import opened, register
from app.services import areas
from config.settings import SettingsError
from geo import agreement, releases


@click.group()
def london() -> None:
    """The wards, boroughs and postcodes of London."""


@london.command()
def load() -> None:
    """Load areas and postcodes from the bundled release, and build the register's cells. Run again it does nothing."""
    began = time.monotonic()
    with opened.registry() as registry, registry.sessions.begin() as session:
        before = areas.loaded_release(session)
        release = areas.load_london(
            session, actor=opened.OPERATOR, progress=lambda what: click.echo(f"loading {what}")
        )
    if before == release:
        click.echo(f"{release} is already loaded")
    else:
        click.echo(f"{release} loaded in {time.monotonic() - began:.1f} seconds")
    try:
        register.build()
    except SettingsError:  # somebody who has the site's settings only
        click.echo("The worker builds the register's cells within a minute of its start.")


@london.command()
def disagreements() -> None:
    """List the postcodes that the boundaries put in another ward than the official table does."""
    found = agreement.disagreements()
    total = releases.release().live_postcodes
    click.echo("postcode  table      boundary   metres")
    for one in found:
        click.echo(f"{one.postcode:<9} {one.table_ward}  {one.boundary_ward or 'none':<9} {one.metres:>7.1f}")
    click.echo(f"{len(found):,} of {total:,} postcodes disagree: {len(found) / total:.3%}")
