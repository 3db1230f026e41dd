"""A real lock in the way of one step of a worker's cycle, so that a fault can strike right there."""

from __future__ import annotations

from types import TracebackType

import psycopg
from psycopg import sql

from app import roles

_KEY = 20_261
_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'
"""


class Stall:
    """Holds up every statement ``event`` on ``table`` for which ``condition`` (SQL) holds, until ``free``.

    ``event``: INSERT or UPDATE; ``rows``: SQL over OLD and NEW, for which the trigger looks at each
    row instead of at the statement. Made as the superuser, in a database of the test's own.
    """

    def __init__(self, admin_url: str, event: str, table: str, condition: str, rows: str = "") -> None:
        each = f"FOR EACH ROW WHEN ({rows})" if rows else "FOR EACH STATEMENT"
        self._admin = psycopg.connect(roles.libpq(admin_url), autocommit=True)
        self._admin.execute("SELECT pg_advisory_lock(%s)", (_KEY,))
        self._admin.execute(
            sql.SQL(
                f"CREATE OR REPLACE FUNCTION chaos_stall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF {condition} THEN PERFORM pg_advisory_xact_lock_shared({_KEY}); END IF; RETURN NEW; END $$"
            )
        )
        self._admin.execute(
            sql.SQL(
                f"CREATE TRIGGER chaos_stall BEFORE {event} ON {table} {each} EXECUTE FUNCTION chaos_stall()"
            )
        )

    def waiting(self, least: int = 1) -> bool:
        """Whether ``least`` connections stand before the lock now."""
        row = self._admin.execute(_WAITING).fetchone()
        return row is not None and row[0] >= least

    def free(self) -> None:
        """Let everybody through, from now on."""
        self._admin.close()

    def __enter__(self) -> Stall:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free()
