"""One's own account: who one is here, how one signs in, where one is signed in; and to change all that."""

from __future__ import annotations

import base64
import binascii
import json
from uuid import UUID

import wtforms
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app import crypto
from app.db import utc_now
from app.errors import Conflict, Invalid
from app.permissions import Permission
from app.services import factors, own_password, passkeys, passwords, second_factor, sessions, staff
from app.services.factors import Way
from app.web import context, guards, origin, session
from app.web.forms import Code, Form, Secret
from app.web.officer import factor
from app.web.officer.invitation import HINT

pages = Blueprint("account", __name__)

DONE = {
    "passkey-added": "The passkey was added. You can sign in with it from now on.",
    "passkey-removed": "The passkey was removed.",
    "app-connected": "The app is connected. Its codes serve from now on.",
    "app-removed": "The app was removed.",
    "password": "Your password was changed, and your other sessions were ended.",
    "ended": "The session was ended.",
    "ended-others": "All your other sessions were ended.",
}
_OFFER = "staff.totp.offer"
_OFFER_SECONDS = 900


class Password(Form):
    old = Secret("Your password now", needed="Enter the password that you have now.")
    password = Secret("New password", needed="Choose a new password.", hint=HINT)


class App(Form):
    code = Code("Code from your app", hint="6 digits. A new code comes every 30 seconds.")
    offer = wtforms.HiddenField(default="")


