"""Staff sign in: invitation, password, second factor."""

from __future__ import annotations

import segno
import wtforms
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Conflict, Invalid
from app.permissions import Permission
from app.services import invitations, passwords, second_factor, sessions, staff
from app.services import sign_in as door
from app.web import context, errors, guards, origin, session
from app.web.forms import Code, Form, Line, Secret
from app.web.officer import oidc

pages = Blueprint("sign_in", __name__)

WRONG = "The e-mail address or the password is not right."
WRONG_CODE = "The code is not right. Wait for the next one in your app, then type that."


class SignIn(Form):
    email = Line("E-mail address", longest=254, needed="Enter your e-mail address.")
    password = Secret("Password", needed="Enter your password.")


class SecondFactor(Form):
    code = Code("Code from your app", hint="6 digits. A new code comes every 30 seconds.")


class NewPassword(Form):
    password = Secret(
        "Choose a password",
        needed="Choose a password.",
        hint="12 characters or more. Three words that have nothing to do with you or your work are good, "
        "and easy to remember. You may use a password manager.",
    )
    step = wtforms.HiddenField(default="password")


@pages.route("/staff/sign-in", methods=["GET", "POST"])
@guards.anyone
def sign_in() -> Response:
    """The first factor. The comparison takes long, so no transaction is open meanwhile."""
    who = session.visitor()
    if request.method != "POST" and who is not None and who.staff_id is not None:
        return redirect(url_for("compose.home"))
    form = SignIn()
    if request.method != "POST" or not form.validate():
        return _page("officer/sign_in.html", form)
    try:
        address = staff.read_email(form.email.data)
    except Invalid as error:
        form.refuse(error)
        return _page("officer/sign_in.html", form)
    now, neighbours = utc_now(), origin.neighbours()
    with context.transaction() as db:
        knock = door.knock(db, address, neighbours=neighbours, now=now)
    if knock.limited:
        return _too_many()
    verdict = passwords.verify(knock.password_hash, form.password.data)
    with context.transaction() as db:
        answer = door.password(
            db, knock, verdict, neighbours=neighbours, origin=origin.network(), now=utc_now()
        )
        if answer.token is not None and who is not None:
            sessions.end(db, who.digest)
    if answer.token is None:
        form.refuse(Invalid("email", WRONG))
        return _page("officer/sign_in.html", form)
    return _enter(answer.token, "sign_in.second")


@pages.route("/staff/sign-in/code", methods=["GET", "POST"])
@guards.anyone
def second() -> Response:
    """The second factor, for ten minutes after the first."""
    who = session.visitor()
    if who is None or who.staff is None or not who.half:
        return redirect(url_for("sign_in.sign_in"))
    form = SecondFactor()
    if request.method != "POST" or not form.validate():
        return _page("officer/code.html", form)
    with context.transaction() as db:
        answer = door.code(
            db,
            who,
            form.code.data,
            neighbours=origin.neighbours(),
            origin=origin.network(),
            now=utc_now(),
        )
    if answer.limited:
        return _too_many()
    if answer.token is None:
        form.refuse(Invalid("code", WRONG_CODE))
        return _page("officer/code.html", form)
    return _enter(answer.token, "compose.home")


@pages.route("/staff/invitation/<token>", methods=["GET", "POST"])
@guards.anyone
def accept(token: str) -> Response:
    """A password, then an authenticator: what is chosen counts for nothing until both are there."""
    try:
        return _accept(token)
    except Conflict:
        words = "It works once, for 48 hours. Ask whoever invited you for a new one."
        return errors.page(410, "This invitation does not work any more", words)


def _accept(token: str) -> Response:
    with context.transaction() as db:
        found = invitations.opened(db, token, now=utc_now())
    if request.method != "POST":
        return _choose(token, found) if found.secret is None else _connect(token, found)
    match request.form.get("step"):
        case "password":
            return _password(token, found)
        case "again":
            with context.transaction() as db:
                invitations.start_again(db, token, now=utc_now())
        case "code" if found.secret is not None:
            return _code(token, found)
    return redirect(url_for("sign_in.accept", token=token), 303)


def _password(token: str, found: invitations.Opened) -> Response:
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
        invitations.choose(db, token, kept, now=utc_now())
    return redirect(url_for("sign_in.accept", token=token), 303)


def _code(token: str, found: invitations.Opened) -> Response:
    form = SecondFactor()
    if not form.validate():
        return _connect(token, found, form)
    who = session.visitor()
    with context.transaction() as db:
        opened = invitations.finish(db, token, form.code.data, origin=origin.network(), now=utc_now())
        if opened is not None and who is not None:
            sessions.end(db, who.digest)
    if opened is None:
        form.refuse(Invalid("code", WRONG_CODE))
        return _connect(token, found, form)
    return _enter(opened, "compose.home")


def _choose(token: str, found: invitations.Opened, form: NewPassword | None = None) -> Response:
    return _page("officer/invitation.html", form or NewPassword(), token=token, found=found)


def _connect(token: str, found: invitations.Opened, form: SecondFactor | None = None) -> Response:
    secret = found.secret or ""
    address = second_factor.address(secret, found.email)
    return _page(
        "officer/second_factor.html",
        form or SecondFactor(),
        token=token,
        found=found,
        address=address,
        picture=_qr(address),
        groups=" ".join(secret[i : i + 4] for i in range(0, len(secret), 4)),
    )


@pages.route("/staff/account", methods=["GET"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def account() -> str:
    """Who one is here, and the way out."""
    with context.transaction() as db:
        found = staff.account(db, session.who())
    return render_template("officer/account.html", account=found)


@pages.route("/staff/sign-out", methods=["POST"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def sign_out() -> Response:
    """Here and in the browser."""
    who = session.visitor()
    with context.transaction() as db:
        response = make_response(redirect(oidc.after_sign_out(db, who), 303))
        if who is not None:
            door.sign_out(db, who, actor=session.actor())
        session.end(db, response)
    return response


def _page(template: str, form: Form, **more: object) -> Response:
    problems = form.problems
    page = render_template(template, form=form, problems=problems, **more)
    return make_response(page, 400 if problems else 200)


def _enter(token: str, endpoint: str) -> Response:
    response = make_response(redirect(url_for(endpoint), 303))
    session.keep(response, token)
    return response


def _too_many() -> Response:
    words = "Wait 15 minutes, then try again. Nobody was signed in."
    return errors.page(429, "Too many tries", words)


def _qr(text: str) -> Markup:
    """The picture of a text, with no colours or sizes that our policy would forbid."""
    drawn = segno.make(text, error="m").svg_inline(
        scale=5, border=4, light="#fff", title="QR code for your app"
    )
    return Markup(drawn.replace("<svg ", '<svg role="img" aria-label="QR code for your app" ', 1))  # noqa: S704
