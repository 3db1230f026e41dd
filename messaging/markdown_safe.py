"""The second wall behind our Markdown: HTML goes through nh3, which knows only what our own writer writes.

The writer escapes everything already, and what it writes passes unchanged in meaning. Should it, or a library below
it, ever err, what is not on these lists falls away here. Once for each content, never for a person.
"""

from __future__ import annotations

import nh3

__all__ = ["ALLOWED_SCHEMES", "ATTRIBUTES", "TAGS", "clean"]

ALLOWED_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
TAGS = frozenset({"a", "blockquote", "br", "em", "h2", "hr", "li", "ol", "p", "strong", "ul"})
ATTRIBUTES = {"a": frozenset({"href"}), "ol": frozenset({"start"})}
# Their words go with them: a script's text is no sentence of an officer's.
_WITH_CONTENT = {
    "script",
    "style",
    "template",
    "iframe",
    "object",
    "svg",
    "math",
    "title",
    "textarea",
    "noscript",
}

_CLEANER = nh3.Cleaner(
    tags=set(TAGS),
    clean_content_tags=_WITH_CONTENT,
    attributes={tag: set(names) for tag, names in ATTRIBUTES.items()},
    url_schemes=set(ALLOWED_SCHEMES),
    url_relative="deny",
    link_rel="noreferrer",
)


def clean(html: str) -> str:
    """What of a piece of HTML an e-mail or an alert's page may hold."""
    return _CLEANER.clean(html)
