"""How the register of cameras is used, by borough and quarter: for anybody, as a page and as CSV."""

from __future__ import annotations

import re
from datetime import date

from flask import Blueprint, Response, render_template, request
from werkzeug.exceptions import NotFound

from app.services import tables
from app.services.register import places
from app.services.register.places import Figures
from app.web import context, guards

pages = Blueprint("figures", __name__)

_QUARTER = re.compile(r"(20[0-9]{2})-q([1-4])")
FEW = "fewer than 5"


@pages.app_template_filter("quarter")
def quarter(begins: date) -> str:
    """“July to September 2026”."""
    last = date(begins.year, begins.month + 2, 1)
    return f"{begins:%B} to {last:%B} {begins.year}"


@pages.app_template_filter("quarter_code")
def code(begins: date) -> str:
    """“2026-q3”, as addresses and files have it."""
    return f"{begins.year}-q{(begins.month + 2) // 3}"


@pages.get("/register/figures")
@guards.anyone
def figures() -> str:
    """One quarter: the last, or the one asked for."""
    return render_template("public/figures.html", found=_found(), few=FEW, names=places.NAMES)


@pages.get("/register/figures.csv")
@guards.anyone
def csv() -> Response:
    """The same as a table for spreadsheets and programs. “<5” stands for fewer than five."""
    found = _found()
    rows = (
        [code(found.quarter), line.code, line.borough, *("<5" if n is None else n for n in line.numbers)]
        for line in (found.lines if found else ())
        if found
    )
    body = tables.lines(["quarter", "code", "borough", *places.NAMES], rows)
    response = Response(body, content_type=tables.MIMETYPE)
    name = f"register-{code(found.quarter)}.csv" if found else "register.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _found() -> Figures | None:
    asked = request.args.get("quarter", "")
    match = _QUARTER.fullmatch(asked)
    if asked and match is None:
        raise NotFound
    wanted = date(int(match[1]), 3 * int(match[2]) - 2, 1) if match else None
    with context.reading() as session:
        found = places.figures(session, wanted)
    if wanted is not None and found is None:
        raise NotFound
    return found
