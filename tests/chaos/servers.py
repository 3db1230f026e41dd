"""Servers of a case's own: a Valkey that may be flushed, a PostgreSQL that may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import redis

from app import migrate, roles
from app.cli.stack import Child, Stack, free_port, wait_until
from app.embedded import binaries, client
from app.embedded.identity import die_with_parent
from tests.conftest import Database


def private_valkey(stack: Stack, port: int = 0) -> str:
    """Start a Valkey that nobody else uses, empty, as one of the stack's children; its URL."""
    port = port or free_port()
    stack.folder.mkdir(parents=True, exist_ok=True)
    log = stack.folder / "valkey.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(binaries.valkey_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
            cwd=stack.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(),
        )
    child = Child("valkey", process, log)
    stack.children.append(child)
    url = f"redis://127.0.0.1:{port}/0"
    stack.ready(child, lambda: _answers(url))
    return url


def _answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url) as doorbell:
            return bool(doorbell.ping())
    except redis.exceptions.ConnectionError:
        return False


def flush(url: str) -> int:
    """FLUSHALL; how many keys were lost with it."""
    with redis.Redis.from_url(url) as doorbell:
        lost = int(doorbell.dbsize())
        doorbell.flushall()
        return lost


@contextmanager
def private_cluster() -> Iterator[tuple[Database, Path]]:
    """A PostgreSQL of this case's own under the usual keeper, with a migrated database; and its folder."""
    with tempfile.TemporaryDirectory(prefix="wardlink-chaos-") as made:
        folder = Path(made)
        try:
            cluster = client.ensure(folder)
            roles.create_database(cluster.owner_database_url, "chaos")
            database = Database("chaos", cluster)
            migrate.upgrade(database.environ()["OWNER_DATABASE_URL"])
            yield database, folder
        finally:
            client.stop(folder)


def kill_postgres(folder: Path, meanwhile: Callable[[], object] = lambda: None) -> None:
    """kill -9 of the postmaster, then ``meanwhile``; returns once the keeper has started another."""
    _end_postgres(folder, signal.SIGKILL, meanwhile)


def _end_postgres(folder: Path, how: signal.Signals, meanwhile: Callable[[], object]) -> None:
    before = client.running(folder)
    assert before is not None, "the cluster is not running"
    os.kill(before.postgres_pid, how)
    meanwhile()

    def another() -> bool:
        now = client.running(folder)
        return now is not None and now.postgres_pid != before.postgres_pid

    wait_until(another, seconds=90, what="PostgreSQL after its end")


def port_of(url: str) -> int:
    """The port in the address of a server."""
    port = urlsplit(url).port
    assert port is not None
    return port


def cut_connections(admin_url: str) -> int:
    """End every connection to a database but the one that does it; how many there were."""
    with psycopg.connect(roles.libpq(admin_url), autocommit=True) as admin:
        ended = admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return len(ended.fetchall())


def restart_postgres(folder: Path) -> None:
    """A fast shutdown, as for an update of the server; returns once the keeper has started it again."""
    _end_postgres(folder, signal.SIGINT, lambda: None)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """While this lasts, not a byte is left on the file system of ``folder``."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for block in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while file.write(b"\0" * block):
                        pass
        yield
    finally:
        filler.unlink()


@contextmanager
def sized_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own in memory, ``size`` as mount reads it; root only."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
