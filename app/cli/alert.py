"""``wardlink alert …``: drafting, sending and stopping from a terminal."""

from __future__ import annotations

import contextlib

import click
import sqlalchemy as sa

from app.cli import opened
from app.cli.plain import TEXT, WORD
from app.errors import Conflict
from app.models.alerts import KINDS, TOPICS, URGENCIES
from app.models.ledger import Dispatch
from app.services import alerts, dispatch, organisations
from app.services.budgets.allowances import Prices
from messaging.types import Channel


@click.group()
def alert() -> None:
    """Alerts: draft, send, stop."""


@alert.command()
@click.option("--organisation", type=WORD, required=True, help="Its short name.")
@click.option("--kind", type=click.Choice(KINDS), default="alert", show_default=True)
@click.option("--urgency", type=click.Choice(URGENCIES), default="routine", show_default=True)
@click.option("--topic", type=click.Choice(TOPICS), default=TOPICS[0], show_default=True)
@click.option("--headline", type=TEXT, required=True)
@click.option("--body", type=TEXT, required=True, help="The e-mail's text, in Markdown.")
@click.option("--what-to-do", type=TEXT, default="")
@click.option("--sms", type=TEXT, default="", help="The text message; without it the headline.")
@click.option("--area", type=WORD, multiple=True, required=True, help="Code of an area; may be repeated.")
@click.option("--except-area", type=WORD, multiple=True, help="Code of an area to leave out.")
@click.option(
    "--channel", type=click.Choice(list(Channel)), multiple=True, default=[*Channel][:1], show_default=True
)
def draft(
    organisation: str,
    kind: str,
    urgency: str,
    topic: str,
    headline: str,
    body: str,
    what_to_do: str,
    sms: str,
    area: tuple[str, ...],
    except_area: tuple[str, ...],
    channel: tuple[str, ...],
) -> None:
    """Write an alert and print its reference. Nothing is sent."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        controller = organisations.named(session, organisation)
        made = alerts.draft(
            session,
            controller=controller.id,
            kind=kind,
            urgency=urgency,
            topic=topic,
            headline=headline,
            body=body,
            what_to_do=what_to_do,
            sms_text=sms,
            audience_expression={"areas": list(area), "except_areas": list(except_area)},
            channels=[str(one) for one in channel],
            actor=opened.OPERATOR,
        )
    click.echo(made.reference)


@alert.command()
@click.argument("reference", type=TEXT)
@click.option(
    "--token",
    type=WORD,
    help="Of your choice: the same token twice is one sending. Without one an alert is sent once, and once as an exercise.",
)
@click.option("--exercise", is_flag=True, help="Mark every message as an exercise.")
def send(reference: str, token: str | None, exercise: bool) -> None:
    """Send the alert with this REFERENCE to everybody of its audience."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = alerts.by_reference(session, reference)
        frozen = dispatch.send(
            session,
            found.id,
            token=token or f"alert:{found.id}:{'exercise' if exercise else 'real'}",
            actor=opened.OPERATOR,
            public_url=registry.settings.public_url,
            exercise=exercise,
            prices=Prices(registry.settings.sms_segment_pence, registry.settings.email_pence),
        )
    word = "was already sent with this token" if frozen.repeated else "is on its way"
    click.echo(f"{found.reference} {word}: {frozen.recipients:,} recipients in {frozen.batches:,} batches")
    click.echo(f"dispatch {frozen.id}")


@alert.command()
@click.argument("reference", type=TEXT)
@click.option("--why", type=WORD, required=True, help="The reason, for the record.")
def stop(reference: str, why: str) -> None:
    """Stop every sending of the alert with this REFERENCE that has not ended."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = alerts.by_reference(session, reference)
        running = session.scalars(
            sa.select(Dispatch.id).where(Dispatch.alert_id == found.id, Dispatch.finished_at.is_(None))
        ).all()
        stopped = 0
        for one in running:
            with contextlib.suppress(Conflict):  # it ended by itself meanwhile
                dispatch.stop(session, one, actor=opened.OPERATOR, why=why)
                stopped += 1
    click.echo(f"{found.reference}: {stopped} sendings stopped")
