"""The people of an organisation: listed, found, invited, moved, signed out, let go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Blueprint, Response, make_response, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app import access
from app.access import Who
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission, Role
from app.services import areas, grant_places, invitations, roles, staff, staff_list, terms
from app.services.staff_list import Filter
from app.web import context, guards, session
from app.web.admin import person as about
from app.web.admin.fields import Day, Pick
from app.web.forms import Form, Line

pages = Blueprint("people", __name__, url_prefix="/staff/people")


class Find(Form):
    email = Line("E-mail address", longest=254, needed="Enter the e-mail address they sign in with.")


class Invite(Form):
    name = Line(
        "Full name",
        longest=invitations.LONGEST_NAME,
        needed="Enter their name.",
        hint="With their rank, if they have one.",
    )
    email = Line(
        "E-mail address",
        longest=254,
        needed="Enter their e-mail address.",
        hint="The invitation goes there, and they sign in with it.",
    )
    role = Pick("Role", needed="Choose a role.")
    where = Pick(
        "Where they have this role",
        needed="Choose where.",
        hint="On a team: where the team works, as it changes.",
    )
    team = Pick(
        "Team",
        needed="Choose a team.",
        hint="Whose replies they read. Without a team, those of the whole organisation.",
    )
    ends_on = Day(
        "Last day of the role",
        wrong="Enter the last day as day, month and year.",
        hint="For example, 31 3 2027. At most three years from now.",
    )


class Move(Form):
    team = Pick(
        "Team",
        needed="Choose a team.",
        hint="Whose replies they read. Without a team, those of the whole organisation.",
    )


@pages.route("", methods=["GET"])
@guards.staff(Permission.STAFF_READ)
def people() -> str:
    """A page of them, narrowed as the form says."""
    return _listed(Find(), {})


@pages.route("/find", methods=["POST"])
@guards.staff(Permission.STAFF_READ)
def find() -> AnyResponse:
    """Straight to whoever signs in with exactly this address: it stands in no address of ours."""
    form = Find()
    if form.validate():
        try:
            with context.transaction() as db:
                found = staff_list.by_email(db, session.who(), form.email.data or "")
            return about.to(found)
        except Invalid as error:
            form.refuse(error)
        except Missing as error:
            form.refuse(Invalid("email", error.message))
    return make_response(_listed(form, {"problems": form.problems}), 400)


@pages.route("/invite", methods=["GET", "POST"])
@guards.staff(Permission.STAFF_INVITE)
def invite() -> AnyResponse:
    """Somebody new, or who has left: with one role, in one place, for a term."""
    usual = terms.today(utc_now() + roles.USUAL_TERM - timedelta(days=1))
    form = Invite(ends_on=usual)
    with context.transaction() as db:
        who = session.who()
        about.offer_roles(form.role, who)
        about.offer_places(db, who, form.where)
        about.offer_teams(db, who, form.team)
    if request.method != "POST" or not form.validate():
        return _page("admin/invite.html", form)
    assert form.ends_on.data is not None
    settings = context.settings()
    try:
        with context.transaction() as db:
            sent = invitations.invite(
                db,
                organisation=who.organisation_id,
                email=form.email.data or "",
                name=form.name.data or "",
                team=about.team_id(form.team.data),
                role=Role(form.role.data),
                place=grant_places.place(db, form.where.data or ""),
                ends_at=terms.end_of(form.ends_on.data),
                public_url=settings.public_url,
                fictional=context.fictional(),
                by=who,
                actor=session.actor(),
                now=utc_now(),
            )
        return about.to(sent.staff_id, "invited")
    except Invalid as error:
        form.refuse(about.here(error), otherwise="where")
    except Conflict as error:
        form.refuse(Invalid("email", error.message))
    except Missing:
        form.refuse(Invalid("where", about.NOT_THERE))
    return _page("admin/invite.html", form)


@pages.route("/<uuid:staff_id>", methods=["GET"])
@guards.staff(Permission.STAFF_READ)
def person(staff_id: UUID) -> str:
    """One person: their roles, and what was before."""
    return about.shown(staff_id)


@pages.route("/<uuid:staff_id>/invite-again", methods=["GET", "POST"])
@guards.staff(Permission.STAFF_INVITE)
def invite_again(staff_id: UUID) -> AnyResponse:
    """A new invitation; earlier ones open nothing any more."""

    def act(db: Session, who: Who) -> None:
        invitations.again(
            db,
            who,
            staff_id,
            public_url=context.settings().public_url,
            fictional=context.fictional(),
            actor=session.actor(),
            now=utc_now(),
        )

    return about.confirm(
        staff_id,
        act,
        "invited",
        title="Send {name} a new invitation?",
        words="The link that they have got so far opens nothing any more. The new one works once, for 48 hours.",
        button="Send a new invitation",
        allowed=lambda one: one.may_let_go and one.line.state == "invited",
    )


@pages.route("/<uuid:staff_id>/team", methods=["GET", "POST"])
@guards.staff(Permission.ROLE_GRANT)
def team(staff_id: UUID) -> AnyResponse:
    """Another team, or none."""
    with context.transaction() as db:
        who = session.who()
        found = staff_list.person(db, who, staff_id, now=utc_now())
        form = Move(team=str(found.team_id) if found.team_id else about.NO_TEAM[0])
        about.offer_teams(db, who, form.team)
    if not found.may_move:
        return about.refused(found.line.name)
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as db:
                staff.move(db, who, staff_id, about.team_id(form.team.data), actor=session.actor())
            return about.to(staff_id, "moved")
        except Missing:
            form.refuse(Invalid("team", "Choose a team that lies where you are an administrator."))
        except Conflict as error:
            form.refuse(Invalid("team", error.message))
    return _page("admin/move.html", form, person=found)


@pages.route("/<uuid:staff_id>/sign-out", methods=["GET", "POST"])
@guards.staff(Permission.STAFF_LEAVE)
def sign_out(staff_id: UUID) -> AnyResponse:
    """Everywhere, as when a phone is lost."""
    return about.confirm(
        staff_id,
        lambda db, who: staff.cut_off(db, who, staff_id, actor=session.actor(), now=utc_now()),
        "signed-out",
        title="Sign {name} out everywhere?",
        words="Every browser of theirs is signed out at once. They can sign in again.",
        button="Sign out everywhere",
        allowed=lambda one: one.may_let_go,
    )


@pages.route("/<uuid:staff_id>/leave", methods=["GET", "POST"])
@guards.staff(Permission.STAFF_LEAVE)
def leave(staff_id: UUID) -> AnyResponse:
    """They are no longer staff."""
    return about.confirm(
        staff_id,
        lambda db, who: staff.let_leave(db, who, staff_id, actor=session.actor(), now=utc_now()),
        "left",
        title="Let {name} leave?",
        words="They are signed out everywhere at once, all their roles end, and password and second factor are "
        "forgotten. What they did stays on the record. If they come back, invite them again.",
        button="Let them leave",
        allowed=lambda one: one.may_let_go,
    )


def _page(template: str, form: Form, **more: object) -> Response:
    page = render_template(template, form=form, problems=form.problems, **more)
    return make_response(page, 400 if form.problems else 200)


def _listed(form: Find, more: Mapping[str, Any]) -> str:
    wanted, chosen = _filter()
    with context.transaction() as db:
        who, now = session.who(), utc_now()
        lines, further = staff_list.people(db, who, wanted, now=now, after=_after())
        boroughs = [(one.code, one.name) for one in areas.boroughs(db)]
    onward = None
    if further is not None:
        onward = f"{url_for('people.people')}?{urlencode(chosen | {'after': str(further)})}"
    return render_template(
        "admin/people.html",
        lines=lines,
        onward=onward,
        first=_after() is None,
        chosen=chosen,
        roles=[(str(role), role.words) for role in Role],
        boroughs=boroughs,
        states=about.STATES,
        now=now,
        soon=now + roles.SOON,
        form=form,
        may_invite=access.may(who, Permission.STAFF_INVITE),
        **more,
    )


def _filter() -> tuple[Filter, dict[str, str]]:
    """What the address asks for; whatever is none of the choices narrows nothing."""
    role, area = request.args.get("role", ""), request.args.get("area", "")
    state = request.args.get("state", "here")
    soon = request.args.get("soon") == "1"
    wanted = Filter(
        Role(role) if role in set(Role) else None,
        area if area.isascii() and area.isalnum() and len(area) <= 20 else None,
        state if state in about.STATES else "here",
        soon,
    )
    chosen = {"role": str(wanted.role or ""), "area": wanted.area or "", "state": wanted.state}
    return wanted, {k: v for k, v in chosen.items() if v} | ({"soon": "1"} if soon else {})


def _after() -> UUID | None:
    try:
        return UUID(request.args.get("after", ""))
    except ValueError:
        return None
