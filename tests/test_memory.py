"""The tests' own files lie in memory where there is room, and what a clone that is gone left there goes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.memory import place


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    made = tmp_path / "memory"
    made.mkdir()
    return made


def test_the_folder_leads_into_memory_and_again_to_the_same(tmp_path: Path, memory: Path) -> None:
    local = tmp_path / "a clone" / ".local-test"
    local.parent.mkdir()
    place(local, memory, 0)
    (local / "kept").touch()
    place(local, memory, 0)
    assert local.resolve().parent == memory
    assert (local / "kept").exists()
    shutil.rmtree(memory)  # as when the machine starts anew
    memory.mkdir()
    place(local, memory, 0)
    assert local.is_dir()
    assert not (local / "kept").exists()


def test_a_folder_that_is_there_and_a_small_memory_are_left_alone(tmp_path: Path, memory: Path) -> None:
    local = tmp_path / ".local-test"
    place(local, memory, 1 << 60)
    assert not local.exists()
    local.mkdir()
    place(local, memory, 0)
    assert not local.is_symlink()
    place(tmp_path / "other", tmp_path / "nowhere", 0)
    assert not list(memory.iterdir())


def test_what_a_clone_left_that_is_gone_is_removed_and_nothing_else(tmp_path: Path, memory: Path) -> None:
    for clone in ("gone", "kept"):
        (tmp_path / clone).mkdir()
        place(tmp_path / clone / ".local-test", memory, 0)
    (memory / "wardlink-test-of-somebody").mkdir()
    shutil.rmtree(tmp_path / "gone")
    place(tmp_path / "kept" / ".local-test", memory, 0)
    left = {one.name for one in memory.iterdir()}
    assert left == {(tmp_path / "kept" / ".local-test").resolve().name, "wardlink-test-of-somebody"}
