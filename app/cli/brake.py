"""``wardlink brake …``: bulk e-mail that is held because of complaints or bounces."""

from __future__ import annotations

import click

from app.cli import opened
from app.cli.plain import TEXT, WORD
from app.services import brake as brakes


@click.group()
def brake() -> None:
    """The complaint brake: which domains' bulk e-mail is held, and letting it go on."""


@brake.command("list")
def listing() -> None:
    """Print the domains whose bulk e-mail is held, and why."""
    with opened.registry() as registry, registry.sessions() as session:
        held = brakes.pulled(session)
    for one in held:
        click.echo(
            f"{one.domain}  since {one.pulled_at:%d %b %Y %H:%M} UTC: {one.complained:,} complaints and "
            f"{one.bounced:,} bounces of {one.accepted:,} e-mails of a day"
        )
    click.echo(f"{len(held):,} held")


@brake.command()
@click.argument("domain", type=WORD)
@click.option("--why", type=TEXT, required=True, help="Why it may go on: it stands on the record.")
def release(domain: str, why: str) -> None:
    """Let the bulk e-mail of DOMAIN go on. Only what leaves from now on counts against it again."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        brakes.release(session, domain, why=why, actor=opened.OPERATOR)
    click.echo("released")
