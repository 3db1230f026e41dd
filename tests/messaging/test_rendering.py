"""From an officer's words to an e-mail or a text, safe for everybody who reads it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import markdown
from messaging.render import (
    DEFAULT_NAME,
    RenderError,
    Tags,
    compile_email,
    compile_sms,
    fill_sms,
    substitutions,
    tidy_name,
)

NONCE = "9f31ab12cd34"
ALLOWED = {"h2", "p", "ul", "ol", "li", "strong", "em", "a", "blockquote", "hr", "br"}


class Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def email(**changes):
    values = {
        "nonce": NONCE,
        "headline": "Shed thefts",
        "body_markdown": "We saw **three** thefts.",
        "what_to_do": "Call [101](tel:101).",
        "reference": "WL-1",
        "controller_name": "Met <Police> & Co",
        "from_email": "alerts@police.example",
        "from_name": "Met Police",
        "public_url": "https://wardlink.example",
    }
    return compile_email(**(values | changes))


def fill(text: str, values: dict[str, str]) -> str:
    """As SendGrid does it: each tag replaced wherever it stands."""
    for tag, value in values.items():
        text = text.replace(tag, value)
    return text


def test_markdown_becomes_safe_html_and_readable_text():
    source = "# Shed thefts\n\nWe saw **three**:\n\n1. one\n2. two\n   - deep\n\n> said\n\n[Our page](https://p.uk/?a=1&b=2)"
    html = markdown.to_html(source)
    assert "<h2>Shed thefts</h2>" in html
    assert "<strong>three</strong>" in html
    assert '<a href="https://p.uk/?a=1&amp;b=2" rel="noreferrer">Our page</a>' in html
    assert markdown.to_text(source).splitlines() == [
        "Shed thefts", "-----------", "", "We saw three:", "", "1. one", "2. two", "  - deep", "",
        "> said", "", "Our page (https://p.uk/?a=1&b=2)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "![x](https://evil.example/pixel.png)",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html,x)",
        "[x](&#106;avascript:alert(1))",
        "[x](/relative)",
        "[x](//evil.example)",
        "<javascript:alert(1)>",
        '[x](https://p.uk "onmouseover=alert(1)")',
        "    code\n\n```\ncode\n```\n\n|a|b|\n|-|-|\n|c|d|",
    ],
)
def test_nothing_dangerous_survives(source):
    for tag, attributes in Reader(markdown.to_html(source)).tags:
        assert tag in ALLOWED
        assert set(attributes) <= {"href", "rel", "start"}
        assert (attributes.get("href") or "https://").startswith(("https://", "http://", "mailto:", "tel:"))


@given(st.text() | st.text("[]()<>*_#-!`&;:\"'\n ajvscriptxhtp/"))
def test_no_text_makes_dangerous_html_or_breaks_the_renderer(source):
    markdown.to_text(source)
    for tag, attributes in Reader(markdown.to_html(source)).tags:
        assert tag in ALLOWED
        assert set(attributes) <= {"href", "rel", "start"}
        if tag == "a":
            assert attributes["href"].split(":")[0].lower() in markdown.ALLOWED_SCHEMES


def test_an_email_names_its_sender_its_reason_and_the_ways_out():
    content, tags = email(), Tags(NONCE)
    for part in (content.text, content.html):
        assert tags.stop in part and tags.manage in part
        assert "WL-1" in part and "because you asked for alerts" in part
        assert "https://wardlink.example" in part
    assert "Met <Police> & Co" in content.text
    assert "Met &lt;Police&gt; &amp; Co" in content.html
    assert '<html lang="en" dir="ltr">' in content.html
    assert '<html lang="ur" dir="rtl">' in email(language="ur").html


def test_an_email_fetches_nothing_and_runs_nothing():
    for tag, attributes in Reader(email().html).tags:
        assert tag not in ("img", "script", "link", "iframe", "object", "form", "style")
        assert not {"src", "background", "srcset", "onclick"} & set(attributes)
        assert "url(" not in (attributes.get("style") or "")
    levels = [tag for tag, _ in Reader(email(body_markdown="# A\n\n### B\n\nc").html).tags if tag[:1] == "h"]
    assert [level for level in levels if level in ("h1", "h2", "h3")] == ["h1", "h2", "h2", "h2"]


def test_a_name_goes_where_the_officer_puts_it_or_into_the_greeting():
    tags = Tags(NONCE)
    values = substitutions(tags, "https://w.example/s/1", "https://w.example/m/1", "Ann <b> & Co")
    greeted = email()
    assert fill(greeted.text, values).count("Hello Ann <b> & Co,") == 1
    assert "Hello Ann &lt;b&gt; &amp; Co," in fill(greeted.html, values)
    placed = email(headline="((name)), look", body_markdown="Dear ((name)), **look**")
    assert fill(placed.subject, values) == "Ann <b> & Co, look"
    assert "Hello" not in placed.text + placed.html
    assert "Dear Ann &lt;b&gt; &amp; Co, <strong>look</strong>" in fill(placed.html, values)
    assert "[[" not in fill(placed.html + placed.text + placed.subject, values)


@given(st.text(max_size=100), st.text(max_size=100))
def test_no_name_or_text_can_write_a_tag_or_html(name, body):
    content = email(body_markdown="a " + body.replace("((", "( ("), headline="x")
    values = substitutions(Tags(NONCE), "https://w.example/s/1", "https://w.example/m/1", name)
    assert content.html.count(Tags(NONCE).stop) == 1
    plain = Reader(fill(content.html, substitutions(Tags(NONCE), "https://a", "https://b", None)))
    assert [t for t, _ in Reader(fill(content.html, values)).tags] == [t for t, _ in plain.tags]


def test_an_officer_who_writes_the_stand_in_for_a_name_writes_nothing():
    content = email(body_markdown=f"a wlname{NONCE}wlname b")
    assert f"wlname{NONCE}" not in content.text + content.html


@pytest.mark.parametrize("name", [None, "", "  ", "\u202e", "\r\n"])
def test_who_gave_no_name_is_a_neighbour(name):
    assert substitutions(Tags(NONCE), "s", "m", name)[Tags(NONCE).name_text] == DEFAULT_NAME


def test_a_name_is_one_line_and_turns_no_text_round():
    assert tidy_name("Ann\r\nBcc: x\u202e\u2028y") == "Ann Bcc: x y"
    assert tidy_name("Zoë  ‌O'Neill") == "Zoë ‌O'Neill"
    assert len(tidy_name("x" * 500)) == 60


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"headline": " \n"}, "empty"),
        ({"body_markdown": " "}, "empty"),
        ({"body_markdown": "((surname))"}, "unknown"),
        ({"headline": "((name"}, "unclosed"),
        ({"what_to_do": "[x](https://p.uk/((name)))"}, "placeholder-in-link"),
        ({"language": 'en" onload="x'}, "language"),
    ],
)
def test_content_that_cannot_be_sent_is_refused_with_a_reason(changes, code):
    with pytest.raises(RenderError) as caught:
        email(**changes)
    assert caught.value.code == code


@pytest.mark.parametrize("nonce", ["", "abc", "ABCDEF1", "a" * 65, "abc]]def"])
def test_a_weak_or_unfit_nonce_is_our_mistake(nonce):
    with pytest.raises(ValueError, match="nonce"):
        Tags(nonce)


def test_a_text_message_says_who_what_and_how_to_stop():
    two_way = compile_sms("Shed thefts.\nLock up.", "WL-1", "Met Police", two_way=True)
    assert two_way == "Met Police: Shed thefts.\nLock up.\nRef WL-1. Text STOP to end"
    assert fill_sms(two_way) == two_way
    one_way = compile_sms("Hello ((name))", "WL-1", "Met {stop}Police", two_way=False)
    filled = fill_sms(one_way, stop_url="https://w.example/s/1", name="Ann")
    assert filled == "Met Police: Hello Ann\nRef WL-1. Stop: https://w.example/s/1"
    # A name that is a place, in another alphabet, or longer than was reckoned with.
    for name in (None, " ", "{stop} Ann", "Łukasz", "愛", "A" * 21):
        assert fill_sms(one_way, stop_url="x", name=name) == "Met Police: Hello neighbour\nRef WL-1. Stop: x"
    assert "Hello " + "A" * 20 in fill_sms(one_way, stop_url="x", name="A" * 20)


def test_what_asks_for_information_carries_a_reply_link_near_what_one_can_do():
    tags = Tags(NONCE)
    content = email(reply=True, how_to_tell="Ring [101](tel:101), ((name)).")
    values = substitutions(tags, "https://w/s/1", "https://w/m/1", "Ann", "https://w/r/1")
    text, html = fill(content.text, values), fill(content.html, values)
    assert "HOW TO TELL US\n\nRing 101, Ann.\n\nTell us what you know: https://w/r/1\n" in text
    assert '<a href="https://w/r/1" rel="noreferrer">Tell us what you know</a>' in html
    for part in (text, html):
        assert (
            part.lower().index("what you can do") < part.index("https://w/r/1") < part.index("https://w/s/1")
        )
        assert "call 999" in part and "[[" not in part
    assert [t for t, _ in Reader(html).tags if t in ("h1", "h2", "h3")] == ["h1", "h2", "h2"]


def test_what_asks_for_nothing_has_no_place_for_a_reply():
    tags = Tags(NONCE)
    content = email()
    assert tags.reply not in content.text + content.html
    assert "tell us" not in (content.text + content.html).lower()
    assert set(substitutions(tags, "s", "m", "Ann")) == {
        tags.stop, tags.manage, tags.name_text, tags.name_html,
    }  # fmt: skip


def test_how_to_tell_alone_has_its_heading_and_may_break_nothing():
    assert "HOW TO TELL US\n\nCall us." in email(how_to_tell="Call us.").text
    for bad in ("((x))", "[x](https://p.uk/((name)))"):
        with pytest.raises(RenderError):
            email(how_to_tell=bad)


@pytest.mark.parametrize(
    ("two_way", "end"),
    [
        (True, "Ref WL-1. Reply to this text or tell us: https://w/r/1\nText STOP to end"),
        (False, "Ref WL-1. Tell us: https://w/r/1\nStop: https://w/s/1"),
    ],
)
def test_a_text_that_asks_for_information_says_how_to_answer(two_way, end):
    body = compile_sms("Seen him?", "WL-1", "Met {reply}", two_way=two_way, reply=True)
    filled = fill_sms(body, stop_url="https://w/s/1", name="{reply}", reply_url="https://w/r/1")
    assert filled == f"Met : Seen him?\n{end}"


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "empty"), (" \n ", "empty"), ("a {stop}", "braces"), ("a {reply}", "braces"), ("((x))", "unknown")],
)
def test_a_text_message_that_cannot_be_sent_is_refused_with_a_reason(text, code):
    with pytest.raises(RenderError) as caught:
        compile_sms(text, "WL-1", "Met", two_way=True)
    assert caught.value.code == code
