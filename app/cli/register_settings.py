"""``wardlink register settings``: how an organisation's investigators name a case, and where owners hand footage over."""

from __future__ import annotations

import click

from app.cli import opened
from app.cli.plain import TEXT, WORD
from app.errors import Invalid
from app.services import organisations
from app.services.register import settings as register_settings


@click.command()
@click.argument("slug", type=WORD)
@click.option(
    "--case-pattern", type=WORD, help="A regular expression that a case reference fits, from ^ to $."
)
@click.option("--case-example", type=WORD, help="A reference that fits, shown to investigators.")
@click.option("--portal-name", type=TEXT, help="What owners know the evidence portal by; none takes it away.")
@click.option(
    "--portal-url", type=WORD, help="Its https address, with {reference} and {request} where they belong."
)
def settings(
    slug: str,
    case_pattern: str | None,
    case_example: str | None,
    portal_name: str | None,
    portal_url: str | None,
) -> None:
    """Show the register's settings of the organisation SLUG; with options, change them."""
    away = portal_name == "none"
    if not away and (portal_name is None) != (portal_url is None):
        raise Invalid("portal_url", "Give both --portal-name and --portal-url.")
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = organisations.named(session, slug)
        shown = register_settings.shown(session, found.id)
        if case_pattern or case_example or portal_name:
            shown = register_settings.alter(
                session,
                found.id,
                case_pattern=case_pattern,
                case_example=case_example,
                portal=(portal_name, portal_url) if portal_name and portal_url and not away else None,
                no_portal=away,
                actor=opened.OPERATOR,
            )
    click.echo(f"case references: {shown.case_pattern}, for example {shown.case_example}")
    if shown.portal_name:
        click.echo(f"evidence portal: {shown.portal_name}, {shown.portal_url}")
    else:
        click.echo("evidence portal: none; owners are told that somebody will write or call")
