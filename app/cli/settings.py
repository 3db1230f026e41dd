"""``wardlink settings``: every setting, as the documentation has it."""

from __future__ import annotations

import click

from config import reference


@click.command()
def settings() -> None:
    """Print every setting, what it is, its default, and who needs it."""
    click.echo(reference.table(), nl=False)
