"""The cases that were searched for, the board of each, and its schedule."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Conflict, Missing
from app.permissions import Permission
from app.services import tables
from app.services.register import board, schedule
from app.services.register.answers import ANSWERS
from app.services.register.board import Board, Cursor
from app.web import context, errors, forms, guards
from app.web import session as browser
from app.web.two_steps import two_steps

pages = Blueprint("board", __name__, url_prefix="/staff/register/cases")

DONE = {
    "asked": "Your question is on its way to the owners. Who answers appears here.",
    "closed": "The question is closed. Whoever answered is thanked.",
}
STATES = {"asking": "Open", "closed": "Closed", "expired": "Time is over"}
TALLIES = {
    "none": "have not answered",
    "have-not": "looked and do not have it",
    "overwritten": "recorded over it",
    "not-again": "do not want to be asked again",
}
FORMATS = [
    ("print", "A page to print or save as PDF"),
    ("csv", "A table (CSV), a row for each camera"),
    ("geojson", "A map layer (GeoJSON), a point for each camera"),
]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9a-f]{32})")


class ScheduleForm(forms.Form):
    """How the schedule is taken out."""

    format = forms.One("As what?", FORMATS, needed="Choose a format.")


@pages.get("")
@guards.staff(Permission.BOARD_READ)
def cases() -> str:
    """Cases of one's own; for a supervisor all of the organisation's."""
    before = _cursor(request.args.get("before", ""))
    with context.transaction() as session:
        found = board.cases(session, browser.who(), before=before)
    last = found[board.CASES - 1] if len(found) > board.CASES else None
    return render_template(
        "investigator/cases.html",
        cases=found[: board.CASES],
        first=before is None,
        older=_written(Cursor(last.opened_at, last.id)) if last else None,
    )


@pages.get("/<uuid:case_id>")
@guards.staff(Permission.BOARD_READ)
def case(case_id: UUID) -> AnyResponse:
    """What was asked in a case and who answered. That it was looked at is on the record, committed, before it is read."""
    return _board(case_id, ScheduleForm())


@pages.post("/<uuid:case_id>/schedule")
@guards.staff(Permission.SCHEDULE_EXPORT)
def take(case_id: UUID) -> AnyResponse:
    """The schedule, as a page or a file: a disclosure on the record before its first byte leaves."""
    form, who, token = ScheduleForm(), browser.who(), browser.token()
    if not form.validate():
        return _board(case_id, form, 400)
    try:
        made = two_steps(
            lambda db: schedule.begin(db, token, case_id),
            lambda db, ticket: schedule.make(db, who, token, ticket, case_id, now=utc_now()),
        )
    except Missing:
        raise NotFound from None
    except Conflict as error:
        return errors.page(409, "The schedule was not made", error.message)
    match form.format.data:
        case "csv":
            return _download(b"".join(schedule.csv(made)), tables.MIMETYPE, f"{made.name}.csv")
        case "geojson":
            return _download(schedule.geojson(made), "application/geo+json", f"{made.name}.geojson")
        case _:
            return make_response(render_template("investigator/schedule.html", made=made, answers=ANSWERS))


def _board(case_id: UUID, form: ScheduleForm, status: int = 200) -> AnyResponse:
    token, after = browser.token(), _cursor(request.args.get("after", ""))
    try:
        found: Board = two_steps(
            lambda db: board.begin(db, token, case_id),
            lambda db, ticket: board.show(db, token, ticket, case_id, after=after),
        )
    except Missing:
        raise NotFound from None
    except Conflict:  # a factor shown too long ago between two clicks
        return redirect(url_for("board.cases"), 303)
    return make_response(
        render_template(
            "investigator/board.html",
            board=found,
            form=form,
            states=STATES,
            tallies=TALLIES,
            answers=ANSWERS,
            first=after is None,
            after=_written(found.after),
            done=DONE.get(request.args.get("done", "")),
            problems=form.problems if status != 200 else [],
        ),
        status,
    )


def _download(content: bytes, mimetype: str, name: str) -> Response:
    response = Response(content, mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _cursor(text: str) -> Cursor | None:
    """A cursor as it stands in an address; whatever is none means the first page."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    try:
        return Cursor(_EPOCH + timedelta(microseconds=int(match[1])), UUID(hex=match[2]))
    except OverflowError:
        return None


def _written(cursor: Cursor | None) -> str | None:
    return None if cursor is None else f"{(cursor.at - _EPOCH) // timedelta(microseconds=1)}-{cursor.id.hex}"
