"""A supervisor keeps a search from owners until a day, for a reason that is recorded."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission
from app.services import terms
from app.services.register import withholding
from app.services.register.withholding import LONGEST_REASON
from app.web import context, forms, guards
from app.web import session as browser
from app.web.admin.fields import Day
from app.web.steward import cursors

pages = Blueprint("withholding", __name__, url_prefix="/staff/register/withholding")


class CaseForm(forms.Form):
    """Which case."""

    reference = forms.Line("Case reference", longest=40, needed="Enter a case reference.")


class WithholdForm(forms.Form):
    """Until when, and why."""

    until = Day(
        "Until",
        wrong="Enter a day, such as 31 3 2027.",
        hint="The last day on which owners see nothing of it.",
    )
    reason = forms.Lines(
        "Reason",
        longest=LONGEST_REASON,
        needed="Say why.",
        hint="Why would it harm the investigation if owners learnt that there was a search? It goes on the record. Do not "
        "write anybody’s name or address.",
    )


@pages.route("", methods=["GET", "POST"])
@guards.staff(Permission.WITHHOLD_SEARCH)
def find() -> AnyResponse:
    """A case by its reference."""
    form = CaseForm()
    if request.method == "POST" and form.validate():
        try:
            with context.reading() as session:
                found = withholding.case(session, browser.who(), form.reference.data or "")
            return redirect(url_for("withholding.case", case_id=found), 303)
        except Invalid as error:
            form.refuse(error)
    page = render_template("steward/withhold_find.html", form=form, problems=form.problems)
    return make_response(page, 400 if form.problems else 200)


@pages.get("/<uuid:case_id>")
@guards.staff(Permission.WITHHOLD_SEARCH)
def case(case_id: UUID) -> str:
    """The searches of a case, a page at a time."""
    after = cursors.asked()
    try:
        with context.transaction() as session:
            reference, lines, onward = withholding.of_case(session, browser.who(), case_id, after=after)
    except Missing:
        raise NotFound from None
    return render_template(
        "steward/withhold_case.html",
        reference=reference,
        case_id=case_id,
        lines=lines,
        me=browser.who().name,
        now=utc_now(),
        after=cursors.written(onward),
    )


@pages.route("/searches/<uuid:searched_id>", methods=["GET", "POST"])
@guards.staff(Permission.WITHHOLD_SEARCH)
def withhold(searched_id: UUID) -> AnyResponse:
    """One search."""
    form = WithholdForm()
    try:
        if request.method == "POST" and form.validate():
            try:
                with context.transaction() as session:
                    withholding.withhold(
                        session,
                        browser.who(),
                        searched_id,
                        until=form.until.data and terms.end_of(form.until.data),
                        reason=form.reason.data or "",
                        actor=browser.actor(),
                        now=utc_now(),
                    )
                return redirect(url_for("withholding.withhold", searched_id=searched_id), 303)
            except Invalid as error:
                form.refuse(error)
            except Conflict as error:
                form.refuse(Invalid("reason", error.message))
        with context.transaction() as session:
            line = withholding.one(session, browser.who(), searched_id)
    except Missing:
        raise NotFound from None
    page = render_template("steward/withhold.html", line=line, form=form, problems=form.problems)
    return make_response(page, 400 if form.problems else 200)
