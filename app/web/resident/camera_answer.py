"""A request to somebody with a camera: the link in the message opens the question. No sign-in.

The signed link is its own authority, so there is no password and no CSRF token; a GET changes nothing.
"""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, make_response, render_template, request

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing, TooMany
from app.services.register import answers
from app.services.register.answers import ANSWERS, LONGEST_NOTE, TELLING, Asked
from app.web import context, errors, forms, guards
from app.web.two_steps import two_steps
from messaging.links import CAMERA, LinkError, LinkTarget

log = structlog.get_logger(__name__)
pages = Blueprint("camera_answer", __name__)


class AnswerForm(forms.Form):
    """What an owner answers."""

    answer = forms.One("Does your camera have it?", list(ANSWERS.items()), needed="Choose an answer.")
    note = forms.Lines(
        "Is there anything they should know? (optional)",
        longest=LONGEST_NOTE,
        hint="For example which minutes show it, or when you can be called. They read it only if you have it, or ask to "
        "be called.",
    )


@pages.route("/c/<token>", methods=["GET", "POST"])
@guards.signed
def answer(token: str) -> Response:
    """The link of a request."""
    try:
        target = context.registry().signer.verify(CAMERA, token, utc_now())
    except LinkError as error:
        log.info("link_refused", code=error.code)
        return _refuse(error)
    try:
        with context.transaction() as session:
            asked = answers.asked(
                session, contact_id=target.contact, dispatch_id=target.dispatch, now=utc_now()
            )
        if asked.open and request.method == "POST":
            return _give(target, asked)
    except Missing:
        words = "You are no longer on the camera register, or the question is no longer kept. There is nothing to do."
        return errors.page(410, "This link no longer works", words)
    except TooMany as error:
        return errors.page(429, "Too many answers", error.message)
    if not asked.open:
        return _page("resident/camera_closed.html", asked=asked)
    return _page("resident/camera_answer.html", asked=asked, form=AnswerForm())


def _give(target: LinkTarget, asked: Asked) -> Response:
    form = AnswerForm()
    if form.validate():
        try:
            said, note = answers.checked(form.answer.data or "", form.note.data or "")
            two_steps(
                lambda db: answers.begin(
                    db, contact_id=target.contact, dispatch_id=target.dispatch, now=utc_now()
                ),
                lambda db, ticket: answers.give(
                    db, ticket, contact_id=target.contact, answer=said, note=note
                ),
            )
            return _page("resident/camera_answered.html", asked=asked, answer=said, telling=TELLING)
        except Invalid as error:
            form.refuse(error)
        except Conflict as error:  # closed at this moment, or many answer at once
            form.answer.errors = [f"{error.message} Nothing was sent."]
            return _page("resident/camera_answer.html", 409, asked=asked, form=form, problems=form.problems)
    return _page("resident/camera_answer.html", 400, asked=asked, form=form, problems=form.problems)


def _refuse(error: LinkError) -> Response:
    if error.code == "expired":
        return errors.page(
            410, "This link has expired", "It was meant for a short time. There is nothing to do."
        )
    words = "Check that you copied all of it, or use the link in the message again. You can also call 101."
    return errors.page(404, "This link does not work", words)


def _page(template: str, status: int = 200, **values: object) -> Response:
    response = make_response(render_template(template, **values), status)
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
