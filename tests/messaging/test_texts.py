"""Text messages: how long they are, what a reply means, and places for a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import gsm7, placeholders
from messaging.keywords import keyword
from messaging.types import Keyword


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ("GSM-7", 0, 1, ())),
        ("a" * 160, ("GSM-7", 160, 1, ())),
        ("a" * 161, ("GSM-7", 161, 2, ())),
        ("a" * 306, ("GSM-7", 306, 2, ())),
        ("a" * 307, ("GSM-7", 307, 3, ())),
        ("€" * 80, ("GSM-7", 160, 1, ())),
        ("€" * 81, ("GSM-7", 162, 2, ())),
        # 152 + € does not fit into 153: the € moves on whole.
        ("a" * 152 + "€" + "a" * 152, ("GSM-7", 306, 3, ())),
        ("£5 @ Ø\n", ("GSM-7", 7, 1, ())),
        ("“" + "a" * 69, ("UCS-2", 70, 1, ("“",))),
        ("“" + "a" * 70, ("UCS-2", 71, 2, ("“",))),
        ("😀" * 35, ("UCS-2", 70, 1, ("😀",))),
        # 66 units and a pair do not fit into 67.
        ("a" * 66 + "😀" + "a" * 66, ("UCS-2", 134, 3, ("😀",))),
        ("ç’ç’", ("UCS-2", 4, 1, ("ç", "’"))),
    ],
)
def test_segments_are_counted_as_phones_do(text, expected):
    assert gsm7.segments(text) == expected


def test_the_alphabet_has_its_127_characters_and_the_extension_its_ten():
    assert (len(gsm7.BASIC), len(gsm7.EXTENSION)) == (127, 10)
    assert not gsm7.BASIC & gsm7.EXTENSION


@given(st.text(), st.text())
def test_more_text_never_takes_fewer_segments(one, two):
    assert gsm7.segments(one + two).segments >= gsm7.segments(one).segments


@pytest.mark.parametrize(
    "word", ["STOP", "stop", " Stop. ", "“STOP”", "Stop all", "OPT-OUT", "quit!!", "STOP 🛑", "ｓｔｏｐ"]
)
def test_a_whole_message_that_says_stop_is_stop(word):
    assert keyword(word) is Keyword.STOP


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Yes", Keyword.START),
        ("unstop", Keyword.START),
        ("help?", Keyword.HELP),
        ("INFO", Keyword.HELP),
        ("stop please", None),
        ("please stop", None),
        ("stop 1", None),
        ("", None),
        ("...", None),
        ("the end", None),
        ("STOP" + " " * 500, None),
    ],
)
def test_other_words_mean_what_twilio_says_they_mean(text, meaning):
    assert keyword(text) is meaning


@given(st.text())
def test_any_text_has_a_meaning_or_none(text):
    assert keyword(text) in (None, *Keyword)


def test_places_are_found_and_filled():
    template = placeholders.parse("Dear (( Name )), (see map) ((name))!")
    assert template.used == {"name"}
    assert template.fill(lambda name: name.upper()) == "Dear NAME, (see map) NAME!"
    assert placeholders.parse("no places :))").used == frozenset()
    assert placeholders.parse("(((name)))").fill(lambda _: "x") == "(x)"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("((nmae))", "unknown"),
        ("((name)", "unclosed"),
        ("((", "unclosed"),
        ("(( ))", "empty"),
        ("(())", "empty"),
    ],
)
def test_a_mistaken_place_is_named(text, code):
    with pytest.raises(placeholders.PlaceholderError) as caught:
        placeholders.parse(text)
    assert caught.value.code == code


@given(st.text("()name x"))
def test_any_text_is_a_template_or_has_a_named_mistake(text):
    try:
        template = placeholders.parse(text)
    except placeholders.PlaceholderError as error:
        assert error.code in ("unknown", "unclosed", "empty")
    else:
        assert "((" not in "".join(template.texts[:1])
        assert len(template.texts) == len(template.names) + 1
