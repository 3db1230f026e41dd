"""What the pages about one person share: their page, the question before an act, and what may be chosen for them."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from flask import Response, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as AnyResponse

from app.access import Who
from app.db import utc_now
from app.errors import Conflict, Invalid
from app.services import grant_places, granting, staff_list
from app.web import context, errors, session
from app.web.admin.fields import Pick

STATES = {"here": "Invited or active", "invited": "Invited", "active": "Active", "left": "Left"}
NOT_THERE = (
    "You cannot grant this role there. Choose a place, and a team, that lie where you are an administrator."
)
# What a page says once after it was changed: by a word in its address, so that nothing needs to be remembered.
DONE = {
    "invited": "The invitation is on its way. It works once, for 48 hours.",
    "granted": "The role is granted.",
    "renewed": "The role has a new end.",
    "taken": "The role is taken back.",
    "moved": "They are in another team now.",
    "signed-out": "They are signed out everywhere.",
    "left": "They have left. They are signed out everywhere, and cannot sign in again.",
}
NO_TEAM = ("none", "In no team")


def shown(staff_id: UUID) -> str:
    """The page of one person, with what was just done."""
    with context.transaction() as db:
        found = staff_list.person(db, session.who(), staff_id, now=utc_now())
    done = DONE.get(request.args.get("done", ""))
    return render_template("admin/person.html", person=found, states=STATES, done=done)


def confirm(
    staff_id: UUID,
    act: Callable[[Session, Who], object],
    done: str,
    *,
    title: str,
    words: str,
    button: str,
    allowed: Callable[[staff_list.Person], bool],
) -> AnyResponse:
    """A question before something that is not easily undone; a GET of it changes nothing."""
    with context.transaction() as db:
        who = session.who()
        found = staff_list.person(db, who, staff_id, now=utc_now())
    if not allowed(found):
        return refused(found.line.name)
    if request.method == "POST":
        try:
            with context.transaction() as db:
                act(db, who)
            return to(staff_id, done)
        except Conflict as error:
            return errors.page(409, "That was not done", error.message)
    page = render_template(
        "admin/confirm.html",
        person=found,
        title=title.format(name=found.line.name),
        words=words,
        button_text=button,
    )
    return make_response(page)


def refused(name: str) -> Response:
    """Nothing here is a secret of those whom the list shows: so it is said, and why."""
    words = (
        f"{name} has roles outside your area or above yours, has left, or is yourself. "
        "Ask an administrator of the whole organisation."
    )
    return errors.page(403, "You cannot do this", words)


def offer_roles(field: Pick, who: Who) -> None:
    """Those that somebody may grant somewhere."""
    field.offer({"": [(str(role), role.words) for role in granting.grantable(who)]})


def offer_places(db: Session, who: Who, field: Pick) -> None:
    """Where they may grant."""
    found = grant_places.places(db, who)
    everywhere = [(grant_places.ALL, "Everywhere")] if found.everywhere else []
    field.offer({"": everywhere, "On a team": found.teams, "On an area": found.areas})


def offer_teams(db: Session, who: Who, field: Pick) -> None:
    """The teams that they may put people into; and none."""
    found = grant_places.places(db, who).teams
    field.offer({"": [NO_TEAM, *((value.removeprefix(grant_places.TEAM), name) for value, name in found)]})


def team_id(value: str | None) -> UUID | None:
    """What was chosen among ``offer_teams``."""
    return None if value in (None, "", NO_TEAM[0]) else UUID(value)


def here(error: Invalid) -> Invalid:
    """A service's field, as the forms of roles call it."""
    name = {"ends_at": "ends_on", "area": "where"}.get(error.field, error.field)
    return Invalid(name, error.message)


def to(staff_id: UUID, done: str | None = None) -> AnyResponse:
    """To their page, with what was just done."""
    return redirect(url_for("people.person", staff_id=staff_id, done=done), 303)
