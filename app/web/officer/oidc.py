"""Staff sign in by their organisation's own identity provider, and show their factors there again."""

from __future__ import annotations

import structlog
from flask import Blueprint, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Invalid, Missing
from app.permissions import Permission
from app.services import sessions, staff
from app.services.oidc import arriving, discovery, providers, round_trip, tokens
from app.services.oidc.providers import Provider
from app.services.oidc.refusals import Refused
from app.services.oidc.round_trip import Asked, Trip
from app.web import context, errors, guards, origin, session
from app.web.forms import Form, Line

log = structlog.get_logger(__name__)
pages = Blueprint("oidc", __name__)

NOT_KNOWN = "No organisation’s sign-in is known for this e-mail address. Sign in with your password instead."


class Organisation(Form):
    email = Line(
        "Your work e-mail address",
        longest=254,
        needed="Enter your work e-mail address.",
        hint="It tells us which organisation you are from, and is not kept.",
    )


class Nothing(Form):
    """A button."""


@pages.app_template_global("organisations_sign_in")
def organisations_sign_in() -> bool:
    """Whether any organisation's staff sign in by a provider, so that the sign-in page offers it."""
    with context.transaction() as db:
        return providers.any_at_all(db)


@pages.route("/staff/sign-in/organisation", methods=["GET", "POST"])
@guards.anyone
def find() -> Response:
    """From an address to an organisation: by its domain alone, so that no account is given away."""
    form = Organisation()
    if request.method != "POST" or not form.validate():
        return _form("officer/oidc_find.html", form)
    try:
        address = staff.read_email(form.email.data)
    except Invalid as error:
        form.refuse(error)
        return _form("officer/oidc_find.html", form)
    with context.transaction() as db:
        slug = providers.slug_of_domain(db, address.form)
    if slug is None:
        form.refuse(Invalid("email", NOT_KNOWN))
        return _form("officer/oidc_find.html", form)
    return redirect(url_for("oidc.begin", slug=slug), 303)


@pages.route("/staff/sign-in/<slug>", methods=["GET", "POST"])
@guards.anyone
def begin(slug: str) -> Response:
    """An organisation's own way in."""
    provider = _provider(slug)
    if request.method != "POST":
        who = session.visitor()
        if who is not None and who.staff_id is not None:
            return redirect(url_for("compose.home"))
        return _form("officer/oidc_begin.html", Nothing(), provider=provider)
    return _leave(provider, Asked("sign-in", utc_now()))


@pages.route("/staff/step-up/organisation", methods=["GET", "POST"])
@guards.staff(Permission.ACCOUNT_MANAGE)
def again() -> Response:
    """Whoever came by a provider shows their factors there again."""
    who = session.visitor()
    assert who is not None and who.staff is not None
    if who.staff.oidc_issuer is None:
        return errors.page(404)
    with context.transaction() as db:
        provider = providers.of_organisation(db, who.staff.organisation_id)
    if request.method != "POST":
        return _form("officer/oidc_again.html", Nothing(), provider=provider)
    return _leave(provider, Asked("step-up", utc_now(), who.staff_id, _own(request.args.get("back", ""))))


@pages.route("/staff/sign-in/<slug>/back", methods=["GET"])
@guards.anyone
def back(slug: str) -> Response:
    """They come back. Only who brings a state of ours in the browser that set out changes anything, and once."""
    provider = _provider(slug)
    trip = Trip(request.args.get("state", ""), request.cookies.get(_cookie(), ""))
    with context.transaction() as db:
        asked = round_trip.come_back(db, provider, trip, now=utc_now())
    try:
        if asked is None:
            raise Refused("expired")
        arrival = arriving.read(provider, _claims(provider, trip))
    except Refused as refusal:
        log.info(
            "oidc_refused", organisation=str(provider.organisation_id), code=refusal.code, why=refusal.why
        )
        if asked is not None:
            with context.transaction() as db:
                arriving.refuse(db, provider, refusal, origin=origin.network())
        return _refused(provider, refusal, asked)
    if asked.purpose == "step-up":
        return _stepped_up(provider, arrival, asked)
    who = session.visitor()
    with context.transaction() as db:
        answer = arriving.enter(db, provider, arrival, where=origin.whereabouts(), now=utc_now())
        if answer.token is not None and who is not None:
            sessions.end(db, who.digest)
    if answer.token is None:
        return _refused(provider, Refused(answer.refusal or "token"), asked)
    response = make_response(redirect(url_for("compose.home"), 303))
    session.keep(response, answer.token)
    return _forget(response)


@pages.route("/staff/signed-out/<slug>", methods=["GET"])
@guards.anyone
def signed_out(slug: str) -> str:
    """Signed out here; the organisation's own session may go on, and this page leads to where it ends."""
    provider = _provider(slug)
    there = round_trip.end_session(provider, back=_address("sign_in.sign_in"), sandbox=context.fictional())
    return render_template("officer/oidc_signed_out.html", provider=provider, there=there)


