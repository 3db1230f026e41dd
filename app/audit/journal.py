"""The journal of erasures outside the database: ``HEADS_DIR/erasures.jsonl``, written by the sealer from the record.

One signed JSON object a line: what was erased (an id, nothing else), when, and the link of the chain that says so. A
backup of the database knows nothing of erasures after it; this file, shipped off the box with the heads, does.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.audit.chain import tip
from app.audit.heads import key_id

__all__ = ["EVENTS", "FILE_NAME", "Journal", "Line", "read"]

FILE_NAME = "erasures.jsonl"
EVENTS = ("contact:erase", "person:erase")
_LONGEST_LINE = 4096
_BLOCK = 50_000  # links looked at in one query

_FOUND = sa.text(
    """
    SELECT s.seq, s.hash, e.subject, e.at FROM audit_seals s JOIN audit_entries e ON e.id = s.entry_id
    WHERE s.seq > :after AND s.seq <= :until AND e.event = ANY(CAST(:events AS text[])) ORDER BY s.seq
    """
)
_LINK = sa.text("SELECT hash FROM audit_seals WHERE seq = :seq")


@dataclass(frozen=True, slots=True)
class Line:
    """One erasure. ``what`` is contact or person; ``at`` is UTC as in a head."""

    seq: int
    hash: str
    what: str
    id: str
    at: str
    key: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """What the signature covers: a JSON array, UTF-8, no spaces. Version 1; never changes."""
        values = ["wardlink-erasure", 1, self.seq, self.hash, self.what, self.id, self.at, self.key]
        return json.dumps(values, separators=(",", ":")).encode()

    @property
    def time(self) -> datetime:
        return datetime.fromisoformat(self.at)


class Journal:
    """Follows the chain and writes down each erasure. Only the sealer has one."""

    def __init__(self, heads_dir: Path, key: Ed25519PrivateKey) -> None:
        self._path, self._key = heads_dir / FILE_NAME, key
        self._key_id = key_id(key.public_key())
        self._after: int | None = None  # the link up to which all is written
        self._known: frozenset[tuple[str, str]] = frozenset()

    def follow(self, connection: sa.Connection) -> int:
        """Append the erasures of all links since the last time, on the disk when this returns; how many.

        After a crash it goes on from the file's last line. Where the chain is another than that line says (a backup
        was restored), it begins again at its start and leaves out what is in the file already. OSError from the disk:
        nothing is lost, the next call writes it.
        """
        with connection.begin():
            if self._after is None:
                self._after = self._begin(connection)
            until, written = tip(connection).seq, 0
            while self._after < until:
                last = min(until, self._after + _BLOCK)
                values = {"after": self._after, "until": last, "events": list(EVENTS)}
                lines = [self._signed(*row) for row in connection.execute(_FOUND, values)]
                new = [line for line in lines if (line.what, line.id) not in self._known]
                if new:
                    self._append(new)
                written += len(new)
                self._after = last
        return written

    def _begin(self, connection: sa.Connection) -> int:
        last, known = None, set()
        for line in _lines(self._path):
            if line is not None:
                last = line
                known.add((line.what, line.id))
        if last is None:
            return 0
        if connection.execute(_LINK, {"seq": last.seq}).scalar_one_or_none() == bytes.fromhex(last.hash):
            return last.seq
        self._known = frozenset(known)
        return 0

    def _signed(self, seq: int, digest: bytes, subject: str, at: datetime) -> Line:
        what, _, id = subject.partition(":")
        moment = at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        line = Line(seq, bytes(digest).hex(), what, id, moment, self._key_id)
        return replace(line, signature=self._key.sign(line.signed_bytes()).hex())

    def _append(self, lines: list[Line]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        texts = [
            json.dumps({n: getattr(line, n) for n in Line.__slots__}, separators=(",", ":")) for line in lines
        ]
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _mend(descriptor)
            whole = "".join(f"{text}\n" for text in texts).encode()
            while whole:
                whole = whole[os.write(descriptor, whole) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path, public: Ed25519PublicKey) -> Iterator[Line | None]:
    """The erasures in a journal, in the file's order; None for a line that is none, or that our key did not sign."""
    for line in _lines(path):
        if line is None:
            yield None
            continue
        try:
            public.verify(bytes.fromhex(line.signature), line.signed_bytes())
        except (InvalidSignature, ValueError):
            yield None
        else:
            yield line


def _mend(descriptor: int) -> None:
    """Cut off what a crash left of a line: the chain still holds it."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _LONGEST_LINE)
    tail = os.pread(descriptor, size - start, start)
    end = tail.rfind(b"\n") + 1
    if end < len(tail):
        os.ftruncate(descriptor, start + end)


def _lines(path: Path) -> Iterator[Line | None]:
    """A last line without its end is left out: it is being written, or was broken off."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        while text := file.readline(_LONGEST_LINE):
            if text.endswith(b"\n"):
                yield _parse(text)


def _parse(text: bytes) -> Line | None:
    try:
        line = Line(**json.loads(text))
        texts = all(isinstance(getattr(line, name), str) for name in Line.__slots__ if name != "seq")
        whole = texts and type(line.seq) is int and line.time.tzinfo is not None
        bytes.fromhex(line.hash)
    except (ValueError, TypeError, RecursionError):
        return None
    return line if whole and line.what in ("contact", "person") else None
