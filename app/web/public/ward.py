"""From a postcode to its ward: the page that everybody may use, before anything personal is asked."""

from __future__ import annotations

from functools import lru_cache

from flask import Blueprint, Response, make_response, redirect, render_template, request
from markupsafe import Markup
from sqlalchemy.orm import Session
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.services import areas, wards
from app.services.wards import WardView
from app.web import context, errors, guards
from app.web.public import area, moved
from geo.area_codes import AreaKind
from geo.postcode import MAX_TYPED_CHARACTERS, PostcodeError

pages = Blueprint("ward", __name__)

STATUS = {"malformed": 400, "outward-only": 400, "not-london": 404, "terminated": 410}
RECENT = 5
KEPT = 1_000  # wards, each as it is now


@pages.get("/")
@guards.anyone
def home() -> str:
    """What this is, and the form."""
    return render_template("public/home.html", typed="", error=None)


@pages.get("/postcode")
@guards.anyone
def postcode() -> AnyResponse:
    """The ward of a postcode, or the form again with what is wrong."""
    typed = request.args.get("postcode")
    if typed is None:
        return redirect("/")
    try:
        with context.reading() as session:
            found = areas.find_ward(session, typed)
            view = _view(session, found.code)
    except PostcodeError as error:
        if error.code == "not-london":
            with context.reading() as session:
                loaded = areas.loaded_release(session) is not None
            if not loaded:
                return _not_loaded()
        shown = "".join(c for c in typed[:MAX_TYPED_CHARACTERS] if c.isprintable())
        form = render_template("public/home.html", typed=shown, error=error.message)
        return make_response(form, STATUS[error.code])
    return make_response(_page(view, found.postcode))


@pages.get("/ward/<code>")
@guards.anyone
def ward(code: str) -> str:
    """A ward by its GSS code."""
    with context.reading() as session:
        view = _view(session, code)
    return _page(view, None)


def _view(session: Session, code: str) -> WardView:
    if not area.is_code_of(code, AreaKind.WARD):
        raise NotFound
    view = wards.view(session, code, most=RECENT)
    if view is None or not view.line.above:
        raise moved.away(session, code, AreaKind.WARD)
    return view


def _page(view: WardView, postcode: str | None) -> str:
    return render_template(
        "public/ward.html",
        ward=view.line.area,
        borough=view.line.above[0],
        postcode=postcode,
        below=_below(view),
    )


@lru_cache(KEPT)
def _below(view: WardView) -> Markup:
    """Team, alerts and data, rendered once for what they show: it depends on nothing else, so it is never old."""
    return Markup(render_template("public/ward_below.html", view=view))  # noqa: S704


def _not_loaded() -> Response:
    words = "The postcodes of London have not been loaded here yet. Try again in a minute."
    return errors.page(503, "Not ready yet", words)
