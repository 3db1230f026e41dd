"""One camera on the owner's own pages: adding it, changing what was said of it, pausing and removing it."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.errors import Invalid, Missing
from app.services.register import cameras, opting
from app.services.register.cameras import KINDS, Camera, Spot
from app.services.register.owners import Mine
from app.web import context, errors, guards, session
from app.web.camera_form import CameraForm, KindForm
from app.web.resident import asking
from app.web.resident.cameras import kind_hints
from app.web.resident.my_cameras import act_on, back, does, look
from geo.postcode import PostcodeError

pages = Blueprint("my_camera", __name__)


@pages.route("/cameras/mine/add", methods=["GET", "POST"])
@guards.resident
def add() -> AnyResponse:
    """Another camera: first its kind and postcode, then the rest."""
    one = _place()
    chosen = _kind_and_spot(one)
    if not isinstance(chosen, tuple):
        return chosen
    kind, spot = chosen
    form = CameraForm(kind, spot)
    if request.method == "POST" and not form.moved():
        facts = form.facts()
        if facts is not None and does(
            lambda s: cameras.add(s, session.token(), one.id, facts, actor=session.actor()), form
        ):
            return back("added")
    return _camera_page(
        form,
        kind,
        "Add a camera",
        url_for("my_camera.add", owner=one.id, kind=kind, postcode=spot.postcode),
        "Add",
    )


def _place() -> Mine:
    """Which of their places the query means; the only one, if it means none."""
    page = look()
    try:
        wanted = request.args.get("owner", "")
        if not wanted and len(page.mine) == 1:
            return page.mine[0]
        return page.place(UUID(wanted))
    except (Missing, ValueError):
        raise NotFound from None


def _kind_and_spot(one: Mine) -> tuple[str, Spot] | AnyResponse:
    form = KindForm()
    asked = bool({"kind", "postcode"} & request.args.keys())
    if asked and form.validate():
        try:
            with context.transaction() as s:
                spot = cameras.spot(s, form.postcode.data)
                covered = one.controller in dict(opting.controllers(s, form.postcode.data))
        except PostcodeError as error:
            form.refuse(Invalid("postcode", error.message))
        else:
            if covered:
                return form.kind.data, spot
            form.refuse(
                Invalid("postcode", f"The register of {one.organisation} does not cover this postcode.")
            )
    problems = form.problems if asked else []
    return asking.page(
        "resident/camera_kind.html",
        400 if problems else 200,
        form=form,
        problems=problems,
        hints=kind_hints(),
        one_place=one,
    )


@pages.route("/cameras/camera/<uuid:camera_id>/change", methods=["GET", "POST"])
@guards.resident
def change(camera_id: UUID) -> AnyResponse:
    """A camera's facts; the query may name another kind or postcode for it."""
    try:
        one, camera = look().camera(camera_id)
        kind = request.args.get("kind", camera.facts.kind)
        with context.transaction() as s:
            spot = cameras.spot(s, request.args.get("postcode", camera.facts.postcode))
            covered = one.controller in dict(opting.controllers(s, spot.postcode))
    except Missing:
        raise NotFound from None
    except PostcodeError as error:
        return errors.page(400, "This postcode cannot be used", error.message)
    if kind not in KINDS:
        raise NotFound
    if not covered:
        words = f"The register of {one.organisation} does not cover this postcode."
        return errors.page(400, "This postcode cannot be used", words)
    form = CameraForm(kind, spot, camera)
    if request.method == "POST" and not form.moved():
        facts = form.facts()
        if facts is not None and does(
            lambda s: cameras.change(s, session.token(), camera_id, facts, actor=session.actor()), form
        ):
            return back("changed")
    here = url_for("my_camera.change", camera_id=camera_id, kind=kind, postcode=spot.postcode)
    return _camera_page(form, kind, f"Change {camera.name}", here, "Save", camera)


def _camera_page(
    form: CameraForm, kind: str, heading: str, action: str, send: str, camera: Camera | None = None
) -> Response:
    return asking.page(
        "resident/camera.html",
        400 if form.problems else 200,
        form=form,
        kind=KINDS[kind],
        kind_value=kind,
        kinds=KINDS,
        camera=camera,
        heading=heading,
        caption="Your cameras",
        back=url_for("my_cameras.mine"),
        action=action,
        organisations=[],
        send=send,
        problems=form.problems,
    )


@pages.post("/cameras/camera/<uuid:camera_id>/pause")
@guards.resident
def pause_camera(camera_id: UUID) -> AnyResponse:
    """One camera out of searches, at once."""
    return act_on(
        lambda s: cameras.pause(s, session.token(), camera_id, True, actor=session.actor()), "changed"
    )


@pages.post("/cameras/camera/<uuid:camera_id>/resume")
@guards.resident
def resume_camera(camera_id: UUID) -> AnyResponse:
    return act_on(
        lambda s: cameras.pause(s, session.token(), camera_id, False, actor=session.actor()), "changed"
    )


@pages.post("/cameras/camera/<uuid:camera_id>/remove")
@guards.resident
def remove(camera_id: UUID) -> AnyResponse:
    return act_on(lambda s: cameras.remove(s, session.token(), camera_id, actor=session.actor()), "removed")
