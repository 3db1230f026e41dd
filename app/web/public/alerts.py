"""One alert as the public reads it, and whether a message is genuine."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Missing
from app.services import published
from app.web import context, guards
from app.web.frame import counted
from messaging import markdown

pages = Blueprint("alerts", __name__)

OLD_AFTER = 60  # days: after that somebody who searches the web should see first how old it is
LONGEST_TYPED = 40


@pages.get("/alert/<reference>")
@guards.anyone
def alert(reference: str) -> str | Response:
    """A public alert. Drafts, restricted alerts and exercises are not found, like those that never were."""
    try:
        with context.reading() as session:
            found = published.alert(session, reference)
    except Missing:
        raise NotFound from None
    if found.reference != reference:
        return redirect(url_for("alerts.alert", reference=found.reference))
    now = utc_now()
    return render_template(
        "public/alert.html",
        alert=found,
        body=_html(found.body),
        what_to_do=_html(found.what_to_do),
        how_to_tell=_html(found.how_to_tell),
        age=age(found.sent_at, now),
        old=(now - found.sent_at).days >= OLD_AFTER,
    )


@pages.get("/genuine")
@guards.anyone
def genuine() -> str:
    """Whether a message is ours, by its reference; and always where ours come from."""
    typed = request.args.get("reference", "")
    asked = bool(typed.strip())
    with context.reading() as session:
        found = published.genuine(session, typed) if asked else None
        senders = published.senders(session)
    return render_template(
        "public/genuine.html",
        typed="".join(c for c in typed[:LONGEST_TYPED] if c.isprintable()),
        asked=asked,
        empty="reference" in request.args and not asked,
        found=found,
        senders=senders,
    )


def age(at: datetime, now: datetime) -> str:
    """“14 months ago”, roughly, as people say it."""
    days = max((now - at).days, 0)
    hours = int(max((now - at).total_seconds(), 0) // 3600)
    if days < 1:
        return "less than an hour ago" if hours < 1 else f"{counted(hours, 'hour')} ago"
    if days < 60:
        return f"{counted(days, 'day')} ago"
    months = int(days / 30.44)
    return f"{counted(months, 'month')} ago" if months < 24 else f"{counted(days // 365, 'year')} ago"


def _html(text: str) -> Markup:
    """Officers' Markdown; what comes of it is escaped already."""
    return Markup(markdown.to_html(text))  # noqa: S704
