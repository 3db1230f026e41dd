"""The signed heads as one archive to be taken away: with the public key, a checker of its own, and how to use it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.audit.heads import FILE_NAME, heads_size, key_id

__all__ = ["CHECKER", "KEY", "available", "stream"]

CHECKER, KEY, README = "check_record.py", "public-key.txt", "README.txt"
_CHUNK = 1 << 20
_WORDS = """Wardlink's signed heads

heads.jsonl      what was signed about the record as it grew: link "seq" of the chain ended in "hash" at this time.
public-key.txt   the Ed25519 key that they are signed with, in hex. Its number: {key}
check_record.py  checks an export of the record against both. It needs Python 3.9 or newer, and the package
                 "cryptography". It is short, and imports nothing of Wardlink's: read it before you run it.

    python check_record.py record.jsonl heads.jsonl public-key.txt

record.jsonl is an export of the record as JSON lines: of a search, by an auditor, or of all of it, by the operator
(wardlink audit export). Only an export of all of it, or of a stretch without a gap that ends in a head, is proved;
entries from here and there are shown to agree with themselves.

Keep the heads where nobody who can change the database can change them, and compare a new archive with the old one:
it must begin with it, byte by byte. Compare the key's number with one that you have from somebody you trust.
"""


def available(heads_dir: Path) -> bool:
    """Whether there are heads on this machine."""
    try:
        return heads_size(heads_dir) > 0
    except OSError:
        return False


def stream(heads_dir: Path, public_key: bytes) -> Iterator[bytes]:
    """The archive, piece by piece: its size in memory stays the same however many heads there are.

    A head that is being written meanwhile is left out. OSError when the heads cannot be read.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(cast("IO[bytes]", pipe), "w", zipfile.ZIP_DEFLATED) as archive:
        words = _WORDS.format(key=key_id(Ed25519PublicKey.from_public_bytes(public_key)))
        archive.writestr(README, words)
        archive.writestr(KEY, public_key.hex() + "\n")
        archive.writestr(CHECKER, Path(__file__).with_name("checker.py").read_text(encoding="utf-8"))
        yield pipe.taken()
        with archive.open(FILE_NAME, "w", force_zip64=True) as inside:
            for piece in _whole_lines(heads_dir):
                inside.write(piece)
                yield pipe.taken()
    yield pipe.taken()


def _whole_lines(heads_dir: Path) -> Iterator[bytes]:
    """The file of heads as it is now, up to its last whole line."""
    left = heads_size(heads_dir)
    rest = b""
    with (heads_dir / FILE_NAME).open("rb") as file:
        while left > 0 and (piece := file.read(min(_CHUNK, left))):
            left -= len(piece)
            whole, end, after = (rest + piece).rpartition(b"\n")
            rest = after
            yield whole + end


class _Pipe:
    """A file that can only be written, and gives away what was written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits anywhere else."""

    def taken(self) -> bytes:
        found, self._pieces = b"".join(self._pieces), []
        return found
