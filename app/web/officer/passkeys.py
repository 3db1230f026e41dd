"""One's own passkeys: add and remove."""

from __future__ import annotations

from uuid import UUID

import wtforms
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Conflict, Invalid
from app.permissions import Permission
from app.services import account_notices, factors, passkeys
from app.web import context, guards, origin, session
from app.web.forms import Form, Line
from app.web.officer import account, factor

pages = Blueprint("passkeys", __name__)


class NewPasskey(Form):
    name = Line(
        "What do you call it?",
        longest=passkeys.LONGEST_NAME,
        needed="Give the passkey a name.",
        hint="For example: work phone, or blue key.",
    )
    passkey = wtforms.HiddenField(default="")


@pages.route("/staff/account/passkeys/new", methods=["GET", "POST"])
@guards.staff(Permission.ACCOUNT_SECURE)
def add() -> Response:
    """A name, and then the browser makes the key."""
    form = NewPasskey() if request.method == "POST" else NewPasskey(name=origin.whereabouts().browser)
    at, who = factor.party(), factor.own()
    if request.method != "POST" or at is None or not form.validate():
        return _page(form)
    try:
        name = passkeys.check_name(form.name.data)
    except Invalid as error:
        form.refuse(error)
        return _page(form)
    with context.transaction() as db:
        made = passkeys.add(
            db,
            session.staff_id(),
            at,
            form.passkey.data or "",
            name=name,
            bound=who.digest,
            actor=session.actor(),
            now=utc_now(),
        )
        if made:
            account_notices.tell(
                db,
                session.staff_id(),
                "A passkey was added to your account",
                [f"The passkey “{name}” was added. You can sign in with it from now on."],
                now=utc_now(),
            )
    if not made:
        form.refuse(Invalid("name", "No passkey was made. Press the button once more."))
        return _page(form)
    return redirect(url_for("account.page", done="passkey-added"), 303)


@pages.route("/staff/account/passkeys/challenge", methods=["POST"])
@guards.staff(Permission.ACCOUNT_SECURE)
def challenge() -> Response:
    """What the browser needs to make a passkey: asked for by a script."""
    who, mine = factor.own(), session.staff_id()
    bound = who.digest
    return factor.options(lambda db, at: passkeys.ask_new(db, mine, at, bound=bound, now=utc_now()))


@pages.route("/staff/account/passkeys/<uuid:passkey_id>/remove", methods=["POST"])
@guards.staff(Permission.ACCOUNT_SECURE)
def remove(passkey_id: UUID) -> Response:
    """One of one's own, and never the last factor."""
    factor.own()
    try:
        with context.transaction() as db:
            factors.remove_passkey(db, session.staff_id(), passkey_id, actor=session.actor(), now=utc_now())
    except Conflict as error:
        return account.shown(refused=error.message)
    return redirect(url_for("account.page", done="passkey-removed"), 303)


def _page(form: NewPasskey) -> Response:
    problems = form.problems
    page = render_template(
        "officer/passkey_new.html", form=form, problems=problems, can=factor.party() is not None
    )
    return make_response(page, 400 if problems else 200)
