"""The postcode parser: what it folds, what it refuses, and that hostile text can do nothing else."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geo import postcode
from geo.postcode import PostcodeError, compact, parse

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_full = st.one_of(
    st.from_regex(r"[A-PR-UWYZ][A-HK-Y]?[0-9]{1,2} [0-9][ABD-HJLNP-UW-Z]{2}", fullmatch=True),
    st.from_regex(r"[A-PR-UWYZ][A-HK-Y]?[0-9][A-Z] [0-9][ABD-HJLNP-UW-Z]{2}", fullmatch=True),
)
# Texts near to postcodes find more than pure noise does; both are tried.
_near = st.text(
    alphabet=_LETTERS + "abcdefghijklmnopqrstuvwxyz0123456789 -.\u00a0\u200b\u0130\u017f\uff11\x00",
    max_size=12,
)


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("SW1A 1AA", "SW1A 1AA"),
        ("sw1a1aa", "SW1A 1AA"),
        ("  Se5   9qY\t", "SE5 9QY"),
        ("SE5-9QY.", "SE5 9QY"),
        ("“ec1y 8sy”", "EC1Y 8SY"),
        ("E1\u00a06AA", "E1 6AA"),
        ("ｓｗ１ａ １ａａ", "SW1A 1AA"),
        ("S W 1 A 1 A A", "SW1A 1AA"),
        ("W1V 3DG", "W1V 3DG"),
        ("GIR 0AA", "GIR 0AA"),
    ],
)
def test_case_spaces_and_punctuation_are_folded(typed: str, normal: str) -> None:
    assert parse(typed) == normal


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "hello",
        "12345",
        "SW1A 1A0",
        "SW1A IAA",
        "SE5 9CY",
        "QQ1 1AA",
        "SE5 9QY SE5 9QY",
        "1AA SW1A",
        "SE5+9QY",
        "SE5 9QY\x00",
        "ſe5 9qy" * 20,
        "٣E5 9QY",
        "E1 6ªªª",
        "<b>SE5 9QY</b>",
        "SE5 9QY' OR 1=1",
        "A" * 1000000,
    ],
)
def test_what_is_not_a_postcode_is_malformed(typed: str) -> None:
    with pytest.raises(PostcodeError) as caught:
        parse(typed)
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("typed", ["SE5", "se5 ", "E1", "SW1A", "EC1Y", "SE5 9", "SE5 9Q", "N"])
def test_the_beginning_of_a_postcode_gets_its_own_answer(typed: str) -> None:
    with pytest.raises(PostcodeError) as caught:
        parse(typed)
    if typed == "N":
        assert caught.value.code == "malformed"
    else:
        assert caught.value.code == "outward-only"
        assert "full postcode" in caught.value.message


def test_a_letter_o_for_a_zero_is_not_repaired() -> None:
    with pytest.raises(PostcodeError):
        parse("SW1A OAA")


@pytest.mark.parametrize("value", [None, 5, b"SE5 9QY", ["SE5 9QY"]])
def test_a_value_that_is_no_text_is_malformed(value: object) -> None:
    with pytest.raises(PostcodeError):
        parse(value)  # type: ignore[arg-type]


def test_the_compact_form_has_no_space() -> None:
    assert compact("sw1a 1aa") == "SW1A1AA"


def test_no_message_repeats_what_was_typed() -> None:
    with pytest.raises(PostcodeError) as caught:
        parse("<script>")
    assert "script" not in str(caught.value)


def test_the_errors_of_whoever_knows_the_release_have_their_codes() -> None:
    assert postcode.not_london().code == "not-london"
    assert postcode.terminated().code == "terminated"
    assert str(postcode.terminated()) == postcode.terminated().message


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), _near, _full.map(str.lower)))
def test_any_text_is_parsed_or_refused_with_a_reason(text: str) -> None:
    try:
        normal = parse(text)
    except PostcodeError as error:
        assert error.code in {"malformed", "outward-only"}
        assert error.message
    else:
        assert parse(normal) == normal
        assert normal.isascii()
        assert normal == normal.upper()
        assert normal.count(" ") == 1
        assert normal[-4] == " "


@settings(max_examples=300, deadline=None)
@given(_full, st.sampled_from(["", " ", "  ", "-", "\u00a0", "\u2013"]), st.booleans())
def test_however_it_is_spaced_a_postcode_has_one_normal_form(normal: str, gap: str, small: bool) -> None:
    typed = normal.replace(" ", gap)
    assert parse(typed.lower() if small else typed) == normal


def test_parsing_postcodes_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'shapely', 'pyproj'}"
    program = (
        f"import sys, geo.postcode, geo.boundaries, geo.releases; print(sorted({heavy} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
