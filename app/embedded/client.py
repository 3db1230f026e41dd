"""How a process comes by the embedded services, and how they are stopped.

``ensure`` is called by the factory, the commands and the workers, never by ``app.db``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from app.embedded import state
from app.embedded.keys import ensure_keys
from app.embedded.state import EmbeddedError, Endpoints
from config.settings import Settings

_PROJECT = Path(__file__).resolve().parents[2]
_PATIENCE = 90.0  # seconds; a first start takes 2, crash recovery sometimes more
_held: dict[Path, int] = {}  # descriptors with a share of the users' lock, never closed: the kernel does
_one_at_a_time = threading.Lock()


def ensure(local_dir: Path) -> Endpoints:
    """The endpoints of the services in ``local_dir``, started if they are not running.

    They stay while this process, or any other that called this, lives; a process that forks passes its
    share on. Call it again at a reconnect: that is quick (0.1 ms), and brings everything back, at the
    same ports, should the keeper have been killed. EmbeddedError says why it cannot be done.
    """
    with _one_at_a_time:
        folder = local_dir.resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if folder not in _held:
                _held[folder] = os.open(folder / state.USERS_LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            with (folder / state.START_LOCK).open("ab") as start:
                fcntl.flock(start, fcntl.LOCK_EX)
                fcntl.flock(_held[folder], fcntl.LOCK_SH)  # waits while a keeper is on its way out
                return (_keeper_lives(folder) and state.read_endpoints(folder)) or _start(folder)
        except PermissionError as error:
            raise EmbeddedError(
                f"This user may not use {error.filename}, which another user made: "
                "remove that folder, or set LOCAL_DIR to one of your own."
            ) from None
        except (NotADirectoryError, FileExistsError):
            raise EmbeddedError(f"LOCAL_DIR cannot be {folder}: a file is in the way.") from None


def complete(settings: Settings) -> Settings:
    """Settings that name servers and keys: these, or with the embedded ones, started if need be."""
    if not settings.embedded:
        return settings
    found = ensure(settings.local_dir).as_environ() | ensure_keys(settings.local_dir)
    return settings.with_embedded({"HEADS_DIR": str(settings.local_dir / "heads"), **found})


def revive(local_dir: Path) -> None:
    """Called before a new connection: brings the services back, at the same addresses, if they are gone."""
    ensure(local_dir)


def running(local_dir: Path) -> Endpoints | None:
    """The endpoints if the services run now, else None. Starts nothing and holds nothing."""
    folder = local_dir.resolve()
    return state.read_endpoints(folder) if _keeper_lives(folder) else None


def stop(local_dir: Path) -> bool:
    """Stop the services, whoever uses them; True if they were running. Returns when they are gone."""
    folder = local_dir.resolve()
    deadline = time.monotonic() + _PATIENCE
    asked: int | None = None
    was_running = False
    while _keeper_lives(folder):
        was_running = True
        endpoints = state.read_endpoints(folder)  # none yet, or no more, while it starts or stops
        if endpoints and endpoints.keeper_pid != asked:
            asked = endpoints.keeper_pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(asked, signal.SIGTERM)
        if time.monotonic() > deadline:
            raise EmbeddedError(f"The keeper of the embedded services in {folder} does not end.")
        time.sleep(0.02)
    return was_running


def _keeper_lives(folder: Path) -> bool:
    # A zombie's process id still looks alive; its lock does not.
    try:
        with (folder / state.KEEPER_LOCK).open("rb") as alive:
            fcntl.flock(alive, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _start(folder: Path) -> Endpoints:
    (folder / state.ENDPOINTS).unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, (str(_PROJECT), os.environ.get("PYTHONPATH"))))
    log = folder / "keeper.log"
    with log.open("wb") as errors:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "app.embedded.keeper", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=_PROJECT,
            env={**os.environ, "PYTHONPATH": path},
        )
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        endpoints = state.read_endpoints(folder)
        if endpoints:
            # The keeper outlives us: a wait for it, and the warning that it still runs, would be wrong.
            keeper.returncode = 0
            return endpoints
        if keeper.poll() is not None:
            break
        time.sleep(0.02)
    words = log.read_text(encoding="utf-8", errors="replace").strip()[-800:]
    raise EmbeddedError(f"The embedded services did not start. {words}")
