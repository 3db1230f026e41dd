"""``wardlink organisation …``: what it is, what it may send and spend, what it agreed to, and its end."""

from __future__ import annotations

import re
from typing import Any

import click

from app.cli import agreement, opened
from app.cli.plain import TEXT, WORD
from app.db import utc_now
from app.models.limits import MEASURES, PERIODS
from app.services import misuse, organisation_end, organisations
from app.services.budgets import allowances
from app.services.budgets.allowances import amount

_OPTIONS = {"emails": "emails", "segments": "sms", "pence": "pence"}
_HELP = {"emails": "Most e-mails", "segments": "Most segments of texts", "pence": "Most pence"}


class Most(click.ParamType[int | str]):
    """A whole number, or "none" for no limit."""

    name = "number or none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """The number, or "none"; a usage error for anything else."""
        text = str(value).strip().lower()
        if text == "none":
            return text
        if not re.fullmatch(r"[0-9]{1,13}", text, re.ASCII) or int(text) > allowances.LARGEST:
            self.fail(f"must be a whole number up to {allowances.LARGEST:,}, or none.", param, ctx)
        return int(text)


@click.group()
def organisation() -> None:
    """Organisations: what they are, what they may send and spend, and their end."""


def _options(command: click.Command) -> click.Command:
    command.params += [
        click.Option(
            [f"--{_OPTIONS[measure]}-per-{period}", f"{period}_{measure}"],
            type=Most(),
            help=f"{_HELP[measure]} in a {'calendar ' if period == 'month' else ''}{period}, or none.",
        )
        for measure in MEASURES
        for period in PERIODS
    ]
    return command


@_options
@organisation.command()
@click.argument("slug", type=WORD)
def limits(slug: str, **asked: int | str | None) -> None:
    """Show what the organisation SLUG may send and spend, and what of it is taken; with options, set it.

    Days and months are London's. Risk to life is never refused: it counts, and may go over a limit.
    """
    changes = {
        (period, measure): None if most == "none" else int(most)
        for name, most in asked.items()
        if most is not None
        for period, _, measure in [name.partition("_")]
    }
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = organisations.named(session, slug)
        if changes:
            allowances.set_limits(session, found, changes, actor=opened.OPERATOR)
        shown = allowances.allowances(session, found.id, allowances.day_of(utc_now()))
    if not shown:
        click.echo(f"{slug} has no limits.")
    for one in shown:
        used = amount(one.measure, one.used)
        over = "  OVER" if one.used > one.most else ""
        click.echo(
            f"{amount(one.measure, one.most)} a {one.period}: {used} taken {allowances.when(one)}{over}"
        )


@organisation.command()
@click.argument("slug", type=WORD)
@click.option("--name", type=WORD, help="As residents read it in every message.")
@click.option(
    "--legal-basis", type=TEXT, help="On what basis it writes to people; the privacy page shows it."
)
@click.option("--kind", type=click.Choice(organisations.KINDS))
@click.option(
    "--competent/--not-competent",
    "competent",
    default=None,
    help="Whether Part 3 of the Data Protection Act 2018 applies. If it no longer does, nobody investigates any more.",
)
def alter(
    slug: str, name: str | None, legal_basis: str | None, kind: str | None, competent: bool | None
) -> None:
    """Change what is given of the organisation SLUG."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = organisations.named(session, slug)
        organisations.alter(
            session,
            found.id,
            by=None,
            name=name,
            legal_basis=legal_basis,
            kind=kind,
            competent_authority=competent,
            actor=opened.OPERATOR,
            now=utc_now(),
        )
    click.echo("changed")


@organisation.command()
@click.argument("slug", type=WORD)
@click.option("--why", type=TEXT, required=True, help="For the record.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def end(slug: str, why: str, yes: bool) -> None:
    """End the organisation SLUG: its staff are cut off, its people's consents end, nothing is sent any more.

    It cannot be undone. Refused while a dispatch of it runs. Run it again if it was interrupted.
    """
    if not yes:
        click.confirm(f"End {slug} for good?", abort=True)
    with opened.registry() as registry:
        with registry.sessions.begin() as session:
            found, ended = organisation_end.end(session, slug, why=why, actor=opened.OPERATOR, now=utc_now())
        click.echo(f"{ended.staff:,} staff, {ended.roles:,} roles and {ended.teams:,} teams ended.")
        total = 0
        while True:
            with registry.sessions.begin() as session:
                gone = organisation_end.withdraw(session, found, actor=opened.OPERATOR, now=utc_now())
            total += gone
            if gone < organisation_end.MOST:
                break
            click.echo(f"{total:,} consents ended so far")
    click.echo(f"{total:,} consents ended.")


@organisation.command()
@click.argument("slug", type=WORD)
@click.option("--email", type=WORD, help="Their address; none takes it away.")
def standards(slug: str, email: str | None) -> None:
    """Show whom the organisation SLUG has named as its professional standards; with an option, set it.

    They are told of reports of misuse that no auditor or supervisor of the organisation may read.
    """
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = organisations.named(session, slug)
        if email is not None:
            chosen = None if email.lower() == "none" else email
            misuse.set_standards(session, found, chosen, actor=opened.OPERATOR)
        named = found.standards_email
    click.echo(f"Professional standards of {slug}: {named or 'nobody is named'}")


organisation.add_command(agreement.agreement)
