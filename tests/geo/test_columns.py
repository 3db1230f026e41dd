"""The bundle's table format: what goes in comes out, equal bytes for equal tables, damage is noticed."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo.columns import BundleError, decode, encode

_row = st.tuples(
    st.text("ABC123 ", min_size=1), st.integers(-(2**60), 2**60), st.sampled_from(["", "x", "E05"])
)


@settings(max_examples=100, deadline=None)
@given(st.lists(_row, min_size=1, max_size=50))
def test_what_is_encoded_comes_back_and_always_as_the_same_bytes(rows: list[tuple[str, int, str]]) -> None:
    texts, numbers, coded = (list(column) for column in zip(*rows, strict=True))
    table = {"a": texts}, {"n": numbers}, {"c": coded}
    packed = encode(*table)
    assert packed == encode(*table)
    if coded == [""] * len(coded):
        return
    assert decode(packed) == ({"a": texts, "c": coded}, {"n": numbers})


def test_a_table_without_rows_comes_back_empty() -> None:
    assert decode(encode({"a": []}, {"n": []}, {"c": []})) == ({"a": [], "c": []}, {"n": []})


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(BundleError):
        encode({"a": ["x", "y"]}, {"n": [1]}, {})


@pytest.mark.parametrize("text", ["a,b", "a\nb", "a|b"])
def test_a_text_that_holds_a_separator_is_refused(text: str) -> None:
    with pytest.raises(BundleError):
        encode({"a": [text]}, {}, {})


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"not gzip",
        encode({"a": ["x"]}, {}, {})[:-9],
        gzip.compress(b"something-else 1 1\na text x", mtime=0),
        gzip.compress(b"wardlink-columns 1 2\na text x", mtime=0),
        gzip.compress(b"wardlink-columns 1 1\nn delta one", mtime=0),
        gzip.compress(b"wardlink-columns 1 1\nc coded x|7", mtime=0),
        gzip.compress(b"wardlink-columns 1 1\nbroken", mtime=0),
        gzip.compress("wardlink-columns 1 1\na text é".encode(), mtime=0),
    ],
)
def test_a_damaged_table_is_an_error_with_words(damaged: bytes) -> None:
    with pytest.raises(BundleError, match="data bundle"):
        decode(damaged)
