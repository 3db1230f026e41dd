"""What the law and the reader want to know of this site. Times come from the code that keeps them."""

from __future__ import annotations

from flask import Blueprint, render_template

from app.services import organisations, retention, sessions
from app.services.confirmations import links as refusals
from app.services.confirmations import signups
from app.web import context, guards, session
from messaging import links

pages = Blueprint("about", __name__)


@pages.get("/accessibility")
@guards.anyone
def accessibility() -> str:
    """How well the site can be used by everybody."""
    return render_template("public/accessibility.html")


@pages.get("/privacy")
@guards.anyone
def privacy() -> str:
    """Who is answerable, what is held, why and for how long."""
    with context.reading() as database:
        controllers = organisations.listed(database)
    return render_template(
        "public/privacy.html",
        controllers=controllers,
        unconfirmed=signups.KEPT.days,
        refused=refusals.REFUSED_FOR.days,
        receipts=retention.RAW_EVENTS_KEPT.days,
        codes=retention.SERVICE_MESSAGES_KEPT.days,
        links=links.LIVES.days,
    )


@pages.get("/cookies")
@guards.anyone
def cookies() -> str:
    """One cookie, and only for who signs in."""
    return render_template(
        "public/cookies.html",
        name=session.cookie_name(),
        resident_minutes=sessions.RESIDENT_LONGEST.seconds // 60,
        staff_hours=sessions.STAFF_LONGEST.seconds // 3600,
        idle_minutes=sessions.STAFF_IDLE.seconds // 60,
    )
