"""``wardlink provider …``: which providers are up, and which numbers stand in for others."""

from __future__ import annotations

import click

from app.cli import opened
from app.cli.plain import WORD, Seconds
from app.services import routes, stand_ins


@click.group()
def provider() -> None:
    """Providers of e-mail and texts: how they fare, and who stands in for whom."""


@provider.command("list")
def listing() -> None:
    """Print every provider, the first choice of each channel first."""
    with opened.registry() as registry, registry.sessions() as session:
        found = routes.states(session)
    for one in found:
        click.echo(
            f"{one.channel:5}  {one.provider:8}  {one.state:6}  since {one.since:%d %b %Y %H:%M:%S} UTC, "
            f"{one.failed_percent} % of the last {one.calls} calls failed"
        )
    click.echo(f"{len(found):,} providers" if found else "No scheduler has looked at the providers yet.")


@provider.command("stand-in")
@click.argument("number", type=WORD)
@click.option("--by", type=WORD, help="A number of the second Twilio account, such as +447700900123.")
@click.option(
    "--rate",
    type=Seconds(0.1, 10_000),
    help="Segments a second that it passes on; else as the first.",
)
@click.option("--remove", is_flag=True, help="Let nothing stand in for NUMBER any more.")
def stand_in(number: str, by: str | None, rate: float | None, remove: bool) -> None:
    """Name the number that stands in for NUMBER while the provider of texts is down."""
    if remove == (by is not None):
        raise click.UsageError("Give --by or --remove.")
    with opened.registry() as registry, registry.sessions.begin() as session:
        if by is None:
            click.echo(f"{stand_ins.end_stand_in(session, number, actor=opened.OPERATOR):,} senders changed")
        else:
            made = stand_ins.stand_in(session, number, by, rate=rate, actor=opened.OPERATOR)
            click.echo(f"stands in for {len(made):,} senders")
