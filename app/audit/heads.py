"""Signed heads of the chain, one JSON object a line in ``HEADS_DIR/heads.jsonl``, to be shipped off the box.

A head says: link ``seq`` ended in ``hash`` at this time, ``count`` links after the head before
it. Its Ed25519 signature is over the canonical bytes of ``signed_bytes``.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "FILE_NAME",
    "Head",
    "HeadsBehindError",
    "append_head",
    "heads_size",
    "key_id",
    "read_heads",
    "signed_bytes",
]

FILE_NAME = "heads.jsonl"
_LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True)
class Head:
    """One signed statement about the chain. ``at`` is UTC as ``2026-03-29T00:59:59.000001Z``."""

    seq: int
    hash: str
    at: str
    count: int
    key: str
    signature: str


class HeadsBehindError(Exception):
    """The chain does not reach, or does not agree with, the last head that was signed."""


def key_id(public: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of the raw public key."""
    return sha256(public.public_bytes_raw()).hexdigest()[:16]


def signed_bytes(head: Head) -> bytes:
    """What the signature covers: a JSON array, UTF-8, no spaces. Version 1; never changes."""
    values = ["wardlink-head", 1, head.seq, head.hash, head.at, head.count, head.key]
    return json.dumps(values, separators=(",", ":")).encode()


def append_head(heads_dir: Path, private: Ed25519PrivateKey, seq: int, digest: bytes) -> Head | None:
    """Sign link ``seq`` and append it, on the disk when this returns; None if that is already the last head.

    Two processes may call it at once. Raises HeadsBehindError, writing nothing, when the last
    head in the file is beyond ``seq`` or says otherwise of it; OSError from the file system.
    """
    heads_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(heads_dir / FILE_NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        last = _last(descriptor)
        if last is not None and last.seq >= seq:
            if (last.seq, last.hash) == (seq, digest.hex()):
                return None
            raise HeadsBehindError(
                f"the chain ends at link {seq}, but link {last.seq} was signed at {last.at} "
                "with another chain behind it: run 'wardlink audit verify'"
            )
        if seq < 1:
            return None
        head = _sign(private, seq, digest, seq - (last.seq if last else 0))
        line = json.dumps({name: getattr(head, name) for name in Head.__slots__}, separators=(",", ":"))
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
        return head
    finally:
        os.close(descriptor)


def heads_size(heads_dir: Path) -> int:
    """Bytes in the file of heads now; 0 if there is none."""
    try:
        return (heads_dir / FILE_NAME).stat().st_size
    except FileNotFoundError:
        return 0


def read_heads(heads_dir: Path, size: int) -> Iterator[Head | None]:
    """The heads in the first ``size`` bytes, in the file's order; None for a line that is none.

    A last line without its end is left out: it is being written.
    """
    if not size:
        return
    with (heads_dir / FILE_NAME).open("rb") as file:
        while file.tell() < size:
            line = file.readline(_LONGEST_LINE)
            if not line.endswith(b"\n") and file.tell() >= size:
                return
            yield _parse(line)


def _sign(private: Ed25519PrivateKey, seq: int, digest: bytes, count: int) -> Head:
    at = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    unsigned = Head(seq, digest.hex(), at, count, key_id(private.public_key()), "")
    signature = private.sign(signed_bytes(unsigned)).hex()
    return Head(seq, unsigned.hash, at, count, unsigned.key, signature)


def _last(descriptor: int) -> Head | None:
    """The last whole line; what a crash left of a line after it is cut off, for nobody relied on it."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - 2 * _LONGEST_LINE)
    tail = os.pread(descriptor, size - start, start)
    whole = tail[: tail.rfind(b"\n") + 1]
    if len(whole) < len(tail):
        os.ftruncate(descriptor, start + len(whole))
    lines = whole.splitlines()
    return next((head for line in reversed(lines) if (head := _parse(line)) is not None), None)


def _parse(line: bytes) -> Head | None:
    try:
        values = json.loads(line)
        head = Head(**values)
    except (ValueError, TypeError, RecursionError):
        return None
    numbers = type(head.seq) is int and type(head.count) is int
    texts = all(isinstance(v, str) for v in (head.hash, head.at, head.key, head.signature))
    return head if numbers and texts else None
