"""The monthly review of searches: a reviewer's list, one search, and the verdict on it."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission
from app.services.register import reviews
from app.services.register.reviews import LONGEST_NOTE, STATES, VERDICTS
from app.web import context, forms, guards
from app.web import session as browser
from app.web.steward import cursors, ground

pages = Blueprint("reviews", __name__, url_prefix="/staff/register/reviews")


class VerdictForm(forms.Form):
    """Proper, or not."""

    verdict = forms.One(
        "Was this search proper?",
        VERDICTS.items(),
        needed="Choose a verdict.",
        hint="Does the reason fit the case and the purpose? Is the place no larger, and the time no longer, than that "
        "needs? Was what it found used?",
    )
    note = forms.Lines(
        "Note (needed unless it was proper)",
        longest=LONGEST_NOTE,
        hint="What is missing, or what was wrong. It is kept with the verdict.",
    )


@pages.get("")
@guards.staff(Permission.REVIEW_JUDGE)
def listed() -> str:
    """Reviews a page at a time: one's own, all that are open, or those done."""
    state = request.args.get("state", "mine")
    if state not in STATES:
        raise NotFound
    after = cursors.asked()
    with context.reading() as session:
        lines, onward = reviews.listed(session, browser.who(), state, now=utc_now(), after=after)
    return render_template(
        "steward/reviews.html",
        lines=lines,
        state=state,
        first=after is None,
        after=cursors.written(onward),
        verdicts=VERDICTS,
    )


@pages.get("/<uuid:review_id>")
@guards.staff(Permission.REVIEW_JUDGE)
def one(review_id: UUID) -> AnyResponse:
    """One search. That it is read is on the record before it is read; nothing else changes."""
    return _shown(review_id, VerdictForm())


@pages.post("/<uuid:review_id>/judge")
@guards.staff(Permission.REVIEW_JUDGE)
def judge(review_id: UUID) -> AnyResponse:
    """The verdict."""
    form = VerdictForm()
    if not form.validate():
        return _shown(review_id, form)
    try:
        with context.transaction() as session:
            reviews.judge(
                session,
                browser.who(),
                review_id,
                verdict=form.verdict.data or "",
                note=form.note.data or "",
                actor=browser.actor(),
                now=utc_now(),
            )
    except Missing:
        raise NotFound from None
    except Invalid as error:
        form.refuse(error, otherwise="note")
        return _shown(review_id, form)
    except Conflict as error:
        form.refuse(Invalid("verdict", error.message))
        return _shown(review_id, form)
    return redirect(url_for("reviews.one", review_id=review_id), 303)


def _shown(review_id: UUID, form: VerdictForm) -> Response:
    try:
        with context.transaction() as session:
            reviews.consult(session, browser.who(), review_id, actor=browser.actor())
        with context.transaction() as session:
            found = reviews.read(session, browser.who(), review_id, now=utc_now())
    except Missing:
        raise NotFound from None
    page = render_template(
        "steward/review.html",
        review=found,
        form=form,
        problems=form.problems,
        drawing=ground.drawing(found.search.ground),
        verdicts=VERDICTS,
    )
    return make_response(page, 400 if form.problems else 200)
