"""SendGrid's event webhook: what became of e-mails, many events in one call."""

from __future__ import annotations

from functools import lru_cache

import structlog
from flask import Blueprint, request
from werkzeug.exceptions import Forbidden

from app.web import context, guards
from app.web.hooks import body, desk
from messaging.providers.sendgrid_hooks import SignatureChecker

log = structlog.get_logger(__name__)
hooks = Blueprint("sendgrid", __name__, url_prefix="/hooks/sendgrid")

SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
hooks.after_request(desk.refusals("sendgrid", SIGNATURE))  # type: ignore[type-var]


@hooks.post("/events")
@guards.signed
def events() -> tuple[str, int]:
    """A batch of events: the signature covers the raw bytes, and they are kept as they came."""
    raw = body.read()
    text = body.as_text(raw)
    key = context.settings().sendgrid_webhook_key
    signature = request.headers.get(SIGNATURE, "")
    timestamp = request.headers.get("X-Twilio-Email-Event-Webhook-Timestamp", "")
    if not key or not _checker(key).verify(raw, signature, timestamp):
        log.warning("hook_forged", provider="sendgrid", configured=bool(key))
        raise Forbidden
    desk.keep("sendgrid", text)
    return "", 204


@lru_cache(maxsize=4)
def _checker(key: str) -> SignatureChecker:
    return SignatureChecker(key)
