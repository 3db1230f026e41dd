"""The job behind a ring for alarms: post to the webhook what waits for it, signed, and again if that fails."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
from datetime import timedelta
from urllib.parse import urlsplit

import orjson

from app import queue
from app.db import utc_now
from app.services import alarm_routes
from app.services.alarm_routes import PILE
from workers import runtime

TIMEOUT = 10.0  # seconds for each step of one call
HELD_FOR = timedelta(seconds=120)  # a worker that is lost meanwhile leaves its calls to the next


def post() -> int:
    """Post what is due; how many calls were made. To do it again finds nothing."""
    queue.answered(PILE)
    return runtime.attempt(_post)


def _post() -> int:
    registry = runtime.registry()
    settings = registry.settings
    with registry.sessions.begin() as session:
        due = alarm_routes.calls_due(session, now=utc_now(), held_for=HELD_FOR)
    for call in due:
        problem = "no webhook is set"
        if settings.alarm_webhook:
            problem = _call(settings.alarm_webhook, settings.alarm_webhook_key, orjson.dumps(call.body()))
        with registry.sessions.begin() as session:
            alarm_routes.called(session, call, now=utc_now(), problem=problem)
    return len(due)


def signature(key: str, at: int, body: bytes) -> str:
    """``t=seconds,v1=hex``: HMAC-SHA256 of "seconds.body", so that an old call cannot be played again."""
    digest = hmac.new(key.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _call(url: str, key: str, body: bytes) -> str:
    """One POST; what went wrong as a short word, or nothing. Redirects are not followed."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # With its port: without one, the end of an IPv6 address would be taken for it.
        connection = http.client.HTTPSConnection(
            host, parts.port or 443, timeout=TIMEOUT, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port or 80, timeout=TIMEOUT)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Wardlink",
        "X-Wardlink-Signature": signature(key, int(utc_now().timestamp()), body),
    }
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body=body, headers=headers)
        answer = connection.getresponse()
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: an address of no ASCII
        return type(error).__name__
    finally:
        connection.close()
    return "" if 200 <= answer.status < 300 else str(answer.status)
