"""Teams: made, changed and ended where one is an administrator; their public entries, with names by consent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import wtforms
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from app import access
from app.access import Who
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission
from app.services import staff, team_entries, teams
from app.web import context, errors, guards, session
from app.web.forms import Form, Line, Lines, Many

pages = Blueprint("teams", __name__, url_prefix="/staff/teams")

DONE = {
    "made": "The team is made. People are put into it on their own pages.",
    "changed": "The team is changed.",
    "added": "The entry is added. Everybody can read it.",
    "removed": "The entry is taken off.",
    "ended": "The team has ended.",
}
LONGEST_MEMBER = 100


class Written(Form):
    name = Line("Name", longest=teams.LONGEST_NAME, needed="Enter the name.")
    about = Lines(
        "What the team does (optional)",
        longest=teams.LONGEST_ABOUT,
        hint="In one paragraph, for everybody to read.",
    )
    email = Line("E-mail address (optional)", longest=254, hint="Shown to everybody.")
    phone = Line("Phone number (optional)", longest=40, hint="Shown to everybody.")
    url = Line("The team’s own page (optional)", longest=500, hint="Its address begins with https://")
    areas = Many("Areas it looks after", needed="Choose at least one area.")


class Member(Form):
    role = Line("Role", longest=LONGEST_MEMBER, needed="Enter the role.", hint="Such as Sergeant, or PCSO.")
    name = Line("Name (optional)", longest=LONGEST_MEMBER, hint="Everybody can read it.")
    agreed = wtforms.BooleanField("This person agreed that their name is shown to everybody")


@pages.route("", methods=["GET"])
@guards.staff(Permission.TEAM_MANAGE)
def listed() -> str:
    """The teams that somebody may change, by name."""
    after = request.args.get("after", "").replace("\x00", "")[: teams.LONGEST_NAME]
    with context.transaction() as db:
        found = teams.for_administrator(db, session.who(), after=after, most=teams.PAGE + 1)
    onward = found[teams.PAGE - 1].name if len(found) > teams.PAGE else None
    return render_template(
        "admin/teams.html", teams=found[: teams.PAGE], onward=onward, first=not after, done=_done()
    )


@pages.route("/new", methods=["GET", "POST"])
@guards.staff(Permission.TEAM_MANAGE)
def new() -> Response:
    """A new team within one's area."""
    form = Written()
    with context.transaction() as db:
        who = session.who()
        ground = _ground(db, who, form)
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                made = teams.create(
                    db, controller=who.organisation_id, **_words(form), by=who, actor=session.actor()
                )
            return _to(made.id, "made")
        except Invalid as error:
            form.refuse(error)
        except Conflict as error:
            form.refuse(Invalid("name", error.message))
    return _page("admin/team_edit.html", form, ground=ground, team=None)


@pages.route("/<uuid:team_id>", methods=["GET"])
@guards.staff(Permission.TEAM_MANAGE)
def team(team_id: UUID) -> str:
    """Its public entry, as everybody reads it, and what can be done."""
    return _shown(team_id, Member())


@pages.route("/<uuid:team_id>/edit", methods=["GET", "POST"])
@guards.staff(Permission.TEAM_MANAGE)
def alter(team_id: UUID) -> Response:
    """Its name, its entry and its areas."""
    with context.transaction() as db:
        who = session.who()
        found = teams.own(db, who, team_id)
        codes = teams.codes_of(db, team_id)
        form = Written(
            name=found.name,
            about=found.about,
            email=found.email,
            phone=found.phone,
            url=found.url,
            areas=codes,
        )
        ground = _ground(db, who, form, codes)
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                teams.alter(db, team_id, **_words(form), by=who, actor=session.actor(), now=utc_now())
            return _to(team_id, "changed")
        except Invalid as error:
            form.refuse(error)
        except Conflict as error:
            form.refuse(Invalid("name", error.message))
    return _page("admin/team_edit.html", form, ground=ground, team=found)


