"""What stands around every answer: a request id, security headers, one line in the log."""

from __future__ import annotations

import secrets
import time
from urllib.parse import urlsplit
from uuid import uuid4

import structlog
from flask import Flask, Response, g, request
from werkzeug.routing import RequestRedirect

from config.settings import Settings

log = structlog.get_logger(__name__)

_POLICY = (
    "default-src 'none'; script-src 'self'{nonce}; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# As browsers know them: of a name that one does not know it complains at every page. Passkeys are not among them,
# for staff sign in by one.
FEATURES = (
    "accelerometer", "autoplay", "browsing-topics", "camera", "display-capture", "encrypted-media",
    "fullscreen", "gamepad", "geolocation", "gyroscope", "hid", "idle-detection", "local-fonts", "magnetometer",
    "microphone", "midi", "otp-credentials", "payment", "picture-in-picture", "screen-wake-lock", "serial",
    "storage-access", "usb", "window-management", "xr-spatial-tracking",
)  # fmt: skip
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Everything that a browser can be asked for: our pages need none of it.
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in FEATURES),
    # Addresses of pages hold signed links and postcodes.
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_YEAR = 31_536_000


def nonce() -> str:
    """What lets the one inline script of this answer run, and no other."""
    if "nonce" not in g:
        g.nonce = secrets.token_urlsafe(16)
    found: str = g.nonce
    return found


def content_policy(nonce: str | None = None) -> str:
    """The Content-Security-Policy of an answer: nothing from other hosts, nothing inline without the nonce."""
    return _POLICY.format(nonce=f" 'nonce-{nonce}'" if nonce else "")


def install(app: Flask, settings: Settings) -> None:
    """Put the envelope around every request of ``app``."""
    headers = dict(HEADERS)
    if settings.public_url.startswith("https://"):
        headers["Strict-Transport-Security"] = f"max-age={_YEAR}; includeSubDomains"

    # Files of ours say themselves how long they may be kept, and nothing else is.
    headers["Cache-Control"] = "no-store"

    def begin() -> None:
        # Never the caller's own: it would let anybody write into the log.
        g.request_id, g.began = uuid4().hex, time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    def end(response: Response) -> Response:
        if isinstance(request.routing_exception, RequestRedirect):
            # The routing's own redirect names whatever host was sent; only its path is ours.
            path = urlsplit(request.routing_exception.new_url).path
            response.headers["Location"] = "/" + path.lstrip("/\\")
            response.set_data(b"")
        response.headers["Content-Security-Policy"] = content_policy(g.get("nonce"))
        # Looked through once: webhooks come by the thousand.
        present = {name.lower() for name in response.headers.keys()}  # noqa: SIM118  # not a dict
        response.headers.extend([(n, v) for n, v in headers.items() if n.lower() not in present])
        if "request_id" in g:
            response.headers["X-Request-Id"] = g.request_id
            # The rule, not the path: a path holds what somebody typed.
            log.info(
                "request",
                method=request.method if request.method in _METHODS else "other",
                route=request.url_rule.rule if request.url_rule else None,
                status=response.status_code,
                ms=round((time.perf_counter() - g.began) * 1000, 1),
            )
        return response

    def over(_: BaseException | None) -> None:
        # The thread serves somebody else next, or nobody.
        structlog.contextvars.clear_contextvars()

    app.jinja_env.globals["csp_nonce"] = nonce
    app.before_request(begin)
    app.after_request(end)
    app.teardown_request(over)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
