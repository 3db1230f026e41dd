"""``wardlink organisation …``: what an organisation may send and spend, and whom reports of misuse go to."""

from __future__ import annotations

import re
from typing import Any

import click

from app.cli import opened
from app.cli.plain import WORD
from app.db import utc_now
from app.errors import Missing
from app.models.limits import MEASURES, PERIODS
from app.services import misuse, organisations
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
    """Organisations: what they may send and spend."""


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
        found = organisations.by_slug(session, slug)
        if found is None:
            raise Missing("There is no organisation with this short name.")
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
@click.option("--email", type=WORD, help="Their address; none takes it away.")
def standards(slug: str, email: str | None) -> None:
    """Show whom the organisation SLUG has named as its professional standards; with an option, set it.

    They are told of reports of misuse that no auditor or supervisor of the organisation may read.
    """
    with opened.registry() as registry, registry.sessions.begin() as session:
        found = organisations.by_slug(session, slug)
        if found is None:
            raise Missing("There is no organisation with this short name.")
        if email is not None:
            chosen = None if email.lower() == "none" else email
            misuse.set_standards(session, found, chosen, actor=opened.OPERATOR)
        named = found.standards_email
    click.echo(f"Professional standards of {slug}: {named or 'nobody is named'}")
