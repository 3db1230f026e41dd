"""Officers' Markdown, made safe: a small part of it, to e-mail HTML and to readable plain text.

Headings, paragraphs, lists, bold, emphasis, quotations, rules and links. No HTML, no images,
no code, no tables. Links go to http, https, mailto and tel only; another one stays as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from messaging.markdown_safe import ALLOWED_SCHEMES, clean

__all__ = ["ALLOWED_SCHEMES", "to_html", "to_text"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*):", re.ASCII | re.IGNORECASE)
_DEEPEST = 20


def _allowed(url: str) -> bool:
    match = _SCHEME.match(url)
    if match is None or match[1].lower() not in ALLOWED_SCHEMES:
        return False
    try:
        return bool(urlsplit(url).netloc) or match[1].lower() in ("mailto", "tel")
    except ValueError:
        return False


class _Renderer(RendererHTML):
    """One level of heading below the subject's, and links that give nothing away."""

    def heading_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "<h2>"

    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</h2>\n"

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        tokens[idx].attrs.pop("title", None)
        tokens[idx].attrSet("rel", "noreferrer")
        return self.renderToken(tokens, idx, options, env)


def _parser() -> MarkdownIt:
    parser = MarkdownIt("zero", {"html": False, "maxNesting": _DEEPEST}, renderer_cls=_Renderer)
    parser.enable(["heading", "lheading", "list", "blockquote", "hr", "emphasis", "link", "autolink"])
    parser.enable(["escape", "entity", "newline", "balance_pairs", "fragments_join"])
    parser.validateLink = _allowed  # type: ignore[method-assign]
    return parser


_MARKDOWN = _parser()


def to_html(text: str) -> str:
    """HTML for the body of an e-mail: already escaped, without attributes but links' href and rel."""
    rendered: str = _MARKDOWN.render(text)
    return clean(rendered).strip()


def to_text(text: str) -> str:
    """The same for people who read plain text: underlined headings, dashes, addresses in brackets."""
    blocks = _Text(_MARKDOWN.parse(text)).blocks()
    return "\n".join(blocks).strip()


class _Text:
    """Walks the parsed Markdown once and lays out lines."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._lists: list[int | None] = []  # the next number, or None for dashes
        self._marker: str | None = None
        self._quotes = 0

    def blocks(self) -> Iterator[str]:
        for index, token in enumerate(self._tokens):
            match token.type:
                case "bullet_list_open":
                    self._lists.append(None)
                case "ordered_list_open":
                    self._lists.append(int(token.attrGet("start") or 1))
                case "bullet_list_close" | "ordered_list_close":
                    self._lists.pop()
                    if not self._lists:
                        yield ""
                case "list_item_open":
                    self._marker = self._next_marker()
                case "blockquote_open":
                    self._quotes += 1
                case "blockquote_close":
                    self._quotes -= 1
                case "hr":
                    yield "-" * 20
                    yield ""
                case "inline":
                    yield from self._inline(token, self._tokens[index - 1])

    def _next_marker(self) -> str:
        number = self._lists[-1]
        if number is None:
            return "- "
        self._lists[-1] = number + 1
        return f"{number}. "

    def _inline(self, token: Token, opened_by: Token) -> Iterator[str]:
        lines = _inline_text(token.children or []).split("\n")
        indent = "  " * max(len(self._lists) - 1, 0) + "> " * self._quotes
        first, self._marker = self._marker, None
        hang = " " * len(first) if first else ("  " if self._lists else "")
        for number, line in enumerate(lines):
            yield indent + (first if first and number == 0 else hang) + line
        if opened_by.type == "heading_open":
            yield "-" * min(max(map(len, lines)), 60)
            yield ""
        elif not opened_by.hidden:  # a paragraph of its own, not a tight list's item
            yield ""


def _inline_text(children: Sequence[Token]) -> str:
    out: list[str] = []
    opened: list[tuple[str, int]] = []
    for token in children:
        if token.type == "link_open":
            opened.append((str(token.attrGet("href") or ""), len(out)))
        elif token.type == "link_close" and opened:
            href, start = opened.pop()
            shown = "".join(out[start:])
            plain = href.removeprefix("mailto:").removeprefix("tel:")
            if shown not in (href, plain, unquote(href)):
                out.append(f" ({plain})")
        elif token.type in ("softbreak", "hardbreak"):
            out.append("\n")
        else:
            out.append(token.content)
    return "".join(out)
