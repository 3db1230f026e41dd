"""``wardlink dispatch …``: pausing, resuming and stopping what is being sent."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import click
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.cli import opened
from app.cli.plain import TEXT, WORD
from app.errors import Conflict
from app.models.ledger import Dispatch
from app.services import alerts, pausing
from app.services import dispatch as dispatches

MOST = 100  # sendings of one alert that one command acts on


@click.group()
def dispatch() -> None:
    """What is being sent: pause it, let it go on, stop it."""


@dispatch.command()
@click.argument("which", type=TEXT)
@click.option("--why", type=WORD, required=True, help="The reason, for the record.")
def pause(which: str, why: str) -> None:
    """Hold back what has not left of WHICH: a dispatch by its id, or all of an alert by its reference."""
    _act(which, "paused", lambda session, one: pausing.pause(session, one, actor=opened.OPERATOR, why=why))


@dispatch.command()
@click.argument("which", type=TEXT)
@click.option("--why", type=WORD, default="", help="The reason, for the record.")
def resume(which: str, why: str) -> None:
    """Let WHICH go on: a dispatch by its id, or all of an alert by its reference."""
    _act(which, "running", lambda session, one: pausing.resume(session, one, actor=opened.OPERATOR, why=why))


@dispatch.command()
@click.argument("which", type=TEXT)
@click.option("--why", type=WORD, required=True, help="The reason, for the record.")
def stop(which: str, why: str) -> None:
    """End WHICH for good: a dispatch by its id, or all of an alert by its reference."""
    _act(which, "stopped", lambda session, one: dispatches.stop(session, one, actor=opened.OPERATOR, why=why))


def _act(which: str, done: str, act: Callable[[Session, UUID], None]) -> None:
    """Do it to each, in one transaction. What ended by itself meanwhile is left out and said."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = _found(session, which)
        ended = {}
        for one in found:
            try:
                act(session, one)
            except Conflict as error:
                ended[one] = error.message
    for one in found:
        click.echo(f"dispatch {one}: {ended.get(one, done)}")
    if len(ended) == len(found):
        raise click.ClickException("There was nothing to do.")


def _found(session: Session, which: str) -> list[UUID]:
    """One dispatch by its id, or those of an alert that have not ended. Missing when there is no such alert."""
    try:
        return [UUID(which)]
    except ValueError:
        alert = alerts.by_reference(session, which)
    query = sa.select(Dispatch.id).where(Dispatch.alert_id == alert.id, Dispatch.finished_at.is_(None))
    return list(session.scalars(query.order_by(Dispatch.id).limit(MOST)))
