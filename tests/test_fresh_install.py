"""What a stranger does first: a clone in an awkward place, and make."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config.fields import PROJECT

MADE = {".git", ".venv", "__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The project as a clone has it, in a folder that only its owner may enter, with a space in its name."""
    closed = tmp_path / "somebody's home"
    closed.mkdir(mode=0o700)

    def leave_out(_: str, names: list[str]) -> set[str]:
        return {n for n in names if n in MADE or n.startswith((".local", ".install", ".import"))}

    shutil.copytree(PROJECT, closed / "ward link", ignore=leave_out)
    return closed / "ward link"


def run(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if k not in {"LOCAL_DIR", "WARDLINK_ENV", "PYTHONPATH"}}
    return subprocess.run(words, cwd=clone, capture_output=True, text=True, env=environ, check=False)


def test_make_alone_lists_the_commands(clone: Path) -> None:
    done = run(clone, "make")
    assert done.returncode == 0
    assert {"install", "demo", "test", "test-all", "lint", "clean", "stop", "bench-fanout"} <= set(
        re.findall(r"^make ([a-z-]+) ", done.stdout, re.MULTILINE)
    )
    assert not (clone / ".venv").exists()


def test_without_a_python_that_serves_make_says_so(clone: Path) -> None:
    done = run(clone, "make", "install", "PYTHONS=no-such-python false")
    assert done.returncode != 0
    assert "Wardlink needs Python 3.11 or later" in done.stderr


def test_the_locks_name_no_host_and_every_package_has_its_hash() -> None:
    for name in ("uv", "base", "dev"):
        lock = (PROJECT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        assert "://" not in lock
        assert "--index-url" not in lock
        packages = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\\n(    --hash=sha256:)?", lock, re.MULTILINE)
        assert packages
        assert all(packages)


@pytest.mark.slow
def test_make_install_serves_in_a_closed_folder_with_a_space_and_does_its_work_once(clone: Path) -> None:
    first = run(clone, "make", "install")
    assert first.returncode == 0, first.stderr
    stamp = (clone / ".venv" / ".installed").stat().st_mtime_ns
    assert run(clone, "make", "install").returncode == 0
    assert (clone / ".venv" / ".installed").stat().st_mtime_ns == stamp
    python = str(clone / ".venv" / "bin" / "python")
    start = (
        "import pathlib; from app.embedded import client; e = client.ensure(pathlib.Path('.local')); print(e)"
    )
    started = run(clone, python, "-W", "error", "-c", start)
    assert "postgres_pid" in started.stdout, started.stderr
    assert run(clone, "make", "stop").returncode == 0
