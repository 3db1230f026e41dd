"""An alert is written, looked at as each channel will carry it, and sent."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from app import access
from app.access import Who
from app.db import utc_now
from app.errors import Conflict, Invalid
from app.permissions import Permission
from app.services import alerts, compose, previews, published, replies, reports, staff
from app.services.budgets.allowances import Allowance, Prices
from app.web import context, errors, guards, session
from app.web.officer import writing
from app.web.officer.writing import Ground, Written

pages = Blueprint("compose", __name__)

PAGE = 20
# 10,000 characters of any script, as a browser writes them into a form.
LARGEST_FORM = 256 * 1024
MOST_NAMED = 12
NOT_OURS = "It is for areas that are not your team's. Ask a colleague of that team, or one who is in no team."


@pages.url_value_preprocessor
def _roomier(endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Before anything reads the form, the guards included."""
    request.max_content_length = request.max_form_memory_size = LARGEST_FORM


@pages.route("/staff", methods=["GET"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def home() -> str:
    """The organisation's drafts, and what it has sent."""
    lists: dict[str, Any] = {}
    with context.transaction() as db:
        who = session.who()
        if not access.may(who, Permission.ALERT_READ):
            return render_template("officer/no_alerts.html")
        for state in ("draft", "sent"):
            before = published.cursor(request.args.get(state, ""))
            found = alerts.listed(
                db,
                who.organisation_id,
                state,
                before=(before.sent_at, before.alert_id) if before else None,
                most=PAGE + 1,
            )
            last = found[PAGE - 1] if len(found) > PAGE else None
            lists[state] = {
                "alerts": found[:PAGE],
                "later": before is not None,
                "next": last and str(published.Cursor(last.changed_at, last.id)),
            }
        sendings = reports.latest(db, [one.id for one in lists["sent"]["alerts"]])
        unread = replies.unread(db, who) if access.may(who, Permission.REPLY_READ) else 0
    return render_template(
        "officer/home.html", lists=lists, sendings=sendings, unread=unread, names=writing.NAMES, who=who
    )


@pages.route("/staff/alerts/new", methods=["GET", "POST"])
@guards.staff(Permission.ALERT_DRAFT)
def new() -> Response:
    """An empty form; a draft when it is posted."""
    with context.transaction() as db:
        who = session.who()
        ground = _ground(db, who)
    form = Written()
    form.areas.choices = ground.choices()
    if request.method != "POST" or _only_counts(form):
        return _form(form, who, ground)
    if form.validate():
        try:
            with context.transaction() as db:
                alert = compose.draft(db, who, form.words(ground), actor=session.actor())
            return redirect(url_for("compose.preview", alert_id=alert.id), 303)
        except Invalid as error:
            _refuse(form, error)
    return _form(form, who, ground)


@pages.route("/staff/alerts/<uuid:alert_id>/edit", methods=["GET", "POST"])
@guards.staff(Permission.ALERT_DRAFT)
def edit(alert_id: UUID) -> Response:
    """The form of a draft. What somebody else saved meanwhile is not written over unseen."""
    with context.transaction() as db:
        who = session.who()
        alert = compose.own(db, who, alert_id)
        ground = _ground(db, who, alert)
        allowed = compose.may_write(db, who, alert)
    if not allowed:
        return errors.page(403, "You cannot change this alert", NOT_OURS)
    form = Written(**writing.filled(alert))
    form.areas.choices = ground.choices()
    if request.method != "POST":
        if alert.state != "draft":
            return redirect(url_for("compose.preview", alert_id=alert_id))
        return _form(form, who, ground, alert)
    if _only_counts(form):
        return _form(form, who, ground, alert)
    if form.validate():
        try:
            with context.transaction() as db:
                words = form.words(ground, except_areas=alert.audience.get("except_areas", []))
                compose.change(
                    db, who, alert_id, words, seen=writing.moment(form.seen.data), actor=session.actor()
                )
            return redirect(url_for("compose.preview", alert_id=alert_id), 303)
        except Invalid as error:
            _refuse(form, error)
        except Conflict as error:
            return _overtaken(form, who, ground, alert, error)
    return _form(form, who, ground, alert)


def _overtaken(form: Written, who: Who, ground: Ground, alert: Any, error: Conflict) -> Response:
    """Nothing typed is lost: it stands in the form, and saving once more puts it in place of the other."""
    theirs = url_for("compose.preview", alert_id=alert.id)
    problems = [{"text": error.message, "href": "#overtaken"}]
    form.seen.data = alert.changed_at.isoformat()
    return _form(form, who, ground, alert, problems=problems, theirs=theirs, status=409)


@pages.route("/staff/alerts/<uuid:alert_id>", methods=["GET"])
@guards.staff(Permission.ALERT_READ)
def preview(alert_id: UUID) -> Response:
    """What each channel will carry, to how many, for how much. An alert that was sent has its progress instead."""
    exercise = request.args.get("exercise") == "1"
    with context.transaction() as db:
        who = session.who()
        compose.own(db, who, alert_id)
        sent = compose.already(db, alert_id)
    if sent is not None:
        return redirect(url_for("progress.dispatch", dispatch_id=sent))
    return _preview(who, alert_id, exercise=exercise)


@pages.route("/staff/alerts/<uuid:alert_id>/send", methods=["POST"])
@guards.staff(Permission.ALERT_SEND)
def send(alert_id: UUID) -> Response:
    """Send what the preview showed, once."""
    exercise = request.form.get("exercise") == "1"
    with context.transaction() as db:
        who = session.who()
        allowed = compose.may_write(db, who, compose.own(db, who, alert_id))
    if not allowed:
        return errors.page(403, "You cannot send this alert", NOT_OURS)
    try:
        with context.transaction() as db:
            sent = compose.send(
                db,
                who,
                alert_id,
                token=request.form.get("send_token", ""),
                seen=writing.moment(request.form.get("seen")),
                exercise=exercise,
                public_url=context.settings().public_url,
                actor=session.actor(),
                now=utc_now(),
                prices=_prices(),
            )
    except Invalid as error:
        return _preview(who, alert_id, exercise=exercise, problem=error.message, status=400)
    except Conflict as error:
        return _preview(who, alert_id, exercise=exercise, problem=error.message, status=409)
    again = 1 if sent.again else None
    return redirect(url_for("progress.dispatch", dispatch_id=sent.dispatch_id, again=again), 303)


@pages.route("/staff/alerts/<uuid:alert_id>/discard", methods=["POST"])
@guards.staff(Permission.ALERT_DRAFT)
def discard(alert_id: UUID) -> Response:
    """Throw a draft away."""
    try:
        with context.transaction() as db:
            compose.discard(db, session.who(), alert_id, actor=session.actor())
    except Invalid:
        return errors.page(403, "You cannot discard this alert", NOT_OURS)
    except Conflict as error:
        return errors.page(409, "This alert was not discarded", error.message)
    return redirect(url_for("compose.home"), 303)


@pages.route("/staff/alerts/segments", methods=["POST"])
@guards.staff(Permission.ALERT_DRAFT)
def segments() -> str:
    """How long the text is that is being written: a part of the form, for the script."""
    with context.transaction() as db:
        count, problem = writing.count(db, session.who(), request.form, context.settings())
    return render_template("officer/segments.html", count=count, problem=problem, price=writing.price)


def _ground(db: Session, who: Who, alert: Any = None) -> Ground:
    boroughs = staff.areas_of(db, who, Permission.ALERT_DRAFT)
    known = {code for b in boroughs for code in (b.code, *(w.code for w in b.wards))}
    used = alert.audience.get("areas", []) if alert is not None else []
    return Ground(boroughs, staff.names_of(db, [code for code in used if code not in known]))


def _only_counts(form: Written) -> bool:
    """Somebody without a script asks how long the text is: nothing is checked or saved."""
    return request.form.get("action") == "count"


def _refuse(form: Written, error: Invalid) -> None:
    form.refuse(Invalid("areas", error.message) if error.field == "audience" else error, otherwise="body")


def _form(
    form: Written,
    who: Who,
    ground: Ground,
    alert: Any = None,
    *,
    problems: list[dict[str, str]] | None = None,
    theirs: str | None = None,
    status: int = 400,
) -> Response:
    problems = problems or form.problems
    with context.transaction() as db:
        count, trouble = writing.count(db, who, form.data, context.settings())
    page = render_template(
        "officer/compose.html",
        form=form,
        ground=ground,
        alert=alert,
        problems=problems,
        theirs=theirs,
        count=count,
        problem=trouble,
        price=writing.price,
        left_out=_names(alert, "except_areas"),
        kind_hints=writing.KIND_HINTS,
        urgency_hints=writing.URGENCY_HINTS,
    )
    return make_response(page, status if problems else 200)


def _names(alert: Any, key: str) -> list[str]:
    codes = alert.audience.get(key, []) if alert is not None else []
    if not codes:
        return []
    with context.transaction() as db:
        return [one.name for one in staff.names_of(db, codes)]


def _prices() -> Prices:
    return Prices(context.settings().sms_segment_pence, context.settings().email_pence)


def _preview(
    who: Who, alert_id: UUID, *, exercise: bool, problem: str | None = None, status: int = 200
) -> Response:
    settings = context.settings()
    shown, weight = [], None
    allowance: list[Allowance] = []
    tight: list[Allowance] = []
    with context.transaction() as db:
        alert = compose.own(db, who, alert_id)
        ground = _ground(db, who, alert)
        allowed = compose.may_write(db, who, alert)
        try:
            shown = previews.preview(db, alert, settings.public_url, exercise=exercise)
            weight = compose.weigh(db, alert, shown, segment_pence=settings.sms_segment_pence)
            allowance, tight = compose.allowance(db, who, weight, _prices(), now=utc_now())
        except Invalid as error:
            problem = problem or error.message
    names = ground.names(alert.audience.get("areas", []))
    page = render_template(
        "officer/preview.html",
        alert=alert,
        shown=shown,
        weight=weight,
        allowance=[writing.left(one) for one in allowance],
        tight=writing.too_much(tight, vital=alert.urgency == "risk-to-life"),
        price=writing.price,
        segment_pence=settings.sms_segment_pence,
        letter=writing.letter,
        areas=names[:MOST_NAMED],
        more=max(0, len(names) - MOST_NAMED),
        left_out=_names(alert, "except_areas"),
        names=writing.NAMES,
        allowed=allowed,
        not_ours=NOT_OURS,
        exercise=exercise,
        # A draft belongs to this look at it: its token is used up by sending, whoever clicks how often.
        send_token=secrets.token_urlsafe(24),
        problems=[{"text": problem, "href": "#send"}] if problem else [],
    )
    return make_response(page, status)
