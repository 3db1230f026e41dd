"""At the door: an officer types a camera in while its owner stands by. Nothing is live before the owner confirms.

The code and the link go to the owner's own address. The owner reads what they agree to on their own device, or on the
officer's before reading the code out; it signs in nobody here.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app import access
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.errors import TooMany as MostCameras
from app.permissions import Permission
from app.services import areas
from app.services.confirmations import signups
from app.services.confirmations.entering import Entered
from app.services.confirmations.rations import TooMany
from app.services.confirmations.signups import SignupView
from app.services.register import cameras, opting
from app.services.register.cameras import KINDS, Spot
from app.web import context, errors, guards
from app.web import session as browser
from app.web.camera_form import CameraForm, KindForm
from app.web.resident import asking
from app.web.resident.cameras import GONE, CodeForm, kind_hints, no_wording, number
from app.web.resident.owner_form import ContactForm
from geo.postcode import PostcodeError

pages = Blueprint("door", __name__)

_NOT_HERE = "This postcode lies outside the area that you add cameras in."
_NO_REGISTER = "Your organisation has no register for this postcode."


@dataclass(frozen=True, slots=True)
class _Asked:
    form: KindForm
    problems: list[dict[str, str]]
    spot: Spot | None = None


def _asked() -> _Asked:
    """Kind and postcode of the query; without a spot where they cannot be used."""
    form = KindForm()
    asked = bool({"kind", "postcode"} & request.args.keys())
    if not asked or not form.validate():
        return _Asked(form, form.problems if asked else [])
    who = browser.who()
    try:
        with context.transaction() as s:
            spot = cameras.spot(s, form.postcode.data)
            if not access.inside(s, who, Permission.CAMERA_ADD, [spot.ward_code]):
                form.refuse(Invalid("postcode", _NOT_HERE))
            elif who.organisation_id not in dict(opting.controllers(s, spot.postcode)):
                form.refuse(Invalid("postcode", _NO_REGISTER))
    except PostcodeError as error:
        form.refuse(Invalid("postcode", error.message))
    return _Asked(form, form.problems, None if form.problems else spot)


@pages.route("/staff/cameras/door", methods=["GET", "POST"])
@guards.staff(Permission.CAMERA_ADD)
def door() -> AnyResponse:
    """First the kind and the postcode, then everything else on one page."""
    asked = _asked()
    if asked.spot is None:
        return asking.page(
            "officer/door_kind.html",
            400 if asked.problems else 200,
            form=asked.form,
            problems=asked.problems,
            hints=kind_hints(),
        )
    kind, spot = asked.form.kind.data, asked.spot
    camera, owner = CameraForm(kind, spot), _owner()
    if request.method == "POST" and not camera.moved():
        answer = _begin(camera, owner)
        if answer is not None:
            return answer
    return _page(kind, spot, camera, owner)


def _owner() -> ContactForm:
    form = ContactForm(owner_kind="home", reach_how="link", reach_when="any")
    form.name.label.text = "Name of the owner"
    form.owner_kind.label.text = "Where is the camera?"
    form.owner_kind.choices = [("home", "The owner's home"), *form.owner_kind.choices[1:]]
    with context.transaction() as s:
        if not signups.can_text(s, browser.who().organisation_id):
            del form.mobile
    return form


def _begin(camera: CameraForm, owner_form: ContactForm) -> AnyResponse | None:
    """Keep it and send the codes; None when something is not right yet."""
    facts, owner, addresses = camera.facts(), owner_form.owner(), owner_form.addresses()
    if facts is None or owner is None or owner_form.problems:
        return None
    try:
        with context.transaction() as s:
            token = opting.begin(
                s,
                controller=browser.who().organisation_id,
                facts=facts,
                owner=owner,
                addresses=addresses,
                wording=number(owner_form.wording.data),
                terms=asking.terms(),
                now=utc_now(),
                staff_token=browser.token(),
                actor=browser.actor(),
            )
    except TooMany as error:
        return asking.too_many(error)
    except Invalid as error:
        owner_form.refuse(error, otherwise="email")
    except Conflict as error:
        owner_form.refuse(Invalid("email", error.message))
    except Missing:
        return no_wording()
    else:
        return redirect(url_for("door.confirm", token=token), 303)
    return None


def _page(kind: str, spot: Spot, camera: CameraForm, owner: ContactForm) -> Response:
    try:
        with context.transaction() as s:
            wording, text = opting.wording(s)
    except Missing:
        return no_wording()
    owner.wording.data = str(wording)
    problems = [*camera.problems, *owner.problems]
    return asking.page(
        "officer/door.html",
        400 if problems else 200,
        form=camera,
        owner=owner,
        kind=KINDS[kind],
        spot=spot,
        agreement=text,
        action=url_for("door.door", kind=kind, postcode=spot.postcode),
        problems=problems,
    )


@pages.route("/staff/cameras/door/<token>", methods=["GET", "POST"])
@guards.staff(Permission.CAMERA_ADD)
def confirm(token: str) -> AnyResponse:
    """Wait for the owner: whether they confirmed, what they agree to, and the code if they read it out."""
    form = CodeForm()
    try:
        seen = _seen(token)
        if request.method == "POST" and form.validate():
            with context.transaction() as s:
                result = opting.enter_for(
                    s, token, form.code.data, asking.terms(), actor=browser.actor(), now=utc_now()
                )
            if result is Entered.RIGHT:
                return redirect(url_for("door.confirm", token=token), 303)
            form.refuse(Invalid("code", result.message))
        with context.transaction() as s:
            _, text = opting.wording(s, seen.wording)
    except TooMany as error:
        return asking.too_many(error)
    except MostCameras as error:
        return errors.page(429, words=error.message)
    except Invalid as error:
        return errors.page(409, "This camera cannot be put on the register", error.message)
    except Missing:
        return asking.gone(*GONE)
    return asking.page(
        "officer/door_confirm.html",
        400 if form.problems else 200,
        form=form,
        token=token,
        seen=seen,
        agreement=text,
        sent_again="again" in request.args,
        problems=form.problems,
    )


@pages.post("/staff/cameras/door/<token>/again")
@guards.staff(Permission.CAMERA_ADD)
def again(token: str) -> AnyResponse:
    """New codes to the addresses that are not confirmed yet."""
    try:
        _seen(token)
        with context.transaction() as s:
            opting.again(s, token, asking.terms(), now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    except Missing:
        return asking.gone(*GONE)
    return redirect(url_for("door.confirm", token=token, again=1), 303)


def _seen(token: str) -> SignupView:
    """Of this organisation, and where the officer adds cameras. Missing; NotFound where it is none of theirs."""
    who = browser.who()
    with context.transaction() as s:
        seen = opting.view(s, token, now=utc_now())
        ward = areas.find_ward(s, seen.postcode).code
        mine = seen.controller == who.organisation_id
        if not mine or not access.inside(s, who, Permission.CAMERA_ADD, [ward]):
            raise NotFound
    return seen
