"""``wardlink erasure …``: erasing an address or a person, and again after a restore."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.audit import journal
from app.cli import opened
from app.cli.plain import Folder, PlainText
from app.embedded import client
from app.errors import Missing
from app.models.people import ContactPoint, Person
from app.services.erasure import engine, stores
from app.services.erasure.replay import replay as replay_journal
from config.settings import Settings

WHY = click.option(
    "--why", type=PlainText(2_000), required=True, help="Who asked for it, by reference; goes on the record."
)


@click.group()
def erasure() -> None:
    """Erasure: what is held about somebody goes, store by store. It cannot be taken back."""


@erasure.command()
@click.argument("contact_id", type=click.IntRange(1, 2**63 - 1), metavar="ID")
@WHY
def contact(contact_id: int, why: str) -> None:
    """Erase the address with this ID everywhere, for all who share it. An ID stands in the record, never in a message."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        if session.get(ContactPoint, contact_id) is None:
            raise Missing("There is no address with this id. It may have been erased.")
        engine.contacts(session, [contact_id], actor=opened.OPERATOR, why=why)
    click.echo("The address is erased, for everybody who read there. What said no to it still holds.")


@erasure.command()
@click.argument("person_id", type=click.UUID, metavar="ID")
@WHY
def person(person_id: UUID, why: str) -> None:
    """Erase the person with this ID: the name, and every address that nobody else reads."""
    with opened.registry() as registry, registry.sessions.begin() as session:
        if session.get(Person, person_id) is None:
            raise Missing("There is no person with this id. They may have been erased.")
        gone = engine.people(session, [person_id], actor=opened.OPERATOR, why=why)
    click.echo(f"The person is erased, with {gone.addresses} address{'' if gone.addresses == 1 else 'es'}.")
    if gone.shared:
        click.echo(
            f"{gone.shared} shared with somebody else stay: consent, places and what was written from there belong to "
            "all who read there, and so would a stop. The names to greet by are gone."
        )


@erasure.command()
@click.option("--from", "folder", type=Folder(), help="Folder of the journal (erasures.jsonl) [HEADS_DIR].")
def replay(folder: Path | None) -> None:
    """After a restore: erase again all that the backup brought back. Run it before anything else starts; twice is once.

    Status 1 if the journal has lines that cannot be read or that our key did not sign: they are passed over.
    """
    settings = client.complete(Settings.load(os.environ))
    folder = folder or settings.heads_dir
    if folder is None:
        raise click.UsageError("Say where the journal is: --from FOLDER, or set HEADS_DIR.")
    path = folder / journal.FILE_NAME
    if not path.is_file():
        raise click.UsageError(f"There is no {journal.FILE_NAME} in that folder.")
    if not settings.seal_public_key:
        raise click.UsageError("Set SEAL_PUBLIC_KEY: without it no line can be checked.")
    key = Ed25519PublicKey.from_public_bytes(settings.seal_public_key)
    with opened.registry() as registry:
        done = replay_journal(registry.sessions, journal.read(path, key), actor=opened.OPERATOR)
    click.echo(f"{done.read:,} lines read")
    click.echo(f"{done.addresses:,} addresses and {done.people:,} people erased again")
    click.echo(f"{done.noted:,} that were not here are noted in the journal of this database")
    if done.unreadable:
        raise click.ClickException(f"{done.unreadable:,} lines cannot be read or were not signed by our key.")


@erasure.command("stores")
def stores_() -> None:
    """Print what erasure does in each store."""
    for line in stores.printed():
        click.echo(line)
