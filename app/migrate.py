"""Bringing a database up to date, as its owner."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from app.db import make_engine

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"


def configuration(connection: sa.Connection | None = None) -> Config:
    """Alembic's configuration for a connection of the owner's."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(owner_url: str) -> None:
    """Run the migrations that are due. Two at once: the second waits, and finds nothing to do."""
    engine = make_engine(owner_url, application_name="wardlink-migrate")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(hashtext('wardlink.migrate'))"))
            # Rather an upgrade that is tried again than one that queues behind a long query, and everybody behind it.
            connection.execute(sa.text("SET lock_timeout = '10s'"))
            connection.commit()
            command.upgrade(configuration(connection), "head")
            connection.commit()
    finally:
        engine.dispose()
