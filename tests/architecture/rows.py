"""All rows of a database, counted or digested: what a refused request must leave as it was."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection

from app.roles import libpq
from tests.conftest import Database

_NAMES = """
    SELECT relname FROM pg_class
    WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
_DIGEST = "md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), ''))"


@dataclass
class Rows:
    """Looks with the eyes of the superuser, whoever's connection it looks through."""

    database: Database
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        with psycopg.connect(libpq(self.database.admin), autocommit=True) as admin:
            self.names = [row[0] for row in admin.execute(_NAMES)]
            for function, what in (("rows_counted", "count(*)::text"), ("rows_digested", _DIGEST)):
                each = " UNION ALL ".join(
                    f"SELECT '{n}' AS name, {what} AS value FROM {n} t" for n in self.names
                )
                admin.execute(
                    f"CREATE OR REPLACE FUNCTION {function}() RETURNS jsonb LANGUAGE sql SECURITY DEFINER "
                    f"AS $$ SELECT jsonb_object_agg(name, value) FROM ({each}) AS every $$"
                )

    def counted(self, connection: Connection) -> dict[str, str]:
        """Table → how many rows, as one transaction sees them."""
        found: dict[str, str] = connection.execute(sa.text("SELECT rows_counted()")).scalar_one()
        return found

    def content(self, besides: Collection[str] = ()) -> dict[str, str]:
        """Table → digest of its committed rows, but for some tables."""
        with psycopg.connect(libpq(self.database.admin), autocommit=True) as admin:
            row = admin.execute("SELECT rows_digested()").fetchone()
        assert row is not None
        return {name: value for name, value in row[0].items() if name not in besides}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The tables that are not alike."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
