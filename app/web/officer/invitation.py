"""An invitation: a password, then a passkey or an app. What is chosen counts for nothing until both are there."""

from __future__ import annotations

import wtforms
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Conflict, Invalid
from app.services import enrolment, passwords, second_factor, sessions
from app.services.enrolment import Opened
from app.web import context, errors, guards, origin, session
from app.web.forms import Form, Secret
from app.web.officer import factor
from app.web.officer.factor import Factor

pages = Blueprint("invitation", __name__)

HINT = (
    "12 characters or more. Three words that have nothing to do with you or your work are good, and easy to "
    "remember. You may use a password manager."
)


class NewPassword(Form):
    password = Secret("Choose a password", needed="Choose a password.", hint=HINT)
    step = wtforms.HiddenField(default="password")


@pages.route("/staff/invitation/<token>", methods=["GET", "POST"])
@guards.anyone
def accept(token: str) -> Response:
    """Each step is a page of its own; a step that is not due leads to the one that is."""
    if request.method == "POST" and _limited(token):
        return factor.too_many()
    try:
        return _accept(token)
    except Conflict:
        words = "It works once, for 48 hours. Ask whoever invited you for a new one."
        return errors.page(410, "This invitation does not work any more", words)


@pages.route("/staff/invitation/<token>/passkey", methods=["POST"])
@guards.anyone
def challenge(token: str) -> Response:
    """What the browser needs to make a passkey: asked for by a script."""
    if _limited(token):
        return factor.problem("Too many tries. Wait 15 minutes.", 429)
    return factor.options(lambda db, at: enrolment.ask_passkey(db, token, at, now=utc_now()))


def _limited(token: str) -> bool:
    with context.transaction() as db:
        return enrolment.limited(db, token, neighbours=origin.neighbours(), now=utc_now())


def _accept(token: str) -> Response:
    with context.transaction() as db:
        found = enrolment.opened(db, token, now=utc_now())
    if request.method != "POST":
        return _choose(token, found) if found.secret is None else _connect(token, found)
    match request.form.get("step"):
        case "password":
            return _password(token, found)
        case "again":
            with context.transaction() as db:
                enrolment.start_again(db, token, now=utc_now())
        case "code" if found.secret is not None:
            return _second(token, found)
    return redirect(url_for("invitation.accept", token=token), 303)


def _password(token: str, found: Opened) -> Response:
    form = NewPassword()
    if not form.validate():
        return _choose(token, found, form)
    try:
        passwords.check(form.password.data, about=[found.name, found.email, found.organisation])
    except Invalid as error:
        form.refuse(error)
        return _choose(token, found, form)
    kept = passwords.make(form.password.data)
    with context.transaction() as db:
        enrolment.choose(db, token, kept, now=utc_now())
    return redirect(url_for("invitation.accept", token=token), 303)


def _second(token: str, found: Opened) -> Response:
    form = Factor()
    shown = form.shown() if form.validate() else None
    if shown is None:
        return _connect(token, found, form)
    who = session.visitor()
    with context.transaction() as db:
        opened = enrolment.finish(
            db, token, shown, at=factor.party(), where=origin.whereabouts(), now=utc_now()
        )
        if opened is not None and who is not None:
            sessions.end(db, who.digest)
    if opened is None:
        form.wrong(shown)
        return _connect(token, found, form)
    response = make_response(redirect(url_for("account.codes", first=1), 303))
    session.keep(response, opened)
    return response


def _choose(token: str, found: Opened, form: NewPassword | None = None) -> Response:
    return _page("officer/invitation.html", form or NewPassword(), token=token, found=found)


def _connect(token: str, found: Opened, form: Factor | None = None) -> Response:
    secret = found.secret or ""
    address = second_factor.address(secret, found.email)
    return _page(
        "officer/second_factor.html",
        form or Factor(),
        token=token,
        found=found,
        can=factor.party() is not None,
        address=address,
        picture=factor.qr(address),
        groups=factor.groups(secret),
    )


def _page(template: str, form: Form, **more: object) -> Response:
    problems = form.problems
    page = render_template(template, form=form, problems=problems, **more)
    return make_response(page, 400 if problems else 200)
