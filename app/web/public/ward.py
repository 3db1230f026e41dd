"""From a postcode to its ward: the page that everybody may use."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.services import areas
from app.web import context, errors
from geo.area_codes import AreaCodeError, AreaKind, kind_of
from geo.postcode import MAX_TYPED_CHARACTERS, PostcodeError

pages = Blueprint("ward", __name__)

STATUS = {"malformed": 400, "outward-only": 400, "not-london": 404, "terminated": 410}


@pages.get("/")
def home() -> str:
    """The form."""
    return render_template("public/home.html", typed="", error=None)


@pages.get("/postcode")
def postcode() -> AnyResponse:
    """The ward of a postcode, or the form again with what is wrong."""
    typed = request.args.get("postcode")
    if typed is None:
        return redirect("/")
    try:
        with context.transaction() as session:
            found = areas.find_ward(session, typed)
    except PostcodeError as error:
        if error.code == "not-london":
            with context.transaction() as session:
                loaded = areas.loaded_release(session) is not None
            if not loaded:
                return _not_loaded()
        shown = "".join(c for c in typed[:MAX_TYPED_CHARACTERS] if c.isprintable())
        page = render_template("public/home.html", typed=shown, error=error.message)
        return make_response(page, STATUS[error.code])
    return make_response(render_template("public/ward.html", ward=found, postcode=found.postcode))


@pages.get("/ward/<code>")
def ward(code: str) -> AnyResponse:
    """A ward by its GSS code."""
    try:
        if kind_of(code) is not AreaKind.WARD:
            raise NotFound
    except AreaCodeError:
        raise NotFound from None
    with context.transaction() as session:
        area = areas.ward_by_code(session, code)
        borough = areas.parent(session, area) if area else None
        release = areas.loaded_release(session)
    if area is None or borough is None:
        raise NotFound
    found = {
        "code": area.code,
        "name": area.name,
        "former_name": area.former_name,
        "borough_code": borough.code,
        "borough_name": borough.name,
        "release": release,
    }
    return make_response(render_template("public/ward.html", ward=found, postcode=None))


def _not_loaded() -> Response:
    words = "The postcodes of London have not been loaded here yet. Try again in a minute."
    return errors.page(503, "Not ready yet", words)
