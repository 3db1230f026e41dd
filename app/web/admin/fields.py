"""Fields of administrators' forms: a day in three boxes, one of many in a list, and texts of dates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

import wtforms
from wtforms.utils import unset_value

from app.web.forms import One

PARTS = ("day", "month", "year")
_EARLIEST, _LATEST = 1900, 2200


class Pick(One):
    """One of many, from a list. ``groups``: heading → (value, text); without a heading the first.

    Nothing is chosen until somebody chooses: what stands first would be given by haste.
    """

    groups: Mapping[str, Iterable[tuple[str, str]]] = {}

    def offer(self, groups: Mapping[str, Iterable[tuple[str, str]]]) -> None:
        """What may be chosen."""
        self.groups = {heading: list(choices) for heading, choices in groups.items() if choices}
        self.choices = [choice for choices in self.groups.values() for choice in choices]


class Day(wtforms.Field):
    """A date, typed as day, month and year."""

    data: Any  # a date, or None
    typed: tuple[str, ...] = ("", "", "")

    def __init__(self, label: str, *, wrong: str, hint: str = "", **more: Any) -> None:
        super().__init__(label, [], description=hint, **more)
        self.wrong = wrong

    def process(self, formdata: Any, data: Any = unset_value, extra_filters: Any = None) -> None:
        """From what was posted, or from a date."""
        self.process_errors = []
        self.data = data if isinstance(data, date) else None
        if self.data is not None:
            self.typed = (str(self.data.day), str(self.data.month), str(self.data.year))
        if formdata is not None:
            self.typed = tuple(formdata.get(f"{self.name}-{part}", "").strip()[:10] for part in PARTS)
            self.data = self._read()
            if self.data is None:
                self.process_errors.append(self.wrong)

    def _read(self) -> date | None:
        if not all(text.isascii() and text.isdigit() for text in self.typed):
            return None
        day, month, year = map(int, self.typed)
        try:
            return date(year, month, day) if _EARLIEST <= year <= _LATEST else None
        except ValueError:
            return None
