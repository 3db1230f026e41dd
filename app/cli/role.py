"""``wardlink role …``: who of staff may do what, where, and until when."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app.cli import opened
from app.cli.plain import WORD
from app.db import utc_now
from app.errors import Invalid, Missing
from app.models.staff import Staff
from app.permissions import Role
from app.services import grant_places, organisations, roles, staff, teams, terms
from app.services.roles import EVERYWHERE, Granted, Place

DAY = click.DateTime(["%Y-%m-%d"])
ROLE = click.Choice([str(role) for role in Role])


@click.group()
def role() -> None:
    """Roles of staff: grant, take, list."""


def until(day: datetime | None) -> datetime | None:
    """The end of a day of London's."""
    return None if day is None else terms.end_of(day.date())


def where(session: Session, organisation: UUID, area: str | None, team: str | None) -> Place | None:
    """From the options to a place; None when there is none of them. Invalid for both at once."""
    if area and team:
        raise Invalid("where", "Give an area or a team, not both.")
    if area:
        return grant_places.on_area(session, area)
    return Place(team_id=teams.by_name(session, organisation, team).id) if team else None


def _somebody(session: Session, email: str) -> Staff:
    found = staff.by_address(session, staff.read_email(email))
    if found is None:
        raise Missing("Nobody of staff has this e-mail address.")
    return found


@role.command()
@click.option("--email", type=WORD, required=True, help="The address that they sign in with.")
@click.option("--role", "name", type=ROLE, required=True)
@click.option("--area", type=WORD, help="Code of an area, and all below it.")
@click.option("--team", type=WORD, help="Name of a team: where it works, as it changes.")
@click.option("--everywhere", is_flag=True, help="Neither an area nor a team.")
@click.option("--until", "last", type=DAY, help="Last day; without it, a year from now.")
def grant(
    email: str, name: str, area: str | None, team: str | None, everywhere: bool, last: datetime | None
) -> None:
    """Grant a role, or set a new end to one."""
    if everywhere == bool(area or team):
        raise click.UsageError("Give one of --area, --team and --everywhere.")
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = _somebody(session, email)
        place = where(session, found.organisation_id, area, team) or EVERYWHERE
        made = roles.grant(
            session,
            found,
            Role(name),
            place,
            by=None,
            actor=opened.OPERATOR,
            now=utc_now(),
            ends_at=until(last),
        )
    click.echo(f"role {made.id}, until {terms.last_day(made.ends_at)}")


@role.command()
@click.argument("id", type=click.UUID)
def take(id: UUID) -> None:
    """Take the role ID back: it ends at once."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        roles.take(session, id, by=None, actor=opened.OPERATOR, now=utc_now())
    click.echo("taken back")


@role.command("list")
@click.option("--email", type=WORD, help="Of one person.")
@click.option("--organisation", type=WORD, help="Those of an organisation that end within 30 days.")
def listed(email: str | None, organisation: str | None) -> None:
    """List the roles of one person, or those of an organisation that end soon."""
    if bool(email) == bool(organisation):
        raise click.UsageError("Give one of --email and --organisation.")
    with opened.registry() as registry, registry.sessions.begin() as session:
        now = utc_now()
        if email:
            found = roles.of_staff(session, _somebody(session, email).id, now=now)
        else:
            controller = organisations.named(session, organisation or "")
            found = roles.ending(session, controller.id, now=now)
    for one in found:
        _show(one)
    click.echo(f"{len(found)} listed" + ("; there may be more" if len(found) == roles.PAGE else ""))


def _show(one: Granted) -> None:
    source = ", by a group" if one.source == "group" else ""
    click.echo(f"{one.id}  {one.role} ({one.where}) until {terms.last_day(one.ends_at)}{source}")
