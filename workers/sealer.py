"""The sealer: chains what was committed to the record, and signs where the chain has got to.

A process of its own, alone with SEALER_DATABASE_URL and SEAL_KEY. ``python -m workers.sealer``
runs until SIGTERM; with ``--drain`` it seals everything, signs a head and ends.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app import logs
from app.audit.chain import seal_pending, take_turn, tip, unsealed_count
from app.audit.heads import HeadsBehindError, append_head
from app.audit.journal import Journal
from app.db import make_engine
from app.embedded.client import complete
from app.embedded.state import EmbeddedError
from config.fields import Part
from config.settings import Settings, SettingsError

__all__ = ["Sealer", "Stop", "main"]

POLL_SECONDS = 0.5
HEAD_SECONDS = 60.0
BEAT_SECONDS = 10.0
DRAIN_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LAST_BREATH = 0.9  # seconds from SIGTERM to the end, whatever hangs

_BEAT = sa.text("SELECT heartbeat('sealer', CAST(:host AS text), CAST(:instance AS uuid), false)")

log = structlog.get_logger(__name__)


class Stop:
    """A request to end, that wakes whoever waits. Safe to make in a signal handler, unlike an Event."""

    def __init__(self) -> None:
        self.asked = False
        self._reader, self._writer = os.pipe()

    def ask(self) -> None:
        self.asked = True
        os.write(self._writer, b".")

    def wait(self, seconds: float) -> bool:
        """Sleep, or return early; whether the end was asked for."""
        select.select([self._reader], [], [], seconds)
        return self.asked

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


class Sealer:
    """Seals one database. ``revive`` is called before each connection (embedded services come back)."""

    def __init__(
        self,
        url: str,
        key: Ed25519PrivateKey,
        heads_dir: Path,
        stop: Stop,
        *,
        revive: Callable[[], object] = lambda: None,
        poll_seconds: float = POLL_SECONDS,
        head_seconds: float = HEAD_SECONDS,
    ) -> None:
        self._engine = make_engine(url, pool_size=1, application_name="wardlink sealer")
        self._key, self._heads_dir, self._stop = key, heads_dir, stop
        self._revive, self._poll, self._head_every = revive, poll_seconds, head_seconds
        self._instance = uuid4()
        self._journal, self._journal_due = Journal(heads_dir, key), True

    def run(self) -> None:
        """Seal until asked to stop. A lost database is waited for; nothing else ends it."""
        pause = _FIRST_PAUSE
        while not self._stop.asked:
            try:
                with self._connect() as connection:
                    pause = _FIRST_PAUSE
                    self._serve(connection)
            except (sa.exc.DBAPIError, EmbeddedError) as error:
                log.warning("sealer.database_lost", reason=type(error).__name__, again_in_seconds=pause)
                self._stop.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            finally:
                self._engine.dispose()  # the lock goes with the connection

    def drain(self, patience: float = DRAIN_SECONDS) -> bool:
        """Seal everything committed by now and sign a head; False if that took too long.

        Beside a running sealer it lets that one seal, and signs only the head.
        """
        deadline = time.monotonic() + patience
        while not self._stop.asked:
            try:
                with self._connect() as connection:
                    return self._drained(connection, deadline) and self._sign(connection) is not None
            except (sa.exc.OperationalError, EmbeddedError) as error:
                log.warning("sealer.database_lost", reason=type(error).__name__)
                if time.monotonic() > deadline or self._stop.wait(_FIRST_PAUSE):
                    return False
            finally:
                self._engine.dispose()
        return False

    def _connect(self) -> sa.Connection:
        self._revive()
        # What is behind a new connection may be a restored backup: where the journal is, it looks for anew.
        self._journal, self._journal_due = Journal(self._heads_dir, self._key), True
        return self._engine.connect()

    def _serve(self, connection: sa.Connection) -> None:
        while not take_turn(connection):
            if self._stop.wait(self._poll):
                return
        log.info("sealer.begun")
        head_due, signed = time.monotonic(), None
        beat_due = 0.0
        while True:
            sealed = self._seal_listed(connection)
            if time.monotonic() >= beat_due:
                beat_due = time.monotonic() + BEAT_SECONDS
                self._beat(connection)
            # The first head does not wait: without one, nothing vouches for anything.
            if time.monotonic() >= head_due or (sealed and not signed):
                head_due = time.monotonic() + self._head_every
                signed = self._sign(connection)
            if self._stop.asked or self._stop.wait(self._poll):
                self._seal_listed(connection)
                self._sign(connection)
                return

    def _beat(self, connection: sa.Connection) -> None:
        """Say that the record is being sealed; a database that does not know of it yet changes nothing."""
        try:
            with connection.begin():
                connection.execute(_BEAT, {"host": socket.gethostname(), "instance": self._instance})
        except sa.exc.ProgrammingError as error:
            log.warning("sealer.beat_missed", reason=type(error.orig).__name__)

    def _drained(self, connection: sa.Connection, deadline: float) -> bool:
        while time.monotonic() < deadline:
            if take_turn(connection):
                while self._seal_listed(connection):
                    if time.monotonic() > deadline:
                        return False
                return not self._stop.asked
            with connection.begin():
                if not unsealed_count(connection):
                    return True
            if self._stop.wait(min(self._poll, 0.1)):
                return False
        return False

    def _seal_listed(self, connection: sa.Connection) -> int:
        """One pass over the list, in batches; how many were sealed."""
        total, after = 0, 0
        while True:
            sealed, further = seal_pending(connection, after=after)
            total += sealed
            if further is None or self._stop.asked:
                break
            after = further
        if total or self._journal_due:
            self._note_erasures(connection)
        return total

    def _note_erasures(self, connection: sa.Connection) -> None:
        """Write the erasures among what was sealed into the journal outside the database."""
        try:
            written = self._journal.follow(connection)
        except OSError as error:
            self._journal_due = True
            log.error("sealer.journal_not_written", folder=str(self._heads_dir), problem=error.strerror)
            return
        self._journal_due = False
        if written:
            log.info("sealer.erasures", count=written)

    def _sign(self, connection: sa.Connection) -> int | None:
        """Sign a head if the chain has grown; the link up to which heads now vouch (0: an empty chain).

        None if that cannot be done: the reason is logged, and the next head tries again.
        """
        with connection.begin():
            end = tip(connection)
        try:
            head = append_head(self._heads_dir, self._key, end.seq, end.hash)
        except HeadsBehindError as error:
            log.error("sealer.chain_behind_head", problem=str(error))
            return None
        except OSError as error:
            log.error("sealer.head_not_written", folder=str(self._heads_dir), problem=error.strerror)
            return None
        if head:
            log.info("sealer.head", seq=head.seq, count=head.count)
        return end.seq


def main(arguments: list[str] | None = None) -> int:
    """The program. Returns its status: 2 if settings are wrong, 1 if a drain did not finish."""
    parser = argparse.ArgumentParser(prog="sealer", description="Chains the record and signs its heads.")
    parser.add_argument("--drain", action="store_true", help="seal everything, sign a head, end")
    drain = parser.parse_args(arguments).drain
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _end(stop))
    try:
        settings = complete(Settings.load(os.environ, Part.SEALER))
        logs.set_up(settings.log_level, settings.log_format)
    except (SettingsError, EmbeddedError) as error:
        print(error, file=sys.stderr)  # noqa: T201  no logs before the settings are known
        return 2
    sealer = _sealer(settings, stop)
    done = True
    if drain:
        done = sealer.drain()
    else:
        sealer.run()
    signal.setitimer(signal.ITIMER_REAL, 0)  # all is written: the interpreter may take its time to end
    if not done:
        log.error("sealer.not_drained", patience_seconds=DRAIN_SECONDS)
    return 0 if done else 1


def _sealer(settings: Settings, stop: Stop) -> Sealer:
    if settings.heads_dir is None:
        raise SystemExit("HEADS_DIR is missing.")
    key = Ed25519PrivateKey.from_private_bytes(settings.seal_key)
    return Sealer(
        settings.sealer_database_url, key, settings.heads_dir, stop, revive=lambda: complete(settings)
    )


def _end(stop: Stop) -> None:
    stop.ask()
    # Should a server hang, the kernel ends us: every batch is one transaction, every head one line.
    signal.setitimer(signal.ITIMER_REAL, _LAST_BREATH)


if __name__ == "__main__":
    sys.exit(main())
