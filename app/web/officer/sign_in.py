"""Staff sign in: a password, then a second factor; and out again."""

from __future__ import annotations

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Invalid
from app.permissions import Permission
from app.services import factors, passkeys, passwords, sessions, staff
from app.services import sign_in as door
from app.services.passkeys import Kind
from app.services.sessions import Visitor
from app.web import context, guards, origin, session
from app.web.forms import Form, Line, Secret
from app.web.officer import factor, oidc
from app.web.officer.factor import Factor

pages = Blueprint("sign_in", __name__)

WRONG = "The e-mail address or the password is not right."


class SignIn(Form):
    email = Line("E-mail address", longest=254, needed="Enter your e-mail address.")
    password = Secret("Password", needed="Enter your password.")


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
        knock = door.knock(db, address, neighbours=neighbours, network=origin.network(), now=now)
    if knock.limited:
        return factor.too_many()
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


def _half() -> Visitor | None:
    """Who showed the first factor within the last ten minutes, and not yet the second."""
    who = session.visitor()
    return who if who is not None and who.staff is not None and who.half else None


@pages.route("/staff/sign-in/code", methods=["GET", "POST"])
@guards.anyone
def second() -> Response:
    """The second factor, for ten minutes after the first."""
    who = _half()
    if who is None or who.staff is None:
        return redirect(url_for("sign_in.sign_in"))
    form = Factor()
    shown = form.shown() if request.method == "POST" and form.validate() else None
    if shown is None:
        return _second_page(who, form)
    with context.transaction() as db:
        answer = door.second(
            db, who, shown, factor.door(Kind.SECOND, who.digest), origin.whereabouts(), now=utc_now()
        )
    if answer.limited:
        return factor.too_many()
    if answer.token is None:
        form.wrong(shown)
        return _second_page(who, form)
    return _enter(answer.token, "compose.home")


@pages.route("/staff/sign-in/passkey", methods=["POST"])
@guards.anyone
def challenge() -> Response:
    """What a passkey must sign for the second factor: asked for by a script."""
    who = _half()
    if who is None or who.staff is None:
        return factor.problem("You waited too long. Load the page again.", 403)
    mine, bound = who.staff.id, who.digest
    return factor.options(lambda db, at: passkeys.ask(db, mine, Kind.SECOND, at, bound=bound, now=utc_now()))


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


def _second_page(who: Visitor, form: Factor) -> Response:
    assert who.staff is not None
    with context.transaction() as db:
        have = factors.of(db, who.staff.id)
    return _page("officer/code.html", form, have=have, can=factor.party() is not None)


def _page(template: str, form: Form, **more: object) -> Response:
    problems = form.problems
    page = render_template(template, form=form, problems=problems, **more)
    return make_response(page, 400 if problems else 200)


def _enter(token: str, endpoint: str) -> Response:
    response = make_response(redirect(url_for(endpoint), 303))
    session.keep(response, token)
    return response
