"""``wardlink staff …``: who may sign in."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click

from app.cli import opened, role
from app.cli.plain import WORD
from app.db import utc_now
from app.permissions import Role
from app.services import grant_places, invitations, organisations
from app.services import staff as people_of
from messaging.providers.base import is_loopback


@click.group()
def staff() -> None:
    """Staff: invite, list, leave."""


@staff.command()
@click.option("--organisation", type=WORD, required=True, help="Its short name.")
@click.option("--email", type=WORD, required=True, help="Where the invitation goes; they sign in with it.")
@click.option("--name", type=WORD, required=True)
@click.option("--team", type=WORD, help="Name of their team; without one they read the replies of all.")
@click.option("--role", "wanted", type=role.ROLE, default=str(Role.OFFICER), show_default=True)
@click.option("--area", type=WORD, help="Code of the area that they have it on; else where their team works.")
@click.option("--until", "last", type=role.DAY, help="Last day of the role; without it, a year from now.")
def invite(
    organisation: str,
    email: str,
    name: str,
    team: str | None,
    wanted: str,
    area: str | None,
    last: datetime | None,
) -> None:
    """Invite somebody, and print the link that is also on its way to them by e-mail.

    Without a team and an area the role holds everywhere.
    """
    with opened.registry() as registry:
        settings = registry.settings
        with registry.sessions.begin() as session:
            sent = invitations.invite(
                session,
                organisation=organisation,
                email=email,
                name=name,
                team=team,
                role=Role(wanted),
                place=grant_places.on_area(session, area) if area else None,
                ends_at=role.until(last),
                public_url=settings.public_url,
                fictional=is_loopback(settings.twilio_base_url) and is_loopback(settings.sendgrid_base_url),
                actor=opened.OPERATOR,
                now=utc_now(),
            )
    click.echo(f"An invitation is on its way. It works once, until {sent.expires_at:%d %B %Y %H:%M} UTC:")
    click.echo(sent.url)


@staff.command("list")
@click.option("--organisation", type=WORD, required=True, help="Its short name.")
@click.option("--after", type=click.UUID, help="Go on after the one with this id.")
def listed(organisation: str, after: UUID | None) -> None:
    """List an organisation's staff, a hundred at a time."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        controller = organisations.named(session, organisation)
        found = people_of.listed(session, controller.id, after=after)
    for one, team in found:
        click.echo(f"{one.id}  {one.state:<8} {one.name} <{one.email}>{f', {team}' if team else ''}")
    click.echo(f"{len(found)} listed" + ("; there may be more" if len(found) == people_of.PAGE else ""))


@staff.command()
@click.option("--email", type=WORD, required=True, help="The address that they sign in with.")
def leave(email: str) -> None:
    """Somebody leaves: they are signed out everywhere and cannot sign in again."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        gone = people_of.leave(session, email, actor=opened.OPERATOR, now=utc_now())
    click.echo(f"{gone.name} has left.")
