"""``wardlink areas …``: releases of postcodes, plans of changes, and areas that are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from sqlalchemy.orm import Session

from app.cli import opened
from app.cli.plain import TEXT, WORD
from app.db import utc_now
from app.errors import Invalid
from app.services.area_changes import application, importing, making, plans, previews, reversal
from app.services.area_changes.making import Named
from app.services.area_changes.steps import Step
from geo import change_tables, postcode_files, shape
from geo.postcode_files import PostcodeFileError
from geo.shape import ShapeError

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
DAY = click.DateTime(["%Y-%m-%d"])
_ON = click.option("--on", type=DAY, help="The day from which it holds: 2026-05-07. Without it, today.")


@click.group()
def areas() -> None:
    """Areas that change: import a release, plan changes, draw areas."""


@areas.group()
def plan() -> None:
    """Plans of changes: a draft, then applied on its day, and reversible."""


@areas.group("shape")
def shapes() -> None:
    """Areas that are drawn: a team's patch, a town centre, a station."""


@contextmanager
def _reading() -> Iterator[None]:
    """What is wrong with a file, in one sentence."""
    try:
        yield
    except (PostcodeFileError, ShapeError) as error:
        raise Invalid("file", error.message) from None


def _day(given: datetime | None) -> date:
    return given.date() if given else application.today(utc_now())


def _save(title: str, on: datetime | None, make: Callable[[Session], list[Step]], **more: Any) -> None:
    with opened.registry() as registry, registry.sessions.begin() as session:
        made = plans.create(
            session, title=title, applies_on=_day(on), given=make(session), actor=opened.OPERATOR, **more
        )
        _say_made(made.id)


def _say_made(plan_id: UUID) -> None:
    click.echo(f"plan {plan_id}")
    click.echo(f"Look at it:  wardlink areas plan preview {plan_id}")
    click.echo(f"Apply it:    wardlink areas plan apply {plan_id}")


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
@_ON
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
    with _reading():
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
                applies_on=_day(on),
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
    _say_made(found.plan_id)


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


@plan.command()
@click.argument("code", type=WORD)
@click.argument("name", type=WORD)
@_ON
def rename(code: str, name: str, on: datetime | None) -> None:
    """Plan that the area CODE is called NAME."""
    _save(f"Rename {code}", on, lambda session: making.rename(session, code, name))


@plan.command()
@click.argument("code", type=WORD)
@click.argument("new", type=WORD)
@_ON
def recode(code: str, new: str, on: datetime | None) -> None:
    """Plan that the area CODE has the code NEW."""
    _save(f"Recode {code}", on, lambda session: making.recode(session, code, new))


@plan.command()
@click.argument("codes", type=WORD, nargs=-1, required=True)
@click.option("--into", type=WORD, required=True, help="Code of what they become, new or one of today's.")
@click.option("--name", type=WORD, default="", help="Its name, if it is new.")
@_ON
def merge(codes: tuple[str, ...], into: str, name: str, on: datetime | None) -> None:
    """Plan that the areas CODES become one."""
    _save(f"Merge into {into}", on, lambda session: making.merge(session, codes, Named(into, name)))


@plan.command()
@click.argument("code", type=WORD)
@click.option("--into", type=(WORD, WORD), multiple=True, required=True, help="Code and name; repeat it.")
@click.option(
    "--postcodes", type=FILE, required=True, help="CSV of postcode and ward: every postcode in use of it."
)
@_ON
def split(code: str, into: Sequence[tuple[str, str]], postcodes: Path, on: datetime | None) -> None:
    """Plan that the ward CODE is divided."""
    with _reading():
        table = change_tables.wards(postcodes)
    named = [Named(*one) for one in into]
    _save(f"Split {code}", on, lambda session: making.split(session, code, named, table), table=table)


@plan.command()
@click.argument("codes", type=WORD, nargs=-1, required=True)
@click.option("--to", type=WORD, required=True, help="Code of the area that they will lie in.")
@_ON
def move(codes: tuple[str, ...], to: str, on: datetime | None) -> None:
    """Plan that the areas CODES lie in another, such as boroughs in another BCU."""
    _save(f"Move to {to}", on, lambda session: making.move(session, codes, to))


@plan.command()
@click.argument("file", type=FILE)
@click.option("--title", type=WORD, required=True)
@click.option(
    "--shares", type=FILE, help="CSV of old, new, share: how much of each ward that ends goes where."
)
@click.option("--grid", is_flag=True, help="The file is in grid metres, not in degrees.")
@_ON
def boundaries(file: Path, title: str, shares: Path | None, grid: bool, on: datetime | None) -> None:
    """Plan new wards of whole boroughs from their boundaries (GeoJSON with codes, names and boroughs)."""
    with _reading():
        wards = shape.read_wards(file.read_bytes(), grid=grid)
        given = change_tables.shares(shares) if shares else None
    with opened.registry() as registry, registry.sessions.begin() as session:
        steps, packed = making.boundaries(session, wards, shares=given)
        made = plans.create(
            session,
            title=title,
            applies_on=_day(on),
            given=steps,
            boundaries=packed,
            actor=opened.OPERATOR,
        )
        _say_made(made.id)


@shapes.command()
@click.argument("file", type=FILE)
@click.option("--code", type=WORD, required=True, help="PATCH:, TOWN:, STATION: or SHAPE: and a word.")
@click.option("--name", type=TEXT, default="", help="Its name, if it is new.")
@click.option("--parent", type=WORD, help="In what it lies; without it, the smallest area that holds it.")
@click.option("--grid", is_flag=True, help="The file is in grid metres, not in degrees.")
@_ON
def add(file: Path, code: str, name: str, parent: str | None, grid: bool, on: datetime | None) -> None:
    """Plan an area that was drawn (GeoJSON), or another outline for one."""
    with _reading():
        drawn = shape.read(file.read_bytes(), grid=grid)
    _save(f"Draw {code}", on, lambda session: making.draw(session, code, name, drawn, parent))


@shapes.command()
@click.argument("code", type=WORD)
@_ON
def end(code: str, on: datetime | None) -> None:
    """Plan that a drawn area is no more."""
    _save(f"End {code}", on, lambda session: making.end(session, code))
