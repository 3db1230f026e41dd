"""What becomes of a dispatch, to the last receipt; and its stop."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app.services import dispatch as dispatches
from app.services import reports, staff
from app.services.errors import Conflict, Invalid
from app.services.reports import Sending
from app.web import context, guards, session
from app.web.forms import Form, Lines

pages = Blueprint("progress", __name__)

CHANNELS = {
    "email": ("E-mail", "e-mail address", "e-mail addresses"),
    "sms": ("Text message", "phone", "phones"),
}
PHASES = {
    "sending": "It is being sent",
    "stopping": "It is being stopped",
    "stopped": "It was stopped",
    "finished": "Everything has left",
}


class Stop(Form):
    why = Lines(
        "Why do you stop it?",
        longest=500,
        needed="Say why you stop it.",
        hint="For the record. Do not write anybody's name or address.",
    )


@pages.route("/staff/dispatches/<uuid:dispatch_id>", methods=["GET"])
@guards.staff
def dispatch(dispatch_id: UUID) -> str:
    """The figures as they stand; a script or a link brings newer ones."""
    with context.transaction() as db:
        shown = _figures(db, _own(db, dispatch_id))
    return render_template("officer/progress.html", again=request.args.get("again") == "1", **shown)


@pages.route("/staff/dispatches/<uuid:dispatch_id>/figures", methods=["GET"])
@guards.staff
def figures(dispatch_id: UUID) -> Response:
    """The figures alone, for the script: a part of the page, a line to be read out, and whether more may come."""
    with context.transaction() as db:
        shown = _figures(db, _own(db, dispatch_id))
    return jsonify(
        html=render_template("officer/figures.html", **shown),
        summary=shown["summary"],
        phase=shown["sending"].phase,
        over=shown["over"],
    )


@pages.route("/staff/dispatches/<uuid:dispatch_id>/stop", methods=["GET", "POST"])
@guards.staff
def stop(dispatch_id: UUID) -> AnyResponse:
    """Asks why, then stops within one batch. What has left cannot be taken back."""
    with context.transaction() as db:
        sending = _own(db, dispatch_id)
    form = Stop()
    progress = redirect(url_for("progress.dispatch", dispatch_id=dispatch_id), 303)
    if request.method != "POST" and sending.phase != "sending":
        return progress
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                dispatches.stop(db, dispatch_id, actor=session.actor(), why=form.why.data)
            return progress
        except Conflict:  # the last message left meanwhile
            return progress
        except Invalid as error:
            form.refuse(error)
    page = render_template("officer/stop.html", sending=sending, form=form, problems=form.problems)
    return make_response(page, 400 if form.problems else 200)


def _own(db: Session, dispatch_id: UUID) -> Sending:
    who = staff.officer(db, session.staff_id())
    return reports.sending(db, dispatch_id, controller=who.organisation_id)


def _figures(db: Session, sending: Sending) -> dict[str, Any]:
    channels = reports.progress(db, [sending.id])
    done = sum(one.recipients - one.left for one in channels)
    silent = sum(one.silent for one in channels)
    delivered = sum(one.delivered for one in channels)
    return {
        "sending": sending,
        "channels": channels,
        "names": CHANNELS,
        "phase": PHASES[sending.phase],
        "summary": f"{PHASES[sending.phase]}. {done:,} of {sending.recipients:,} have left, "
        f"{delivered:,} were delivered.",
        # Reports come in long after the last message has left.
        "over": sending.finished_at is not None and silent == 0,
    }
