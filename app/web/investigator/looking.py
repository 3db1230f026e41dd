"""What an investigator fills in to search the register, and what a map needs of the answer."""

from __future__ import annotations

from datetime import UTC, datetime

from app.errors import Invalid
from app.services.register import shapes
from app.services.register.search import PURPOSES, Cell
from app.web import forms
from app.web.frame import LONDON
from geo.grid import Point, to_degrees


class Search(forms.Form):
    """Why, where and when."""

    reference = forms.Line("Case reference", longest=40, needed="Enter the case reference.")
    purpose = forms.One(
        "What is it for?",
        PURPOSES.items(),
        needed="Choose a purpose.",
        hint="A law-enforcement purpose: Data Protection Act 2018, Part 3.",
    )
    reason = forms.Lines(
        "Why is this search necessary?",
        longest=500,
        needed="Say why this search is necessary.",
        hint="It goes on the record. Do not write anybody’s name.",
    )
    shape = forms.One("What do you search?", shapes.KINDS.items(), needed="Choose what to search.")
    places = forms.Lines(
        "Where?",
        longest=shapes.LONGEST,
        needed="Enter a place: a postcode, or a latitude and longitude.",
        hint=(
            "A postcode, or a latitude and longitude such as 51.5033, -0.1276. For an area or a route: each corner on "
            "a line of its own, in order."
        ),
    )
    metres = forms.Line(
        "How far?",
        longest=20,
        hint="In metres. From the place, or from the route on either side. Not for an area.",
    )
    since = forms.Line("From", longest=40, needed="Enter when it began.", hint="London’s time.")
    until = forms.Line(
        "To", longest=40, needed="Enter when it ended.", hint="London’s time. Not more than 12 hours later."
    )

    def window(self) -> tuple[datetime, datetime]:
        """Both ends. Raises Invalid."""
        return _moment("since", self.since.data or ""), _moment("until", self.until.data or "")


def _moment(field: str, text: str) -> datetime:
    """London's clock, unless an offset stands there; the first of an hour that comes twice."""
    try:
        here = datetime.fromisoformat(text)
        found = (here if here.tzinfo else here.replace(tzinfo=LONDON)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(field, "Enter a date and a time, such as 2026-03-27T14:30.") from None
    if not datetime(2000, 1, 1, tzinfo=UTC) <= found < datetime(2200, 1, 1, tzinfo=UTC):
        raise Invalid(field, "Enter a date from 2000 on.")
    return found


def corners(cell: Cell) -> str:
    """The four corners of a cell as the map reads them: “latitude,longitude …”."""
    west, south, east, north = cell.box
    return " ".join(_degrees(x, y) for x, y in ((west, south), (east, south), (east, north), (west, north)))


def _degrees(easting: float, northing: float) -> str:
    found = to_degrees(Point(easting, northing))
    return f"{found.latitude:.6f},{found.longitude:.6f}"
