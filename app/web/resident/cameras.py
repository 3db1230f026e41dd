"""Opting in with a camera: what it is, where it looks, who owns it; then the code that proves an address."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.errors import TooMany as MostCameras
from app.services import published
from app.services.confirmations import signups
from app.services.confirmations.entering import Entered
from app.services.confirmations.rations import TooMany
from app.services.register import cameras, opting
from app.services.register.cameras import KINDS, Spot
from app.web import context, errors, guards, session
from app.web.camera_form import CameraForm, KindForm, carried
from app.web.forms import Code, Form
from app.web.resident import asking
from app.web.resident.owner_form import ContactForm
from geo.postcode import PostcodeError

pages = Blueprint("cameras", __name__)

GONE = (
    "This page is no longer here",
    "A camera that nobody confirms is deleted after 7 days. If you still want to put it on the register, start again.",
)
_LONGEST_REFERENCE = 20


class CodeForm(Form):
    code = Code("Code")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the query says so far: the kind, where, and whose register."""

    kind: str
    spot: Spot
    organisations: list[tuple[UUID, str]]
    organisation: UUID

    @property
    def name(self) -> str:
        return dict(self.organisations)[self.organisation]

    def address(self, endpoint: str) -> str:
        """Of a page that follows."""
        several = str(self.organisation) if len(self.organisations) > 1 else None
        return url_for(endpoint, kind=self.kind, postcode=self.spot.postcode, organisation=several)


@pages.get("/cameras")
@guards.anyone
def start() -> Response:
    """What the register is. ``from``: the alert that somebody came from."""
    reference = request.args.get("from", "")
    alert = None
    if reference.isascii() and 0 < len(reference) <= _LONGEST_REFERENCE and reference.isprintable():
        with context.reading() as s:
            try:
                alert = published.alert(s, reference)
            except Missing:
                alert = None
    return asking.page("resident/cameras.html", alert=alert, here=session.visitor())


@pages.get("/cameras/what-this-means")
@guards.anyone
def meaning() -> Response:
    """What being on the register means for an owner, and what the law asks of them."""
    return asking.page("resident/camera_meaning.html")


@pages.get("/cameras/new")
@guards.anyone
def new() -> AnyResponse:
    """What the camera is, and at which postcode. Choosing changes nothing."""
    form = KindForm()
    asked = bool({"kind", "postcode"} & request.args.keys())
    if asked and form.validate():
        try:
            with context.transaction() as s:
                organisations = opting.controllers(s, form.postcode.data)
        except PostcodeError as error:
            form.refuse(Invalid("postcode", error.message))
        else:
            if organisations:
                return redirect(
                    url_for("cameras.camera", kind=form.kind.data, postcode=form.postcode.data), 303
                )
            form.refuse(Invalid("postcode", "There is no register of cameras for this postcode yet."))
    problems = form.problems if asked else []
    return asking.page(
        "resident/camera_kind.html",
        400 if problems else 200,
        form=form,
        problems=problems,
        hints=kind_hints(),
    )


def kind_hints() -> dict[str, str]:
    return {str(kind): default.hint for kind, default in cameras.DEFAULTS.items()}


def choice() -> Choice | AnyResponse:
    """What the query says; where it leads nowhere, the page that asks for it."""
    kind, typed = request.args.get("kind", ""), request.args.get("postcode", "")
    if kind not in KINDS:
        return redirect(url_for("cameras.new"), 303)
    try:
        with context.transaction() as s:
            spot = cameras.spot(s, typed)
            organisations = opting.controllers(s, typed)
    except PostcodeError:
        shown = "".join(c for c in typed[:20] if c.isprintable())
        return redirect(url_for("cameras.new", kind=kind, postcode=shown), 303)
    if not organisations:
        return redirect(url_for("cameras.new", kind=kind, postcode=spot.postcode), 303)
    wanted = request.args.get("organisation", "")
    chosen = next((id for id, _ in organisations if str(id) == wanted), organisations[0][0])
    return Choice(kind, spot, organisations, chosen)


@pages.route("/cameras/new/camera", methods=["GET", "POST"])
@guards.anyone
def camera() -> AnyResponse:
    """Where it looks and what it keeps. A button moves the pin; Continue asks whose it is."""
    chosen = choice()
    if not isinstance(chosen, Choice):
        return chosen
    form = CameraForm(chosen.kind, chosen.spot)
    if request.method != "POST" or form.moved() or form.facts() is None:
        return _camera_page(chosen, form)
    return _contact_page(
        chosen, form, ContactForm(owner_kind="home", reach_how="link", reach_when="any"), first=True
    )


