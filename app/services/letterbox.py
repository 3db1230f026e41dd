"""Where webhook calls are kept as they come: an INSERT, committed when it returns, and nothing around it.

A provider's burst is thousands of calls a second, and each is answered only once it is committed. So a process has one
connection for it, outside the pool: no check of the connection before its use, no BEGIN, no COMMIT. What comes while
one INSERT is under way goes in together with the next. What was kept is told to nobody here; merging it is
``app.services.receipts``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from app.db import AWAY

_ONE = "INSERT INTO raw_events (source, body) VALUES (%s, %s)"
_MANY = "INSERT INTO raw_events (source, body) SELECT * FROM unnest(%s::text[], %s::text[])"


class _Call:
    """A call that waits to be kept; ``leads``: its thread writes down all that wait with it."""

    __slots__ = ("body", "error", "leads", "source", "told")

    def __init__(self, source: str, body: str) -> None:
        self.source, self.body = source, body
        self.told = threading.Event()
        self.leads = False
        self.error: BaseException | None = None


class Letterbox:
    """Keeps calls in the database of ``engine``. One for a process; any thread may use it."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._waiting: list[_Call] = []
        self._led = False
        self._proxied: Any = None  # used by who leads alone
        sa.event.listen(engine, "engine_disposed", self._close)

    def keep(self, source: str, body: str) -> None:
        """Keep one call; it is committed when this returns.

        A connection that broke while it lay idle is made anew, once. Kept twice is harmless: merging twice changes
        nothing. Raises SQLAlchemy's OperationalError while the database is away.
        """
        mine = _Call(source, body)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._led = not self._led, True
        if not mine.leads:
            mine.told.wait()
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error

    def _lead(self) -> None:
        """Write down all that wait, tell them, and hand on to the first of those who came meanwhile."""
        with self._lock:
            group, self._waiting = self._waiting, []
        error: BaseException | None = None
        try:
            self._write(group)
        except BaseException as caught:  # whatever it was, nobody may wait for ever
            error = caught
        with self._lock:
            heir = self._waiting[0] if self._waiting else None
            self._led = heir is not None
            if heir is not None:
                heir.leads = True
        for call in group:
            call.error = error
            call.told.set()
        if heir is not None:
            heir.told.set()

    def _write(self, group: Sequence[_Call]) -> None:
        if self._proxied is not None:
            try:
                self._insert(group)
                return
            except AWAY:
                self._drop()
        self._connect()
        try:
            self._insert(group)
        except AWAY:
            self._drop()
            raise

    def _insert(self, group: Sequence[_Call]) -> None:
        connection = self._proxied.dbapi_connection
        with self._as_always():
            if len(group) == 1:
                connection.execute(_ONE, (group[0].source, group[0].body))
            else:
                connection.execute(_MANY, ([c.source for c in group], [c.body for c in group]))

    def _connect(self) -> None:
        with self._as_always():
            proxied = self._engine.raw_connection()
        proxied.detach()  # the pool may make another in its place
        proxied.dbapi_connection.autocommit = True  # type: ignore[union-attr]
        self._proxied = proxied

    @contextlib.contextmanager
    def _as_always(self) -> Iterator[None]:
        """The driver's errors as every other statement of ours raises them, so that one handler answers for all."""
        driver = self._engine.dialect.loaded_dbapi.Error
        try:
            yield
        except driver as error:
            raise sa.exc.DBAPIError.instance(_ONE, None, error, driver, hide_parameters=True) from error

    def _drop(self) -> None:
        proxied, self._proxied = self._proxied, None
        with contextlib.suppress(Exception):
            proxied.dbapi_connection.close()

    def _close(self, _: sa.Engine) -> None:
        """The connection goes with the engine's; the next call makes its own anew."""
        if self._proxied is not None:
            self._drop()
