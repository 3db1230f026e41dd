"""``wardlink ward``: the ward of a postcode."""

from __future__ import annotations

import click

from app.cli import opened
from app.cli.plain import TEXT
from app.services import areas


@click.command()
@click.argument("postcode", type=TEXT, nargs=-1, required=True)
def ward(postcode: tuple[str, ...]) -> None:
    """Print the ward of a London POSTCODE, with or without its space."""
    with opened.registry() as registry, registry.sessions() as session:
        found = areas.find_ward(session, " ".join(postcode))
    click.echo(f"{found.postcode} is in {found.name} ward ({found.code}), {found.borough_name}")
    click.echo(f"borough {found.borough_code}, release {found.release}")
