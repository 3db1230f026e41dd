"""The ward that somebody of staff lives in: they say it themselves, or an administrator does."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Invalid, Missing
from app.permissions import Permission
from app.services.register import homes
from app.web import context, forms, guards
from app.web import session as browser

pages = Blueprint("home_ward", __name__)


class HomeForm(forms.Form):
    """A postcode, of which only the ward is kept."""

    postcode = forms.Line(
        "Home postcode",
        longest=40,
        needed="Enter a postcode.",
        hint="We keep the ward that it lies in, and not the postcode. Outside London we keep nothing.",
    )


@pages.route("/staff/account/home", methods=["GET", "POST"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def own() -> AnyResponse:
    """One's own."""
    form = HomeForm()
    if request.method == "POST" and form.validate():
        try:
            with context.transaction() as session:
                homes.say_own(
                    session, browser.who(), form.postcode.data or "", actor=browser.actor(), now=utc_now()
                )
            return redirect(url_for("home_ward.own", done="said"), 303)
        except Invalid as error:
            form.refuse(error)
    return _page(form, browser.staff_id(), None)


@pages.route("/staff/people/<uuid:staff_id>/home", methods=["GET", "POST"])
@guards.staff(Permission.ROLE_GRANT)
def of_person(staff_id: UUID) -> AnyResponse:
    """Somebody's whom one administers."""
    form = HomeForm()
    try:
        with context.transaction() as session:
            name = homes.person(session, browser.who(), staff_id)
        if request.method == "POST" and form.validate():
            try:
                with context.transaction() as session:
                    homes.say_of(
                        session,
                        browser.who(),
                        staff_id,
                        form.postcode.data or "",
                        actor=browser.actor(),
                        now=utc_now(),
                    )
                return redirect(url_for("home_ward.of_person", staff_id=staff_id, done="said"), 303)
            except Invalid as error:
                form.refuse(error)
    except Missing:
        raise NotFound from None
    return _page(form, staff_id, name)


def _page(form: HomeForm, staff_id: UUID, name: str | None) -> Response:
    with context.reading() as session:
        ward = homes.of(session, staff_id)
    page = render_template(
        "steward/home.html",
        form=form,
        problems=form.problems,
        ward=ward,
        name=name,
        staff_id=staff_id,
        done=request.args.get("done") == "said" and not form.problems,
    )
    return make_response(page, 400 if form.problems else 200)
