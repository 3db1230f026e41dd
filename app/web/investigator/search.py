"""Searching the register: on the record and committed first, and only then answered, once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.errors import Conflict, Invalid, Missing, TooMany
from app.permissions import Permission
from app.services.register import search as register
from app.services.register import searches, settings, shapes
from app.services.register.errors import StepUp
from app.services.register.search import FACTS, Wanted
from app.services.register.searches import Cursor
from app.web import context, guards, origin
from app.web import session as browser
from app.web.investigator import looking, outlines
from app.web.investigator.looking import Search

pages = Blueprint("search", __name__, url_prefix="/staff/register")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9a-f]{32})")


@pages.get("/search")
@guards.staff(Permission.REGISTER_SEARCH)
def search() -> Response:
    """The form; with the case of a search before, when one is named."""
    return _form(Search(reference=request.args.get("case", "")[:40]))


@pages.post("/search")
@guards.staff(Permission.REGISTER_SEARCH)
def look() -> AnyResponse:
    """Two transactions: the first puts the search on the record, the second is answered for it."""
    form = Search()
    if not form.validate():
        return _form(form, 400)
    try:
        with context.transaction() as session:
            wanted = _wanted(
                form, shapes.read(session, form.shape.data, form.places.data or "", form.metres.data or "")
            )
            ticket = register.open_search(session, browser.token(), wanted)
        with context.transaction() as session:
            answer = register.run_search(session, ticket, browser.token())
    except StepUp:
        return redirect(url_for("step_up.ask", back=request.path), 307)
    except Missing:
        raise NotFound from None
    except Invalid as error:
        form.refuse(error, otherwise="places")
        return _form(form, 400)
    except (Conflict, TooMany) as error:
        form.reference.errors = [error.message]
        return _form(form, 409 if isinstance(error, Conflict) else 429)
    with context.transaction() as session:
        asked = searches.one(session, browser.who(), ticket)
        places = searches.where(session, [cell.id for cell in answer.cells])
    return make_response(
        render_template(
            "investigator/answer.html",
            asked=asked,
            answer=answer,
            places=places,
            corners=looking.corners,
            facts=FACTS,
        )
    )


def _wanted(form: Search, shape: shapes.Shape) -> Wanted:
    since, until = form.window()
    return Wanted(
        (form.reference.data or "").upper(),
        str(form.purpose.data),
        form.reason.data or "",
        shape,
        since,
        until,
        origin.network(),
    )


@pages.get("/searches")
@guards.staff(Permission.REGISTER_SEARCH)
def mine() -> str:
    """One's own searches, newest first."""
    before = _cursor(request.args.get("before", ""))
    with context.transaction() as session:
        rows = searches.mine(session, browser.who(), before=before)
    last = rows[searches.PAGE - 1] if len(rows) > searches.PAGE else None
    return render_template(
        "investigator/searches.html",
        rows=rows[: searches.PAGE],
        first=before is None,
        older=last and f"{(last.opened_at - _EPOCH) // timedelta(microseconds=1)}-{last.id.hex}",
    )


@pages.get("/searches/<uuid:search_id>")
@guards.staff(Permission.REGISTER_SEARCH)
def one(search_id: UUID) -> str:
    """What one searched for. What was answered is kept nowhere."""
    try:
        with context.transaction() as session:
            found = searches.one(session, browser.who(), search_id)
    except Missing:
        raise NotFound from None
    return render_template("investigator/search_told.html", asked=found)


@pages.get("/wards.json")
@guards.staff(Permission.REGISTER_SEARCH)
def wards() -> AnyResponse:
    """Outlines of the wards in a rectangle of degrees (``box``: west,south,east,north), for the map."""
    box = outlines.read_box(request.args.get("box", ""))
    if box is None:
        raise NotFound
    response = make_response(outlines.wards(box))
    response.mimetype = "application/geo+json"
    return response


def _form(form: Search, status: int = 200) -> Response:
    with context.transaction() as session:
        example = settings.shown(session, browser.who().organisation_id).case_example
    page = render_template("investigator/search.html", form=form, problems=form.problems, example=example)
    return make_response(page, status)


def _cursor(text: str) -> Cursor | None:
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(match[1])), UUID(match[2])
    except OverflowError:
        return None
