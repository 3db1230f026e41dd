"""As whom the servers run. PostgreSQL refuses root, and initdb refuses a user without a name."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.embedded.state import EmbeddedError

_PR_SET_PDEATHSIG = 1
NAMELESS = (
    "This user (uid {uid}) has no name in the system's list of users, and PostgreSQL needs one to make a "
    "database: add the user, or set DATABASE_URL and the other database URLs, and REDIS_URL."
)


@dataclass(frozen=True, slots=True)
class Identity:
    """How to start a server so that it runs as the right user and ends when the keeper dies."""

    owner: tuple[int, int] | None  # (uid, gid) that must own the data, when it is not us
    prefix: tuple[str, ...]  # put before the command
    setup_prefix: tuple[str, ...]  # the same for initdb
    options: dict[str, Any]  # for subprocess

    def command(self, *words: str | Path) -> list[str]:
        """The command of a server."""
        return [*self.prefix, *map(str, words)]

    def setup_command(self, *words: str | Path) -> list[str]:
        """The command of initdb."""
        return [*self.setup_prefix, *map(str, words)]

    def own(self, path: Path) -> None:
        """Give a file or folder to the user the servers run as."""
        if self.owner:
            os.chown(path, *self.owner)


def _closed_to_others(path: Path) -> bool:
    return any(not folder.stat().st_mode & 0o001 for folder in (path, *path.parents) if folder.is_dir())


def identity(data: Path, programs: Sequence[Path]) -> Identity:
    """The identity for servers whose data lie in ``data`` (a folder that exists).

    Root runs them as the data's owner, at first ``nobody``. Where that user may not enter the folders
    above (a checkout in root's home), it is given the one capability to do so.
    """
    if os.geteuid() != 0:
        return _as_we_are()
    owner = data.stat()
    if owner.st_uid == 0:
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise EmbeddedError(
                "PostgreSQL does not run as root and there is no user called nobody: "
                "run Wardlink as an ordinary user, or set the database URLs and REDIS_URL."
            ) from None
        uid, gid = nobody.pw_uid, nobody.pw_gid
    else:
        uid, gid = owner.st_uid, owner.st_gid
    if not any(_closed_to_others(path) for path in (data.parent, *programs)):
        return Identity((uid, gid), (), (), {"user": uid, "group": gid, "extra_groups": []})
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise EmbeddedError(
            "This folder may be entered by root alone, PostgreSQL does not run as root, and setpriv (package "
            "util-linux) is not installed: move the project, install it, or run as an ordinary user."
        )
    # The secure bit lets the capability count for access(2) too, with which initdb looks for its programs.
    prefix = (
        *(setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--inh-caps=+dac_override"),
        *("--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup", "--pdeathsig=INT", "--"),
    )
    return Identity((uid, gid), prefix, prefix, {})


def _as_we_are() -> Identity:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        unshare = shutil.which("unshare")
        if unshare is None:
            raise EmbeddedError(NAMELESS.format(uid=os.geteuid())) from None
        nobody = pwd.getpwnam("nobody")  # a name for initdb alone; what it writes is still ours
        names = (f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}")
        return Identity(None, (), (unshare, "--user", *names, "--"), {})
    return Identity(None, (), (), {})


def die_with_parent() -> Callable[[], None]:
    """A ``preexec_fn``: the kernel sends SIGINT (a fast shutdown) when the keeper dies, however it dies."""
    parent = os.getpid()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return prepare
