"""``wardlink audit …``: the record."""

from __future__ import annotations

import os
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.orm import Session

from app.audit.verify import verify as verify_record
from app.cli.plain import Folder, Seconds
from app.db import make_engine
from app.embedded import client
from config.settings import Settings


@click.group()
def audit() -> None:
    """The record of who did what."""


@audit.command()
@click.option("--heads", type=Folder(), help="Folder of the signed heads [HEADS_DIR].")
@click.option(
    "--wait",
    type=Seconds(0, 600),
    default=10.0,
    show_default=True,
    help="Seconds to give the sealer for the newest entries.",
)
def verify(heads: Path | None, wait: float) -> None:
    """Recompute the chain and compare it with every signed head. Status 1 if anything is wrong."""
    settings = client.complete(Settings.load(os.environ))
    folder = heads or settings.heads_dir
    if folder is None:
        raise click.UsageError("Say where the signed heads are: --heads FOLDER, or set HEADS_DIR.")
    if heads is not None and not _is_folder(heads):
        raise click.UsageError("The folder given as --heads does not exist.")
    if not settings.seal_public_key:
        raise click.UsageError("Set SEAL_PUBLIC_KEY: without it no head can be checked.")
    # The owner can also see what waits to be sealed; the app can do without.
    engine = make_engine(settings.owner_database_url or settings.database_url, pool_size=1)
    try:
        with Session(engine) as session:
            key = Ed25519PublicKey.from_public_bytes(settings.seal_public_key)
            report = verify_record(session, folder, key, wait)
    finally:
        engine.dispose()
    for line in report.lines():
        click.echo(line)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, a null character
        return False
