"""What some cases need of the machine, and why they are skipped where it is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

_LIBRARIES = ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")


def libfaketime() -> Path | None:
    """The library that gives a process a clock of its own."""
    for folder in _LIBRARIES:
        for found in sorted(Path(folder).glob("**/faketime/libfaketimeMT.so.1")):
            return found
    return None


def _root() -> str:
    return "" if os.geteuid() == 0 else "only root may mount a file system of a given size"


def _faketime() -> str:
    return "" if libfaketime() else "libfaketime is not installed (Debian: apt-get install libfaketime)"


def _namespaces() -> str:
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    missing = [program for program in ("ip", "unshare", "mount") if shutil.which(program) is None]
    return f"{' and '.join(missing)} not installed" if missing else ""


_CHECKS: dict[str, Callable[[], str]] = {
    "root": _root,
    "libfaketime": _faketime,
    "network namespaces": _namespaces,
}


def why_not(needs: Sequence[str]) -> str:
    """Why a case with these needs cannot be played here; empty when it can."""
    return "; ".join(filter(None, (_CHECKS[need]() for need in needs)))
