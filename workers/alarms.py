"""The job behind a ring for alarms: post to the webhook what waits for it, signed, and again if that fails."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta

import orjson

from app import queue
from app.db import utc_now
from app.services import alarm_routes, fetching
from app.services.alarm_routes import PILE
from app.services.fetching import FetchError, Reach
from workers import runtime

TIMEOUT = 10.0  # seconds for one call
LONGEST = 64 * 1024  # bytes of an answer, which nobody reads
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
    headers = {
        "Content-Type": "application/json",
        "X-Wardlink-Signature": signature(key, int(utc_now().timestamp()), body),
    }
    try:
        answer = fetching.fetch(
            url,
            method="POST",
            body=body,
            headers=headers,
            reach=Reach.OPERATOR,
            seconds=TIMEOUT,
            most=LONGEST,
        )
    except FetchError as error:
        return error.reason
    return "" if 200 <= answer.status < 300 else str(answer.status)