@pages.route("/<uuid:team_id>/end", methods=["GET", "POST"])
@guards.staff(Permission.TEAM_MANAGE)
def end(team_id: UUID) -> Response:
    """The team is no more."""
    with context.transaction() as db:
        found = teams.own(db, session.who(), team_id)
    if request.method == "POST":
        try:
            with context.transaction() as db:
                teams.own(db, session.who(), team_id)
                teams.end(db, team_id, actor=session.actor(), now=utc_now())
            return redirect(url_for("teams.listed", done="ended"), 303)
        except Conflict as error:
            return errors.page(409, "The team was not ended", error.message)
    return make_response(render_template("admin/team_end.html", team=found))


@pages.route("/<uuid:team_id>/members", methods=["POST"])
@guards.staff(Permission.TEAM_MANAGE)
def add_member(team_id: UUID) -> Response:
    """One more role on the public entry; with a name only by consent."""
    form = Member()
    if form.validate():
        try:
            with context.transaction() as db:
                teams.own(db, session.who(), team_id)
                teams.add_member(
                    db,
                    team_id,
                    role=form.role.data or "",
                    name=form.name.data,
                    agreed=bool(form.agreed.data),
                    actor=session.actor(),
                )
            return _to(team_id, "added")
        except Invalid as error:
            form.refuse(error)
        except Conflict as error:
            form.refuse(Invalid("role", error.message))
    return make_response(_shown(team_id, form), 400)


@pages.route("/<uuid:team_id>/members/remove", methods=["POST"])
@guards.staff(Permission.TEAM_MANAGE)
def remove_member(team_id: UUID) -> Response:
    """Off the entry, as when somebody no longer agrees."""
    role, name = (request.form.get(key, "").replace("\x00", "") for key in ("role", "name"))
    with context.transaction() as db:
        teams.own(db, session.who(), team_id)
        if any(_half(text) for text in (role, name)):
            raise Missing("The team has no such member.")
        teams.remove_member(db, team_id, role=role, name=name or None, actor=session.actor())
    return _to(team_id, "removed")


def _half(text: str) -> bool:
    """Whether a text cannot be stored, and so never was."""
    return any("\ud800" <= c <= "\udfff" for c in text)


def _shown(team_id: UUID, form: Member) -> str:
    with context.transaction() as db:
        teams.own(db, session.who(), team_id)
        entry = team_entries.view(db, team_id)
        names = staff.names_of(db, teams.codes_of(db, team_id))
    if entry is None:
        raise Missing("There is no such team.")
    return render_template(
        "admin/team.html", team=entry, areas=names, form=form, problems=form.problems, done=_done()
    )


def _ground(db: Session, who: Who, form: Written, used: list[str] | None = None) -> dict[str, object]:
    """What may be chosen: boroughs and wards of one's own, and what of one's own the team has besides."""
    found = staff.areas_of(db, who, Permission.TEAM_MANAGE)
    known = {code for one in found for code in (one.code, *(ward.code for ward in one.wards))}
    others = staff.names_of(db, [code for code in used or [] if code not in known])
    others = [one for one in others if access.inside(db, who, Permission.TEAM_MANAGE, [one.code])]
    form.areas.choices = [
        *((one.code, one.name) for one in others),
        *(pair for one in found for pair in _pairs(one)),
    ]
    return {"others": others, "boroughs": found}


def _pairs(one: staff.BoroughChoice) -> list[tuple[str, str]]:
    whole = [(one.code, one.name)] if one.whole else []
    return [*whole, *((ward.code, ward.name) for ward in one.wards)]


def _words(form: Written) -> dict[str, Any]:
    return {
        "name": form.name.data or "",
        "about": " ".join((form.about.data or "").split()),
        "email": form.email.data or "",
        "phone": form.phone.data or "",
        "url": form.url.data or "",
        "areas": form.areas.data,
    }


def _done() -> str | None:
    return DONE.get(request.args.get("done", ""))


def _to(team_id: UUID, done: str) -> Response:
    return redirect(url_for("teams.team", team_id=team_id, done=done), 303)


def _page(template: str, form: Form, **more: object) -> Response:
    page = render_template(template, form=form, problems=form.problems, **more)
    return make_response(page, 400 if form.problems else 200)
