"""Whether this process lives, and whether it can do its work: for load balancers and watchdogs.

Both answer in JSON, or in lines of text to whoever asks for text/plain, and say nothing that a stranger may not know.
"""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa
import structlog
from flask import Blueprint, Response, jsonify, make_response, request

from app import queue
from app.services import heartbeats
from app.web import context, guards
from config.fields import PROJECT

log = structlog.get_logger(__name__)
pages = Blueprint("health", __name__, url_prefix="/health")

_BOUND = sa.text("SET LOCAL statement_timeout = 2000")
_VERSION = sa.text("SELECT version_num FROM alembic_version")
SILENT = heartbeats.SILENT_AFTER["scheduler"]


@pages.get("/live")
@guards.anyone
def live() -> Response:
    """This process answers; nothing else is looked at."""
    return _answer({"status": "ok"}, 200)


@pages.get("/ready")
@guards.anyone
def ready() -> Response:
    """503 while the database is away or its tables are older than this program.

    The queue is only a doorbell, and a silent scheduler is the workers' to tell: without them we are slower, not down.
    """
    parts = {"database": "away"}
    try:
        with context.registry().sessions() as session:
            session.execute(_BOUND)
            parts = {"database": "ok", "tables": _tables(session.execute(_VERSION).scalars().all())}
            if parts["tables"] != "behind":
                silence = heartbeats.scheduler_silence(heartbeats.latest(session))
                parts["scheduler"] = "silent" if silence >= SILENT else "ok"
    except (sa.exc.SQLAlchemyError, OSError) as error:
        log.warning("database_away", error=type(error).__name__)
    parts["queue"] = "ok" if queue.reachable() else "away"
    if parts["database"] == "away" or parts.get("tables") == "behind":
        return _answer({"status": "away"} | parts, 503)
    slower = parts["queue"] == "away" or parts.get("scheduler") == "silent"
    return _answer({"status": "degraded" if slower else "ok"} | parts, 200)


@cache
def revisions() -> tuple[str, ...]:
    """The migrations that this program knows, in order; by the names of their files, for Alembic is slow to load."""
    found = (PROJECT / "migrations" / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")
    return tuple(sorted(path.name[:4] for path in found))


def _tables(at: object) -> str:
    """ok; behind; or ahead, as they are for the program of before while a new one takes its place."""
    known = revisions()
    if at == [known[-1]]:
        return "ok"
    return "behind" if at in ([], *([one] for one in known)) else "ahead"


def _answer(parts: dict[str, str], status: int) -> Response:
    if request.accept_mimetypes.best_match(["application/json", "text/plain"]) == "text/plain":
        response = make_response("".join(f"{name} {value}\n" for name, value in parts.items()), status)
        response.mimetype = "text/plain"
        return response
    response = jsonify(parts)
    response.status_code = status
    return response
