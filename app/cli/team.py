"""``wardlink team …``: who looks after which wards, as the public pages show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app.cli import opened
from app.cli.plain import TEXT, WORD
from app.services import organisations, team_entries, teams
from app.services.team_entries import TeamView


@click.group()
def team() -> None:
    """Ward teams: their areas, how to reach them, who is in them."""


def _of(command: click.Command) -> click.Command:
    command.params[:0] = [
        click.Option(["--organisation"], type=WORD, required=True, help="Its short name."),
        click.Option(["--team"], type=WORD, required=True, help="The team's name."),
    ]
    return command


@contextmanager
def _acting(organisation: str) -> Iterator[tuple[Session, UUID]]:
    """A transaction, and the organisation's id in it."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = organisations.named(session, organisation)
        yield session, found.id


@team.command()
@click.option("--organisation", type=WORD, required=True, help="Its short name.")
@click.option("--name", type=WORD, required=True)
@click.option("--area", type=WORD, multiple=True, required=True, help="Code of an area; may be repeated.")
@click.option("--about", type=TEXT, default="", help="What the team does, in a sentence or two.")
@click.option("--email", type=WORD, help="Shown to everybody.")
@click.option("--phone", type=WORD, help="Shown to everybody.")
@click.option("--url", type=TEXT, help="The team's own page, by https.")
def add(
    organisation: str,
    name: str,
    area: tuple[str, ...],
    about: str,
    email: str | None,
    phone: str | None,
    url: str | None,
) -> None:
    """Add a team that looks after one or more areas."""
    with _acting(organisation) as (session, controller):
        made = teams.create(
            session,
            controller=controller,
            name=name,
            areas=area,
            about=about,
            email=email,
            phone=phone,
            url=url,
            actor=opened.OPERATOR,
        )
    click.echo(f"team {made.id}")


@_of
@team.command()
@click.option("--name", type=WORD, help="A new name.")
@click.option("--area", type=WORD, multiple=True, help="Code of an area; those given replace those it has.")
@click.option("--about", type=TEXT)
@click.option("--email", type=WORD, help="An empty one takes it away; so for the next two.")
@click.option("--phone", type=WORD)
@click.option("--url", type=TEXT)
def alter(
    organisation: str,
    team: str,
    name: str | None,
    area: tuple[str, ...],
    about: str | None,
    email: str | None,
    phone: str | None,
    url: str | None,
) -> None:
    """Change what is given of a team."""
    with _acting(organisation) as (session, controller):
        found = teams.by_name(session, controller, team)
        teams.alter(
            session,
            found.id,
            name=name,
            areas=area or None,
            about=about,
            email=email,
            phone=phone,
            url=url,
            actor=opened.OPERATOR,
        )
    click.echo("changed")


@_of
@team.command()
@click.option("--role", type=WORD, required=True, help="Such as PC, PCSO or ward officer.")
@click.option("--name", type=WORD, help="Shown to everybody: only with --agreed.")
@click.option("--agreed", is_flag=True, help="The bearer of the name agreed that it is shown.")
@click.option("--remove", is_flag=True, help="Take this entry off instead.")
def member(organisation: str, team: str, role: str, name: str | None, agreed: bool, remove: bool) -> None:
    """Add a role to a team's public entry, or take it off."""
    with _acting(organisation) as (session, controller):
        found = teams.by_name(session, controller, team)
        if remove:
            teams.remove_member(session, found.id, role=role, name=name, actor=opened.OPERATOR)
        else:
            teams.add_member(session, found.id, role=role, name=name, agreed=agreed, actor=opened.OPERATOR)
    click.echo("removed" if remove else "added")


@_of
@team.command()
def end(organisation: str, team: str) -> None:
    """End a team. Its alerts and replies stay; its entry and the names on it go."""
    with _acting(organisation) as (session, controller):
        teams.end(session, teams.by_name(session, controller, team).id, actor=opened.OPERATOR)
    click.echo("ended")


@team.command("list")
@click.option("--organisation", type=WORD, required=True, help="Its short name.")
def listing(organisation: str) -> None:
    """Print an organisation's teams, their members and how to reach them."""
    count, after = 0, ""
    with _acting(organisation) as (session, controller):
        while page := team_entries.of_organisation(session, controller, after=after):
            for one in page:
                _show(one)
            count, after = count + len(page), page[-1].name
    click.echo(f"{count:,} teams")


def _show(one: TeamView) -> None:
    click.echo(one.name)
    for route in filter(None, (one.email, one.phone, one.url)):
        click.echo(f"  {route}")
    for each in one.members:
        click.echo(f"  {each.role}" + (f" {each.name}" if each.name else ""))
