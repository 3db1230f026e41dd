"""``wardlink ledger …``: that every recipient is accounted for."""

from __future__ import annotations

from collections.abc import Sequence

import click
import sqlalchemy as sa

from app.cli import opened
from app.cli.plain import TEXT
from app.services import alerts
from app.services.ledger import check as balances
from app.services.ledger.check import Balance
from config.fields import Part

_COLUMNS = (
    "recipients", "accepted", "delivered", "bounced", "complained", "silent", "refused", "stopped", "erased",
    "expired", "in_doubt", "waiting", "unaccounted",
)  # fmt: skip
_PARTITIONS = sa.text(
    """
    SELECT c.relname, pg_get_expr(c.relpartbound, c.oid), greatest(c.reltuples, 0)
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('deliveries' AS regclass) ORDER BY c.relname
    """
)


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
    """Make the ledger's partitions of the months ahead, and list all."""
    with opened.registry(Part.WORKER) as registry, registry.sessions.begin() as session:
        made = session.execute(sa.text("SELECT ledger_make_partitions(:n)"), {"n": months}).scalar_one()
        rows = session.execute(_PARTITIONS).all()
    for name, bounds, about in rows:
        click.echo(f"{name:<20} about {int(about):>12,} rows  {bounds}")
    click.echo(f"{made} made, {len(rows)} in all")
