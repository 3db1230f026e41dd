"""Whether this process lives, and whether it can do its work: for load balancers and watchdogs."""

from __future__ import annotations

import sqlalchemy as sa
import structlog
from flask import Blueprint, Response, jsonify

from app import queue
from app.web import context, guards

log = structlog.get_logger(__name__)
pages = Blueprint("health", __name__, url_prefix="/health")


@pages.get("/live")
@guards.anyone
def live() -> Response:
    """This process answers; nothing else is looked at."""
    return jsonify(status="ok")


@pages.get("/ready")
@guards.anyone
def ready() -> tuple[Response, int]:
    """503 while the database is away. The queue is only a doorbell: without it we are slower, not down."""
    database = _database()
    parts = {"database": "ok" if database else "away", "queue": "ok" if queue.reachable() else "away"}
    return jsonify(status="ok" if database else "away", **parts), 200 if database else 503


def _database() -> bool:
    try:
        with context.registry().engine.connect() as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 2000"))
            connection.execute(sa.text("SELECT 1"))
    except (sa.exc.SQLAlchemyError, OSError) as error:
        log.warning("database_away", error=type(error).__name__)
        return False
    return True
