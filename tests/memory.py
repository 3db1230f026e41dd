"""Where the tests' servers keep their files: in memory, where there is room for them.

A test with a database of its own copies some nine hundred small files: on a disk that is two thirds of a second, in
memory a twentieth. Nothing of it need outlive the machine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from hashlib import sha256
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM = 4 << 30  # bytes: the write-ahead log alone may take two of them
_NAME = "wardlink-test-"


def place(local: Path, memory: Path = MEMORY, room: int = ROOM) -> None:
    """Make ``local`` lead into memory, unless it is there already or memory is small. Raises nothing."""
    with contextlib.suppress(OSError):
        _forget(memory)
        if local.is_dir() or not memory.is_dir() or shutil.disk_usage(memory).free < room:
            return
        local = local.parent.resolve() / local.name
        there = memory / (_NAME + sha256(os.fsencode(local)).hexdigest()[:16])
        # Whoever made a folder of this name before us may not be who they seem: then it stays on the disk.
        there.mkdir(mode=0o755, exist_ok=True)
        if there.is_symlink() or there.stat().st_uid != os.getuid():
            return
        (there / "of").write_bytes(os.fsencode(local))
        with contextlib.suppress(
            FileExistsError
        ):  # it led there before the machine was started anew, or just now
            local.symlink_to(there, target_is_directory=True)


def _forget(memory: Path) -> None:
    """Remove what clones left that are gone."""
    for folder in memory.glob(f"{_NAME}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            local = Path(os.fsdecode((folder / "of").read_bytes()))
            if not local.is_symlink() or local.resolve() != folder.resolve():
                shutil.rmtree(folder)
