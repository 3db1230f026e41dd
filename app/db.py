"""The ground of every table: Base, naming, column types, engines and ids.

Opens no embedded service: whoever starts a process does (factory, CLI, workers.main).
"""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg
import sqlalchemy as sa
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator, UserDefinedType
from uuid_utils.compat import uuid7

from app import crypto

__all__ = [
    "BINARY",
    "Base",
    "Bx",
    "EncryptedText",
    "GridBox",
    "GridPoint",
    "Pt",
    "make_engine",
    "make_sessions",
    "new_contact_id",
    "new_id",
    "utc_now",
]

# The database is away, or ended our connection: what was under way may be tried again.
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError)

# Execution options of a statement with many bytes: as text each takes twice the room, and time at both ends. Arrays of
# bigint come as ``Ids``.
BINARY = {"binary": True}

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: sa.DateTime(timezone=True),
        UUID: sa.Uuid,
        str: sa.Text,
    }


class Pt(NamedTuple):
    """A spot on the British National Grid (EPSG:27700), metres."""

    easting: float
    northing: float


class GridPoint(UserDefinedType[Pt]):
    """PostgreSQL's own ``point``, holding easting and northing in metres."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "POINT"

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return lambda v: None if v is None else f"({v[0]!r},{v[1]!r})"

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.cast(bindvalue, self)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        def read(value: str | None) -> Pt | None:
            if value is None:
                return None
            easting, northing = value.strip("()").split(",")
            return Pt(float(easting), float(northing))

        return read


class Bx(NamedTuple):
    """A rectangle on the British National Grid, metres."""

    west: float
    south: float
    east: float
    north: float


class GridBox(UserDefinedType[Bx]):
    """PostgreSQL's own ``box``, for overlaps by index."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "BOX"

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return lambda v: None if v is None else f"({v[0]!r},{v[1]!r}),({v[2]!r},{v[3]!r})"

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.cast(bindvalue, self)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        def read(value: str | None) -> Bx | None:
            if value is None:
                return None
            east, north, west, south = value.replace("(", "").replace(")", "").split(",")
            return Bx(float(west), float(south), float(east), float(north))

        return read


# Without this, reflection warns of an unknown type and autogenerate sees false differences.
ischema_names["point"] = GridPoint
ischema_names["box"] = GridBox


class EncryptedText(TypeDecorator[str]):
    """Text at rest as AES-GCM under the process's keyring; ``purpose`` binds it to its column."""

    impl = sa.LargeBinary
    cache_ok = True

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self.purpose = purpose

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> bytes | None:
        return None if value is None else crypto.keyring().encrypt(value, self.purpose)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else crypto.keyring().decrypt(bytes(value), self.purpose)


def make_engine(
    url: str,
    *,
    pool_size: int = 5,
    application_name: str = "wardlink",
    idle_seconds: float = 0,
    trust_seconds: float = 0,
) -> sa.Engine:
    """An engine with the settings every process needs; connects lazily.

    PostgreSQL ends a session that lies idle inside a transaction for ``idle_seconds`` (0: never). A connection that
    was used within ``trust_seconds`` is not asked whether it still lives: a sender would ask twice a batch, and is
    ready for it to end at any statement.
    """
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_use_lifo=True,  # the connection used last: its plans are made, and what lies idle can be let go
        hide_parameters=True,  # an error's text goes to logs, and values have no place there
        json_serializer=lambda v: orjson.dumps(v).decode(),
        json_deserializer=orjson.loads,
        connect_args={
            "application_name": application_name,
            "options": f"-c timezone=UTC -c idle_in_transaction_session_timeout={int(idle_seconds * 1000)} "
            "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
            "connect_timeout": 10,
            # A host that vanished is noticed within half a minute, not after the kernel's two hours; on the server's
            # side too, so that what a lost host held (the scheduler's lock) is free by then.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    sa.event.listen(engine, "before_cursor_execute", _in_binary)
    sa.event.listen(engine, "checkin", _used)
    sa.event.listen(engine, "checkout", partial(_alive, engine, trust_seconds))
    return engine


def _used(_connection: object, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _alive(engine: sa.Engine, trust_seconds: float, connection: Any, record: Any, _proxy: object) -> None:
    """Ask a connection whether it still lives before anybody uses it, and take new ones if not."""
    used = record.info.get("used")
    if used is None or time.monotonic() - used < trust_seconds:  # made at this moment, or trusted
        return
    try:
        engine.dialect.do_ping(connection)
    except psycopg.Error as error:
        raise sa.exc.InvalidatePoolError from error


def _in_binary(
    _connection: object, cursor: Any, _statement: str, _values: object, context: Any, _many: bool
) -> None:
    if context is not None and context.execution_options.get("binary"):
        cursor.format = Format.BINARY
        cursor.adapters.register_loader(_IDS, _IdsLoader)


_IDS = psycopg.postgres.types["int8"].array_oid


class Ids(bytes):
    """An array of bigint as PostgreSQL sends it in binary: it can go back as it came, and need not become a million
    of Python's numbers in between.
    """


class _IdsLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> Ids:
        return Ids(data)


class _IdsDumper(Dumper):
    format = Format.BINARY
    oid = _IDS

    def dump(self, obj: Ids) -> Ids:
        return obj


psycopg.adapters.register_dumper(Ids, _IdsDumper)


def make_sessions(engine: sa.Engine) -> sessionmaker[Session]:
    """Sessions that keep attributes after a commit: rows travel to pages and workers."""
    return sessionmaker(engine, expire_on_commit=False)


def new_id() -> UUID:
    """A UUIDv7: sortable by time, safe in URLs; made here because PostgreSQL 15 cannot."""
    return uuid7()


def new_contact_id() -> int:
    """63 random bits, never zero: stands in arrays and outlives erasure, so it must say nothing."""
    return secrets.randbits(63) or 1


def utc_now() -> datetime:
    return datetime.now(UTC)
