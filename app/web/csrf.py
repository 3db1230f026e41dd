"""Forms come from our own pages: a token bound to the visitor's session, and the browser's own word.

Whoever is not signed in holds nothing that another site could misuse; their token only shows that the
form is ours and not of yesterday. So no cookie is set before somebody signs in.
"""

from __future__ import annotations

import hmac
import re
import time
from urllib.parse import urlsplit

from flask import request
from markupsafe import Markup

from app import crypto
from app.web import context, session

FIELD = "form_token"
LIFETIME = 12 * 3600  # seconds: an alert may be written over a shift
_SHAPE = re.compile(r"([0-9a-f]{8})\.([0-9a-f]{32})")


class CsrfError(Exception):
    """``code``: another-site, missing, forged or old."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def token() -> str:
    stamp = f"{int(time.time()):08x}"
    return f"{stamp}.{_mac(stamp)}"


def field() -> Markup:
    """The hidden field of a form."""
    return Markup('<input type="hidden" name="{}" value="{}">').format(FIELD, token())


def check() -> None:
    """CsrfError unless this POST comes from a page of ours."""
    if from_another_site():
        raise CsrfError("another-site")
    given = request.form.get(FIELD, "")
    match = _SHAPE.fullmatch(given)
    if match is None:
        raise CsrfError("forged" if given else "missing")
    if not hmac.compare_digest(_mac(match[1]), match[2]):
        # A session that ended, or began, since the page was made.
        raise CsrfError("old")
    if not -60 <= time.time() - int(match[1], 16) <= LIFETIME:
        raise CsrfError("old")


def from_another_site() -> bool:
    """Whether the browser itself says that another site sent this."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        return True
    sent_from = request.headers.get("Origin", "null")
    return sent_from not in {"", "null"} and urlsplit(sent_from).netloc not in _ours()


def _ours() -> set[str]:
    return {request.host, urlsplit(context.settings().public_url).netloc}


def _mac(stamp: str) -> str:
    visitor = session.visitor()
    # The session, not its token: a form that lies open outlives a step-up.
    bound = visitor.id.hex if visitor else ""
    return crypto.keyring().digest("form", f"{stamp}.{bound}")[:16].hex()
