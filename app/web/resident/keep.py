""" "Do you still have your camera?": the link of a yearly reminder, answered by one of two buttons. No sign-in.

The signed link is its own authority and shows nothing of what the register holds; a GET changes nothing.
"""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, request

from app.audit.record import Actor, ActorKind
from app.db import utc_now
from app.errors import Missing
from app.services.register import owners
from app.web import context, errors, guards, origin
from app.web.resident import asking
from messaging.links import KEEP, LinkError

log = structlog.get_logger(__name__)
pages = Blueprint("keep", __name__)

ANSWERS = {"yes": True, "no": False}


@pages.route("/k/<token>", methods=["GET", "POST"])
@guards.signed
def keep(token: str) -> Response:
    """The link of the reminder."""
    try:
        target = context.registry().signer.verify(KEEP, token, utc_now())
    except LinkError as error:
        log.info("link_refused", code=error.code)
        if error.code == "expired":
            words = "Open the page of your cameras instead: choose “Change or stop” above."
            return errors.page(410, "This link has expired", words)
        words = "Check that you copied all of it, or use the link in the message again."
        return asking.gone("This link does not work", words)
    answer = request.form.get("answer", "")
    if request.method != "POST" or answer not in ANSWERS:
        return asking.page("resident/camera_keep.html", 400 if request.method == "POST" else 200)
    actor = Actor(ActorKind.RESIDENT, id=str(target.contact), origin=origin.network())
    try:
        with context.transaction() as s:
            owners.answer(
                s, target.contact, target.dispatch, still=ANSWERS[answer], actor=actor, now=utc_now()
            )
    except Missing:
        if answer == "yes":
            words = "The register holds nothing about you any more. If you have a camera, you can put it on again."
            return asking.gone("You are not on the register", words)
    return asking.page("resident/camera_left.html" if answer == "no" else "resident/camera_kept.html")
