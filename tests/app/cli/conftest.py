"""The commands, run in this process on a database of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli.main import main
from app.embedded.keys import ensure_keys
from tests.conftest import Database

Run = Callable[..., Result]


def environ_of(database: Database) -> dict[str, str]:
    """The settings of a process that uses this database and its servers as if they were its own."""
    local = Path(os.environ["LOCAL_DIR"])
    return database.environ() | ensure_keys(local) | {"HEADS_DIR": str(local / "heads")}


@pytest.fixture
def run(committed: Database) -> Run:
    """Run one command; never a traceback, whatever came of it."""
    environ = environ_of(committed)

    def call(*words: str, **changes: str) -> Result:
        result = CliRunner().invoke(main, list(words), env=environ | changes)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return call
