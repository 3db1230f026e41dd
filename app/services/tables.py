"""Tables that leave as CSV: the one writer of them, for spreadsheets are programs and a cell may be one too.

A cell that a spreadsheet would take for a formula begins with an apostrophe, as spreadsheets themselves mark text.
The file begins with a byte order mark, without which Excel takes UTF-8 for something else.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

__all__ = ["MIMETYPE", "Cell", "cell", "lines"]

Cell = str | int | float | bool | Decimal | date | datetime | UUID | None
MIMETYPE = "text/csv; charset=utf-8"
BOM = "\ufeff"
_BLOCK = 500  # rows to a piece: few enough to stream, enough not to be slow
# What begins a formula in Excel, LibreOffice or Google Sheets: full-width forms count as well, and white space before
# one is skipped by some of them.
_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")


def cell(value: Cell) -> str:
    """A value as its cell holds it. Numbers of ours stay numbers; words that begin like a formula become text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | Decimal):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    text = str(value).replace("\x00", "")
    begins = text.lstrip(" \u00a0\u200b\ufeff")[:1]
    return f"'{text}" if text[:1] in _FORMULA or begins in _FORMULA else text


def lines(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    """A table piece by piece, its heads first. ValueError for a row of another width: it would shift its cells."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    text.write(BOM)
    writer.writerow([cell(head) for head in heads])
    for number, row in enumerate(rows, 1):
        if len(row) != len(heads):
            raise ValueError(f"row {number} has {len(row)} cells, and the table {len(heads)} columns")
        writer.writerow([cell(value) for value in row])
        if number % _BLOCK == 0:
            yield _taken(text)
    yield _taken(text)


def _taken(text: io.StringIO) -> bytes:
    piece = text.getvalue().encode("utf-8", "replace")
    text.seek(0)
    text.truncate()
    return piece
