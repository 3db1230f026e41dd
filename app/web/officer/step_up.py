"""Step-up: before what is delicate, a second factor again. Then on to where one was going, with what one typed."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import Blueprint, current_app, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response

from app.db import utc_now
from app.permissions import Permission
from app.services import factors, passkeys, step_up
from app.services.passkeys import Kind
from app.services.sessions import Visitor
from app.web import context, csrf, guards, origin, session
from app.web.guards import Guard
from app.web.officer import factor
from app.web.officer.factor import Factor

pages = Blueprint("step_up", __name__)

OURS, KEPT, FORM = "step-up", "kept-", "again"
LONGEST_BACK = 2_000
# Never carried through a page, not even in a hidden field: it is typed again.
_SECRET = re.compile(r"passw|passkey|code|recovery", re.IGNORECASE)


@pages.route("/staff/step-up", methods=["GET", "POST"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def ask() -> Response:
    """A form that was under way comes here by 307 with all its fields; they wait in this page's own form."""
    who = session.visitor()
    assert who is not None and who.staff is not None
    if who.staff.oidc_issuer is not None:  # what they show, they show at their provider
        return redirect(url_for("oidc.again", back=request.args.get("back", "")), 303)
    form = Factor()
    if request.method != "POST" or OURS not in request.form:
        return _page(
            who, Factor() if request.method != "POST" else _empty(), _typed(), request.method == "POST"
        )
    kept = _carried()
    again = request.form.get(FORM) == "1"
    shown = form.shown() if form.validate() else None
    if shown is None:
        return _page(who, form, kept, again)
    with context.transaction() as db:
        answer = step_up.show(
            db, who, shown, factor.door(Kind.STEP_UP, who.digest), origin.whereabouts(), now=utc_now()
        )
    if answer.limited:
        return factor.too_many()
    if answer.token is None:
        form.wrong(shown)
        return _page(who, form, kept, again)
    back = own_path(request.args.get("back", ""), "POST" if again else "GET")
    if again and back is not None:
        response = make_response(render_template("officer/step_up_done.html", back=back, kept=kept))
    else:
        response = make_response(redirect(back or url_for("account.page"), 303))
    session.keep(response, answer.token)
    return response


@pages.route("/staff/step-up/passkey", methods=["POST"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def challenge() -> Response:
    """What a passkey must sign: asked for by a script."""
    who, mine = session.visitor(), session.staff_id()
    assert who is not None
    bound = who.digest
    return factor.options(lambda db, at: passkeys.ask(db, mine, Kind.STEP_UP, at, bound=bound, now=utc_now()))


def own_path(back: str, method: str) -> str | None:
    """``back`` if it is the path of a page of ours for staff; None for all else, above all other sites."""
    if len(back) > LONGEST_BACK or not back.startswith("/") or back.startswith("//"):
        return None
    if "\\" in back or not back.isprintable():
        return None
    try:
        endpoint, _ = current_app.url_map.bind("localhost").match(urlsplit(back).path, method=method)
    except (HTTPException, RequestRedirect, ValueError):
        return None
    return back if guards.guard_of(current_app, endpoint) is Guard.STAFF else None


def _empty() -> Factor:
    """This page's form, without what a form of another page happens to call alike."""
    form = Factor()
    for field in form:
        field.data, field.errors = "", []
    return form


def _typed() -> list[tuple[str, str]]:
    """What somebody typed into the form that brought them here."""
    if request.method != "POST":
        return []
    return [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name != csrf.FIELD and not _SECRET.search(name)
    ]


def _carried() -> list[tuple[str, str]]:
    """The same, as it comes back from this page's own form."""
    return [
        (name.removeprefix(KEPT), value)
        for name, value in request.form.items(multi=True)
        if name.startswith(KEPT) and not _SECRET.search(name)
    ]


def _page(who: Visitor, form: Factor, kept: list[tuple[str, str]], again: bool) -> Response:
    assert who.staff is not None
    with context.transaction() as db:
        have = factors.of(db, who.staff.id)
    problems = form.problems
    page = render_template(
        "officer/step_up.html",
        form=form,
        problems=problems,
        have=have,
        can=factor.party() is not None,
        kept=kept,
        again=again,
        back=request.args.get("back", "")[:LONGEST_BACK],
    )
    return make_response(page, 400 if problems else 200)
