"""Looking into every table of a database for what must not be there, in the clear and under our keys."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from app import crypto
from app.crypto import CryptoError
from app.db import EncryptedText
from app.registry import metadata
from app.roles import libpq

Needles = Mapping[str, str | bytes]
"""Name → a text, found in whatever case, or bytes (a digest)."""


def everywhere(admin_url: str, needles: Needles, *, opened: bool = True) -> set[tuple[str, str]]:
    """(Table, needle) of every row that holds one. ``opened``: encrypted values are looked into as well."""
    found: set[tuple[str, str]] = set()
    with psycopg.connect(libpq(admin_url)) as admin:
        tables = admin.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        ).fetchall()
        for (table,) in tables:
            rows = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(table))
            for (text,) in admin.execute(rows):
                found |= {(table, name) for name, needle in needles.items() if _holds(text, needle)}
            if opened and table in metadata.tables:
                found |= _opened(admin, table, needles)
    return found


def _holds(text: str, needle: str | bytes) -> bool:
    return (needle.hex() if isinstance(needle, bytes) else needle).casefold() in text.casefold()


def _opened(admin: psycopg.Connection, table: str, needles: Needles) -> set[tuple[str, str]]:
    found = set()
    for column in metadata.tables[table].columns:
        if not isinstance(column.type, EncryptedText):
            continue
        values = sql.SQL("SELECT {0} FROM {1} WHERE {0} IS NOT NULL").format(
            sql.Identifier(column.name), sql.Identifier(table)
        )
        for (blob,) in admin.execute(values):
            try:
                text = crypto.keyring().decrypt(bytes(blob), column.type.purpose)
            except CryptoError:
                continue
            found |= {(table, name) for name, needle in needles.items() if _holds(text, needle)}
    return found
