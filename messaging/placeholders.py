"""``((name))`` in officers' text: a place that is filled for each person.

Only the names in :data:`KNOWN` exist. A lone ``))`` is text; a lone ``((`` is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

KNOWN = frozenset({"name"})
_PLACE = re.compile(r"\(\(([^()]*)\)\)")


class PlaceholderError(ValueError):
    """``code``: unknown, unclosed or empty."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Template:
    """Text cut at its places: ``texts[0] names[0] texts[1] names[1] … texts[-1]``."""

    texts: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def used(self) -> frozenset[str]:
        """The names that occur at least once."""
        return frozenset(self.names)

    def fill(self, value_of: Callable[[str], str]) -> str:
        """The text with each place filled by ``value_of(name)``."""
        parts = [self.texts[0]]
        for name, text in zip(self.names, self.texts[1:], strict=True):
            parts += (value_of(name), text)
        return "".join(parts)


def parse(text: str, known: frozenset[str] = KNOWN) -> Template:
    """Find the places in ``text``; PlaceholderError names the first mistake."""
    pieces = _PLACE.split(text)
    texts, names = tuple(pieces[0::2]), tuple(name.strip().lower() for name in pieces[1::2])
    for name in names:
        if not name:
            raise PlaceholderError("empty", "There is nothing between (( and )). Write ((name)).")
        if name not in known:
            allowed = ", ".join(f"(({each}))" for each in sorted(known))
            raise PlaceholderError("unknown", f"(({name[:40]})) is not known. You can use: {allowed}.")
    if any("((" in piece for piece in texts):
        raise PlaceholderError("unclosed", "A (( has no matching )). Write ((name)), or use one bracket.")
    return Template(texts, names)
