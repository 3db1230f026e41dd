"""Chains what is committed and not yet chained. Only the sealer calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.audit.encoding import COLUMNS, GENESIS, encode, link

__all__ = ["BATCH", "Tip", "seal_pending", "take_turn", "tip", "unsealed_count"]

BATCH = 5_000
_LOCK = 0x5EA1_0001  # of pg_advisory_lock: one sealer for each database

# In two steps, each by its index: joined, the planner may walk a million sealed rows for three new ones.
_PENDING = sa.text(
    "SELECT entry_id FROM audit_pending WHERE entry_id > :after ORDER BY entry_id LIMIT :limit"
)
_ENTRIES = sa.text(f"SELECT {COLUMNS} FROM audit_entries e WHERE e.id = ANY(:ids) ORDER BY e.id")
_SEALED = sa.text("SELECT entry_id FROM audit_seals WHERE entry_id = ANY(:ids)")
_TIP = sa.text("SELECT seq, hash FROM audit_seals ORDER BY seq DESC LIMIT 1")
_INSERT = sa.text(
    "INSERT INTO audit_seals (seq, entry_id, prev, hash) SELECT * FROM unnest("
    "CAST(:seqs AS bigint[]), CAST(:ids AS bigint[]), CAST(:prevs AS bytea[]), CAST(:hashes AS bytea[]))"
)
_WAITING = sa.text(
    "SELECT count(*) FROM audit_pending p WHERE EXISTS (SELECT FROM audit_entries e WHERE e.id = p.entry_id) "
    "AND NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = p.entry_id)"
)
_DELETE = sa.text("DELETE FROM audit_pending WHERE entry_id = ANY(:ids)")


class Tip(NamedTuple):
    """The last link of the chain; (0, 32 zero bytes) before the first."""

    seq: int
    hash: bytes


def take_turn(connection: sa.Connection) -> bool:
    """Try to become the one sealer, for as long as this connection lives."""
    mine = connection.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar_one()
    connection.commit()
    return bool(mine)


def tip(connection: sa.Connection) -> Tip:
    row = connection.execute(_TIP).one_or_none()
    return Tip(0, GENESIS) if row is None else Tip(row.seq, bytes(row.hash))


def unsealed_count(connection: sa.Connection) -> int:
    """How many committed entries wait to be chained."""
    return int(connection.execute(_WAITING).scalar_one())


def seal_pending(connection: sa.Connection, *, after: int = 0, limit: int = BATCH) -> tuple[int, int | None]:
    """Chain up to ``limit`` committed, unsealed entries with an id above ``after``, in one transaction.

    Returns how many were sealed, and the id to go on from, or None when the list is at its
    end. What cannot be chained stays on the list, for ``verify`` to name: an id without an
    entry, an entry chained before, an entry that no version of the encoding can write. Only
    who gets past the tables' guards can make such.
    """
    with connection.begin():
        listed = list(connection.execute(_PENDING, {"after": after, "limit": limit}).scalars())
        sealed = 0
        if listed:
            before = set(connection.execute(_SEALED, {"ids": listed}).scalars())
            wanted = [entry for entry in listed if entry not in before]
            sealed = _append(connection, connection.execute(_ENTRIES, {"ids": wanted}).all())
    return sealed, listed[-1] if len(listed) == limit else None


def _append(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> int:
    last, previous = tip(connection)
    ids, prevs, hashes = [], [], []
    for row in rows:
        try:
            encoded = encode(row)
        except ValueError:
            continue
        ids.append(row.id)
        prevs.append(previous)
        previous = link(previous, encoded)
        hashes.append(previous)
    if ids:
        seqs = list(range(last + 1, last + 1 + len(ids)))
        connection.execute(_INSERT, {"seqs": seqs, "ids": ids, "prevs": prevs, "hashes": hashes})
        connection.execute(_DELETE, {"ids": ids})
    return len(ids)
