"""A supervisor lets an investigator go beyond one cap of the register, once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Invalid, Missing
from app.permissions import Permission
from app.services.register import lifts
from app.services.register.errors import StepUp
from app.web import context, forms, guards, origin
from app.web import session as browser

pages = Blueprint("lifts", __name__, url_prefix="/staff/register")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9a-f]{32})")


class Lift(forms.Form):
    """Whom, for what, and why."""

    staff = forms.Pick("Investigator")
    reference = forms.Line("Case reference", longest=40, needed="Enter the case reference.")
    cap = forms.One("Which cap?", lifts.CAPS.items(), needed="Choose which cap to lift.")
    reason = forms.Lines(
        "Why is it necessary?",
        longest=500,
        needed="Say why it is necessary.",
        hint="It goes on the record. Do not write anybody’s name.",
    )


@pages.get("/lifts")
@guards.staff(Permission.REGISTER_LIFT)
def listed() -> Response:
    """The form, and what was lifted before."""
    return _page(Lift())


@pages.post("/lifts")
@guards.staff(Permission.REGISTER_LIFT)
def give() -> AnyResponse:
    """Lift it, once, for a day."""
    form = Lift()
    _choices(form)
    if not form.validate():
        return _page(form, 400)
    if not form.staff.data:
        form.staff.errors = ["Choose an investigator."]
        return _page(form, 400)
    try:
        with context.transaction() as session:
            lifts.give(
                session,
                browser.token(),
                staff=UUID(str(form.staff.data)),
                reference=(form.reference.data or "").upper(),
                cap=str(form.cap.data),
                reason=form.reason.data or "",
                origin=origin.network(),
            )
    except StepUp:
        return redirect(url_for("step_up.ask", back=request.path), 307)
    except Missing:
        raise NotFound from None
    except Invalid as error:
        form.refuse(error, otherwise="reason")
        return _page(form, 400)
    return redirect(url_for("lifts.listed", done="lifted"), 303)


def _choices(form: Lift) -> None:
    with context.transaction() as session:
        people = lifts.investigators(session, browser.who(), now=utc_now())
    form.staff.choices = [("", "Choose"), *((str(id), name) for id, name in people)]


def _page(form: Lift, status: int = 200) -> Response:
    _choices(form)
    before = _cursor(request.args.get("before", ""))
    with context.transaction() as session:
        rows = lifts.listed(session, browser.who(), before=before)
    last = rows[lifts.PAGE - 1] if len(rows) > lifts.PAGE else None
    page = render_template(
        "investigator/lifts.html",
        form=form,
        problems=form.problems,
        caps=lifts.CAPS,
        rows=rows[: lifts.PAGE],
        now=utc_now(),
        done=request.args.get("done") == "lifted" and status == 200,
        first=before is None,
        older=last and f"{(last.given_at - _EPOCH) // timedelta(microseconds=1)}-{last.id.hex}",
    )
    return make_response(page, status)


def _cursor(text: str) -> tuple[datetime, UUID] | None:
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=int(match[1])), UUID(match[2])
    except OverflowError:
        return None
