"""``wardlink ledger …``: that every recipient is accounted for."""

from __future__ import annotations

from collections.abc import Sequence

import click

from app.cli import opened
from app.cli.plain import TEXT
from app.services import alerts
from app.services.ledger import check as balances
from app.services.ledger import months as ledger_months
from app.services.ledger.check import Balance
from config.fields import Part

_COLUMNS = (
    "recipients", "accepted", "delivered", "bounced", "complained", "silent", "refused", "stopped", "erased",
    "expired", "in_doubt", "waiting", "digested", "unaccounted",
)  # fmt: skip


@click.group()
def ledger() -> None:
    """The ledger of deliveries."""


@ledger.command()
@click.argument("reference", type=TEXT)
def check(reference: str) -> None:
    """Count the ledger of the alert with this REFERENCE. Status 1 unless everybody is in one state, once."""
    with opened.registry() as registry, registry.sessions() as session:
        alert = alerts.by_reference(session, reference)
        lines = balances.of_alert(session, alert)
    if not lines:
        click.echo(f"{alert.reference} has not been sent to anybody.")
        return
    for text in table(lines):
        click.echo(text)
    for gone in sorted({str(line.dispatch)[:13] for line in lines if line.dropped}):
        click.echo(f"The month of {gone} is no longer kept: its figures are the batches' counters.")
    problems = [f"{line.channel}: {problem}" for line in lines for problem in line.problems]
    for problem in problems:
        click.echo(f"PROBLEM  {problem}")
    if not all(line.balances for line in lines):
        raise click.ClickException("The ledger does not balance.")
    click.echo("The ledger balances: everybody is in one state, once.")


def table(lines: Sequence[Balance]) -> list[str]:
    """The invariant as text, a column for each dispatch and channel."""
    heads = [f"{line.channel} {str(line.dispatch)[:13]}" for line in lines]
    width = max(16, *(len(head) for head in heads))
    rows = [" " * 14 + "".join(f"  {head:>{width}}" for head in heads)]
    for name in _COLUMNS:
        # What was accepted falls into these four.
        label = f"  {name}" if name in ("delivered", "bounced", "complained", "silent") else name
        cells = "".join(f"  {getattr(line, name):>{width},}" for line in lines)
        rows.append(f"{label.replace('_', ' '):<14}{cells}")
    return rows


@ledger.command()
@click.option(
    "--months", type=click.IntRange(1, 120), default=3, show_default=True, help="How far ahead to make them."
)
def partitions(months: int) -> None:
    """Make the ledger's partitions of the months ahead, and list all: name, first day, rows and size."""
    with opened.registry(Part.WORKER) as registry, registry.sessions.begin() as session:
        made = ledger_months.make(session, months)
        found = ledger_months.partitions(session)
    for one in found:
        begins = f"from {one.begins:%Y-%m-%d}" if one.begins else "all other times"
        click.echo(f"{one.name:<20} {begins:<15} about {one.rows:>13,} rows {one.bytes / 1e6:>12,.1f} MB")
    click.echo(f"{made} made, {len(found)} in all")
