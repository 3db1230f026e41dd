"""Where a page of a list goes on, as it stands in an address."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import request

from app.services.register.shown import Cursor

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})_([0-9a-f]{32})")


def written(cursor: Cursor | None) -> str | None:
    """For an address."""
    return cursor and f"{(cursor.at - _EPOCH) // timedelta(microseconds=1)}_{cursor.id.hex}"


def asked() -> Cursor | None:
    """The one of this request; whatever is none means the first page."""
    match = _CURSOR.fullmatch(request.args.get("after", ""))
    if match is None:
        return None
    try:
        return Cursor(_EPOCH + timedelta(microseconds=int(match[1])), UUID(hex=match[2]))
    except OverflowError:
        return None