def after_sign_out(db: Session, who: sessions.Visitor | None) -> str:
    """Where somebody goes who signed out here."""
    if who is None or who.staff is None or who.staff.oidc_issuer is None:
        return url_for("sign_in.sign_in")
    try:
        provider = providers.of_organisation(db, who.staff.organisation_id)
    except Missing:
        return url_for("sign_in.sign_in")
    return url_for("oidc.signed_out", slug=provider.slug)


def _claims(provider: Provider, trip: Trip) -> tokens.Claims:
    """Whoever came, as the provider swears. No transaction is open."""
    sandbox = context.fictional()
    if "code" not in request.args:
        raise Refused("cancelled")
    metadata = discovery.of(provider.issuer, sandbox=sandbox)
    said = request.args.get("iss")
    if said != provider.issuer if metadata.says_issuer else said not in {None, provider.issuer}:
        raise Refused("token", "iss")
    return round_trip.fetch(
        provider,
        metadata,
        trip,
        request.args["code"],
        redirect_uri=_address("oidc.back", slug=provider.slug),
        sandbox=sandbox,
        now=utc_now(),
    )


def _leave(provider: Provider, asked: Asked) -> Response:
    """A page that leads to the provider at once.

    No redirect: browsers hold whatever follows a form to its form-action, and providers pass people on to hosts that
    nobody here knows.
    """
    try:
        metadata = discovery.of(provider.issuer, sandbox=context.fictional())
    except Refused as refusal:
        log.warning(
            "oidc_away", organisation=str(provider.organisation_id), code=refusal.code, why=refusal.why
        )
        return _refused(provider, refusal, asked)
    trip = round_trip.set_out()
    with context.transaction() as db:
        begun = round_trip.begin(db, provider, trip, asked, neighbours=origin.neighbours())
    if not begun:
        return errors.page(429, "Too many tries", "Wait 15 minutes, then try again. Nobody was signed in.")
    redirect_uri = _address("oidc.back", slug=provider.slug)
    there = round_trip.address(provider, metadata, trip, asked.purpose, redirect_uri=redirect_uri)
    response = make_response(render_template("officer/oidc_leave.html", provider=provider, there=there))
    response.headers["Refresh"] = f"0; url={there}"
    response.set_cookie(
        _cookie(), trip.browser, max_age=round_trip.LIFETIME, httponly=True, secure=session.secure(),
        samesite="Lax", path="/",
    )  # fmt: skip
    return response


def _stepped_up(provider: Provider, arrival: arriving.Arrival, asked: Asked) -> Response:
    who = session.visitor()
    if who is None or who.staff_id is None or who.staff_id != asked.staff_id:
        return _refused(provider, Refused("expired"), asked)
    with context.transaction() as db:
        refusal = arriving.step_up(
            db, provider, arrival, who, since=asked.at, origin=origin.network(), now=utc_now()
        )
        if refusal is not None:
            arriving.refuse(db, provider, Refused(refusal), origin=origin.network())
    if refusal is not None:
        return _refused(provider, Refused(refusal), asked)
    return _forget(make_response(redirect(asked.back, 303)))


def _provider(slug: str) -> Provider:
    """Missing, and so 404, when the organisation has none."""
    with context.transaction() as db:
        return providers.of_slug(db, slug)


def _refused(provider: Provider, refusal: Refused, asked: Asked | None) -> Response:
    step_up = asked is not None and asked.purpose == "step-up"
    page = render_template(
        "officer/oidc_refused.html",
        title="We could not confirm that it is you" if step_up else "You were not signed in",
        words=refusal.words,
        again=url_for("oidc.again", back=asked.back)
        if step_up and asked
        else url_for("oidc.begin", slug=provider.slug),
        step_up=step_up,
    )
    return _forget(make_response(page, 403))


def _form(template: str, form: Form, **more: object) -> Response:
    problems = form.problems
    page = render_template(template, form=form, problems=problems, **more)
    return make_response(page, 400 if problems else 200)


def _address(endpoint: str, slug: str | None = None) -> str:
    """One of our own addresses as the provider knows it: of the site, whatever name this request came by."""
    return context.settings().public_url + url_for(endpoint, slug=slug)


def _own(path: str) -> str:
    """Where to go on: a page of ours, or the first that staff have."""
    fine = path.startswith("/") and len(path) <= 500 and path.isascii() and path.isprintable()
    return path if fine and "\\" not in path and "//" not in path else url_for("compose.home")


def _cookie() -> str:
    return "__Host-wardlink-oidc" if session.secure() else "wardlink-oidc"


def _forget(response: Response) -> Response:
    if _cookie() in request.cookies:
        response.delete_cookie(_cookie(), httponly=True, secure=session.secure(), samesite="Lax", path="/")
    return response
