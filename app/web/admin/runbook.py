"""What docs/runbook.md says about one alarm, for whoever has to act and has no checkout at hand."""

from __future__ import annotations

import re
from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup

from config.fields import PROJECT

PATH = PROJECT / "docs" / "runbook.md"
_HEADING = re.compile(r"^### Alarm: ([a-z-]+)$", re.MULTILINE)
# Links of the page lead to files beside it, which the site does not serve: their words stay.
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)\s]+\)")


@cache
def sections() -> dict[str, Markup]:
    """Code → its section as HTML; nothing where the documents were not installed."""
    if not PATH.is_file():
        return {}
    text = PATH.read_text(encoding="utf-8")
    found = list(_HEADING.finditer(text))
    writer = MarkdownIt("commonmark", {"html": False}).enable("table")
    sections = {}
    for heading in found:
        rest = text[heading.end() :]
        end = re.search(r"^#{1,3} ", rest, re.MULTILINE)
        body = _LINK.sub(r"\1", rest[: end.start()] if end else rest)
        sections[heading[1]] = Markup(writer.render(body))  # noqa: S704  ours, and HTML in it is escaped
    return sections
