"""Calls to an identity provider: the only place from which any leaves.

One try, no redirects, little time and little to read. In a sandbox the provider may be on this machine, and must be:
a rehearsal asks nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from app.services import fetching
from app.services.fetching import FetchError, Reach
from app.services.oidc.refusals import Refused
from messaging.providers.base import is_loopback

LONGEST = 8.0  # seconds, for one call as a whole
LARGEST = 512 * 1024  # bytes


def allowed(url: str, *, sandbox: bool) -> bool:
    """Whether a provider may have this address: https, or in a sandbox this machine."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    if not named or "@" in parts.netloc or parts.fragment or not url.isascii() or not url.isprintable():
        return False
    if sandbox:
        return parts.scheme in {"http", "https"} and is_loopback(url)
    return parts.scheme == "https" and not is_loopback(url)


def get(url: str, *, sandbox: bool, bearer: str | None = None) -> dict[str, Any]:
    """The JSON object at an address. Refused as "away" when there is none to be had."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    status, body = _call("GET", url, headers, None, sandbox=sandbox)
    return _object(status, body)


def post(url: str, body: str, headers: Mapping[str, str], *, sandbox: bool) -> dict[str, Any]:
    """Post a form; the JSON object that answers with 200. Refused as "token" when the form is refused."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answer = _call("POST", url, {**headers, **kind}, body, sandbox=sandbox)
    if 400 <= status < 500:
        raise Refused("token", f"status-{status}")
    return _object(status, answer)


def _object(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        raise Refused("away", f"status-{status}")
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused("away", "not-json") from None
    if not isinstance(found, dict):
        raise Refused("away", "no-object")
    return found


def _call(
    method: str, url: str, headers: Mapping[str, str], body: str | None, *, sandbox: bool
) -> tuple[int, bytes]:
    if not allowed(url, sandbox=sandbox):
        raise Refused("setting", "address")
    try:
        answer = fetching.fetch(
            url,
            method=method,
            body=None if body is None else body.encode(),
            headers={"Accept": "application/json", "User-Agent": "Wardlink"} | dict(headers),
            # The operator named it, and an organisation's own may stand in its own network.
            reach=Reach.SANDBOX if sandbox else Reach.OPERATOR,
            most=LARGEST,
            seconds=LONGEST,
        )
    except FetchError as error:
        raise Refused("away", error.reason) from None
    return answer.status, answer.body
