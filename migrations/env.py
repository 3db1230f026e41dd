"""Alembic's entry: migrations run as the owner's role, on a connection given by app.migrate."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context

from app.registry import metadata


def partitions(connection: sa.Connection) -> set[str]:
    """Partitions are made by month, not by the models: autogenerate must leave them alone."""
    return set(connection.execute(sa.text("SELECT relname FROM pg_class WHERE relispartition")).scalars())


def run() -> None:
    connection: sa.Connection = context.config.attributes["connection"]
    hidden = partitions(connection)

    def include(_: Any, name: str | None, kind: str, *__: Any) -> bool:
        return not (kind == "table" and name in hidden)

    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=include,
        compare_type=True,
        compare_server_default=False,
        user_module_prefix="db.",
        # What one locks is free again before the next begins.
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
