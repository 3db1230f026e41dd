"""``wardlink audit …``: the record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import click
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.orm import Session

from app.audit import bundle
from app.audit import record as recording
from app.audit.findings import Report
from app.audit.verify import verify as verify_record
from app.cli import opened
from app.cli.plain import TEXT, Folder, Seconds
from app.db import make_engine
from app.embedded import client
from app.errors import Conflict
from app.services.record_search import whole
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
        on_record = _record(engine, report)
    finally:
        engine.dispose()
    for line in report.lines():
        click.echo(line)
    if not on_record:
        click.echo("This check itself could not be put on the record.", err=True)
    if not report.ok:
        raise click.exceptions.Exit(1)


@audit.command()
@click.argument("file", type=Folder())
@click.option("--why", type=TEXT, required=True, help="What it is for. It goes on the record.")
def export(file: Path, why: str) -> None:
    """Write the whole record as JSON lines, in the order of the chain, to FILE, which must not be there yet."""
    with opened.registry() as registry, _new(file) as out:
        with registry.sessions.begin() as session:
            recording.record(
                session,
                event="record:export",
                subject="record:all",
                actor=opened.OPERATOR,
                s62=recording.S62.DISCLOSURE,
                why=why,
            )
        count = 0
        with registry.sessions() as session:
            for lines, n in whole.lines(session):
                out.write(lines.encode())
                count += n
    click.echo(f"{count:,} entries written. Anybody can check them: wardlink audit heads export FILE.")


@audit.group()
def heads() -> None:
    """The signed heads, which vouch for the record."""


@heads.command(name="export")
@click.argument("file", type=Folder())
def export_heads(file: Path) -> None:
    """Write heads, public key and a checker that stands alone to FILE, a new .zip."""
    settings = client.complete(Settings.load(os.environ))
    if settings.heads_dir is None or not settings.seal_public_key:
        raise click.UsageError("Set HEADS_DIR and SEAL_PUBLIC_KEY: without them there is nothing to export.")
    if not bundle.available(settings.heads_dir):
        raise Conflict("There are no signed heads in HEADS_DIR yet.")
    with opened.registry() as registry, _new(file) as out:
        with registry.sessions.begin() as session:
            recording.record(session, event="record:export", subject="heads:all", actor=opened.OPERATOR)
        for piece in bundle.stream(settings.heads_dir, settings.seal_public_key):
            out.write(piece)
    click.echo("Written. README.txt in it says how the record is checked.")


def _record(engine: sa.Engine, report: Report) -> bool:
    """The check goes on the record as well; that it cannot (a standby, a broken table) changes nothing of its outcome."""
    try:
        with Session(engine) as session, session.begin():
            recording.record(
                session,
                event="record:verify",
                subject="record:all",
                actor=opened.OPERATOR,
                detail={
                    "links": report.links,
                    "heads": report.heads,
                    "vouched": report.vouched,
                    "findings": len(report.findings) + report.more,
                },
            )
    except sa.exc.DBAPIError:
        return False
    return True


def _new(path: Path) -> IO[bytes]:
    """A file that was not there before, for its owner alone."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError:
        raise Conflict("There is such a file already.") from None
    except (OSError, ValueError):
        raise Conflict("The file cannot be written there.") from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, a null character
        return False
