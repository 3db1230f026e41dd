"""The one-tap reply to an alert: the link in the message opens a page with one box. No sign-in.

The signed link is its own authority, so there is no password and no CSRF token; a GET changes nothing.
"""

from __future__ import annotations

import secrets

import structlog
from flask import Blueprint, Response, make_response, render_template, request

from app.db import utc_now
from app.errors import Invalid, Missing, TooMany
from app.services import receiving
from app.services.receiving import Asked
from app.web import context, errors, forms, guards, origin
from messaging.links import REPLY, LinkError, LinkTarget

log = structlog.get_logger(__name__)
pages = Blueprint("reply", __name__)


class ReplyForm(forms.Form):
    """What somebody knows, and a name if they like."""

    body = forms.Lines(
        "What do you want to tell us?",
        longest=receiving.LONGEST_BODY,
        needed="Write what you want to tell us.",
        hint="For example what you saw, where it was and when. Do not put yourself at risk to find out more.",
    )
    name = forms.Line(
        "Your name (optional)",
        longest=receiving.LONGEST_NAME,
        hint="You do not have to give a name.",
    )


@pages.route("/r/<token>", methods=["GET", "POST"])
@guards.signed
def reply(token: str) -> Response:
    """The reply link of a message."""
    try:
        target = context.registry().signer.verify(REPLY, token, utc_now())
    except LinkError as error:
        log.info("link_refused", code=error.code)
        return _refuse(error)
    try:
        with context.transaction() as session:
            found = receiving.asked(session, contact_id=target.contact, dispatch_id=target.dispatch)
        if request.method == "POST":
            return _receive(target, found)
    except Missing:
        words = "What it was for is no longer kept here. In an emergency call 999, otherwise 101."
        return errors.page(410, "This link no longer works", words)
    except TooMany as error:
        return errors.page(429, "Too many replies", f"{error.message} In an emergency call 999.")
    return _page("resident/reply.html", asked=found, form=ReplyForm(), once=secrets.token_hex(16))


def _receive(target: LinkTarget, found: Asked) -> Response:
    form, once = ReplyForm(), request.form.get("once", "")
    if form.validate():
        try:
            with context.transaction() as session:
                receiving.receive_web(
                    session,
                    contact_id=target.contact,
                    dispatch_id=target.dispatch,
                    body=form.body.data or "",
                    name=form.name.data,
                    once=once,
                    origin=origin.network(),
                    now=utc_now(),
                )
            return _page("resident/reply_sent.html", asked=found)
        except Invalid as error:
            form.refuse(error)
    return _page("resident/reply.html", 400, asked=found, form=form, once=once, problems=form.problems)


def _refuse(error: LinkError) -> Response:
    call = "In an emergency call 999, otherwise 101."
    if error.code == "expired":
        return errors.page(410, "This link has expired", f"It was meant for a short time. {call}")
    words = f"Check that you copied all of it, or use the link in the message again. {call}"
    return errors.page(404, "This link does not work", words)


def _page(template: str, status: int = 200, **values: object) -> Response:
    response = make_response(render_template(template, **values), status)
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
