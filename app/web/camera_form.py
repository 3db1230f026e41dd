"""The form of one camera, as owners and officers fill it in: where it is, where it looks, what it keeps.

The pin is two hidden numbers of the form, in grid metres. It is moved by buttons of the form, by a distance and a
direction, or on a map where scripts run; without any of them it stays in the middle of the postcode.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import wtforms
from flask import request

from app.db import Pt
from app.errors import Invalid
from app.services.register import cameras
from app.services.register.cameras import COVERS, DEFAULTS, KINDS, WINDS, Camera, Facts, Kind, Spot
from app.web.forms import Form, Line, Many, One, Pick
from geo.postcode import MAX_TYPED_CHARACTERS

__all__ = ["CameraForm", "KindForm", "Picture", "carried", "picture"]

T = TypeVar("T")
STEP = 10  # metres that a button moves the pin by
_DIRECTIONS = tuple((wind, words.capitalize()) for wind, words in WINDS.items())
_NUDGES = {"n": "North", "s": "South", "w": "West", "e": "East"}
FEATURES = (("night", "It records in the dark"), ("audio", "It records sound"))


class KindForm(Form):
    """What the camera is and at which postcode; read from the query of a GET, for it changes nothing."""

    kind = One("What kind of camera is it?", [*KINDS.items()], needed="Choose what kind of camera it is.")
    postcode = Line(
        "Postcode of the camera", longest=MAX_TYPED_CHARACTERS, needed="Enter the postcode of the camera."
    )

    def __init__(self) -> None:
        wtforms.Form.__init__(self, request.args)


class CameraForm(Form):
    """All but kind and postcode. ``spot``: the postcode's middle; without a post, as ``camera`` or the kind's usual."""

    east = wtforms.HiddenField()
    north = wtforms.HiddenField()
    away = Line("How far from the middle of the postcode? (metres)", longest=10)
    towards = Pick("In which direction from there?", [("", "Choose a direction"), *_DIRECTIONS])
    facing = Pick("Which way does it look?", [("", "Choose a direction"), *_DIRECTIONS])
    bearing = Line(
        "Direction in degrees (optional)",
        longest=10,
        hint="If you know it: 0 is north, 90 east, 180 south, 270 west.",
    )
    field = Line(
        "Angle of view in degrees",
        longest=10,
        needed="Enter the angle of view.",
        hint="How wide it sees. 90 is a quarter of a circle, 360 all round. If you are not sure, leave it as it is.",
    )
    reach = Line(
        "How far does it see? (metres)",
        longest=10,
        needed="Enter how far it sees.",
        hint="As far as you could recognise somebody, not as far as you see movement.",
    )
    height = Line("How high is it? (metres, optional)", longest=10, hint="Above the ground. For example 2.5")
    features = Many("What else can it do? (optional)", FEATURES)
    covers = One("What does it cover?", [*COVERS.items()], needed="Choose what it covers.")
    days_kept = Line(
        "For how many days does it keep footage?",
        longest=10,
        needed="Enter for how many days it keeps footage.",
        hint="If you are not sure, leave the usual number. 0 means that it keeps less than a day.",
    )
    label = Line(
        "A name for this camera (optional)",
        longest=cameras.LONGEST_LABEL,
        hint="Only you see it. For example: Back gate",
    )

    def __init__(self, kind: str, spot: Spot, camera: Camera | None = None) -> None:
        usual = DEFAULTS[Kind(kind)]
        if camera is None:
            values: dict[str, object] = {
                "east": f"{spot.centre.easting:.1f}", "north": f"{spot.centre.northing:.1f}", "field": str(usual.field),
                "reach": str(usual.reach), "height": f"{usual.height:g}", "days_kept": str(usual.days_kept),
                "covers": None, "features": [],
            }  # fmt: skip
        else:
            values = _of(camera.facts, moved=camera.facts.postcode != spot.postcode, spot=spot)
        super().__init__(**values)
        self.kind, self.spot = kind, spot

    @property
    def at(self) -> Pt:
        """Where the pin is: in the middle of the postcode when what came is no number, or lies too far away."""
        try:
            found = Pt(float(self.east.data or ""), float(self.north.data or ""))
        except ValueError:
            return self.spot.centre
        near = math.dist(found, self.spot.centre) <= cameras.FARTHEST  # of NaN it is not
        return found if near else self.spot.centre

    def moved(self) -> bool:
        """Whether the form was posted by a button that only moves the pin; then it is moved."""
        button = request.form.get("move", "")
        if button in _NUDGES:
            self._put(cameras.move(self.at, STEP, button))
        elif button == "middle":
            self._put(self.spot.centre)
        elif button == "set":
            self._set()
        elif button != "look":
            return False
        return True

    def _put(self, at: Pt) -> None:
        if math.dist(at, self.spot.centre) > cameras.FARTHEST:
            self.refuse(Invalid("away", f"The pin can be {cameras.FARTHEST:.0f} metres from there at most."))
            return
        self.east.data, self.north.data = f"{at.easting:.1f}", f"{at.northing:.1f}"

    def _set(self) -> None:
        """By distance and direction from the middle."""
        if not self.towards.data or self.towards.data not in WINDS:
            self.refuse(Invalid("towards", "Choose a direction from the middle of the postcode."))
            return
        try:
            metres = _number(self.away, "away", "Enter how many metres the camera is from the middle.")
        except Invalid as error:
            self.refuse(error)
            return
        self._put(cameras.move(self.spot.centre, metres, self.towards.data))
        self.away.data, self.towards.data = "", ""

    def facts(self) -> Facts | None:
        """What was typed; None when something is wrong, all of which then stands beside its field."""
        self.validate()
        if self.away.data:  # typed, and no button pressed
            self._set()
        all_round = str(self.field.data).strip() == "360"
        bearing = self._read(lambda: self._bearing(all_round=all_round))
        field = self._read(lambda: _whole(self.field, "field", "Enter the angle of view as a number."))
        reach = self._read(
            lambda: _whole(self.reach, "reach", "Enter how far it sees as a number of metres.")
        )
        days = self._read(lambda: _whole(self.days_kept, "days_kept", "Enter a number of days."))
        height = self._read(
            lambda: _number(self.height, "height", "Enter the height in metres, such as 2.5.")
        )
        if self.problems or bearing is None or field is None or reach is None or days is None:
            return None
        try:
            return Facts(
                kind=self.kind,
                postcode=self.spot.postcode,
                at=self.at,
                bearing=bearing,
                field=field,
                reach=reach,
                height=height if self.height.data else None,
                night="night" in self.features.data,
                audio="audio" in self.features.data,
                covers=self.covers.data,
                days_kept=days,
                label=self.label.data or "",
            )
        except Invalid as error:
            self.refuse(error, otherwise="away")
            return None

    def _read(self, read: Callable[[], T]) -> T | None:
        """A value; None where there is none, with the reason beside its field if nothing is there yet."""
        try:
            return read()
        except Invalid as error:
            field = self[error.field]
            if not field.errors and (field.data or error.field == "facing"):
                self.refuse(error)
            return None

    def _bearing(self, *, all_round: bool) -> int:
        if self.bearing.data:
            return _whole(self.bearing, "bearing", "Enter the direction as a number of degrees.")
        if self.facing.data:
            return round(cameras.degrees(self.facing.data)) % 360
        if all_round:
            return 0
        raise Invalid("facing", "Choose which way the camera looks.")

    def words(self) -> str:
        """Where the pin is, as a sentence."""
        metres, towards = cameras.away(self.spot.centre, self.at)
        if metres < 1:
            return f"The pin is in the middle of {self.spot.postcode}."
        return f"The pin is {metres} metres {WINDS[towards]} of the middle of {self.spot.postcode}."

    def picture(self) -> Picture:
        """What the form says, drawn."""
        try:
            field = int(self.field.data or 0)
            facts = Facts(
                self.kind, self.spot.postcode, self.at, self._bearing(all_round=field == 360), field,
                int(self.reach.data or 0), None, False, False, "own-land", 0,
            )  # fmt: skip
        except (Invalid, ValueError):
            return picture(self.spot.centre, self.at, None)
        return picture(self.spot.centre, self.at, facts)


def _of(facts: Facts, *, moved: bool, spot: Spot) -> dict[str, object]:
    """The form of a camera that is there; at another postcode its pin begins anew."""
    at = spot.centre if moved else facts.at
    wind = cameras.wind(facts.bearing)
    exact = round(cameras.degrees(wind)) % 360 == facts.bearing
    return {
        "east": f"{at.easting:.1f}", "north": f"{at.northing:.1f}", "facing": wind,
        "bearing": "" if exact else str(facts.bearing), "field": str(facts.field), "reach": str(facts.reach),
        "height": "" if facts.height is None else f"{facts.height:g}",
        "features": [name for name, _ in FEATURES if getattr(facts, name)], "covers": facts.covers,
        "days_kept": str(facts.days_kept), "label": facts.label,
    }  # fmt: skip


def _number(field: wtforms.Field, name: str, message: str) -> float:
    try:
        found = float(str(field.data).strip().removesuffix("m").strip().replace(",", "."))
    except ValueError:
        raise Invalid(name, message) from None
    if not math.isfinite(found) or found < 0:
        raise Invalid(name, message)
    return found


def _whole(field: wtforms.Field, name: str, message: str) -> int:
    text = str(field.data).strip()
    if not (text.isascii() and text.isdigit()):
        raise Invalid(name, message)
    return int(text)


def carried(form: CameraForm) -> list[tuple[str, str]]:
    """What was typed, for a page that asks for something else meanwhile."""
    found: list[tuple[str, str]] = []
    for field in form:
        values = field.data if isinstance(field.data, list) else [field.data]
        found += [(field.name, str(value)) for value in values if value]
    return found


@dataclass(frozen=True, slots=True)
class Picture:
    """A plan, north at the top, in metres round the middle of the postcode. ``half``: to its edge; ``sector``: corners,
    as SVG has them.
    """

    half: float
    at: tuple[float, float]
    sector: str
    rings: tuple[int, ...]


def picture(centre: Pt, at: Pt, facts: Facts | None) -> Picture:
    """Draw a pin and what the camera sees."""
    corners = [(x - centre[0], centre[1] - y) for x, y in cameras.outline(facts)] if facts else []
    pin = (at[0] - centre[0], centre[1] - at[1])
    farthest = max((max(abs(x), abs(y)) for x, y in [*corners, pin]), default=0.0)
    half = max(40.0, farthest * 1.15)
    ring = next(step for step in (10, 25, 50, 100, 250) if half / step <= 4.5 or step == 250)
    rings = tuple(range(ring, int(half) + 1, ring))
    return Picture(round(half, 1), (round(pin[0], 1), round(pin[1], 1)), _points(corners), rings)


def _points(corners: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
