"""Misuse: a form for everybody of staff, and what auditors and supervisors outside the reporter's line read."""

from __future__ import annotations

import re
from datetime import date
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app import access
from app.audit.record import Actor, ActorKind
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing, TooMany
from app.permissions import Permission
from app.services import misuse
from app.services.misuse import LONGEST, Cursor
from app.web import context, forms, guards
from app.web import session as browser

pages = Blueprint("misuse", __name__)

_CURSOR = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})_([0-9a-f]{32})")


@pages.app_template_filter("calendar_day")
def calendar_day(on: date) -> str:
    """“3 June 2026”, of a day that has no time."""
    return f"{on.day} {on:%B %Y}"


class ReportForm(forms.Form):
    """What happened, when, and whom it is about."""

    what = forms.Lines(
        "What happened",
        longest=LONGEST["what"],
        needed="Say what happened.",
        hint="For example: somebody looked up a person for no reason of work, or shared what only officers may see. "
        "Say how you know.",
    )
    happened = forms.Line(
        "When it happened",
        longest=LONGEST["happened"],
        needed="Say when it happened.",
        hint="As well as you know: “Tuesday 3 June, about 4pm” or “since May”.",
    )
    whom = forms.Line(
        "Who it is about (optional)",
        longest=LONGEST["whom"],
        hint="Their name and e-mail address if you know them. They cannot read your report.",
    )
    anonymous = forms.Many(
        "Your name",
        [("yes", "Do not say that it was me")],
        hint="Your name helps whoever looks into it to ask you. Without it nothing that is kept says who you are, "
        "except what you write; and nobody can tell you what came of it.",
    )


class CloseForm(forms.Form):
    """What was done."""

    note = forms.Lines(
        "What was done",
        longest=LONGEST["note"],
        needed="Say what was done.",
        hint="For whoever reads this report after you.",
    )


@pages.route("/staff/misuse/report", methods=["GET", "POST"])
@guards.staff(Permission.MISUSE_REPORT)
def report() -> AnyResponse:
    """The form; what it takes goes to somebody outside the reporter's line."""
    form = ReportForm()
    if request.method == "POST" and form.validate():
        anonymous = bool(form.anonymous.data)
        try:
            with context.transaction() as session:
                misuse.report(
                    session,
                    browser.who(),
                    what=form.what.data or "",
                    happened=form.happened.data or "",
                    whom=form.whom.data or "",
                    anonymous=anonymous,
                    public_url=context.settings().public_url,
                    # Whoever is not named is not named on the record either: neither an id nor a network.
                    actor=Actor(ActorKind.STAFF) if anonymous else browser.actor(),
                    now=utc_now(),
                )
            return redirect(url_for("misuse.sent"), 303)
        except Invalid as error:
            form.refuse(error)
        except TooMany as error:
            form.refuse(Invalid("what", error.message))
    page = render_template(
        "officer/misuse_report.html",
        form=form,
        problems=form.problems,
        reads=access.may(browser.who(), Permission.MISUSE_READ),
    )
    return make_response(page, 400 if form.problems else 200)


@pages.get("/staff/misuse/sent")
@guards.staff(Permission.MISUSE_REPORT)
def sent() -> str:
    """What happens next. It names no report: one that is anonymous has no way back to its writer."""
    return render_template("officer/misuse_sent.html")


@pages.get("/staff/misuse")
@guards.staff(Permission.MISUSE_READ)
def reports() -> str:
    """The reports that this reader may read, a page at a time."""
    state = request.args.get("state", "open")
    if state not in {"open", "closed"}:
        raise NotFound
    after = _cursor(request.args.get("after", ""))
    with context.reading() as session:
        page = misuse.listed(session, browser.who(), closed=state == "closed", after=after)
    return render_template(
        "officer/misuse_reports.html",
        page=page,
        state=state,
        first=after is None,
        after=page.after and f"{page.after.on.isoformat()}_{page.after.id.hex}",
    )


@pages.get("/staff/misuse/<uuid:report_id>")
@guards.staff(Permission.MISUSE_READ)
def one(report_id: UUID) -> AnyResponse:
    """One report. That it was read goes on the record; nothing else changes."""
    return _shown(report_id, CloseForm())


@pages.post("/staff/misuse/<uuid:report_id>/close")
@guards.staff(Permission.MISUSE_READ)
def close(report_id: UUID) -> AnyResponse:
    """Nothing more to do, with a note of what was done."""
    form = CloseForm()
    if not form.validate():
        return _shown(report_id, form)
    try:
        with context.transaction() as session:
            misuse.close(
                session,
                browser.who(),
                report_id,
                note=form.note.data or "",
                actor=browser.actor(),
                now=utc_now(),
            )
    except Missing:
        raise NotFound from None
    except (Invalid, Conflict) as error:
        form.refuse(Invalid("note", error.message))
        return _shown(report_id, form)
    return redirect(url_for("misuse.one", report_id=report_id), 303)


def _shown(report_id: UUID, form: CloseForm) -> Response:
    try:
        with context.transaction() as session:
            found = misuse.read(session, browser.who(), report_id, actor=browser.actor())
    except Missing:
        raise NotFound from None
    page = render_template("officer/misuse_one.html", report=found, form=form, problems=form.problems)
    return make_response(page, 400 if form.problems else 200)


def _cursor(text: str) -> Cursor | None:
    """A cursor as it stands in an address; whatever is none means the first page."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    try:
        return Cursor(date.fromisoformat(match[1]), UUID(hex=match[2]))
    except ValueError:
        return None
