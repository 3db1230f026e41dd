"""What a request may bring, before anybody looks inside: how much, how many fields, how deep.

Length and parts are limits of the framework's, set in ``app.factory``; the providers' webhooks have their own, for
they carry a thousand events in one call (``app.web.hooks.body``). Whoever is slow is cut off by ``app.web.worker``.
"""

from __future__ import annotations

import re

from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

__all__ = ["DEEPEST", "MOST_FIELDS", "install"]

MOST_FIELDS = 2_000  # of a form: all wards of London are some seven hundred, and no form asks for more
DEEPEST = 32  # brackets of JSON within each other: reading deeper ones takes stack, not memory
_FORM = "application/x-www-form-urlencoded"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def install(app: Flask) -> None:
    """Look at every request of ``app`` that brings something."""
    app.before_request(_look)


def _look() -> None:
    if request.method in {"GET", "HEAD", "OPTIONS"} or request.path.startswith("/hooks/"):
        return
    if request.content_length is None:
        _read_chunks(request.max_content_length or 0)
    if request.mimetype == _FORM:
        # Kept, so that the form is read from it. Beyond the length that is allowed this raises 413 by itself.
        if request.get_data(cache=True).count(b"&") >= MOST_FIELDS:
            raise RequestEntityTooLarge
    elif request.is_json and depth(request.get_data(cache=True)) > DEEPEST:
        raise BadRequest


def _read_chunks(most: int) -> None:
    """Read a body that does not say how long it is. The framework would cut it off at the limit, and say nothing."""
    request.max_content_length = most + 1
    if len(request.get_data(cache=True)) > most:
        raise RequestEntityTooLarge


def depth(body: bytes) -> int:
    """How many brackets of JSON stand open at once, at most."""
    now = most = 0
    for found in _BRACKET.finditer(_STRING.sub(b"", body)):
        now += 1 if found[0] in b"[{" else -1
        most = max(most, now)
    return most
