"""What the embedded services keep in their folder: file names, secrets, the endpoints."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

USERS_LOCK = "users.lock"  # every process that uses the services holds a share of it
KEEPER_LOCK = "keeper.lock"  # the keeper holds it for life
START_LOCK = "start.lock"  # one process at a time looks whether a keeper must be started
ENDPOINTS = "endpoints.json"
PASSWORDS = "passwords.json"
DATABASE = "wardlink"
ADMIN = "wardlink_keeper"  # the cluster's superuser: for the keeper, and for tests that tamper


class EmbeddedError(RuntimeError):
    """The embedded services cannot be had; the message says why in plain English."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the embedded services answer: SQLAlchemy and redis-py URLs, and the processes behind them.

    The URLs hold passwords, so they stay out of repr.
    """

    database_url: str = field(repr=False)
    owner_database_url: str = field(repr=False)
    worker_database_url: str = field(repr=False)
    sealer_database_url: str = field(repr=False)
    admin_database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    keeper_pid: int
    postgres_pid: int
    valkey_pid: int

    def as_environ(self) -> dict[str, str]:
        """The URLs under the names of the settings (DATABASE_URL, REDIS_URL and so on)."""
        return {name.upper(): value for name, value in asdict(self).items() if name.endswith("_url")}


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, readable by its owner alone from its first moment."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    draft.replace(path)


def read_endpoints(folder: Path) -> Endpoints | None:
    """The endpoints that the keeper has published, or None when none are."""
    try:
        return Endpoints(**json.loads((folder / ENDPOINTS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def write_endpoints(folder: Path, endpoints: Endpoints) -> None:
    """Publish the endpoints."""
    write_private(folder / ENDPOINTS, json.dumps(asdict(endpoints), indent=1))


def passwords(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """A random password for each name, made once and kept in a file for this user alone."""
    path = folder / PASSWORDS
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    missing = [name for name in names if name not in known]
    if missing:
        known |= {name: secrets.token_urlsafe(24) for name in missing}
        write_private(path, json.dumps(known, indent=1))
    return {name: known[name] for name in names}
