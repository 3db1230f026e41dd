"""Leaving by the link in a message: one button here, or one click in a mail program (RFC 8058).

The signed link is its own authority, so there is no password and no CSRF token. A GET changes
nothing: mail programs and scanners open links by themselves.
"""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, make_response, render_template, request

from app.db import utc_now
from app.services import consent
from app.web import context, errors, guards, origin
from messaging.links import STOP, LinkError, LinkTarget

log = structlog.get_logger(__name__)
pages = Blueprint("leave", __name__)

ONE_CLICK = ("List-Unsubscribe", "One-Click")


@pages.route("/s/<token>", methods=["GET", "POST"])
@guards.signed
def stop(token: str) -> Response:
    """The stop link of a message: it never expires."""
    return _leave(token)


def _leave(token: str) -> Response:
    try:
        target = context.registry().signer.verify(STOP, token, utc_now())
    except LinkError as error:
        log.info("link_refused", code=error.code)
        return _refuse(error)
    if request.method == "POST":
        _withdraw(target)
        return _page("resident/left.html")
    return _page("resident/leave.html")


def _withdraw(target: LinkTarget) -> None:
    how = "one-click" if request.form.get(ONE_CLICK[0]) == ONE_CLICK[1] else "link"
    with context.transaction() as session:
        # Twice is once, and of somebody erased nothing is left to stop: both have left.
        consent.leave_by_link(session, target.contact, target.dispatch, how=how, origin=origin.network())


def _refuse(error: LinkError) -> Response:
    if error.code == "expired":
        words = "It was meant for a short time. Use the link at the end of a newer message."
        return errors.page(410, "This link has expired", words)
    words = "Check that you copied all of it, or use the link in the message again."
    return errors.page(404, "This link does not work", words)


def _page(template: str) -> Response:
    response = make_response(render_template(template))
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
