"""PostgreSQL killed, restarted, cut off and without a byte of disk left: what it committed stands."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

import psycopg

from app import roles
from app.embedded import client
from tests.chaos import servers
from tests.chaos.faults.kills import FIRST
from tests.chaos.harness import Scene, until
from tests.chaos.registry import fault

CUTS = 5
FULL_SECONDS = 4.0


def _cluster() -> Path:
    """The folder of the case's own cluster (the runner sets it)."""
    return Path(os.environ["LOCAL_DIR"])


def _begun(scene: Scene) -> None:
    scene.hold(FIRST, "after")
    scene.worker()
    scene.scheduler()


@fault("postgresql-killed", "kill -9 of PostgreSQL, which recovers from its log")
def killed(scene: Scene) -> None:
    _begun(scene)
    strike = partial(servers.kill_postgres, _cluster(), meanwhile=scene.release)
    scene.strike_when(lambda: True, strike, what="a kill of PostgreSQL", kills=False)


@fault("postgresql-restarted", "a fast shutdown of PostgreSQL, and its start")
def restarted(scene: Scene) -> None:
    _begun(scene)
    strike = partial(servers.restart_postgres, _cluster())
    scene.strike_when(lambda: True, strike, what="a restart of PostgreSQL", kills=False)


@fault("connections-cut", "every connection to the database ended by its administrator, five times in a row")
def cut(scene: Scene) -> None:
    _begun(scene)
    ended: list[int] = []

    def some() -> bool:
        scene.registry.engine.dispose()
        ended.append(servers.cut_connections(scene.database.admin))
        return ended[-1] > 0

    def strike() -> None:
        for _ in range(CUTS):  # each time whoever has come back meanwhile
            until(some, "a connection to cut")
            scene.release()

    scene.strike_when(lambda: True, strike, what="a cut of connections", kills=False)
    scene.notes["connections cut"] = sum(ended)


@fault(
    "disk-full", "not a byte left on the disk of PostgreSQL for four seconds", needs=("root",), disk="400m"
)
def disk_full(scene: Scene) -> None:
    _begun(scene)

    def strike() -> None:
        ended = time.monotonic() + FULL_SECONDS
        with servers.full_disk(_cluster()):
            assert _refuses(scene), "the disk was not full"
            scene.release()
            until(lambda: time.monotonic() > ended, "the end of the full disk")

    scene.strike_when(lambda: True, strike, what="a full disk", kills=False)
    client.ensure(_cluster())  # should the server have given up, its operator starts it again


def _refuses(scene: Scene) -> bool:
    """Whether the database has no room for another megabyte."""
    try:
        with psycopg.connect(roles.libpq(scene.database.admin)) as admin:
            admin.execute("CREATE TABLE more AS SELECT repeat('x', 900) FROM generate_series(1, 2000)")
            admin.rollback()
    except psycopg.OperationalError:
        return True
    return False
