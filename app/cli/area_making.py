"""The changes of areas that can be planned from a terminal: what ``wardlink areas plan …`` and ``… shape …`` make."""

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
from app.cli.plain import TEXT, WORD, PlainText
from app.db import utc_now
from app.errors import Invalid
from app.services.area_changes import application, making, plans
from app.services.area_changes.making import Named
from app.services.area_changes.steps import Step
from geo import change_tables, shape
from geo.postcode_files import PostcodeFileError
from geo.shape import ShapeError

_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class ReadFile(click.ParamType[Path]):
    """A file that is there, by its path."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path; a usage error if there is none, or no file system could hold it."""
        found: Path = _FILE.convert(PlainText(1_000).convert(value, param, ctx), param, ctx)
        return found


FILE = ReadFile()
DAY = click.DateTime(["%Y-%m-%d"])
ON = click.option("--on", type=DAY, help="The day from which it holds: 2026-05-07. Without it, today.")


@contextmanager
def reading() -> Iterator[None]:
    """What is wrong with a file, in one sentence."""
    try:
        yield
    except (PostcodeFileError, ShapeError) as error:
        raise Invalid("file", error.message) from None


def day_of(given: datetime | None) -> date:
    return given.date() if given else application.today(utc_now())


def _save(title: str, on: datetime | None, make: Callable[[Session], list[Step]], **more: Any) -> None:
    with opened.registry() as registry, registry.sessions.begin() as session:
        made = plans.create(
            session, title=title, applies_on=day_of(on), given=make(session), actor=opened.OPERATOR, **more
        )
        say_made(made.id)


def say_made(plan_id: UUID) -> None:
    click.echo(f"plan {plan_id}")
    click.echo(f"Look at it:  wardlink areas plan preview {plan_id}")
    click.echo(f"Apply it:    wardlink areas plan apply {plan_id}")


@click.command()
@click.argument("code", type=WORD)
@click.argument("name", type=WORD)
@ON
def rename(code: str, name: str, on: datetime | None) -> None:
    """Plan that the area CODE is called NAME."""
    _save(f"Rename {code}", on, lambda session: making.rename(session, code, name))


@click.command()
@click.argument("code", type=WORD)
@click.argument("new", type=WORD)
@ON
def recode(code: str, new: str, on: datetime | None) -> None:
    """Plan that the area CODE has the code NEW."""
    _save(f"Recode {code}", on, lambda session: making.recode(session, code, new))


@click.command()
@click.argument("codes", type=WORD, nargs=-1, required=True)
@click.option("--into", type=WORD, required=True, help="Code of what they become, new or one of today's.")
@click.option("--name", type=WORD, default="", help="Its name, if it is new.")
@ON
def merge(codes: tuple[str, ...], into: str, name: str, on: datetime | None) -> None:
    """Plan that the areas CODES become one."""
    _save(f"Merge into {into}", on, lambda session: making.merge(session, codes, Named(into, name)))


@click.command()
@click.argument("code", type=WORD)
@click.option("--into", type=(WORD, WORD), multiple=True, required=True, help="Code and name; repeat it.")
@click.option(
    "--postcodes", type=FILE, required=True, help="CSV of postcode and ward: every postcode in use of it."
)
@ON
def split(code: str, into: Sequence[tuple[str, str]], postcodes: Path, on: datetime | None) -> None:
    """Plan that the ward CODE is divided."""
    with reading():
        table = change_tables.wards(postcodes)
    named = [Named(*one) for one in into]
    _save(f"Split {code}", on, lambda session: making.split(session, code, named, table), table=table)


@click.command()
@click.argument("codes", type=WORD, nargs=-1, required=True)
@click.option("--to", type=WORD, required=True, help="Code of the area that they will lie in.")
@ON
def move(codes: tuple[str, ...], to: str, on: datetime | None) -> None:
    """Plan that the areas CODES lie in another, such as boroughs in another BCU."""
    _save(f"Move to {to}", on, lambda session: making.move(session, codes, to))


@click.command()
@click.argument("file", type=FILE)
@click.option("--title", type=WORD, required=True)
@click.option(
    "--shares", type=FILE, help="CSV of old, new, share: how much of each ward that ends goes where."
)
@click.option("--grid", is_flag=True, help="The file is in grid metres, not in degrees.")
@ON
def boundaries(file: Path, title: str, shares: Path | None, grid: bool, on: datetime | None) -> None:
    """Plan new wards of whole boroughs from their boundaries (GeoJSON with codes, names and boroughs)."""
    with reading():
        wards = shape.read_wards(file.read_bytes(), grid=grid)
        given = change_tables.shares(shares) if shares else None
    with opened.registry() as registry, registry.sessions.begin() as session:
        steps, packed = making.boundaries(session, wards, shares=given)
        made = plans.create(
            session,
            title=title,
            applies_on=day_of(on),
            given=steps,
            boundaries=packed,
            actor=opened.OPERATOR,
        )
        say_made(made.id)


@click.command()
@click.argument("file", type=FILE)
@click.option("--code", type=WORD, required=True, help="PATCH:, TOWN:, STATION: or SHAPE: and a word.")
@click.option("--name", type=TEXT, default="", help="Its name, if it is new.")
@click.option("--parent", type=WORD, help="In what it lies; without it, the smallest area that holds it.")
@click.option("--grid", is_flag=True, help="The file is in grid metres, not in degrees.")
@ON
def add(file: Path, code: str, name: str, parent: str | None, grid: bool, on: datetime | None) -> None:
    """Plan an area that was drawn (GeoJSON), or another outline for one."""
    with reading():
        drawn = shape.read(file.read_bytes(), grid=grid)
    _save(f"Draw {code}", on, lambda session: making.draw(session, code, name, drawn, parent))


@click.command()
@click.argument("code", type=WORD)
@ON
def end(code: str, on: datetime | None) -> None:
    """Plan that a drawn area is no more."""
    _save(f"End {code}", on, lambda session: making.end(session, code))


PLANS = (rename, recode, merge, split, move, boundaries)
SHAPES = (add, end)
