"""The owner's own pages: what the register holds of them, and changing, pausing and leaving it.

Opened by a code or a fresh link. That they are opened is on the record before anything is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import wtforms
from flask import Blueprint, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing, TooMany
from app.services.register import cameras, opting, owners
from app.services.register.cameras import COVERS, KINDS, WINDS, Camera
from app.services.register.owners import Page
from app.web import context, errors, guards, origin, session
from app.web.camera_form import picture
from app.web.forms import Form, Line
from app.web.resident import asking
from app.web.resident.owner_form import OwnerForm

pages = Blueprint("my_cameras", __name__)

LONDON = ZoneInfo("Europe/London")
DONE = {
    "added": "Your camera is on the register.",
    "changed": "Your changes are saved.",
    "removed": "The camera is deleted.",
    "paused": "Your cameras are in no search now.",
    "resumed": "Your cameras are in searches again.",
    "renewed": "Thank you. We ask again in a year.",
}
PURPOSES = {
    "prevention": "To prevent a crime",
    "investigation": "To investigate a crime",
    "detection": "To find out who committed a crime",
    "prosecution": "To prosecute a crime",
    "safeguarding": "To keep somebody safe",
}
ANSWERS = {
    "have-it": "You said that you have footage",
    "have-not": "You said that you have no footage",
    "overwritten": "You said that it was overwritten",
    "call-me": "You asked to be called",
    "not-again": "You asked not to be asked again",
}


class PauseForm(Form):
    """Until when."""

    day = Line("Day", longest=2)
    month = Line("Month", longest=2)
    year = Line("Year", longest=4)
    until = wtforms.HiddenField()

    def moment(self) -> datetime | None:
        """The beginning of that day in London; None when none was given. Raises Invalid."""
        typed = [self.day.data, self.month.data, self.year.data]
        if not any(typed):
            return None
        try:
            day = date(int(typed[2] or ""), int(typed[1] or ""), int(typed[0] or ""))
        except ValueError:
            raise Invalid("day", "Enter a real date, such as 24 12 2026.") from None
        return datetime.combine(day, time(), LONDON)


def look() -> Page:
    """What the register holds of the visitor; NotFound when their session is over."""
    try:
        return owners.look(
            context.registry().sessions, session.token(), origin=origin.network(), before=_before()
        )
    except Missing:
        raise NotFound from None


def _before() -> datetime | None:
    text = request.args.get("before", "")
    try:
        found = datetime.fromisoformat(text) if text else None
    except ValueError:
        raise NotFound from None
    if found is not None and found.tzinfo is None:
        raise NotFound
    return found


@pages.get("/cameras/mine")
@guards.resident
def mine() -> AnyResponse:
    """Every camera of this address, and when one was matched or asked."""
    try:
        page = look()
    except Conflict as error:
        return errors.page(409, words=error.message)
    named = {camera.id: camera for one in page.mine for camera in one.cameras}
    return asking.page(
        "resident/my_cameras.html",
        page=page,
        named=named,
        describe=describe,
        drawn={id: _drawn(camera) for id, camera in named.items()},
        purposes=PURPOSES,
        answers=ANSWERS,
        reach_how=opting.REACH_HOW,
        reach_when=opting.REACH_WHEN,
        earlier=page.searches[-1].at.isoformat() if page.earlier else "",
        later="before" in request.args,
        done=DONE.get(request.args.get("done", ""), ""),
        now=utc_now(),
    )


def _drawn(camera: Camera) -> Any:
    return picture(camera.centre or camera.facts.at, camera.facts.at, camera.facts)


def describe(camera: Camera) -> list[tuple[str, str]]:
    """A camera's facts, as rows."""
    facts = camera.facts
    where = facts.postcode
    if camera.centre is not None:
        metres, towards = cameras.away(camera.centre, facts.at)
        if metres:
            where = f"{facts.postcode}, {metres} metres {WINDS[towards]} of its middle"
    looks = (
        "All round"
        if facts.field == 360
        else f"{WINDS[cameras.wind(facts.bearing)].capitalize()} ({facts.bearing}°), {facts.field}° wide"
    )
    records = [
        ("in the dark" if facts.night else "not in the dark"),
        ("with sound" if facts.audio else "no sound"),
    ]
    return [
        ("Kind", KINDS[facts.kind]),
        ("Where", where),
        ("Looks", f"{looks}, {facts.reach} metres far"),
        ("Height", "Not given" if facts.height is None else f"{facts.height:g} metres"),
        ("Records", ", ".join(records).capitalize()),
        ("Covers", COVERS[facts.covers]),
        ("Keeps footage", f"{facts.days_kept} day{'' if facts.days_kept == 1 else 's'}"),
    ]


