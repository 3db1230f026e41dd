"""``wardlink preferences …``: when an address wants what is not urgent, asked or changed for its holder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import click
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.cli import opened
from app.cli.plain import WORD
from app.errors import Missing
from app.models.people import ContactPoint
from app.services import people
from app.services import preferences as wishes
from app.services.preferences import NONE, WEEKDAYS, Preferences
from messaging.types import Channel

HOUR = click.IntRange(0, 23)


@click.group()
def preferences() -> None:
    """Quiet hours, weekly limits and digests of one address. Hours are those of London's clock."""


@contextmanager
def _of(address: str) -> Iterator[tuple[Session, ContactPoint]]:
    channel = Channel.EMAIL if "@" in address else Channel.SMS
    with opened.registry() as registry, registry.sessions.begin() as session:
        contact = people.find_contact(session, people.read_address(channel, address, fictional=True))
        if contact is None:
            raise Missing("Nobody has this address.")
        yield session, contact


@preferences.command()
@click.argument("address", type=WORD)
def show(address: str) -> None:
    """Say what the holder of ADDRESS, an e-mail address or a mobile number, asked for."""
    with _of(address) as (session, contact):
        audit.record(
            session,
            event="contact:consult",
            subject=f"contact:{contact.id}",
            actor=opened.OPERATOR,
            s62=audit.S62.CONSULTATION,
        )
        wanted = wishes.of_contact(session, contact.id)
    for line in spoken(wanted):
        click.echo(line)


@preferences.command(name="set")
@click.argument("address", type=WORD)
@click.option("--quiet", type=(HOUR, HOUR), help="From this full hour to that one, such as 22 7.")
@click.option("--weekly-most", type=click.IntRange(1, wishes.MOST_A_WEEK), help="Messages in any seven days.")
@click.option("--digest", type=click.Choice(["daily", "weekly"]), help="By e-mail only.")
@click.option("--digest-hour", type=HOUR, default=8, show_default=True)
@click.option(
    "--digest-day",
    type=click.Choice(WEEKDAYS),
    default=WEEKDAYS[0],
    show_default=True,
    help="Of a weekly digest.",
)
def set_(
    address: str,
    quiet: tuple[int, int] | None,
    weekly_most: int | None,
    digest: str | None,
    digest_hour: int,
    digest_day: str,
) -> None:
    """Set what the holder of ADDRESS asks for. What is not given is taken away."""
    wanted = replace(NONE, weekly_cap=weekly_most)
    if quiet is not None:
        wanted = replace(wanted, quiet_from=quiet[0], quiet_until=quiet[1])
    if digest is not None:
        day = WEEKDAYS.index(digest_day) + 1 if digest == "weekly" else None
        wanted = replace(wanted, digest=digest, digest_hour=digest_hour, digest_weekday=day)
    with _of(address) as (session, contact):
        changed = wishes.choose(session, contact, wanted, actor=opened.OPERATOR)
    click.echo("changed" if changed else "as it was")


@preferences.command()
@click.argument("address", type=WORD)
def clear(address: str) -> None:
    """Let ADDRESS have everything at once."""
    with _of(address) as (session, contact):
        changed = wishes.choose(session, contact, NONE, actor=opened.OPERATOR)
    click.echo("changed" if changed else "as it was")


def spoken(wanted: Preferences) -> list[str]:
    """Preferences in plain English."""
    if wanted == NONE:
        return ["everything at once"]
    lines = []
    if wanted.quiet_from is not None:
        lines.append(f"quiet from {wanted.quiet_from}:00 to {wanted.quiet_until}:00")
    if wanted.weekly_cap is not None:
        lines.append(f"at most {wanted.weekly_cap} in any seven days")
    if wanted.digest != "none":
        day = f" on {WEEKDAYS[wanted.digest_weekday - 1]}" if wanted.digest_weekday else ""
        lines.append(f"a {wanted.digest} digest{day} at {wanted.digest_hour}:00")
    return [*lines, "urgent messages at once"]
