"""Addresses of wards and boroughs that are no more: they lead to what became of them, or ask."""

from __future__ import annotations

from flask import make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response

from app.services import areas
from geo.area_codes import AreaKind

# A change can be reversed: a browser must not remember for ever where an address led.
KEPT_SECONDS = 300


class Moved(HTTPException):
    """An answer that is none of the page that was asked for."""

    def __init__(self, answer: Response) -> None:
        super().__init__(response=answer)
        self.code = answer.status_code


def away(session: Session, code: str, kind: AreaKind) -> HTTPException:
    """What to raise when an area is none of today's: the way to its one successor, a page that asks which of several
    is meant (a feed follows the largest), or that there is no such page.
    """
    found = areas.became(session, code, kind)
    endpoint = request.endpoint
    if found is None or endpoint is None:
        return NotFound()
    if endpoint == "ward.postcode":  # the form says where it leads, not the address
        return NotFound()
    if len(found.areas) == 1 or endpoint.endswith("_feed"):
        status = 301 if len(found.areas) == 1 else 302
        answer: Response = redirect(url_for(endpoint, code=found.areas[0].code), status)
    else:
        answer = make_response(
            render_template(
                "public/became.html", name=found.name, areas=found.areas, kind=kind, endpoint=endpoint
            ),
            300,
        )
    answer.headers["Cache-Control"] = f"public, max-age={KEPT_SECONDS}"
    return Moved(answer)
