"""Checks an export of Wardlink's record against its signed heads. Stands alone: Python 3.9 or newer, "cryptography".

    python check_record.py record.jsonl heads.jsonl public-key.txt

record.jsonl: one JSON object a line, in the order of the chain or against it. Its "canonical" is the text that was
chained; hash = SHA-256(prev || canonical in UTF-8), and prev is the hash of the link before.
heads.jsonl: what was signed about the chain as it grew. public-key.txt: the Ed25519 key in hex. Take it, or its first
16 hex digits of SHA-256, from somebody you trust, and not only from whoever gave you the heads.

Says what is proved; ends with status 1 if anything does not agree, 2 if a file cannot be read.
"""

# Written to be read by whoever does not trust us: nothing is imported from Wardlink.
from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIELDS = (
    "version", "id", "at", "actor_kind", "actor_id", "organisation_id", "area_code", "subject", "event", "s62", "why",
    "origin", "detail",
)  # fmt: skip
FIRST = "00" * 32  # what stands before the first link
MOST_SHOWN = 20


class Checker:
    """Collects what is wrong, and counts what is right."""

    def __init__(self, key: bytes) -> None:
        self.public = Ed25519PublicKey.from_public_bytes(key)
        self.key_id = sha256(key).hexdigest()[:16]
        self.heads: dict[int, str] = {}
        self.wrong: list[str] = []
        self.entries = self.unsealed = self.vouched = 0
        self._before: tuple[int, str, str] | None = None  # (seq, prev, hash) of the line before
        # The stretch of links without a gap that is being read: upwards (1), downwards (-1), or not known yet (0);
        # whether it had a head, and how many entries wait for one.
        self._step, self._reached, self._waiting = 0, False, 0

    def read_heads(self, lines: Iterator[bytes]) -> None:
        """Every head must bear our signature and follow the one before."""
        last = 0
        for n, line in enumerate(lines, start=1):
            try:
                head = json.loads(line)
                seq, digest, count = head["seq"], head["hash"], head["count"]
                said = ["wardlink-head", 1, seq, digest, head["at"], count, head["key"]]
                text = json.dumps(said, separators=(",", ":")).encode()
                self.public.verify(bytes.fromhex(head["signature"]), text)
            except (ValueError, KeyError, TypeError, InvalidSignature):
                self._say(f"line {n} of the heads was not signed with this key, or is no head")
                continue
            if head["key"] != self.key_id or seq <= last or (last and seq - count != last):
                self._say(f"line {n} of the heads does not follow the one before")
            self.heads[seq], last = digest, seq

    def read_record(self, lines: Iterator[bytes]) -> None:
        """Every entry must be what was chained, and links that stand side by side must follow each other."""
        for n, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                canonical, seq, prev, digest = (entry[k] for k in ("canonical", "seq", "prev", "hash"))
                same = json.loads(canonical) == [entry[name] for name in FIELDS]
                if seq is not None and (
                    type(seq) is not int or type(prev) is not str or type(digest) is not str
                ):
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                self._say(f"line {n} of the record is no entry")
                self._before = None
                continue
            self.entries += 1
            if not same:
                self._say(f"line {n} of the record says otherwise than what was chained")
            if seq is None:
                self.unsealed += 1
            else:
                self._link(n, seq, prev, digest, canonical)

    def _link(self, n: int, seq: int, prev: str, digest: str, canonical: str) -> None:
        wrong = len(self.wrong)
        try:
            computed = sha256(bytes.fromhex(prev) + canonical.encode("utf-8")).hexdigest()
        except ValueError:
            computed = ""
        if computed != digest or (seq == 1 and prev != FIRST):
            self._say(f"line {n} of the record, link {seq}, is not what was chained: altered")
        if self.heads.get(seq, digest) != digest:
            self._say(f"line {n} of the record, link {seq}, is not the one that a signed head vouches for")
        before, self._before = self._before, (seq, prev, digest)
        step = seq - before[0] if before else 0
        if before and step == 0:
            self._say(f"line {n} of the record, link {seq}, is there twice")
        if before and step == 1 and prev != before[2]:
            self._say(f"line {n} of the record, link {seq}, does not follow link {before[0]}")
        if before and step == -1 and digest != before[1]:
            self._say(f"line {n} of the record, link {seq}, is not followed by link {before[0]}")
        if len(self.wrong) > wrong:
            self._before = None
            return
        if step not in (1, -1) or self._step not in (0, step):
            self._step, self._reached, self._waiting = 0, False, 0  # another stretch
            step = 0
        self._step = step
        self._vouch(seq in self.heads)

    def _vouch(self, headed: bool) -> None:
        """A head proves its link, and all before it that lead to it without a gap."""
        if headed:
            self.vouched += 1 + (0 if self._step == -1 else self._waiting)
            self._reached, self._waiting = True, 0
        elif self._step == -1 and self._reached:
            self.vouched += 1
        else:
            self._waiting += 1

    def _say(self, what: str) -> None:
        self.wrong.append(what)


def check(record: Path, heads: Path, key: Path) -> tuple[list[str], bool]:
    """What was found, line by line, and whether all of it agrees."""
    checker = Checker(bytes.fromhex(key.read_text("ascii").split()[0]))
    with heads.open("rb") as file:
        checker.read_heads(iter(file))
    with record.open("rb") as file:
        checker.read_record(iter(file))
    lines = [
        f"{checker.entries:,} entries, {len(checker.heads):,} signed heads of key {checker.key_id}.",
        f"{checker.vouched:,} entries are proved by a signed head.",
    ]
    rest = checker.entries - checker.vouched - checker.unsealed
    if rest:
        lines.append(
            f"{rest:,} agree with themselves, but no head is reached from them without a gap: "
            "check an export of the whole record, with later heads."
        )
    if checker.unsealed:
        lines.append(f"{checker.unsealed:,} were not chained yet when they were exported.")
    lines += [f"WRONG: {what}." for what in checker.wrong[:MOST_SHOWN]]
    if len(checker.wrong) > MOST_SHOWN:
        lines.append(f"WRONG: and {len(checker.wrong) - MOST_SHOWN:,} more.")
    if not checker.wrong:
        lines.append("Nothing was found to be wrong.")
    return lines, not checker.wrong


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 3:
        sys.stderr.write("Usage: python check_record.py record.jsonl heads.jsonl public-key.txt\n")
        return 2
    record, heads, key = map(Path, arguments)
    try:
        lines, good = check(record, heads, key)
    except (OSError, ValueError, IndexError) as error:
        sys.stderr.write(f"A file cannot be read: {error}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
