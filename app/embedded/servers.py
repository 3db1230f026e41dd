"""The two servers as the keeper sees them: set up, start, start again, end."""

from __future__ import annotations

import fcntl
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO

from app.embedded import binaries
from app.embedded.identity import Identity, die_with_parent
from app.embedded.state import ADMIN, EmbeddedError, write_private

_LOG_LIMIT = 5_000_000  # bytes; a longer log is emptied at the next start of the services
_PATIENCE = 60.0  # seconds: crash recovery of 260 MB of log takes 2
POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    # These two lose nothing when PostgreSQL is killed, only when the whole machine stops. (Commits must
    # stay synchronous: otherwise a kill loses the last half second of them, attempts and all.)
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and key values may hold personal data, and belong in no log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_VALKEY_SETTINGS = ("bind 127.0.0.1", 'save ""', "appendonly no")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def remembered_port(file: Path) -> int:
    """The port of last time, so that URLs stay true; another one if somebody has taken it."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if text.isdigit() and _is_free(int(text)):
        return int(text)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    write_private(file, str(port))
    return port


class Server(ABC):
    """One server process. Its lock file is held by it and its children, through an inherited descriptor."""

    name = "server"
    ending = signal.SIGTERM

    def __init__(self, folder: Path, who: Identity) -> None:
        self.folder = folder
        self.who = who
        self.log = folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._await_end().close()  # a dead keeper's server may be on its way out, still on our port
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            self.log.write_bytes(b"")
        self.port = remembered_port(folder / f"{self.name}.port")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process is None or self.process.poll() is not None

    def start(self) -> None:
        """Start it and wait until it answers. EmbeddedError with the end of its log if it does not."""
        lock = self._await_end()
        with lock, self.log.open("ab") as log:
            self.process = self._spawn(lock, log)
        deadline = time.monotonic() + _PATIENCE
        while not self._ready():
            if self.ended() or time.monotonic() > deadline:
                tail = self.log.read_bytes()[-500:].decode(errors="replace")
                raise EmbeddedError(f"The embedded {self.name} did not start. The end of its log:\n{tail}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in good order; by force after half a minute."""
        if self.process is None or self.ended():
            return
        self.process.send_signal(self.ending)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _await_end(self) -> IO[bytes]:
        """The lock of this server, ours once no process of an earlier one is left."""
        lock = (self.folder / f"{self.name}.lock").open("ab")
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise EmbeddedError(
                        f"An earlier embedded {self.name} in {self.folder} does not end: "
                        "stop its processes by hand, then try again."
                    ) from None
                time.sleep(0.02)
            else:
                return lock

    @abstractmethod
    def _spawn(self, lock: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the program, which inherits ``lock``."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether it answers."""


class Postgres(Server):
    """PostgreSQL 18 on loopback, settings on its command line so that every start has them."""

    name = "postgres"
    ending = signal.SIGINT  # fast: ends sessions, does not wait for them

    def __init__(self, folder: Path, who: Identity, password: str) -> None:
        self.programs = binaries.postgres_programs()
        self.data = folder / "pg"
        super().__init__(folder, who)
        if not (self.data / "global" / "pg_control").exists():
            self._set_up(password)

    def _set_up(self, password: str) -> None:
        secret = self.folder / "initdb.password"
        write_private(secret, password)
        self.who.own(secret)
        self.who.own(self.data)
        # One round of SCRAM is enough for a random password of 24 bytes, and connects in half the time.
        done = subprocess.run(
            self.who.setup_command(
                *(self.programs / "initdb", "-D", self.data, "-U", ADMIN, "-E", "UTF8"),
                *("--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={secret}"),
                *("-c", "scram_iterations=1", "--no-sync", "--no-instructions"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            check=False,
            **self.who.options,
        )
        secret.unlink()
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip()[-500:]
            raise EmbeddedError(f"The embedded PostgreSQL could not make its database: {words}")

    def _spawn(self, lock: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        settings = [word for name, value in POSTGRES_SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return subprocess.Popen(
            self.who.command(self.programs / "postgres", "-D", self.data, "-p", str(self.port), *settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            pass_fds=(lock.fileno(),),
            preexec_fn=die_with_parent(),
            **self.who.options,
        )

    def _ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").split()
        except OSError:
            return False
        return bool(lines) and lines[0] == str(self.pid) and lines[-1] == "ready"


class Valkey(Server):
    """Valkey on loopback, keeping nothing on disk: it is a doorbell, PostgreSQL is the truth."""

    name = "valkey"

    def __init__(self, folder: Path, who: Identity, password: str) -> None:
        self.program = binaries.valkey_server()
        self.password = password
        super().__init__(folder, who)

    def _spawn(self, lock: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self.who.command(self.program, "-"),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            pass_fds=(lock.fileno(),),
            preexec_fn=die_with_parent(),
            **self.who.options,
        )
        assert process.stdin is not None
        with process.stdin as stdin:  # not on the command line, where every user could read the password
            for line in (*_VALKEY_SETTINGS, f"port {self.port}", f"requirepass {self.password}"):
                stdin.write(f"{line}\n".encode())
        return process

    def _ready(self) -> bool:
        return _answers(self.port) and not self.ended()
