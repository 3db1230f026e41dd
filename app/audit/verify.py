"""Proves the record, or names what was done to it: the chain recomputed, every signed head compared.

Whatever stands under a signed head cannot be edited, deleted, inserted, reordered or cut off
unseen, not by the database's superuser either: the heads' key is not in the database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy.orm import Session

from app.audit.encoding import COLUMNS, GENESIS, encode, link
from app.audit.findings import Findings, Report, Trouble
from app.audit.heads import Head, heads_size, key_id, read_heads, signed_bytes

__all__ = ["verify"]

_BATCH = 2_000
_POLL_SECONDS = 0.2
_UNSEALED_LIMIT = 10_000
_UNSEALED = (
    "SELECT e.id FROM audit_entries e WHERE {which} "
    "NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = e.id) ORDER BY e.id LIMIT :limit"
)
_CHAIN = sa.text(
    f"SELECT s.seq, s.entry_id, s.prev, s.hash, {COLUMNS} "
    "FROM audit_seals s LEFT JOIN audit_entries e ON e.id = s.entry_id ORDER BY s.seq"
)
_HEAD_OF_ENTRY = 4  # columns of the link, before those of the entry


def verify(
    session: Session,
    heads_dir: Path,
    public_key: Ed25519PublicKey,
    wait_seconds: float = 10.0,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Check the whole record against itself and against the signed heads in ``heads_dir``.

    Entries that are unsealed now are given ``wait_seconds`` for the sealer to chain them;
    those that come later are left to the next check. Memory stays flat at any length. The
    session should be new, and is only read; any role that may read entries and seals will do,
    but only the owner and the sealer can also see the list of the unsealed.
    """
    found = Findings()
    deadline = clock() + wait_seconds
    late = _unsealed(session)
    vouching = heads_size(heads_dir)
    while (late or (not vouching and _has_seals(session))) and clock() < deadline:
        sleep(_POLL_SECONDS)
        session.rollback()
        late = _unsealed(session, late) if late else late
        vouching = heads_size(heads_dir)
    _report_unsealed(session, late, found)

    # The size was taken before the chain is read, so no head can be newer than what is compared with it.
    heads = _Heads(_genuine(read_heads(heads_dir, vouching), public_key, found), found)
    links, last = _walk(session, heads, found)
    heads.end(last)
    if links and not heads.any:
        found.add(
            Trouble.HEAD, f"No signed head in {heads_dir} vouches for any of the {links:,} chained entries."
        )
    session.rollback()
    return Report(links, last, heads.good, heads.vouched, tuple(found.kept), found.more)


def _walk(session: Session, heads: _Heads, found: Findings) -> tuple[int, int]:
    """Recompute the chain in order of ``seq``; the number of links and the last ``seq``."""
    links, last, previous = 0, 0, GENESIS
    # One statement sees one moment, so what the sealer adds meanwhile does not matter.
    rows = session.execute(_CHAIN, execution_options={"stream_results": True, "yield_per": _BATCH})
    for row in rows:
        links += 1
        seq, entry = row.seq, row.entry_id
        if seq <= last:
            found.add(
                Trouble.INSERTED, f"Link {seq} stands in the chain more than once, or below 1.", seq=seq
            )
            continue
        if seq > last + 1:
            gap = f"Link {last + 1} is" if seq == last + 2 else f"Links {last + 1} to {seq - 1} are"
            found.add(Trouble.DELETED, f"{gap} gone: deleted with what they held.", seq=last + 1)
        elif bytes(row.prev) != previous:
            found.add(
                Trouble.BROKEN,
                f"Link {seq} (entry {entry}) does not follow from link {last}: "
                "something between them was inserted, deleted or reordered.",
                seq=seq,
                entry=entry,
            )
        _check_entry(row, found)
        heads.reach(seq, bytes(row.hash))
        # Go on from what is written, so that one edited entry is one finding and not a million.
        last, previous = seq, bytes(row.hash)
    return links, last


def _check_entry(row: sa.Row[Any], found: Findings) -> None:
    where = {"seq": row.seq, "entry": row.entry_id}
    if row.id is None:
        message = f"Entry {row.entry_id}, chained as link {row.seq}, is gone: deleted."
        found.add(Trouble.DELETED, message, **where)
        return
    try:
        same = link(bytes(row.prev), encode(row[_HEAD_OF_ENTRY:])) == bytes(row.hash)
    except ValueError:
        same = False
    if not same:
        message = (
            f"Entry {row.entry_id} is not what was chained as link {row.seq}: edited, or put in its place."
        )
        found.add(Trouble.ALTERED, message, **where)


