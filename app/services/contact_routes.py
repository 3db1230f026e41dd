"""How the public reaches a team: checked before it stands on a page for everybody to follow."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app.errors import Invalid
from messaging import email_address

LONGEST_URL = 300
_PHONE = re.compile(r"(?=.*[0-9])[+0-9][0-9 ()-]{1,29}")
_URL = re.compile(r"https://[!#-;=?-\[\]_a-z~]+", re.ASCII)


def email(text: str) -> str | None:
    """An e-mail address; None for an empty text, which takes it away."""
    if not text.strip():
        return None
    try:
        # Nothing is sent there from here, so names kept for examples may stand on a page.
        return email_address.parse(text, allow_special_use=True).as_typed
    except email_address.EmailError as error:
        raise Invalid("email", error.message) from None


def phone(text: str) -> str | None:
    """A telephone number as people read it, short ones too; None for an empty text."""
    tidy = text.strip()
    if tidy and not _PHONE.fullmatch(tidy):
        raise Invalid("phone", "A telephone number has digits and spaces only, like 101 or 020 7946 0123.")
    return tidy or None


def url(text: str) -> str | None:
    """A page of the team's own, by https alone; None for an empty text."""
    tidy = text.strip()
    if not tidy:
        return None
    if len(tidy) > LONGEST_URL or not _URL.fullmatch(tidy) or not _has_host(tidy):
        raise Invalid("url", "A web address starts with https:// and has no spaces.")
    return tidy


def _has_host(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return "." in (parts.hostname or "") and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        return False
