"""Error pages in plain English, each with the right status; nothing that was sent is repeated."""

from __future__ import annotations

import traceback

import sqlalchemy as sa
import structlog
from flask import Flask, Response, g, make_response, render_template, request
from werkzeug.exceptions import BadHost, HTTPException
from werkzeug.wrappers import Response as AnyResponse

from app.embedded import client
from app.embedded.state import EmbeddedError
from app.errors import Missing
from app.web import context

log = structlog.get_logger(__name__)

WORDS = {
    400: (
        "That request could not be read",
        "Something in it is not as it should be. Go back and try again.",
    ),
    403: (
        "That form is not ours",
        "It came from another site, so nothing was changed. Open the page here and use the form on it.",
    ),
    404: (
        "Page not found",
        "If you typed the address, check that it is right. If you copied it, check that you copied all of it.",
    ),
    405: ("This page does not do that", "Go back to the page before and use the form there."),
    410: ("This is no longer here", "It was meant for a short time."),
    413: ("That is too much", "What was sent is larger than this page accepts."),
    415: ("That is not a form", "This page accepts only what its own form sends."),
    429: ("Too many requests", "Wait a minute, then try again."),
    500: (
        "Sorry, there is a problem with the service",
        "Nothing was changed. Try again later; if it happens again, tell us the number below.",
    ),
    503: (
        "Sorry, the service is not available",
        "Nothing was changed. Try again in a minute.",
    ),
}
# Machines call these: they read the status, and a person who debugs reads a line of text.
_FOR_MACHINES = ("/hooks/", "/health/", "/metrics")


def page(status: int, title: str | None = None, words: str | None = None) -> Response:
    """An error as a page, or as a line of text where a machine has called."""
    known = WORDS.get(status) or (WORDS[400] if status < 500 else WORDS[500])
    title, words = title or known[0], words or known[1]
    # For a host that is no host, Flask makes no addresses, and no page of ours does without.
    if request.path.startswith(_FOR_MACHINES) or isinstance(request.routing_exception, BadHost):
        response = make_response(f"{title}. {words}\n", status)
        response.mimetype = "text/plain"
        return response
    number = g.get("request_id") if status >= 500 else None
    return make_response(render_template("error.html", title=title, words=words, number=number), status)


def install(app: Flask) -> None:
    """Answer every error of ``app`` by a page of ours."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Missing, _missing)
    app.register_error_handler(sa.exc.OperationalError, _database_away)
    app.register_error_handler(sa.exc.InterfaceError, _database_away)
    app.register_error_handler(sa.exc.TimeoutError, _database_away)
    app.register_error_handler(Exception, _unexpected)


def _missing(error: Missing) -> Response:
    """What is not there, and what may not be seen: the two look alike."""
    return page(404)


def _http(error: HTTPException) -> AnyResponse:
    status = error.code or 500
    if status < 400:  # a redirect of the routing's own
        return error.get_response()
    response = page(status)
    for header, value in error.get_headers():
        if header in {"Allow", "Retry-After"}:
            response.headers[header] = value
    return response


def _database_away(error: Exception) -> Response:
    """The database does not answer: say so with 503, for providers then call again."""
    log.warning("database_away", error=type(error).__name__)
    settings = context.settings()
    if settings.embedded:
        try:
            client.ensure(settings.local_dir)
        except (EmbeddedError, OSError) as trouble:
            log.error("embedded_away", error=type(trouble).__name__)
    response = page(503)
    response.headers["Retry-After"] = "5"
    return response


def _unexpected(error: Exception) -> Response:
    # Where it happened, not what was said: messages of the database's errors hold the values.
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{f.filename}:{f.lineno} {f.name}" for f in frames if "site-packages" not in f.filename]
    log.error("request_failed", error=type(error).__name__, places=places)
    return page(500)