def _camera_page(chosen: Choice, form: CameraForm) -> Response:
    return asking.page(
        "resident/camera.html",
        400 if form.problems else 200,
        form=form,
        kind=KINDS[chosen.kind],
        heading="Tell us about the camera",
        caption=f"The register of {chosen.name}",
        back=url_for("cameras.new", kind=chosen.kind, postcode=chosen.spot.postcode),
        action=chosen.address("cameras.camera"),
        organisations=chosen.organisations,
        organisation=chosen.organisation,
        send="Continue",
        problems=form.problems,
    )


@pages.post("/cameras/new/contact")
@guards.anyone
def contact() -> AnyResponse:
    """Whose it is and what they agree to; what was said about the camera comes along."""
    chosen = choice()
    if not isinstance(chosen, Choice):
        return chosen
    about, form = CameraForm(chosen.kind, chosen.spot), ContactForm()
    facts = about.facts()
    if facts is None:
        return _camera_page(chosen, about)
    with context.transaction() as s:
        if not signups.can_text(s, chosen.organisation):
            del form.mobile
    owner, addresses = form.owner(), form.addresses()
    if owner is not None and not form.problems:
        try:
            with context.transaction() as s:
                token = opting.begin(
                    s,
                    controller=chosen.organisation,
                    facts=facts,
                    owner=owner,
                    addresses=addresses,
                    wording=number(form.wording.data),
                    terms=asking.terms(),
                    now=utc_now(),
                    actor=session.actor(),
                )
        except TooMany as error:
            return asking.too_many(error)
        except Invalid as error:
            form.refuse(error, otherwise="email")
        except Conflict as error:
            form.refuse(Invalid("email", error.message))
        except Missing:
            return no_wording()
        else:
            return redirect(url_for("cameras.check", token=token), 303)
    return _contact_page(chosen, about, form)


def number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else 0


def no_wording() -> Response:
    return errors.page(
        503, "You cannot join the register yet", "This register is still being set up. Try again later."
    )


def _contact_page(chosen: Choice, about: CameraForm, form: ContactForm, *, first: bool = False) -> Response:
    try:
        with context.transaction() as s:
            wording, text = opting.wording(s)
            texts = signups.can_text(s, chosen.organisation)
    except Missing:
        return no_wording()
    if first:  # what was posted is about the camera alone
        for field, usual in (("owner_kind", "home"), ("reach_how", "link"), ("reach_when", "any")):
            form[field].data = usual
    if not texts and "mobile" in form:
        del form.mobile
    form.wording.data = str(wording)
    problems = form.problems
    return asking.page(
        "resident/camera_contact.html",
        400 if problems else 200,
        form=form,
        carried=carried(about),
        agreement=text,
        organisation=chosen.name,
        action=chosen.address("cameras.contact"),
        problems=problems,
    )


@pages.route("/cameras/check/<token>", methods=["GET", "POST"])
@guards.anyone
def check(token: str) -> AnyResponse:
    """The code; with the right one the camera is on the register, and its owner's page opens."""
    form = CodeForm()
    opened = None
    try:
        if request.method == "POST" and form.validate():
            with context.transaction() as s:
                result, opened = opting.enter(
                    s, token, form.code.data, asking.terms(), actor=session.actor(), now=utc_now()
                )
                if opened is not None:
                    session.replace(s)
            if opened is not None:
                return signed_in(opened)
            if result is Entered.RIGHT:
                return redirect(url_for("my_cameras.mine"), 303)
            form.refuse(Invalid("code", result.message))
        with context.transaction() as s:
            seen = opting.view(s, token, now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    except MostCameras as error:
        return errors.page(429, words=error.message)
    except Invalid as error:  # the postcode ended meanwhile, or its cells are not there
        return errors.page(409, "This camera cannot be put on the register", error.message)
    except Missing:
        return asking.gone(*GONE)
    return asking.page(
        "resident/camera_check.html",
        400 if form.problems else 200,
        form=form,
        token=token,
        seen=seen,
        sent_again="again" in request.args,
        problems=form.problems,
    )


def signed_in(opened: str) -> AnyResponse:
    """To the owner's page, with its session."""
    response = redirect(url_for("my_cameras.mine", done="added"), 303)
    session.keep(response, opened)  # type: ignore[arg-type]
    return response


@pages.post("/cameras/check/<token>/again")
@guards.anyone
def again(token: str) -> AnyResponse:
    """New codes to the addresses that are not confirmed yet."""
    try:
        with context.transaction() as s:
            opting.again(s, token, asking.terms(), now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    except Missing:
        return asking.gone(*GONE)
    return redirect(url_for("cameras.check", token=token, again=1), 303)


@pages.get("/cameras/left")
@guards.anyone
def left() -> Response:
    """What it means that somebody has left the register."""
    return asking.page("resident/camera_left.html")
