"""The bytes of an entry that are chained, and how. Version 1; its bytes never change.

Version 1 is one JSON array in UTF-8 without spaces, no character escaped that JSON lets
stand, in this order:

``[version, id, at, actor_kind, actor_id, organisation_id, area_code, subject, event, s62,
why, origin, detail]``

``at`` is ``YYYY-MM-DDTHH:MM:SS.ffffffZ``, always UTC and six digits; ``organisation_id`` the
lower-case UUID with hyphens; ``detail`` a string: the JSON text exactly as stored; whatever
is absent is ``null``. A link is ``sha256(hash of the link before || these bytes)``; before the
first link stand 32 zero bytes. Another order, field or escape is another version.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

__all__ = ["COLUMNS", "GENESIS", "encode", "link", "utc_text"]

GENESIS = bytes(32)

# As SQL, of a row called e. Times come as whole microseconds since 1970: the database's own text
# writes the year 50 BC like the year 50, so a moved entry could read the same.
COLUMNS = (
    "e.version, e.id, "
    "CASE WHEN isfinite(e.at) THEN CAST(extract(epoch FROM e.at) * 1000000 AS bigint) END AS at, "
    "e.actor_kind, e.actor_id, CAST(e.organisation_id AS text) AS organisation_id, e.area_code, "
    "e.subject, e.event, e.s62, e.why, e.origin, e.detail"
)

_WIDTH = 13
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  UTC by definition, and twice as fast without a zone
_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def utc_text(microseconds: int) -> str:
    """Microseconds since 1970 as ``2026-03-29T00:59:59.000001Z``. OverflowError outside years 1–9999."""
    return f"{(_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec='microseconds')}Z"


def encode(row: Sequence[Any]) -> bytes:
    """The canonical bytes of one entry, its values in the order of ``COLUMNS``.

    Raises ValueError where no valid entry has such values: another version, a time that is
    infinite or beyond four digits of year.
    """
    if len(row) != _WIDTH or row[0] != 1:
        raise ValueError("not an entry of version 1")
    if row[2] is None:
        raise ValueError("the time of the entry is not finite")
    try:
        at = utc_text(row[2])
    except OverflowError:
        raise ValueError("the time of the entry is out of range") from None
    return _json([row[0], row[1], at, *row[3:]]).encode()


def link(previous: bytes, encoded: bytes) -> bytes:
    """The hash of a link, 32 bytes."""
    return sha256(previous + encoded).digest()
