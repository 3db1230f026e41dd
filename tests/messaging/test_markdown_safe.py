"""The second wall behind our Markdown: whatever HTML comes to it, only what e-mails need gets past."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messaging import markdown
from messaging.markdown_safe import ALLOWED_SCHEMES, ATTRIBUTES, TAGS, clean

HOSTILE = (
    "<script>alert(1)</script>", "<SCRIPT SRC=//evil.example/x.js></SCRIPT>", "<style>*{x:expression(1)}</style>",
    "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<svg><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)></style></mglyph></math>",
    "<a href='javascript:alert(1)'>x</a>", "<a href=' jav&#x09;ascript:alert(1)'>x</a>", "<a href='data:text/html,x'>x</a>",
    "<a href='//evil.example'>x</a>", "<a href='https://ok.example' onclick=alert(1) style=x target=_blank>x</a>",
    "<p style='background:url(https://evil.example)'>x</p>", "<p class=x id=main-content>x</p>", "<base href=//evil>",
    "<form action=//evil><input name=password><button>x</button></form>", "<iframe srcdoc='<script>1</script>'></iframe>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>", "<!--><img src=x onerror=alert(1)>-->",
    "<template><script>1</script></template>", "<meta http-equiv=refresh content='0;url=//evil'>", "<ol start=3 onload=x>",
    "<object data=//evil></object>", "<textarea><script>1</script></textarea>", "</p></div><h1>ours?</h1>",
    "<a href=vbscript:x>",
)  # fmt: skip
HTML = st.lists(
    st.one_of(
        st.sampled_from(HOSTILE), st.text(max_size=20), st.text("<>/\"'= &#;:-!ascripthvonlejx\t\n\x00", max_size=30)
    ),
    max_size=6,
).map("".join)  # fmt: skip


class Reader(HTMLParser):
    """Every start tag with its attributes, and the words between."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[object] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.seen.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def harmless(html: str) -> None:
    for found in Reader(html).seen:
        if isinstance(found, str):
            assert found in TAGS
            continue
        tag, attributes = found
        assert tag in TAGS
        assert set(attributes) <= ATTRIBUTES.get(tag, frozenset()) | ({"rel"} if tag == "a" else set())
        if "href" in attributes:
            assert attributes["href"].partition(":")[0].lower() in ALLOWED_SCHEMES
        assert attributes.get("rel", "noreferrer") == "noreferrer"


@pytest.mark.parametrize("html", HOSTILE)
def test_a_known_attack_leaves_nothing_that_runs_or_fetches(html: str) -> None:
    cleaned = clean(html)
    harmless(cleaned)
    assert "evil" not in cleaned
    assert "alert(1)" not in cleaned


@given(HTML)
def test_no_script_handler_style_or_foreign_scheme_survives(html: str) -> None:
    cleaned = clean(html)
    harmless(cleaned)
    assert clean(cleaned) == cleaned


PIECES = st.sampled_from(
    [
        "# A head\n\n", "Under\n---\n\n", "- one\n- two\n", "7. seven\n8. eight\n", "> said\n\n", "***\n\n", "a  \nb\n\n",
        "**bold** ", "*soft* ", "[x](https://e.example/?a=1&b=%22) ", "<mailto:a@b.example> ", "[t](tel:+442012345678) ",
        "fish & chips ", "5 < 6 > 4 ", "\"quoted\" 'so' ", "a\u00a0b ", "<script>alert(1)</script> ", "&amp; ", "é ",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_our_own_writer_writes_passes_whole(text: str) -> None:
    """Nothing is lost: the same elements, the same attributes, the same words, as the writer alone wrote them."""
    written, sent = Reader(markdown._MARKDOWN.render(text).strip()), Reader(markdown.to_html(text))
    assert sent.seen == written.seen
    assert sent.words == written.words
