"""How the service stands, for whoever looks after it: lanes, providers, processes, and alarms with what to do."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, abort, jsonify, render_template

from app import queue
from app.db import utc_now
from app.permissions import Permission
from app.services import alarm_routes, alarm_watch, alarms, organisations, sight, standing
from app.services.alarm_routes import Routes
from app.web import context, guards
from app.web import session as browser
from app.web.admin import runbook

pages = Blueprint("status", __name__, url_prefix="/status")

CHANNELS = {"email": "E-mail", "sms": "Text messages"}
KINDS = {
    "urgent": "Urgent sending",
    "bulk": "Bulk sending",
    "receipts": "Receipts",
    "back": "Housekeeping",
    "scheduler": "Scheduler",
    "sealer": "Sealer",
}
# How a telling may end without anybody having been told.
UNTOLD = frozenset({"refused", "expired", "in_doubt", "given-up"})
_BOUND = sa.text("SET LOCAL statement_timeout = 5000")


@pages.get("")
@guards.staff(Permission.STATUS_SEE)
def status() -> str:
    """The figures as they stand; a script or a link brings newer ones."""
    return render_template("admin/status.html", **_shown())


@pages.get("/figures")
@guards.staff(Permission.STATUS_SEE)
def figures() -> Response:
    """The figures alone, for the script: a part of the page, and a line to be read out."""
    shown = _shown()
    return jsonify(html=render_template("admin/status_figures.html", **shown), summary=shown["summary"])


@pages.get("/alarms/<code>")
@guards.staff(Permission.STATUS_SEE)
def alarm(code: str) -> str:
    """What an alarm means and what to do, from the runbook."""
    about = alarms.CODES.get(code)
    if about is None:
        abort(404)
    return render_template("admin/alarm.html", code=code, about=about, words=runbook.sections().get(code))


def _shown() -> dict[str, Any]:
    who = browser.who()
    with context.transaction() as session:
        session.execute(_BOUND)
        seen = sight.look(session)
        own = organisations.slug_of(session, who.organisation_id)
        opened = [one for one in alarms.opened(session) if one.concerns(own)]
        over = [one for one in alarms.latest(session, 20) if one.concerns(own)][:5]
        senders = standing.senders(session)
        grown = alarm_watch.growth(session, seen.in_doubt, utc_now())
        untold = [fate for fate in alarm_routes.fates(session) if fate[1] in UNTOLD]
    if opened:
        summary = f"{len(opened)} {'alarm is' if len(opened) == 1 else 'alarms are'} open"
    else:
        summary = "No alarm is open"
    return {
        "seen": seen,
        "opened": opened,
        "over": over,
        "senders": senders,
        "grown": grown,
        "untold": untold,
        "queue_up": queue.reachable(),
        "routes": Routes.of(context.settings()),
        "at": utc_now(),
        "summary": summary,
        "channels": CHANNELS,
        "kinds": KINDS,
        "lasting": lasting,
        "attempts": _by_provider(seen),
    }


def _by_provider(seen: sight.Sight) -> dict[str, dict[str, int]]:
    """Provider → outcome → attempts of the last hour, for those that tried anything."""
    found: dict[str, dict[str, int]] = {}
    for (provider, outcome), n in sorted(seen.attempts.items()):
        found.setdefault(provider, {})[outcome] = n
    return found


def lasting(seconds: float) -> str:
    """“40 seconds”, “12 minutes”, “3 hours”, “2 days”."""
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size or (seconds >= size and name == "day"):
            return _counted(int(seconds // size), name)
    return _counted(max(0, int(seconds)), "second")


def _counted(n: int, name: str) -> str:
    return f"{n} {name}{'' if n == 1 else 's'}"
