"""``wardlink retention …``: what is kept for a time only, and when it was last looked through."""

from __future__ import annotations

import click

from app.cli import opened
from app.db import utc_now
from app.services import retention as clock
from app.services import retention_runs


@click.group()
def retention() -> None:
    """What is kept for a time only."""


@retention.command()
@click.option("--day", type=click.DateTime(["%Y-%m-%d"]), help="A day, London's [the last there is].")
def report(day: object | None) -> None:
    """Say for each class of data when it was purged, what went that day, and the oldest that was left.

    Of the whole service, all organisations together. Status 1 if a purge has not run for two days.
    """
    when = day.date() if hasattr(day, "date") else None
    with opened.registry() as registry, registry.sessions() as session:
        found = retention_runs.report(session, clock.OWNED, day=when)
        late = retention_runs.overdue(session, list(clock.OWNED), now=utc_now())
    if found is None:
        raise click.ClickException("Nothing has been looked through yet: worker-back does it every hour.")
    click.echo(f"{found.day:%d %B %Y}")
    click.echo(f"{'':<22} {'ran (UTC)':<10} {'removed':>12}  oldest left (UTC)")
    for line in found.lines:
        ran = f"{line.ran_at:%H:%M}" if line.ran_at else "not run"
        oldest = f"{line.oldest_left:%Y-%m-%d %H:%M}" if line.oldest_left else "-"
        click.echo(f"{line.name:<22} {ran:<10} {line.removed:>12,}  {oldest}")
    if late:
        told = ", ".join(f"{name} ({since.days} days)" for name, since in sorted(late.items()))
        raise click.ClickException(f"Not purged for two days or more: {told}.")


@retention.command()
def classes() -> None:
    """Print each class of data, how long it is kept, and why."""
    for line in clock.printed():
        click.echo(line)