class _Heads:
    """Walks the genuine heads beside the chain; both are in order of ``seq``."""

    def __init__(self, heads: Iterator[Head], found: Findings) -> None:
        self._heads, self._found = heads, found
        self._next = next(heads, None)
        self.any = self._next is not None
        self.good = 0
        self.vouched = 0

    def reach(self, seq: int, digest: bytes) -> None:
        """The chain has come to link ``seq``."""
        while self._next is not None and self._next.seq <= seq:
            head = self._next
            if head.seq < seq:
                self._wrong(head, f"link {head.seq}, which is gone")
            elif head.hash != digest.hex():
                self._wrong(head, f"another link {seq} than the chain has now")
            else:
                self.good += 1
                self.vouched = seq
            self._next = next(self._heads, None)

    def end(self, last: int) -> None:
        """The chain ends at link ``last``: no head may lie beyond it."""
        while self._next is not None:
            head = self._next
            message = (
                f"The chain was cut off: the head signed at {head.at} vouches for {head.seq:,} links, "
                f"and there are {last:,}."
            )
            self._found.add(Trouble.TRUNCATED, message, seq=head.seq)
            self._next = next(self._heads, None)

    def _wrong(self, head: Head, what: str) -> None:
        message = (
            f"The head signed at {head.at} vouches for {what}: entries between link {self.vouched + 1} and "
            f"link {head.seq} were edited, inserted, deleted or reordered, and chained again."
        )
        self._found.add(Trouble.REWRITTEN, message, seq=head.seq)


def _genuine(heads: Iterator[Head | None], public_key: Ed25519PublicKey, found: Findings) -> Iterator[Head]:
    """Only what our key signed, in ascending order; the rest is reported."""
    key, before = key_id(public_key), 0
    for line, head in enumerate(heads, start=1):
        if head is None:
            found.add(Trouble.HEAD, f"Line {line} of the heads is no head.")
        elif not _signed(head, public_key, key):
            found.add(
                Trouble.HEAD,
                f"The head in line {line} was not signed with our key ({key}): forged.",
                seq=head.seq,
            )
        elif head.seq <= before:
            message = f"The head in line {line} goes back from link {before} to link {head.seq}."
            found.add(Trouble.HEAD, message, seq=head.seq)
        else:
            if before and head.seq - head.count != before:
                message = f"Heads are missing before line {line}: it follows link {head.seq - head.count}, not {before}."
                found.add(Trouble.HEAD, message, seq=head.seq)
            before = head.seq
            yield head


def _signed(head: Head, public_key: Ed25519PublicKey, key: str) -> bool:
    try:
        public_key.verify(bytes.fromhex(head.signature), signed_bytes(head))
    except (InvalidSignature, ValueError):
        return False
    return head.key == key


def _unsealed(session: Session, among: list[int] | None = None) -> list[int]:
    which = "" if among is None else "e.id = ANY(:among) AND"
    bound: dict[str, object] = {"limit": _UNSEALED_LIMIT}
    if among is not None:
        bound["among"] = among
    return list(session.execute(sa.text(_UNSEALED.format(which=which)), bound).scalars())


def _has_seals(session: Session) -> bool:
    return bool(session.execute(sa.text("SELECT EXISTS (SELECT FROM audit_seals)")).scalar_one())


def _report_unsealed(session: Session, late: list[int], found: Findings) -> None:
    listed: set[int] | None = None
    may_look = sa.text("SELECT has_table_privilege('audit_pending', 'SELECT')")
    if session.execute(may_look).scalar_one():
        query = sa.text("SELECT entry_id FROM audit_pending WHERE entry_id = ANY(:ids)")
        listed = set(session.execute(query, {"ids": late}).scalars()) if late else set()
        _report_strays(session, found)
    for entry in late:
        if listed is not None and entry not in listed:
            message = f"Entry {entry} is neither chained nor on the sealer's list: inserted past it, or struck off it."
            found.add(Trouble.INSERTED, message, entry=entry)
        else:
            message = f"Entry {entry} was not chained in time: the sealer is down, or was kept from it."
            found.add(Trouble.UNSEALED, message, entry=entry)


def _report_strays(session: Session, found: Findings) -> None:
    strays = sa.text(
        "SELECT p.entry_id, EXISTS (SELECT FROM audit_entries e WHERE e.id = p.entry_id) AS there "
        "FROM audit_pending p WHERE NOT EXISTS (SELECT FROM audit_entries e WHERE e.id = p.entry_id) "
        "OR EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = p.entry_id) ORDER BY 1 LIMIT 1000"
    )
    for row in session.execute(strays):
        if row.there:
            found.add(
                Trouble.INSERTED,
                f"Entry {row.entry_id} was listed again after it was chained.",
                entry=row.entry_id,
            )
        else:
            found.add(
                Trouble.DELETED,
                f"Entry {row.entry_id} was deleted before it was chained.",
                entry=row.entry_id,
            )