@pages.route("/cameras/mine/<uuid:owner_id>/contact", methods=["GET", "POST"])
@guards.resident
def contact(owner_id: UUID) -> AnyResponse:
    """Their name, and how to be reached."""
    try:
        one = look().place(owner_id)
    except Missing:
        raise NotFound from None
    form = OwnerForm(
        name=one.owner.name,
        owner_kind=one.owner.kind,
        reach_how=one.owner.reach_how,
        reach_when=one.owner.reach_when,
    )
    if request.method == "POST":
        owner = form.owner()
        if owner is not None and does(
            lambda s: owners.change(s, session.token(), owner_id, owner, actor=session.actor()), form
        ):
            return back("changed")
    problems = form.problems
    return asking.page(
        "resident/camera_owner.html", 400 if problems else 200, form=form, one=one, problems=problems
    )


@pages.route("/cameras/mine/<uuid:owner_id>/pause", methods=["GET", "POST"])
@guards.resident
def pause(owner_id: UUID) -> AnyResponse:
    """All cameras out of searches, until a day or for good."""
    form = PauseForm()
    if request.method == "POST":
        try:
            until = form.moment()
            if does(
                lambda s: owners.pause(
                    s, session.token(), owner_id, until, actor=session.actor(), now=utc_now()
                ),
                form,
            ):
                return back("paused")
        except Invalid as error:
            form.refuse(error, otherwise="day")
    problems = form.problems
    return asking.page(
        "resident/camera_pause.html",
        400 if problems else 200,
        form=form,
        owner_id=owner_id,
        problems=problems,
    )


@pages.post("/cameras/mine/<uuid:owner_id>/resume")
@guards.resident
def resume(owner_id: UUID) -> AnyResponse:
    return act_on(lambda s: owners.resume(s, session.token(), owner_id, actor=session.actor()), "resumed")


@pages.post("/cameras/mine/<uuid:owner_id>/renew")
@guards.resident
def renew(owner_id: UUID) -> AnyResponse:
    return act_on(lambda s: owners.renew(s, session.token(), owner_id, actor=session.actor()), "renewed")


@pages.post("/cameras/mine/<uuid:owner_id>/leave")
@guards.resident
def leave(owner_id: UUID) -> AnyResponse:
    """One tap, and it is done."""
    try:
        with context.transaction() as s:
            owners.leave(s, session.token(), owner_id, actor=session.actor())
    except Missing:
        raise NotFound from None
    return redirect(url_for("cameras.left"), 303)


def act_on(act: Callable[[Session], None], done: str) -> AnyResponse:
    try:
        with context.transaction() as s:
            act(s)
    except Missing:
        raise NotFound from None
    return back(done)


def does(act: Callable[[Session], object], form: Form) -> bool:
    """Do it; False when it was refused, which then stands in the form."""
    try:
        with context.transaction() as s:
            act(s)
    except Missing:
        raise NotFound from None
    except Invalid as error:
        form.refuse(error)
        return False
    except TooMany as error:
        form.refuse(Invalid("label", error.message))
        return False
    return True


def back(done: str) -> AnyResponse:
    return redirect(url_for("my_cameras.mine", done=done), 303)
