"""``wardlink organisation agreement …``: what an organisation agreed to, as its administrators see it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click

from app.cli import opened
from app.cli.plain import WORD
from app.db import utc_now
from app.services import agreements, organisations, terms

_DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def agreement() -> None:
    """Agreements: add, list, end."""


@agreement.command()
@click.argument("slug", type=WORD)
@click.option("--kind", type=click.Choice(list(agreements.KINDS)), required=True)
@click.option("--title", type=WORD, required=True)
@click.option("--reference", type=WORD, default="", help="Where the document is kept.")
@click.option("--signed", type=_DAY, required=True)
@click.option("--review", type=_DAY, required=True, help="When it is looked at next.")
def add(slug: str, kind: str, title: str, reference: str, signed: datetime, review: datetime) -> None:
    """Add an agreement of the organisation SLUG."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        made = agreements.add(
            session,
            organisations.named(session, slug).id,
            kind=kind,
            title=title,
            reference=reference,
            signed_on=signed.date(),
            review_on=review.date(),
            by=None,
            actor=opened.OPERATOR,
            today=terms.today(utc_now()),
        )
    click.echo(f"agreement {made.id}")


@agreement.command("list")
@click.argument("slug", type=WORD)
def listed(slug: str) -> None:
    """List the agreements of the organisation SLUG that run, the next to be reviewed first."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = agreements.listed(
            session, organisations.named(session, slug).id, today=terms.today(utc_now())
        )
    for one in found:
        late = "  OVERDUE" if one.review == "overdue" else ""
        reference = f" ({one.reference})" if one.reference else ""
        click.echo(f"{one.id}  {one.kind}: {one.title}{reference}, review {one.review_on:%Y-%m-%d}{late}")
    click.echo(f"{len(found)} listed")


@agreement.command()
@click.argument("id", type=click.UUID)
def end(id: UUID) -> None:
    """The agreement ID holds no longer."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        agreements.end(session, id, by=None, actor=opened.OPERATOR, now=utc_now())
    click.echo("ended")
