"""The keeper: one process per folder that runs both servers for as long as anybody uses them.

Every user holds a share of one file lock; the keeper ends when it can have the lock for itself. The
kernel drops a lock at any death, so there is nothing to count and nothing stale.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from app.embedded import binaries, state
from app.embedded.identity import identity
from app.embedded.servers import Postgres, Server, Valkey
from app.embedded.state import ADMIN, DATABASE, EmbeddedError, Endpoints
from app.roles import ROLES, VERSION, Role, ensure_roles

_ROLES_MADE = "roles.version"
_ATTEMPTS = 5  # starts in a row of a server that dies; more would only hide why


class Keeper:
    """Runs in ``folder`` until nobody holds a share of its users' lock, or until SIGTERM."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked_to_stop = False
        self.passwords = state.passwords(folder, (ADMIN, *ROLES, "valkey"))
        data = folder / "pg"
        data.mkdir(mode=0o700, exist_ok=True)
        who = identity(data, [binaries.postgres_programs(), binaries.valkey_server().parent])
        self.postgres = Postgres(folder, who, self.passwords[ADMIN])
        self.valkey = Valkey(folder, who, self.passwords["valkey"])

    def run(self) -> None:
        """Start, watch, stop."""
        signal.signal(signal.SIGTERM, self._ask)
        try:
            self.postgres.start()
            self.valkey.start()
            self._make_roles()
            self._publish()
            with (self.folder / state.USERS_LOCK).open("ab") as users:
                self._watch(users.fileno())
                (self.folder / state.ENDPOINTS).unlink(missing_ok=True)
                self._stop()
        finally:
            (self.folder / state.ENDPOINTS).unlink(missing_ok=True)
            self._stop()

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self.asked_to_stop = True

    def _stop(self) -> None:
        self.valkey.stop()
        self.postgres.stop()

    def _watch(self, users: int) -> None:
        while not self.asked_to_stop:
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
            else:
                return
            if any([self._mend(self.postgres), self._mend(self.valkey)]):
                self._publish()

    def _mend(self, server: Server) -> bool:
        if not server.ended():
            return False
        for attempt in range(_ATTEMPTS):
            try:
                server.start()
            except EmbeddedError:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.2)
            else:
                break
        return True

    def _url(self, role: str, database: str = DATABASE) -> str:
        return f"postgresql+psycopg://{role}:{self.passwords[role]}@127.0.0.1:{self.postgres.port}/{database}"

    def _make_roles(self) -> None:
        made = self.folder / _ROLES_MADE
        if made.exists() and made.read_text(encoding="utf-8") == str(VERSION):
            return
        passwords = {role: self.passwords[role] for role in ROLES}
        ensure_roles(self._url(ADMIN, "postgres"), passwords, database=DATABASE, createdb=True)
        state.write_private(made, str(VERSION))

    def _publish(self) -> None:
        endpoints = Endpoints(
            database_url=self._url(Role.APP),
            owner_database_url=self._url(Role.OWNER),
            worker_database_url=self._url(Role.WORKER),
            sealer_database_url=self._url(Role.SEALER),
            admin_database_url=self._url(ADMIN),
            redis_url=f"redis://:{self.passwords['valkey']}@127.0.0.1:{self.valkey.port}/0",
            keeper_pid=os.getpid(),
            postgres_pid=self.postgres.pid,
            valkey_pid=self.valkey.pid,
        )
        state.write_endpoints(self.folder, endpoints)


def main() -> int:
    """``python -m app.embedded.keeper FOLDER``; started by client.py, never by hand."""
    folder = Path(sys.argv[1])
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the users; we end when they have ended
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with (folder / state.KEEPER_LOCK).open("ab") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        try:
            Keeper(folder).run()
        except EmbeddedError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
