"""Roles of one person: granted, given a new end, taken back."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission, Role
from app.services import grant_places, roles, staff_list, terms
from app.services.roles import Granted
from app.services.staff_list import Person
from app.web import context, guards, session
from app.web.admin import person as about
from app.web.admin.fields import Day, Pick
from app.web.forms import Form

pages = Blueprint("roles", __name__, url_prefix="/staff/people/<uuid:staff_id>/roles")

_WRONG = "Enter the last day as day, month and year."


class Grant(Form):
    role = Pick("Role", needed="Choose a role.")
    where = Pick("Where", needed="Choose where.", hint="On a team: where the team works, as it changes.")
    ends_on = Day("Last day", wrong=_WRONG, hint="For example, 31 3 2027. At most three years from now.")


class Renew(Form):
    ends_on = Day("Last day", wrong=_WRONG, hint="For example, 31 3 2027. At most three years from now.")


@pages.route("/grant", methods=["GET", "POST"])
@guards.staff(Permission.ROLE_GRANT)
def grant(staff_id: UUID) -> Response:
    """One more role."""
    form = Grant(ends_on=_usual())
    with context.transaction() as db:
        who, now = session.who(), utc_now()
        found = staff_list.person(db, who, staff_id, now=now)
        about.offer_roles(form.role, who)
        about.offer_places(db, who, form.where)
    if not found.may_grant:
        return about.refused(found.line.name)
    if request.method == "POST" and form.validate():
        assert form.ends_on.data is not None
        try:
            with context.transaction() as db:
                roles.grant(
                    db,
                    staff_list.row(db, who, staff_id),
                    Role(form.role.data),
                    grant_places.place(db, form.where.data or ""),
                    by=who,
                    actor=session.actor(),
                    now=utc_now(),
                    ends_at=terms.end_of(form.ends_on.data),
                )
            return about.to(staff_id, "granted")
        except Invalid as error:
            form.refuse(about.here(error), otherwise="where")
        except Conflict as error:
            form.refuse(Invalid("role", error.message))
        except Missing:
            form.refuse(Invalid("where", about.NOT_THERE))
    return _page("admin/grant.html", form, found)


@pages.route("/<uuid:grant_id>/end", methods=["GET", "POST"])
@guards.staff(Permission.ROLE_GRANT)
def renew(staff_id: UUID, grant_id: UUID) -> Response:
    """A new end: later or sooner."""
    found, role = _role(staff_id, grant_id)
    if grant_id not in found.may_renew:
        return about.refused(found.line.name)
    form = Renew(ends_on=_usual())
    if request.method == "POST" and form.validate():
        assert form.ends_on.data is not None
        try:
            with context.transaction() as db:
                ends_at = terms.end_of(form.ends_on.data)
                roles.renew(db, grant_id, ends_at, by=session.who(), actor=session.actor(), now=utc_now())
            return about.to(staff_id, "renewed")
        except Invalid as error:
            form.refuse(about.here(error), otherwise="ends_on")
        except Conflict as error:
            form.refuse(Invalid("ends_on", error.message))
    return _page("admin/renew.html", form, found, role=role)


@pages.route("/<uuid:grant_id>/take", methods=["GET", "POST"])
@guards.staff(Permission.ROLE_TAKE)
def take(staff_id: UUID, grant_id: UUID) -> Response:
    """Back, at once."""
    _, role = _role(staff_id, grant_id)
    return about.confirm(
        staff_id,
        lambda db, who: roles.take(db, grant_id, by=who, actor=session.actor(), now=utc_now()),
        "taken",
        title="Take back a role of {name}?",
        words=f"{role.role.words}, {'' if role.where == 'everywhere' else 'on '}{role.where}: it ends at once.",
        button="Take it back",
        allowed=lambda one: grant_id in one.may_take,
    )


def _role(staff_id: UUID, grant_id: UUID) -> tuple[Person, Granted]:
    """A person and a role that they have now; Missing otherwise."""
    with context.transaction() as db:
        found = staff_list.person(db, session.who(), staff_id, now=utc_now())
    for one in found.line.roles:
        if one.id == grant_id:
            return found, one
    raise Missing("There is no such role.")


def _usual() -> object:
    return terms.today(utc_now() + roles.USUAL_TERM - timedelta(days=1))


def _page(template: str, form: Form, person: Person, **more: object) -> Response:
    page = render_template(template, form=form, problems=form.problems, person=person, **more)
    return make_response(page, 400 if form.problems else 200)
