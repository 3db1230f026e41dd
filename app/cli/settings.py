"""``wardlink settings``: every setting, as the documentation has it."""

from __future__ import annotations

import os

import click

from app.cli.alarms import NO_ROUTE
from config import reference

_ROUTES = ("ALARM_EMAILS", "ALARM_MOBILES", "ALARM_WEBHOOK")


@click.command()
def settings() -> None:
    """Print every setting, what it is, its default, and who needs it; and say so if nobody hears of alarms."""
    click.echo(reference.table(), nl=False)
    if not any(os.environ.get(name, "").strip() for name in _ROUTES):
        click.echo(NO_ROUTE, err=True)
