"""What the services of codes need to know of a request: the caller's network, and what the settings allow."""

from __future__ import annotations

from flask import Response, make_response, render_template

from app.errors import Invalid
from app.services import people
from app.services.confirmations.rations import Terms, TooMany
from app.services.people import Address
from app.web import context, errors, origin
from messaging.types import Channel

PRIVATE = {"X-Robots-Tag": "noindex, nofollow"}


def terms() -> Terms:
    settings = context.settings()
    return Terms(
        network=origin.neighbours(),
        public_url=settings.public_url,
        per_network=settings.codes_per_network,
        per_hour=settings.codes_per_hour,
        pence_per_day=settings.codes_pence_per_day,
        segment_pence=settings.sms_segment_pence,
    )


def address(channel: Channel, typed: str, field: str) -> Address:
    """An address as typed; Invalid for ``field``."""
    try:
        return people.read_address(
            channel, typed, regions=context.settings().sms_regions, fictional=context.fictional()
        )
    except Invalid as error:
        raise Invalid(field, error.message) from None


def page(template: str, status: int = 200, **values: object) -> Response:
    """A page that is somebody's own: no search engine lists it."""
    response = make_response(render_template(template, **values), status)
    response.headers.update(PRIVATE)
    return response


def too_many(error: TooMany) -> Response:
    response = errors.page(429, words=error.message)
    response.headers["Retry-After"] = "3600"
    return response


def gone(title: str, words: str) -> Response:
    """A page that has vanished, or never was: the two look alike."""
    return errors.page(404, title, words)
