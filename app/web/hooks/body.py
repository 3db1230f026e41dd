"""The body of a webhook call, wholly read and known to be text, before anything looks inside."""

from __future__ import annotations

from urllib.parse import parse_qsl

from flask import request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app.services import receipts

MOST_FIELDS = 200
FORM = "application/x-www-form-urlencoded"


def read() -> bytes:
    """The bytes as they came, for signatures cover every one of them.

    RequestEntityTooLarge beyond what a raw event holds.
    """
    # One more than that: a call in chunks would be cut off at the limit, and nobody told.
    request.max_content_length = receipts.LONGEST_BODY + 1
    raw = request.get_data(cache=False)
    if len(raw) > receipts.LONGEST_BODY:
        raise RequestEntityTooLarge
    return raw


def as_text(raw: bytes) -> str:
    """The same as text that the database can hold; BadRequest if it is not."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest from None
    if "\x00" in text:
        raise BadRequest
    return text


class Form(MultiDict[str, str]):
    """The fields of a form. Twilio's library asks for ``getall`` first, and pays for each refusal."""

    getall = MultiDict.getlist


def as_form(raw: bytes) -> Form:
    """The fields of a form, in their order; BadRequest if it is not one in UTF-8."""
    if request.mimetype != FORM:
        raise UnsupportedMediaType
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except UnicodeDecodeError:
        raise BadRequest from None
    except ValueError:  # too many fields
        raise RequestEntityTooLarge from None
    return Form(pairs)
