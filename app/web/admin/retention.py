"""What is kept for a time only: each class, how long and why, and what went on a day."""

from __future__ import annotations

from datetime import date

from flask import Blueprint, abort, render_template, request

from app.permissions import Permission
from app.services import retention as clock
from app.services import retention_runs
from app.web import context, guards
from app.web import session as browser

pages = Blueprint("retention", __name__)


@pages.get("/staff/retention")
@guards.staff(Permission.RETENTION_READ)
def report() -> str:
    """One day: the last there is, or the one asked for. Of organisations' rows, their own figures alone."""
    with context.transaction() as session:
        found = retention_runs.report(session, clock.OWNED, browser.who().organisation_id, _day())
    return render_template(
        "admin/retention.html",
        found=found,
        classes={one.name: one for one in clock.CLASSES},
        months=str(context.settings().ledger_months),
    )


def _day() -> date | None:
    text = request.args.get("day")
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        abort(404)
