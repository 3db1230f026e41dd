"""Tables that leave as CSV: read back whole, and no cell of somebody else's is a formula."""

from __future__ import annotations

import csv
import io
import tracemalloc
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services import tables

FORMULAS = (
    "=1+1", "+44 7700 900123", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=cmd|' /C calc'!A0",
    '=HYPERLINK("https://evil.example","x")', "＝1+1", "＋1", "－1", "＠x", "\ufeff=1", "\u200b=1", "\x00=1", "  \t=1",
)  # fmt: skip
DANGEROUS = set("=+-@\t\r\n＝＋－＠")
TEXTS = st.one_of(
    st.sampled_from(FORMULAS), st.text(), st.text("=+-@\t\r\n ,;\"'\x00\u00a0\ufeff＝x", max_size=8)
)  # fmt: skip


def read(heads: list[str], rows: list[list[tables.Cell]]) -> list[list[str]]:
    whole = b"".join(tables.lines(heads, rows)).decode("utf-8")
    assert whole.startswith("\ufeff")
    return list(csv.reader(io.StringIO(whole[1:], newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_every_known_beginning_of_a_formula_is_made_harmless(text: str) -> None:
    assert tables.cell(text).startswith("'")
    assert tables.cell(text)[1:] == text.replace("\x00", "")


@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=6))
def test_a_table_comes_back_as_it_was_and_no_cell_begins_a_formula(rows: list[list[str]]) -> None:
    back = read(["a", "=b", "c"], [list(row) for row in rows])
    assert back[0] == ["a", "'=b", "c"]
    assert len(back) == len(rows) + 1
    for sent, found in zip(rows, back[1:], strict=True):
        for given_text, shown in zip(sent, found, strict=True):
            stripped = shown.lstrip(" \u00a0\u200b\ufeff")
            assert not stripped or stripped[0] not in DANGEROUS
            plain = given_text.replace("\x00", "").encode("utf-8", "replace").decode()
            assert shown in {plain, f"'{plain}"}


def test_what_is_ordinary_is_not_marked_and_numbers_stay_numbers() -> None:
    values: list[tables.Cell] = ["Jo", "it's", "a=b", "3 - 2", -5, -1.5, Decimal("-0.05"), True, None]
    times: list[tables.Cell] = [date(2026, 6, 3), datetime(2026, 6, 3, 12, tzinfo=UTC)]
    heads = [str(n) for n in range(11)]
    assert read(heads, [[*values, *times]])[1] == [
        "Jo", "it's", "a=b", "3 - 2", "-5", "-1.5", "-0.05", "yes", "", "2026-06-03", "2026-06-03T12:00:00+00:00",
    ]  # fmt: skip


def test_a_row_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match="row 2 has 1 cells"):
        list(tables.lines(["a", "b"], [["1", "2"], ["3"]]))


def test_a_long_table_is_streamed_and_never_held_whole() -> None:
    row: list[tables.Cell] = ["x" * 100]
    tracemalloc.start()
    try:
        pieces = size = 0
        for piece in tables.lines(["a"], (row for _ in range(50_000))):
            pieces, size = pieces + 1, size + len(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pieces > 50
    assert size > 5_000_000
    assert peak < 1_000_000
