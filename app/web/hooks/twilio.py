"""Twilio's calls: what became of a text message, and texts that people send to our numbers."""

from __future__ import annotations

from urllib.parse import urlencode

import structlog
from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import Forbidden

from app.web import context, guards
from app.web.hooks import body, desk
from messaging.providers import twilio_hooks
from messaging.providers.twilio import CALLBACK_OVERRIDES

log = structlog.get_logger(__name__)
hooks = Blueprint("twilio", __name__, url_prefix="/hooks/twilio")
hooks.after_request(desk.refusals("twilio", "X-Twilio-Signature"))  # type: ignore[type-var]

REF_FIELD = "wl_ref"  # where the stored form keeps the reference that stood in the address
_NO_REPLY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


@hooks.post("/status")
@guards.signed
def status() -> tuple[str, int]:
    """A status callback: kept as it came, with our reference of the message."""
    raw = body.read()
    form = _genuine(raw, CALLBACK_OVERRIDES)
    kept = raw.decode("ascii")
    if REF_FIELD in form:
        kept = urlencode([(name, value) for name, value in form.items(multi=True) if name != REF_FIELD])
    desk.keep("twilio-status", f"{kept}&{urlencode({REF_FIELD: request.args.get('ref', '')})}")
    return "", 204


@hooks.post("/inbound")
@guards.signed
def inbound() -> Response:
    """A text that somebody sent us: kept, and answered by nothing (Twilio itself confirms STOP)."""
    raw = body.read()
    _genuine(raw)
    desk.keep("twilio-inbound", raw.decode("ascii"))
    return Response(_NO_REPLY, mimetype="text/xml")


def _genuine(raw: bytes, overrides: str = "") -> MultiDict[str, str]:
    """The form, if Twilio signed it for the address that it was given; else Forbidden."""
    form = body.as_form(raw)
    settings = context.settings()
    query = request.query_string.decode("latin-1")
    # As residents and Twilio see us: behind a proxy the Host header says something else.
    url = f"{settings.public_url}{request.path}" + (f"?{query}" if query else "")
    signature = request.headers.get("X-Twilio-Signature", "")
    # An empty token would make a signature that anybody can compute.
    tokens = [t for t in (settings.twilio_auth_token, settings.twilio_2_auth_token) if t]
    if not any(twilio_hooks.verify_signature(t, url, form, signature, overrides) for t in tokens):
        log.warning("hook_forged", provider="twilio", configured=bool(tokens))
        raise Forbidden
    return form
