"""What a site of real processes needs in its environment to serve a test's database."""

from __future__ import annotations

import os
from pathlib import Path

from app.embedded.keys import ensure_keys
from tests.conftest import Database


def environ(database: Database, port: int, **changes: str) -> dict[str, str]:
    """For the children of a Stack: the test's servers and keys, and the address of its site."""
    local = Path(os.environ["LOCAL_DIR"])
    site = {"PUBLIC_URL": f"http://127.0.0.1:{port}", "HEADS_DIR": str(local / "heads"), "LOG_FORMAT": "text"}
    return database.environ() | ensure_keys(local) | site | changes
