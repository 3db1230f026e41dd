"""Boroughs, their wards, and what was sent there: lists and feeds."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.exceptions import NotFound

from app.services import areas, published
from app.services.areas import AreaLine
from app.services.published import Cursor, Listed
from app.web import context, guards
from app.web.public import feed, moved
from geo.area_codes import AreaCodeError, AreaKind, kind_of

pages = Blueprint("area", __name__)

RECENT, A_PAGE, IN_FEED = 5, 20, 30
FEED_SECONDS = 300


@pages.get("/boroughs")
@guards.anyone
def boroughs() -> str:
    """The way in without a postcode."""
    with context.reading() as session:
        found = areas.boroughs(session)
    return render_template("public/boroughs.html", boroughs=found)


@pages.get("/borough/<code>")
@guards.anyone
def borough(code: str) -> str:
    """A borough: its wards, and what was sent to it or to any of them."""
    with context.reading() as session:
        line = _line_of(session, code, AreaKind.BOROUGH)
        wards = areas.wards_of(session, line.area.area_id)
        recent = _sent_to(session, line, before=None, most=RECENT)
    return render_template("public/borough.html", borough=line.area, wards=wards, recent=recent)


@pages.get("/ward/<code>/alerts")
@guards.anyone
def ward_alerts(code: str) -> str:
    """Everything that was sent to a ward, page by page."""
    return _list(code, AreaKind.WARD)


@pages.get("/borough/<code>/alerts")
@guards.anyone
def borough_alerts(code: str) -> str:
    """Everything that was sent to a borough or to any of its wards, page by page."""
    return _list(code, AreaKind.BOROUGH)


@pages.get("/ward/<code>/feed.atom")
@guards.anyone
def ward_feed(code: str) -> Response:
    """The newest alerts of a ward, for feed readers and other sites."""
    return _feed(code, AreaKind.WARD)


@pages.get("/borough/<code>/feed.atom")
@guards.anyone
def borough_feed(code: str) -> Response:
    """The newest alerts of a borough and its wards, for feed readers and other sites."""
    return _feed(code, AreaKind.BOROUGH)


def is_code_of(code: str, kind: AreaKind) -> bool:
    """Whether this may be the code of an area of this kind: what is not is never asked for."""
    try:
        return kind_of(code) is kind
    except AreaCodeError:
        return False


def _line_of(session: Session, code: str, kind: AreaKind) -> AreaLine:
    line = areas.line(session, code, kind) if is_code_of(code, kind) else None
    if line is None or not line.above:
        raise moved.away(session, code, kind) if is_code_of(code, kind) else NotFound
    return line


def _sent_to(session: Session, line: AreaLine, *, before: Cursor | None, most: int) -> list[Listed]:
    wards = [] if line.area.kind == AreaKind.WARD else areas.wards_of(session, line.area.area_id)
    ids = [*line.ids, *(one.area_id for one in wards)]
    return published.listed(session, ids, before=before, most=most, left_out=line.codes)


def _list(code: str, kind: AreaKind) -> str:
    asked = request.args.get("before")
    before = published.cursor(asked) if asked else None
    if asked and before is None:
        raise NotFound
    with context.reading() as session:
        line = _line_of(session, code, kind)
        found = _sent_to(session, line, before=before, most=A_PAGE + 1)
    shown = found[:A_PAGE]
    return render_template(
        "public/alerts.html",
        area=line.area,
        borough=line.above[0] if kind is AreaKind.WARD else None,
        alerts=shown,
        first=before is None,
        older=str(shown[-1].cursor) if len(found) > A_PAGE else None,
    )


def _feed(code: str, kind: AreaKind) -> Response:
    with context.reading() as session:
        line = _line_of(session, code, kind)
        found = _sent_to(session, line, before=None, most=IN_FEED)
        starts = published.starts(session, [one.id for one in found])
    site = context.settings().public_url
    title = f"Alerts for {line.area.name}" + (f" ward, {line.above[0].name}" if kind is AreaKind.WARD else "")
    body = feed.atom(
        title=title,
        own=site + url_for(f"area.{kind}_feed", code=code),
        page=site + url_for(f"area.{kind}_alerts", code=code),
        entries=[
            feed.Entry(one, site + url_for("alerts.alert", reference=one.reference), starts[one.id])
            for one in found
        ],
    )
    response = make_response(body)
    response.content_type = "application/atom+xml; charset=utf-8"
    response.headers["Cache-Control"] = f"public, max-age={FEED_SECONDS}"
    if found:
        response.last_modified = found[0].sent_at
    response.add_etag()
    response.make_conditional(request)
    return response
