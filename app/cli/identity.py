"""``wardlink identity …``: where an organisation's staff sign in, and which of its groups have which roles."""

from __future__ import annotations

import sys

import click
from sqlalchemy.orm import Session

from app.cli import opened
from app.cli.plain import WORD
from app.db import utc_now
from app.errors import Invalid
from app.permissions import Role
from app.services import grant_places, organisations, teams
from app.services.oidc import discovery, mapping, providers
from app.services.oidc.refusals import Refused
from app.services.roles import Place
from config.settings import Settings
from messaging.providers.base import is_loopback

_OF = click.option("--organisation", type=WORD, required=True, help="Its short name.")


@click.group()
def identity() -> None:
    """Sign-in by an organisation's own identity provider (OpenID Connect)."""


@identity.command("set")
@_OF
@click.option(
    "--issuer", type=WORD, required=True, help="The provider's address, as its own document has it."
)
@click.option("--client-id", type=WORD, required=True, help="As whom this service is registered there.")
@click.option("--domain", type=WORD, multiple=True, help="Of their e-mail addresses; may be repeated.")
@click.option("--groups-claim", type=WORD, default="groups", show_default=True, help="Where groups stand.")
@click.option(
    "--factor",
    type=WORD,
    multiple=True,
    default=("mfa",),
    show_default=True,
    help='What it says in "acr", "amr" or "acrs" of a second factor; may be repeated.',
)
def put(
    organisation: str,
    issuer: str,
    client_id: str,
    domain: tuple[str, ...],
    groups_claim: str,
    factor: tuple[str, ...],
) -> None:
    """Set the provider of an organisation, once it answers. The client secret is asked for, or read from a pipe.

    It takes the place of whatever was set before. Prints what to enter at the provider.
    """
    secret = (
        click.prompt("Client secret", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    ).strip()
    with opened.registry() as registry:
        settings = registry.settings
        try:
            discovery.of(issuer, sandbox=_sandbox(settings))
        except Refused as refusal:
            raise Invalid("issuer", f"The provider cannot be used ({refusal.why}).") from None
        with registry.sessions.begin() as session:
            providers.put(
                session,
                organisation,
                issuer=issuer,
                client_id=client_id,
                client_secret=secret,
                domains=domain,
                groups_claim=groups_claim,
                factors=factor,
                sandbox=_sandbox(settings),
                actor=opened.OPERATOR,
            )
    _print_addresses(settings, organisation)


@identity.command()
@_OF
def show(organisation: str) -> None:
    """Print an organisation's provider and its groups; never the secret."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = providers.of_slug(session, organisation)
        domains = providers.domains(session, found.organisation_id)
        groups = mapping.mapped(session, found.organisation_id)
        settings = registry.settings
    click.echo(f"issuer          {found.issuer}")
    click.echo(f"client          {found.client_id}")
    click.echo(f"domains         {', '.join(domains) or 'none'}")
    click.echo(f"groups claim    {found.groups_claim}")
    click.echo(f"second factor   {', '.join(found.factors)}")
    _print_addresses(settings, organisation)
    for one in groups:
        click.echo(f"group {one.group}: {one.role}, {one.where}")
    click.echo(f"{len(groups)} groups have roles")


@identity.command()
@_OF
def end(organisation: str) -> None:
    """Nobody signs in by an organisation's provider any more, and whoever did is signed out now."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        count = providers.end(session, organisation, actor=opened.OPERATOR, now=utc_now())
    click.echo(f"ended; {count:,} people came by it and have no other way in")


@identity.command()
@_OF
@click.option("--group", type=WORD, required=True, help="As the provider's claim calls it.")
@click.option("--role", type=click.Choice([str(one) for one in Role]), required=True)
@click.option("--area", type=WORD, help="Code of an area; without it and a team the role holds everywhere.")
@click.option("--team", type=WORD, help="Name of a team of the organisation.")
@click.option("--remove", is_flag=True, help="Take the role off the group instead.")
def group(organisation: str, group: str, role: str, area: str | None, team: str | None, remove: bool) -> None:
    """Give members of a group a role, from their next sign-in on."""
    if area and team:
        raise click.UsageError("Give an area or a team, not both.")
    with opened.registry() as registry, registry.sessions.begin() as session:
        place = _place(session, organisation, area, team)
        act = mapping.unmap_group if remove else mapping.map_group
        act(session, organisation, group, Role(role), place, actor=opened.OPERATOR)
    click.echo("removed" if remove else "added")


def _place(session: Session, organisation: str, area: str | None, team: str | None) -> Place:
    if area is not None:
        return grant_places.on_area(session, area)
    if team is not None:
        controller = organisations.named(session, organisation)
        return Place(team_id=teams.by_name(session, controller.id, team).id)
    return Place()


def _print_addresses(settings: Settings, organisation: str) -> None:
    """What the organisation enters at its provider."""
    site = settings.public_url
    for name, path in (
        ("redirect", f"/staff/sign-in/{organisation}/back"),
        ("after sign-out", "/staff/sign-in"),
        ("back-channel", f"/hooks/identity/{organisation}"),
        ("link for staff", f"/staff/sign-in/{organisation}"),
    ):
        click.echo(f"{name:<15} {site}{path}")


def _sandbox(settings: Settings) -> bool:
    """Whether nothing here reaches anybody: then the provider is on this machine as well."""
    return is_loopback(settings.twilio_base_url) and is_loopback(settings.sendgrid_base_url)
