"""Asking owners by a search that was answered, and closing a question."""

from __future__ import annotations

import contextlib
import re
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import new_id, utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission
from app.services.register import requests
from app.services.register.requests import Found
from app.web import context, forms, guards
from app.web import session as browser

pages = Blueprint("requests", __name__, url_prefix="/staff/register")

MOST_CELLS = 500
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_DAYS = [(str(days), f"{days} days") for days in requests.DAYS]


class RequestForm(forms.Form):
    """What owners are asked."""

    look_for = forms.Lines(
        "What should they look for?",
        longest=requests.LONGEST,
        needed="Say what owners should look for.",
        hint=(
            "Say what somebody looked like and did, or the make and colour of a vehicle. No names, number plates, "
            "telephone numbers, e-mail addresses or dates of birth. Owners read exactly this."
        ),
    )
    days = forms.One("How long is the question open?", _DAYS, needed="Choose how long it is open.")
    lift = forms.Many(
        "Beyond the cap", [("yes", "Ask owners a third time for this case, by a supervisor’s leave")]
    )


class CloseForm(forms.Form):
    """The end of a question."""

    why = forms.Lines(
        "Why is it closed?",
        longest=requests.LONGEST_WHY,
        needed="Say why it is closed.",
        hint="For the case. Owners do not see this.",
    )
    outcome = forms.Lines(
        "What may owners know of the outcome? (optional)",
        longest=requests.LONGEST,
        hint="Everybody who answered is thanked, and reads this behind their link. Name nobody.",
    )


@pages.route("/searches/<uuid:search_id>/request", methods=["GET", "POST"])
@guards.staff(Permission.REQUEST_OPEN)
def new(search_id: UUID) -> AnyResponse:
    """Write the question. Chosen parts of the map come as ``cell``; without any it is all who may have seen it."""
    cells = _cells()
    try:
        with context.transaction() as session:
            found = requests.found(session, browser.who(), search_id, now=utc_now())
    except Missing:
        raise NotFound from None
    if request.method != "POST":
        return _form(found, RequestForm(days=_DAYS[1][0]), cells)
    form = RequestForm()
    if not form.validate():
        return _form(found, form, cells, 400)
    try:
        with context.transaction() as session:
            requests.ask(
                session,
                browser.token(),
                _once(),
                search_id,
                look_for=form.look_for.data or "",
                cells=cells or None,
                days=int(form.days.data or 0),
                lift_id=found.lift_id if form.lift.data else None,
                now=utc_now(),
            )
    except Missing:
        raise NotFound from None
    except Invalid as error:
        form.refuse(error, otherwise="look_for")
        return _form(found, form, cells, 400)
    except Conflict as error:
        form.look_for.errors = [error.message]
        return _form(found, form, cells, 409)
    return redirect(url_for("board.case", case_id=found.investigation_id, done="asked"), 303)


@pages.route("/requests/<uuid:request_id>/close", methods=["GET", "POST"])
@guards.staff(Permission.REQUEST_OPEN)
def close(request_id: UUID) -> AnyResponse:
    """Close a question for good."""
    try:
        with context.transaction() as session:
            one = requests.standing(session, browser.who(), request_id)
    except Missing:
        raise NotFound from None
    case = one.investigation_id
    if not one.asking:
        return redirect(url_for("board.case", case_id=case, done="closed"), 303)
    form, status = CloseForm(), 200
    if request.method == "POST":
        status = 400
        if form.validate():
            try:
                with context.transaction() as session:
                    requests.close(
                        session,
                        browser.token(),
                        request_id,
                        why=form.why.data or "",
                        outcome=form.outcome.data or "",
                    )
                return redirect(url_for("board.case", case_id=case, done="closed"), 303)
            except Missing:
                raise NotFound from None
            except Invalid as error:
                form.refuse(error)
            except Conflict as error:
                form.why.errors, status = [error.message], 409
    return make_response(
        render_template(
            "investigator/close.html",
            form=form,
            one=one,
            problems=form.problems if status != 200 else [],
        ),
        status,
    )


def _form(found: Found, form: RequestForm, cells: list[int], status: int = 200) -> Response:
    return make_response(
        render_template(
            "investigator/request.html",
            found=found,
            form=form,
            cells=cells,
            once=_once().hex,
            problems=form.problems if status != 200 else [],
        ),
        status,
    )


def _cells() -> list[int]:
    """The parts of the map that were chosen; what is no number was not."""
    typed = request.values.getlist("cell")[:MOST_CELLS]
    return sorted({int(one) for one in typed if _NUMBER.fullmatch(one)})


def _once() -> UUID:
    """The id that this form's request gets: pressing twice asks once."""
    with contextlib.suppress(ValueError):
        return UUID(hex=request.form.get("once", ""))
    return new_id()
