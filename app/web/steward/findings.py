"""Findings of unusual searching, for auditors, stewards and supervisors outside the searcher's line."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission
from app.services.register import findings
from app.services.register.findings import LONGEST_NOTE, VERDICTS
from app.services.register.unusual import RULES
from app.web import context, forms, guards
from app.web import session as browser
from app.web.steward import cursors

pages = Blueprint("findings", __name__, url_prefix="/staff/register/findings")


class CloseForm(forms.Form):
    """What it was."""

    verdict = forms.One("What was it?", VERDICTS.items(), needed="Choose what it was.")
    note = forms.Lines(
        "What you found out",
        longest=LONGEST_NOTE,
        needed="Say what you found out.",
        hint="Whom you asked and what they said. For whoever reads this finding after you.",
    )


@pages.get("")
@guards.staff(Permission.FINDING_READ)
def listed() -> str:
    """Findings that are open, or closed, a page at a time, and by what rules they were found."""
    state = request.args.get("state", "open")
    if state not in {"open", "closed"}:
        raise NotFound
    after = cursors.asked()
    with context.reading() as session:
        lines, onward = findings.listed(session, browser.who(), closed=state == "closed", after=after)
    return render_template(
        "steward/findings.html",
        lines=lines,
        state=state,
        first=after is None,
        after=cursors.written(onward),
        rules=RULES,
    )


@pages.get("/<uuid:finding_id>")
@guards.staff(Permission.FINDING_READ)
def one(finding_id: UUID) -> AnyResponse:
    """One finding. That it is read is on the record before it is read; nothing else changes."""
    return _shown(finding_id, CloseForm())


@pages.post("/<uuid:finding_id>/close")
@guards.staff(Permission.FINDING_READ)
def close(finding_id: UUID) -> AnyResponse:
    """With a verdict and a note."""
    form = CloseForm()
    if not form.validate():
        return _shown(finding_id, form)
    try:
        with context.transaction() as session:
            findings.close(
                session,
                browser.who(),
                finding_id,
                verdict=form.verdict.data or "",
                note=form.note.data or "",
                actor=browser.actor(),
                now=utc_now(),
            )
    except Missing:
        raise NotFound from None
    except Invalid as error:
        form.refuse(error, otherwise="note")
        return _shown(finding_id, form)
    except Conflict as error:
        form.refuse(Invalid("note", error.message))
        return _shown(finding_id, form)
    return redirect(url_for("findings.one", finding_id=finding_id), 303)


def _shown(finding_id: UUID, form: CloseForm) -> Response:
    after = cursors.asked()
    try:
        with context.transaction() as session:
            findings.consult(session, browser.who(), finding_id, actor=browser.actor())
        with context.transaction() as session:
            found = findings.read(session, browser.who(), finding_id, after=after)
    except Missing:
        raise NotFound from None
    page = render_template(
        "steward/finding.html",
        finding=found,
        form=form,
        problems=form.problems,
        first=after is None,
        after=cursors.written(found.after),
        verdicts=VERDICTS,
    )
    return make_response(page, 400 if form.problems else 200)
