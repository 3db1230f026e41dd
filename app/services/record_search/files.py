"""Entries as files: CSV for people, JSON lines for machines and for the checker. One writer for each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from app.audit.encoding import encode, utc_text
from app.services import tables
from app.services.record_search.finding import Found

# As the canonical encoding orders them, with where the entry stands in the chain before.
FIELDS = (
    "version", "id", "at", "actor_kind", "actor_id", "organisation_id", "area_code", "subject", "event", "s62", "why",
    "origin", "detail",
)  # fmt: skip
COLUMNS = ("seq", *FIELDS[1:])
_CHUNK = 200  # lines sent at once


def csv_lines(found: Iterable[Found]) -> Iterator[bytes]:
    """A line of names, then one for each entry."""
    return tables.lines(COLUMNS, ((one.seq, *_values(one)[1:]) for one in found))


def json_lines(found: Iterable[Found]) -> Iterator[str]:
    """One JSON object a line: the entry by its names, and ``canonical``, the text whose UTF-8 bytes are chained.

    ``seq``, ``prev`` and ``hash`` are null while an entry is not sealed yet.
    """
    lines: list[str] = []
    for one in found:
        canonical = encode(one.canonical).decode()
        line = dict(zip(FIELDS, _values(one), strict=True)) | {
            "seq": one.seq,
            "prev": one.prev.hex() if one.prev is not None else None,
            "hash": one.hash.hex() if one.hash is not None else None,
            "canonical": canonical,
        }
        lines.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        if len(lines) == _CHUNK:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)


def _values(one: Found) -> list[Any]:
    values = list(one.canonical)
    values[2] = utc_text(values[2])
    return values
