"""``wardlink areas …``: releases of postcodes, plans of changes, and areas that are drawn."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from uuid import UUID

import click

from app.cli import area_making, opened
from app.cli.area_making import DAY, FILE, ON, day_of, reading, say_made
from app.cli.plain import WORD
from app.db import utc_now
from app.services.area_changes import application, importing, plans, previews, reversal
from app.services.area_changes.steps import Step
from geo import change_tables, postcode_files


@click.group()
def areas() -> None:
    """Areas that change: import a release, plan changes, draw areas."""


@areas.group()
def plan() -> None:
    """Plans of changes: a draft, then applied on its day, and reversible."""


@areas.group("shape")
def shapes() -> None:
    """Areas that are drawn: a team's patch, a town centre, a station."""


for command in area_making.PLANS:
    plan.add_command(command)
for command in area_making.SHAPES:
    shapes.add_command(command)


@areas.command("import")
@click.argument("file", type=FILE)
@click.option("--id", "release", type=WORD, required=True, help="A short name: onspd-2026-08.")
@click.option("--name", type=WORD, required=True, help="As people read it: ONSPD August 2026.")
@click.option("--published", type=DAY, required=True, help="The day or month of the release: 2026-08-01.")
@click.option(
    "--names", type=FILE, help="CSV with codes and names of wards (WD26CD, WD26NM), if the zip has none."
)
@click.option(
    "--shares", type=FILE, help="CSV of old, new, share: how much of each ward that ends goes where."
)
@ON
def import_(
    file: Path,
    release: str,
    name: str,
    published: datetime,
    names: Path | None,
    shares: Path | None,
    on: datetime | None,
) -> None:
    """Read a release of ONSPD, NSPL or Code-Point Open (CSV or zip) into a plan, and say what it changes."""
    with reading():
        known = change_tables.names(names) if names else None
        given = change_tables.shares(shares) if shares else None
        size = postcode_files.size(file)
    try:
        with (
            opened.registry() as registry,
            click.progressbar(length=size, label=f"reading {file.name}") as bar,
            registry.sessions.begin() as session,
        ):
            found = importing.read(
                session,
                file,
                release=(release, name, published.date()),
                applies_on=day_of(on),
                actor=opened.OPERATOR,
                names=known,
                shares=given,
                progress=bar.update,
            )
    except importing.RefusedError as error:
        for fault in error.faults:
            click.echo(f"{fault.file}, line {fault.line}: {fault.reason}", err=True)
        raise
    click.echo(
        f"{found.lines:,} lines read, {found.london:,} of London, {found.nowhere:,} without a location"
    )
    click.echo(
        f"{found.live:,} postcodes in use: {found.new:,} new, {found.gone:,} in use no more, "
        f"{found.moved:,} in another ward than before"
    )
    click.echo(f"{len(found.begun):,} wards begin, {len(found.ended):,} end")
    say_made(found.plan_id)


@plan.command("list")
@click.option("--after", type=click.UUID, help="Go on after this one.")
def list_(after: UUID | None) -> None:
    """List plans, the newest first, fifty at a time."""
    with opened.registry() as registry, registry.sessions() as session:
        found = plans.listed(session, after=after)
    for one in found:
        done = f" ({one.done:,} of {one.total:,} areas prepared)" if one.state == "running" else ""
        click.echo(f"{one.id}  {one.applies_on}  {one.state}{done}  {one.title}")
        if one.failed:
            click.echo(f"  failed: {one.failed}")
    click.echo(f"{len(found)} plans")
    if len(found) == plans.PAGE:
        click.echo(f"More: wardlink areas plan list --after {found[-1].id}")


@plan.command()
@click.argument("plan_id", metavar="PLAN", type=click.UUID)
def show(plan_id: UUID) -> None:
    """Print a plan's steps."""
    with opened.registry() as registry, registry.sessions() as session:
        found = plans.find(session, plan_id)
    click.echo(f"{found.title}: {found.state}, from {found.applies_on}")
    for step in found.steps:
        click.echo("  " + _as_words(step))
    for table, count in sorted(found.counts.items()):
        click.echo(f"  {table}: {count:,}")


def _as_words(step: Step) -> str:
    code = step["code"]
    match step["do"]:
        case "begin":
            return f"{code} begins: {step['name']}, in {step['parent'] or 'nothing'}"
        case "end":
            into = ", ".join(f"{to} {share:.0%}" for to, share in step["into"].items())
            return f"{code} ends; it goes to {into or 'nothing'}"
        case "rename":
            return f"{code} is called {step['name']}"
        case "move":
            return f"{code} comes to lie in {step['parent']}"
        case _:
            return f"{code} is drawn with {len(step['parts'])} parts and {len(step['holes'])} holes"


@plan.command()
@click.argument("plan_id", metavar="PLAN", type=click.UUID)
def preview(plan_id: UUID) -> None:
    """Count who would move from where to where. Nobody moves."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = previews.preview(session, plan_id)
    click.echo("from       to         by postcode  by boundary  whole ward  to look at")
    for one in found.pairs:
        click.echo(
            f"{one.from_code:<10} {one.to_code:<10} {one.by_postcode:>11,} {one.by_boundary:>12,} "
            f"{one.others:>11,} {one.flagged:>11,}"
        )
    click.echo(f"{sum(one.places for one in found.pairs):,} places move")
    click.echo(f"{len(found.begun):,} areas begin, {len(found.ended):,} end")
    click.echo("postcodes: {:,} in another ward, {:,} new, {:,} in use no more".format(*found.postcodes))
    for name, count in found.rows:
        click.echo(f"{name} that follow: {count:,}")


@plan.command("apply")
@click.argument("plan_id", metavar="PLAN", type=click.UUID)
def apply_(plan_id: UUID) -> None:
    """Apply a plan on its day; at once if that has come. What was interrupted goes on."""
    now = utc_now()
    with opened.registry() as registry:
        with registry.sessions.begin() as session:
            found = plans.find(session, plan_id)
            if found.state != "running" and found.state != "scheduled":
                found = plans.schedule(session, plan_id, actor=opened.OPERATOR)
        if found.applies_on > application.today(now):
            click.echo(f"It will be applied on {found.applies_on:%d %B %Y}.")
            return
        with click.progressbar(length=1, label="preparing") as bar:

            def progress(done: int, total: int) -> None:
                bar.length = total
                bar.update(done - bar.pos)

            done = application.run(
                registry.sessions.begin, plan_id, actor=opened.OPERATOR, now=now, progress=progress
            )
    click.echo(f"applied: {done.moved:,} places moved")
    for table, count in done.followed.items():
        click.echo(f"  {table}: {count:,} followed")


@plan.command("reverse")
@click.argument("plan_id", metavar="PLAN", type=click.UUID)
def reverse_(plan_id: UUID) -> None:
    """Undo a plan that was applied. What happened in between is kept."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        done = reversal.reverse(session, plan_id, actor=opened.OPERATOR, now=utc_now())
    click.echo(f"reversed: {done.moved:,} places moved back")


@plan.command()
@click.argument("plan_id", metavar="PLAN", type=click.UUID)
def stop(plan_id: UUID) -> None:
    """Never apply a plan; also while it is being prepared."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        plans.stop(session, plan_id, actor=opened.OPERATOR)
    click.echo("stopped: nothing was changed")
