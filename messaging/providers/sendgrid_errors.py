"""What SendGrid's answers mean for one call (design §5: what happened decides what may follow)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from messaging.providers.connection import Response
from messaging.providers.http import retry_after, used_up
from messaging.types import Outcome, SendResult

_NAMED = re.compile(r"personalizations[.\[]\s*([0-9]{1,4})(?![0-9])")
# Words in SendGrid's messages → our reason. The messages hold addresses and are never kept.
_REASONS = (
    ("unique", "duplicate-address"),
    ("duplicate", "duplicate-address"),
    ("substitution", "substitutions"),
    ("10000 bytes", "substitutions"),
    ("10,000 bytes", "substitutions"),
    ("valid address", "bad-address"),
    ("email", "bad-address"),
)
_LONGEST_ID = 200


def classify(response: Response, ordinals: Sequence[int]) -> SendResult:
    """The result for an answer; ``ordinals``: the recipients' in the order of the personalisations."""
    status = response.status
    match status:
        case 202:
            wait = used_up(response.headers)
            return SendResult(
                Outcome.TAKEN,
                provider_ref=_message_id(response.headers),
                retry_after=wait,
                busy="account" if wait else "",
            )
        case 400:
            return _bad_request(response.body, ordinals)
        case 401 | 403 | 404 | 405:
            return SendResult(Outcome.NOT_TAKEN, reason="account")
        case 413:
            return SendResult(Outcome.NOT_TAKEN, reason="413", bisect=True)
        case 429:
            wait = retry_after(response.headers)
            return SendResult(Outcome.NOT_TAKEN, reason="429", retry_after=wait, busy="account")
    if 400 <= status < 500:
        return SendResult(Outcome.NOT_TAKEN, reason=str(status))
    # 5xx, and what was never promised (another 2xx, a redirect): mail may be on its way.
    return SendResult(Outcome.IN_DOUBT, reason=str(status), retryable=False)


def _bad_request(body: bytes, ordinals: Sequence[int]) -> SendResult:
    rejected: dict[int, str] = {}
    named_call = False
    for error in _errors(body):
        field, message = _text(error, "field"), _text(error, "message")
        match = _NAMED.search(field) or _NAMED.search(message)
        if match is None:
            named_call = named_call or _is_about_the_call(field)
        elif int(match[1]) < len(ordinals):
            rejected.setdefault(ordinals[int(match[1])], _reason(message))
    if rejected:
        return SendResult(Outcome.NOT_TAKEN, reason="400", rejected=rejected)
    if named_call:  # sender, subject or text: no recipient's fault, and none would be taken
        return SendResult(Outcome.NOT_TAKEN, reason="content", retryable=False)
    return SendResult(Outcome.NOT_TAKEN, reason="400", bisect=True)


def _errors(body: bytes) -> list[dict[str, Any]]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return []
    errors = document.get("errors") if isinstance(document, dict) else None
    return [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []


def _text(error: Mapping[str, Any], key: str) -> str:
    value = error.get(key)
    return value if isinstance(value, str) else ""


def _is_about_the_call(field: str) -> bool:
    return field.split(".")[0] in ("from", "reply_to", "subject", "content", "headers", "tracking_settings")


def _reason(message: str) -> str:
    lowered = message.lower()
    return next((reason for words, reason in _REASONS if words in lowered), "rejected")


def _message_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-message-id", "")[:_LONGEST_ID] or None