@pages.route("/staff/account", methods=["GET"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def page() -> Response:
    """Who one is here, and the way out."""
    return shown()


def shown(refused: str | None = None) -> Response:
    """The page, perhaps with why something was not done."""
    who, mine, now = session.visitor(), session.staff_id(), utc_now()
    assert who is not None and who.staff is not None
    with context.transaction() as db:
        found = render_template(
            "officer/account.html",
            account=staff.account(db, session.who()),
            by_password=who.staff.password_hash is not None,
            have=factors.of(db, mine),
            keys=passkeys.listed(db, mine),
            sessions=sessions.listed(db, mine, here=who.id, now=now),
            can=factor.party() is not None,
            done=None if refused else DONE.get(request.args.get("done", "")),
            problems=[{"text": refused, "href": "#factors"}] if refused else [],
        )
    return make_response(found, 400 if refused else 200)


@pages.route("/staff/account/sessions/<uuid:session_id>/end", methods=["POST"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def end(session_id: UUID) -> Response:
    """One session of one's own. No step-up: whoever fears a stranger must be quick."""
    return _end(session_id, "ended")


@pages.route("/staff/account/sessions/end", methods=["POST"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def end_others() -> Response:
    """All but this one."""
    return _end(None, "ended-others")


def _end(only: UUID | None, done: str) -> Response:
    who = session.visitor()
    assert who is not None
    with context.transaction() as db:
        sessions.end_own(db, session.staff_id(), only=only, keep=who.id, actor=session.actor())
    return redirect(url_for("account.page", done=done), 303)


@pages.route("/staff/account/password", methods=["GET", "POST"])
@guards.staff(Permission.ACCOUNT_SECURE)
def password() -> Response:
    """With the old one. Both are hashed while no transaction is open."""
    who, mine = factor.own(), session.staff_id()
    assert who.staff is not None
    form = Password()
    if request.method != "POST" or not form.validate():
        return _page("officer/password.html", form, email=who.staff.email)
    with context.transaction() as db:
        asked = own_password.ask(db, mine, now=utc_now())
    if asked.limited:
        return factor.too_many()
    if asked.password_hash is None or not passwords.verify(asked.password_hash, form.old.data).right:
        with context.transaction() as db:
            own_password.refuse(db, mine, origin.whereabouts(), now=utc_now())
        form.refuse(Invalid("old", "This is not your password."))
        return _page("officer/password.html", form, email=who.staff.email)
    try:
        passwords.check(form.password.data, about=asked.about)
    except Invalid as error:
        form.refuse(error)
        return _page("officer/password.html", form, email=who.staff.email)
    new = passwords.make(form.password.data)
    with context.transaction() as db:
        changed = own_password.change(
            db, mine, old=asked.password_hash, new=new, keep=who.id, actor=session.actor(), now=utc_now()
        )
    if not changed:
        form.refuse(Invalid("old", "Your password was changed meanwhile, in another window."))
        return _page("officer/password.html", form, email=who.staff.email)
    return redirect(url_for("account.page", done="password"), 303)


@pages.route("/staff/account/recovery-codes", methods=["GET", "POST"])
@guards.staff(Permission.ACCOUNT_SECURE)
def codes() -> Response:
    """What they are for; and, made by the button, the codes themselves, this once."""
    factor.own()
    mine, made = session.staff_id(), None
    with context.transaction() as db:
        have = factors.of(db, mine)
        if request.method == "POST":
            made = factors.new_codes(db, mine, actor=session.actor(), now=utc_now())
    return make_response(
        render_template("officer/recovery_codes.html", have=have, made=made, first="first" in request.args)
    )


@pages.route("/staff/account/app", methods=["GET", "POST"])
@guards.staff(Permission.ACCOUNT_SECURE)
def app() -> Response:
    """Connect an authenticator app, in the place of the one before. Its key counts once it shows a code."""
    factor.own()
    mine, form = session.staff_id(), App()
    secret = _offered(form.offer.data or "", mine) if request.method == "POST" else None
    if secret is None:
        if request.method == "POST":
            form.refuse(Invalid("code", "This key is too old. Use the new one below."))
        secret = second_factor.new_secret()
        return _app_page(form, secret)
    if not form.validate():
        return _app_page(form, secret)
    with context.transaction() as db:
        connected = factors.connect_app(
            db, mine, secret, form.code.data, actor=session.actor(), now=utc_now()
        )
    if not connected:
        form.refuse(Invalid("code", factor.WRONG[Way.APP][1]))
        return _app_page(form, secret)
    return redirect(url_for("account.page", done="app-connected"), 303)


@pages.route("/staff/account/app/remove", methods=["POST"])
@guards.staff(Permission.ACCOUNT_SECURE)
def remove_app() -> Response:
    """Never the last factor."""
    factor.own()
    try:
        with context.transaction() as db:
            factors.remove_app(db, session.staff_id(), actor=session.actor(), now=utc_now())
    except Conflict as error:
        return shown(refused=error.message)
    return redirect(url_for("account.page", done="app-removed"), 303)


def _app_page(form: App, secret: str) -> Response:
    who = session.visitor()
    assert who is not None and who.staff is not None
    address = second_factor.address(secret, who.staff.email)
    return _page(
        "officer/app.html",
        form,
        offer=_offer(secret, who.staff.id),
        address=address,
        picture=factor.qr(address),
        groups=factor.groups(secret),
    )


def _offer(secret: str, mine: UUID) -> str:
    """The key that a page shows, sealed for its form: a GET writes nothing, and nobody may bring a key of theirs."""
    text = json.dumps([secret, str(mine), int(utc_now().timestamp())])
    return base64.urlsafe_b64encode(crypto.keyring().encrypt(text, _OFFER)).decode()


def _offered(offer: str, mine: UUID) -> str | None:
    try:
        raw = base64.urlsafe_b64decode(offer.encode("ascii"))
        secret, whose, at = json.loads(crypto.keyring().decrypt(raw, _OFFER))
    except (crypto.CryptoError, UnicodeEncodeError, binascii.Error, ValueError):
        return None
    new_enough = utc_now().timestamp() - at <= _OFFER_SECONDS
    return str(secret) if whose == str(mine) and new_enough else None


def _page(template: str, form: Form, **more: object) -> Response:
    problems = form.problems
    page = render_template(template, form=form, problems=problems, **more)
    return make_response(page, 400 if problems else 200)
