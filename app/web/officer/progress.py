"""What becomes of a dispatch, to the last receipt; its pause and its stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app.errors import Conflict, Invalid
from app.permissions import Permission
from app.services import dispatch as dispatches
from app.services import pausing, reports
from app.services.budgets import reserving
from app.services.reports import Sending
from app.web import context, guards, session
from app.web.forms import Form, Lines
from app.web.officer import writing

pages = Blueprint("progress", __name__)

CHANNELS = {
    "email": ("E-mail", "e-mail address", "e-mail addresses"),
    "sms": ("Text message", "phone", "phones"),
}
PHASES = {
    "sending": "It is being sent",
    "paused": "It is paused",
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


class Pause(Form):
    why = Lines(
        "Why do you pause it?",
        longest=500,
        needed="Say why you pause it.",
        hint="For the record. Do not write anybody's name or address.",
    )


class Resume(Form):
    why = Lines(
        "Why does it go on? (optional)",
        longest=500,
        hint="For the record. Do not write anybody's name or address.",
    )


@pages.route("/staff/dispatches/<uuid:dispatch_id>", methods=["GET"])
@guards.staff(Permission.DISPATCH_READ)
def dispatch(dispatch_id: UUID) -> str:
    """The figures as they stand; a script or a link brings newer ones."""
    with context.transaction() as db:
        shown = _figures(db, _own(db, dispatch_id))
        hold = reports.may_hold(db, session.who(), dispatch_id)
    again = request.args.get("again") == "1"
    return render_template("officer/progress.html", again=again, hold=hold, **shown)


@pages.route("/staff/dispatches/<uuid:dispatch_id>/figures", methods=["GET"])
@guards.staff(Permission.DISPATCH_READ)
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
@guards.staff(Permission.DISPATCH_HOLD)
def stop(dispatch_id: UUID) -> AnyResponse:
    """Asks why, then stops within one batch. What has left cannot be taken back."""
    return _ask(dispatch_id, "stop", Stop(), dispatches.stop, {"sending", "paused"})


@pages.route("/staff/dispatches/<uuid:dispatch_id>/pause", methods=["GET", "POST"])
@guards.staff(Permission.DISPATCH_HOLD)
def pause(dispatch_id: UUID) -> AnyResponse:
    """Asks why, then holds back what has not left, until somebody lets it go on."""
    return _ask(dispatch_id, "pause", Pause(), pausing.pause, {"sending"})


@pages.route("/staff/dispatches/<uuid:dispatch_id>/resume", methods=["GET", "POST"])
@guards.staff(Permission.DISPATCH_HOLD)
def resume(dispatch_id: UUID) -> AnyResponse:
    """Lets a paused dispatch go on."""
    return _ask(dispatch_id, "resume", Resume(), pausing.resume, {"paused"})


def _ask(
    dispatch_id: UUID, name: str, form: Stop | Pause | Resume, act: Callable[..., None], phases: set[str]
) -> AnyResponse:
    """A question with a reason; then back to the progress, which shows whatever has come of it."""
    with context.transaction() as db:
        sending = _own(db, dispatch_id, Permission.DISPATCH_HOLD)
    progress = redirect(url_for("progress.dispatch", dispatch_id=dispatch_id), 303)
    waits = name == "stop" and sending.digests_open  # all else may have left
    if request.method != "POST" and sending.phase not in phases and not waits:
        return progress
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                act(db, dispatch_id, actor=session.actor(), why=form.why.data or "")
            return progress
        except Conflict:  # the last message left meanwhile, or a colleague stopped it
            return progress
        except Invalid as error:
            form.refuse(error)
    page = render_template(f"officer/{name}.html", sending=sending, form=form, problems=form.problems)
    return make_response(page, 400 if form.problems else 200)


def _own(db: Session, dispatch_id: UUID, permission: Permission = Permission.DISPATCH_READ) -> Sending:
    return reports.sending(db, session.who(), permission, dispatch_id)


def _figures(db: Session, sending: Sending) -> dict[str, Any]:
    channels = reports.progress(db, [sending.id])
    done = sum(one.recipients - one.left for one in channels)
    silent = sum(one.silent for one in channels)
    delivered = sum(one.delivered for one in channels)
    return {
        "sending": sending,
        "channels": channels,
        "names": CHANNELS,
        "cost": reserving.cost(db, sending.id),
        "price": writing.price,
        "phase": PHASES[sending.phase],
        "summary": f"{PHASES[sending.phase]}. {done:,} of {sending.recipients - sending.digested:,} have left, "
        f"{delivered:,} were delivered."
        + (f" {sending.digested:,} get it in a digest." if sending.digested else ""),
        # Reports come in long after the last message has left.
        "over": sending.finished_at is not None and silent == 0,
    }
