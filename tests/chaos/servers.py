"""Servers of a case's own: a Valkey that may be flushed, a PostgreSQL that may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from app import migrate, roles
from app.cli.stack import Child, Stack, free_port, wait_until
from app.embedded import binaries, client
from app.embedded.identity import die_with_parent
from tests.conftest import Database


def private_valkey(stack: Stack) -> str:
    """Start a Valkey that nobody else uses, as one of the stack's children; its URL."""
    port = free_port()
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


def kill_postgres(folder: Path, meanwhile: Callable[[], object]) -> None:
    """kill -9 of the postmaster, then ``meanwhile``; returns once the keeper has started another."""
    before = client.running(folder)
    assert before is not None, "the cluster is not running"
    os.kill(before.postgres_pid, signal.SIGKILL)
    meanwhile()

    def another() -> bool:
        now = client.running(folder)
        return now is not None and now.postgres_pid != before.postgres_pid

    wait_until(another, what="PostgreSQL after its kill")
