"""Encrypting values again under the newest key, while everything runs (design §7).

Goes through every encrypted column there is, a block of rows at a time in the order of their ids, each block in a
transaction of its own. What is under the newest key already is left alone, so a run that was broken off is simply
started again; and a value that somebody changes meanwhile stays as they wrote it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session, sessionmaker

import app.models  # noqa: F401  every table registers itself when it is imported
from app.audit import record as audit
from app.crypto import CryptoError, Keyring
from app.db import AWAY, BINARY, Base, EncryptedText

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
BLOCK = 1_000
TRIES = 5  # of a block that met somebody else's locks, or whose connection was cut


@dataclass(frozen=True, slots=True)
class Sealed:
    """A table and its encrypted columns."""

    table: sa.Table
    id: sa.Column[Any]
    columns: tuple[sa.Column[Any], ...]

    @property
    def name(self) -> str:
        return self.table.name


@dataclass(slots=True)
class Tally:
    """What became of one table: values encrypted again, and those that do not open and were left as they are."""

    table: str
    rotated: int = 0
    unreadable: int = 0


Progress = Callable[[str, int], None]
Counts = dict[str, dict[int, int]]  # table → key id → how many values are under it


def sealed() -> list[Sealed]:
    """Every table with encrypted columns, by name. A table that the models know is never forgotten."""
    found = []
    for table in sorted(Base.metadata.tables.values(), key=lambda t: t.name):
        columns = tuple(c for c in table.columns if isinstance(c.type, EncryptedText))
        if columns:
            (id,) = table.primary_key.columns
            found.append(Sealed(table, id, columns))
    return found


def standing(session: Session) -> Counts:
    """How many values are under which key. Reads every table with encrypted values from end to end."""
    counts: Counts = {}
    for one in sealed():
        keys: defaultdict[int, int] = defaultdict(int)
        for column in one.columns:
            raw = sa.type_coerce(column, sa.LargeBinary)
            key = sa.func.get_byte(raw, 0)
            query = sa.select(key, sa.func.count()).where(sa.func.octet_length(raw) > 0).group_by(key)
            for number, count in session.execute(query):
                keys[number] += count
        counts[one.name] = dict(sorted(keys.items()))
    return counts


def rotate(
    sessions: sessionmaker[Session],
    keyring: Keyring,
    *,
    actor: audit.Actor,
    progress: Progress = lambda _table, _count: None,
) -> list[Tally]:
    """Encrypt everything again that is not under the current key. ``sessions`` of the owner's role: it alone may write
    to all tables.

    Each table's part stands on the record when it ends, also when it is broken off.
    """
    tallies = []
    for one in sealed():
        tally = Tally(one.name)
        tallies.append(tally)
        try:
            for rotated, unreadable in _blocks(sessions, keyring, one):
                tally.rotated += rotated
                tally.unreadable += unreadable
                progress(one.name, tally.rotated)
        finally:
            if tally.rotated or tally.unreadable:
                _note(sessions, keyring, tally, actor)
    return tallies


def _note(sessions: sessionmaker[Session], keyring: Keyring, tally: Tally, actor: audit.Actor) -> None:
    with sessions.begin() as session:
        audit.record(
            session,
            event="key:rotate",
            subject=f"key:{keyring.current}",
            actor=actor,
            detail={"table": tally.table, "rotated": tally.rotated, "unreadable": tally.unreadable},
        )


def _blocks(sessions: sessionmaker[Session], keyring: Keyring, one: Sealed) -> Iterator[tuple[int, int]]:
    """(Values encrypted again, values that do not open) of each block of rows."""
    after = None
    while True:
        last, rotated, unreadable = _block(sessions, keyring, one, after)
        if last is None:
            return
        after = last
        yield rotated, unreadable


def _block(
    sessions: sessionmaker[Session], keyring: Keyring, one: Sealed, after: Any
) -> tuple[Any, int, int]:
    """The last id of the next block, None at the end, and what became of its values."""
    tries = 0
    while True:
        try:
            with sessions.begin() as session:
                return _again(session, keyring, one, after)
        except AWAY:
            tries += 1
            if tries == TRIES:
                raise


def _again(session: Session, keyring: Keyring, one: Sealed, after: Any) -> tuple[Any, int, int]:
    raws = [sa.type_coerce(c, sa.LargeBinary) for c in one.columns]
    current = bytes([keyring.current])
    stale = [sa.and_(r.is_not(None), sa.func.substring(r, 1, 1) != current) for r in raws]
    query = sa.select(one.id, *raws).where(sa.or_(*stale)).order_by(one.id).limit(BLOCK)
    if after is not None:
        query = query.where(one.id > after)
    rows = session.execute(query, execution_options=BINARY).all()
    if not rows:
        return None, 0, 0
    changed: list[list[Any]] = []
    rotated = unreadable = 0
    for id, *values in rows:
        line: list[Any] = [id]
        for column, value in zip(one.columns, values, strict=True):
            new, fate = _renewed(keyring, column, value)
            line += [value if new else None, new]
            rotated += fate > 0
            unreadable += fate < 0
        changed.append(line)
    session.execute(_update(one), _arrays(one, changed))
    return rows[-1][0], rotated, unreadable


def _renewed(keyring: Keyring, column: sa.Column[Any], value: bytes | None) -> tuple[bytes | None, int]:
    """The value under the current key and 1; None and 0 if it is there already, None and -1 if it does not open."""
    if value is None or value[:1] == bytes([keyring.current]):
        return None, 0
    purpose = column.type.purpose  # type: ignore[attr-defined]
    try:
        return keyring.encrypt(keyring.decrypt(value, purpose), purpose), 1
    except CryptoError:
        return None, -1


def _update(one: Sealed) -> sa.TextClause:
    """Puts new values in the place of old ones, and only in theirs: who changed a value meanwhile used the new key."""
    quote = _DIALECT.identifier_preparer.quote
    type = one.id.type.compile(dialect=_DIALECT)
    sets = ", ".join(
        f"{quote(c.name)} = CASE WHEN t.{quote(c.name)} = g.old{n} THEN g.new{n} ELSE t.{quote(c.name)} END"
        for n, c in enumerate(one.columns)
    )
    places = range(len(one.columns))
    arrays = ", ".join(f"CAST(:old{n} AS bytea[]), CAST(:new{n} AS bytea[])" for n in places)
    names = ", ".join(f"old{n}, new{n}" for n in places)
    return sa.text(
        f"UPDATE {quote(one.name)} t SET {sets} FROM unnest(CAST(:ids AS {type}[]), {arrays}) AS g(id, {names}) "
        f"WHERE t.{quote(one.id.name)} = g.id"
    ).bindparams(sa.bindparam("ids", type_=postgresql.ARRAY(one.id.type)))


def _arrays(one: Sealed, changed: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {"ids": [line[0] for line in changed]}
    for n in range(len(one.columns)):
        values[f"old{n}"] = [line[1 + 2 * n] for line in changed]
        values[f"new{n}"] = [line[2 + 2 * n] for line in changed]
    return values


def unused(counts: Counts, keyring: Keyring) -> list[int]:
    """Keys of the ring, but for the current one, under which nothing stands."""
    return sorted(set(keyring.ids) - _used(counts) - {keyring.current})


def unknown(counts: Counts, keyring: Keyring) -> list[int]:
    """Keys under which values stand and which the ring lacks: those values cannot be read."""
    return sorted(_used(counts) - set(keyring.ids))


def _used(counts: Counts) -> set[int]:
    return {key for keys in counts.values() for key in keys}
