"""How to tell us of a hole: a page for people, and ``security.txt`` (RFC 9116) for those who look there first."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from flask import Blueprint, Response, render_template

from app.web import context, guards

pages = Blueprint("security", __name__)

RELEASED = date(2026, 11, 25)
"""When this release was made. Set it anew with each: what is older than a year says so itself, by having expired."""
_GOOD_FOR = timedelta(days=364)  # RFC 9116 wants less than a year


def expires() -> datetime:
    """Until when ``security.txt`` is to be believed."""
    return datetime.combine(RELEASED + _GOOD_FOR, time())


@pages.get("/security")
@guards.anyone
def page() -> str:
    """What to report, how, and what comes of it."""
    contact = context.settings().security_contact
    return render_template("public/security.html", contact=contact, mailbox="@" in contact)


@pages.get("/.well-known/security.txt")
@guards.anyone
def text() -> Response:
    """The same for machines, by RFC 9116."""
    settings = context.settings()
    site, contact = settings.public_url.rstrip("/"), settings.security_contact
    lines = [
        f"Contact: {'mailto:' if '@' in contact else ''}{contact}",
        f"Expires: {expires():%Y-%m-%dT%H:%M:%SZ}",
        f"Policy: {site}/security",
        "Preferred-Languages: en",
        f"Canonical: {site}/.well-known/security.txt",
    ]
    return Response("\n".join(lines) + "\n", mimetype="text/plain")
