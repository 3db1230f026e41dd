"""``wardlink register …``: the ground of the register of cameras."""

from __future__ import annotations

import time

import click

from app.cli import opened
from app.services.register import cells as ground
from config.fields import Part


@click.group()
def register() -> None:
    """The register of cameras."""


@register.command()
def cells() -> None:
    """Build the cells of the loaded release: at least five live postcodes in each. Run again it does nothing."""
    build()


def build() -> None:
    """Build them and say so. As the worker: the site may not write cells."""
    began = time.monotonic()
    with opened.registry(Part.WORKER) as registry, registry.sessions.begin() as session:
        built = ground.build(session, actor=opened.OPERATOR)
    if built is None:
        click.echo("The cells of the loaded release are built already, or no postcodes are loaded.")
    else:
        click.echo(
            f"{built.cells:,} cells of {built.release} built in {time.monotonic() - began:.1f} seconds; "
            f"{built.replaced:,} former ones replaced"
        )
