"""The forms that pages show: where each is sent, and which fields it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class ShownForm:
    """A form as a browser reads it: ``fields`` are (name, value) as they would be sent."""

    method: str
    action: str
    fields: list[tuple[str, str]] = field(default_factory=list)

    def values(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, value in self.fields:
            found.setdefault(name, []).append(value)
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[ShownForm] = []
        self._open: ShownForm | None = None
        self._area: str | None = None
        self._select: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = ShownForm(have.get("method", "get").lower(), have.get("action", ""))
            self.forms.append(self._open)
        if self._open is None:
            return
        name = have.get("name", "")
        if tag in {"input", "button"} and name:
            # Boxes that are not ticked stand here too: whoever attacks may tick them.
            self._open.fields.append((name, have.get("value", "")))
        elif tag == "textarea" and name:
            self._area = name
            self._open.fields.append((name, ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select:
            self._open.fields.append((self._select, have.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "textarea":
            self._area = None
        elif tag == "select":
            self._select = None

    def handle_data(self, data: str) -> None:
        if self._area is not None and self._open is not None:
            name, value = self._open.fields[-1]
            self._open.fields[-1] = (name, value + data)


def forms_of(page: str) -> list[ShownForm]:
    """Every form of a page, in order."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.forms
