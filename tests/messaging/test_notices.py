"""E-mail to one person: the text says what the HTML says, and nothing that people wrote becomes markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from messaging.notices import notice

URL = "https://wardlink.example/confirm/abc-DEF_1"


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: list[str] = []
        self.said = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name == "href"]
        assert not {"src", "srcset", "background", "onclick"} & {name for name, _ in attrs}

    def handle_data(self, data) -> None:
        self.said += data


def read(html: str) -> Links:
    parser = Links()
    parser.feed(html)
    return parser


def test_text_and_html_say_the_same_with_one_heading_and_the_button_as_a_link() -> None:
    made = notice(
        "Confirm your e-mail address",
        ["Your code is 123456.", "It works for\n30 minutes."],
        button=("Confirm my address", URL),
        controller_name="Camden Police",
        closing=[
            "It wasn't you? Tell us: https://wardlink.example/not-me/x.",
            ("Privacy", "https://w.example/privacy"),
        ],
    )
    assert made.subject == "Confirm your e-mail address"
    html = read(made.html)
    assert html.tags.count("h1") == 1
    assert html.tags.count("html") == 1
    assert html.found == [URL, "https://wardlink.example/not-me/x", "https://w.example/privacy"]
    for part in (
        "Your code is 123456.",
        "30 minutes.",
        "Confirm my address",
        URL,
        "It wasn't you?",
        "Camden Police",
    ):
        assert part in made.text
        assert part in html.said
    assert "https://w.example/privacy" in made.text
    assert "<" not in made.text
    assert '<html lang="en"' in made.html


def test_nothing_is_fetched_from_anywhere_and_nobody_is_watched() -> None:
    made = notice("Hello", ["Text"], button=None, controller_name="Police")
    assert not set(read(made.html).tags) & {"img", "script", "link", "iframe", "style", "form", "input"}
    assert not re.search(r"url\(|@import", made.html)
    assert read(made.html).found == []


def test_what_people_wrote_is_escaped_in_html_as_it_is_in_text_and_makes_no_link() -> None:
    evil = "<a href='https://evil.example'>x</a> & \"you\" https://evil.example/y"
    made = notice(f"Re: {evil}", [evil], button=None, controller_name=evil, closing=[])
    html = read(made.html)
    assert html.found == []
    assert "a" not in html.tags
    assert evil in made.text
    assert evil in html.said


def test_a_subject_is_one_line_and_not_endless() -> None:
    made = notice("A\r\nBcc: x@y.example\t  b " + "c" * 500, ["x"], button=None, controller_name="P")
    assert not re.search(r"[\r\n\t]", made.subject)
    assert made.subject.startswith("A Bcc: x@y.example b c")
    assert len(made.subject) == 200


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "", "//evil.example", 'https://a.example/"><b>', "https://a b"]
)
def test_a_link_is_an_http_address(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        notice("S", ["x"], button=("Go", url), controller_name="P")
    with pytest.raises(ValueError, match="http"):
        notice("S", ["x"], button=None, controller_name="P", closing=[("Go", url)])
