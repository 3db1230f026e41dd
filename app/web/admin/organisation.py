"""One's organisation: what it is, what it sends from, what it agreed to."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app import access
from app.db import utc_now
from app.errors import Conflict, Invalid
from app.permissions import Permission
from app.services import agreements, organisations, terms
from app.services.budgets import allowances
from app.services.budgets.allowances import amount, when
from app.web import context, errors, guards, session
from app.web.admin.fields import Day, Pick
from app.web.forms import Form, Line, Lines

pages = Blueprint("organisation", __name__, url_prefix="/staff/organisation")

CHANNELS = {"email": "E-mail", "sms": "Text message"}
DONE = {
    "altered": "The organisation is changed.",
    "added": "The agreement is added.",
    "changed": "The agreement is changed.",
    "ended": "The agreement has ended.",
}
_REVIEW = "Enter the day of the next review as day, month and year."


class Alter(Form):
    name = Line("Name", longest=200, needed="Enter the name.", hint="As residents read it in every message.")
    legal_basis = Lines(
        "Legal basis",
        longest=500,
        needed="Say on what legal basis you write to people.",
        hint="In one paragraph. The privacy page shows it.",
    )


class Agreement(Form):
    """A new agreement."""

    kind = Pick("Kind", needed="Choose the kind.")
    title = Line("Title", longest=agreements.LONGEST_TITLE, needed="Enter the title.")
    reference = Line(
        "Reference (optional)", longest=agreements.LONGEST_REFERENCE, hint="Where you keep the document."
    )
    signed_on = Day("Signed on", wrong="Enter the day of signing as day, month and year.")
    review_on = Day("Next review", wrong=_REVIEW, hint="You are reminded 30 days before, and on the day.")


class Change(Form):
    """One that stands, as after a review."""

    title = Line("Title", longest=agreements.LONGEST_TITLE, needed="Enter the title.")
    reference = Line(
        "Reference (optional)", longest=agreements.LONGEST_REFERENCE, hint="Where you keep the document."
    )
    review_on = Day("Next review", wrong=_REVIEW, hint="You are reminded 30 days before, and on the day.")


@pages.route("", methods=["GET"])
@guards.staff(Permission.ORGANISATION_READ)
def organisation() -> str:
    """All of it on one page."""
    now = utc_now()
    with context.transaction() as db:
        who = session.who()
        found = organisations.own(db, who)
        senders = organisations.senders_of(db, who.organisation_id)
        limits = allowances.allowances(db, who.organisation_id, allowances.day_of(now))
        standing = agreements.listed(db, who.organisation_id, today=terms.today(now))
        over = agreements.listed(db, who.organisation_id, today=terms.today(now), ended=True)
    return render_template(
        "admin/organisation.html",
        organisation=found,
        senders=senders,
        limits=[
            (amount(one.measure, one.most), one.period, amount(one.measure, one.used), when(one))
            for one in limits
        ],
        agreements=standing,
        over=over,
        kinds=agreements.KINDS,
        channels=CHANNELS,
        may_alter=access.may(who, Permission.ORGANISATION_ALTER),
        done=DONE.get(request.args.get("done", "")),
    )


@pages.route("/edit", methods=["GET", "POST"])
@guards.staff(Permission.ORGANISATION_ALTER)
def alter() -> Response:
    """Its name and its legal basis; what else it is, the operator says."""
    with context.transaction() as db:
        who = session.who()
        found = organisations.own(db, who)
    form = Alter(name=found.name, legal_basis=found.legal_basis)
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                organisations.alter(
                    db,
                    who.organisation_id,
                    by=who,
                    name=form.name.data,
                    legal_basis=" ".join((form.legal_basis.data or "").split()),
                    actor=session.actor(),
                    now=utc_now(),
                )
            return _back("altered")
        except Invalid as error:
            form.refuse(error)
    return _page("admin/organisation_edit.html", form)


@pages.route("/agreements/new", methods=["GET", "POST"])
@guards.staff(Permission.ORGANISATION_ALTER)
def add() -> Response:
    """A new agreement."""
    today = terms.today(utc_now())
    form = Agreement(review_on=today + timedelta(days=365))
    form.kind.offer({"": agreements.KINDS.items()})
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                who = session.who()
                agreements.add(
                    db,
                    who.organisation_id,
                    kind=form.kind.data or "",
                    title=form.title.data or "",
                    reference=form.reference.data or "",
                    signed_on=_day(form.signed_on),
                    review_on=_day(form.review_on),
                    by=who,
                    actor=session.actor(),
                    today=today,
                )
            return _back("added")
        except Invalid as error:
            form.refuse(error)
        except Conflict as error:
            form.refuse(Invalid("title", error.message))
    return _page("admin/agreement.html", form, agreement=None, kinds=agreements.KINDS)


@pages.route("/agreements/<uuid:agreement_id>", methods=["GET", "POST"])
@guards.staff(Permission.ORGANISATION_ALTER)
def change(agreement_id: UUID) -> Response:
    """Its title, its reference, and when it is to be looked at next."""
    today = terms.today(utc_now())
    with context.transaction() as db:
        found = agreements.own(db, session.who(), agreement_id, today=today)
    form = Change(title=found.title, reference=found.reference, review_on=found.review_on)
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                agreements.alter(
                    db,
                    agreement_id,
                    title=form.title.data or "",
                    reference=form.reference.data or "",
                    review_on=_day(form.review_on),
                    by=session.who(),
                    actor=session.actor(),
                    today=today,
                )
            return _back("changed")
        except Invalid as error:
            form.refuse(error)
        except Conflict as error:
            form.refuse(Invalid("title", error.message))
    return _page("admin/agreement.html", form, agreement=found, kinds=agreements.KINDS)


@pages.route("/agreements/<uuid:agreement_id>/end", methods=["POST"])
@guards.staff(Permission.ORGANISATION_ALTER)
def end(agreement_id: UUID) -> Response:
    """It holds no longer."""
    try:
        with context.transaction() as db:
            agreements.end(db, agreement_id, by=session.who(), actor=session.actor(), now=utc_now())
    except Conflict as error:
        return errors.page(409, "That was not done", error.message)
    return _back("ended")


def _day(field: Day) -> date:
    found: date = field.data  # the form was valid
    return found


def _back(done: str) -> Response:
    return redirect(url_for("organisation.organisation", done=done), 303)


def _page(template: str, form: Form, **more: object) -> Response:
    page = render_template(template, form=form, problems=form.problems, **more)
    return make_response(page, 400 if form.problems else 200)
