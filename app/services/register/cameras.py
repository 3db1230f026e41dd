"""What an owner says about a camera, checked and in the words of the page; adding, changing, pausing, removing one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import Pt, new_id
from app.errors import Invalid
from app.services import areas, processing
from app.services.register import calls
from geo import sector
from geo.grid import Point
from geo.sector import DEFAULTS, MOST_REACH, Kind

__all__ = [
    "COVERS",
    "DEFAULTS",
    "FARTHEST",
    "KINDS",
    "WINDS",
    "Camera",
    "Facts",
    "Kind",
    "Spot",
    "move",
    "spot",
    "wind",
]

FARTHEST = 250.0  # metres from the middle of the postcode to the pin, at most: the database says so too
LONGEST_LABEL = 60
MOST_HEIGHT, MOST_DAYS = 30.0, 366
KINDS: Mapping[str, str] = {str(kind): default.words for kind, default in DEFAULTS.items()}
COVERS: Mapping[str, str] = {
    "own-land": "Only my own land",
    "street": "The street or pavement too",
    "shared": "Land that I share with others, such as a yard or a hallway",
}
WINDS: Mapping[str, str] = dict(
    zip(
        ["n", "nne", "ne", "ene", "e", "ese", "se", "sse", "s", "ssw", "sw", "wsw", "w", "wnw", "nw", "nnw"],
        (
            "north", "north-north-east", "north-east", "east-north-east", "east", "east-south-east", "south-east",
            "south-south-east", "south", "south-south-west", "south-west", "west-south-west", "west",
            "west-north-west", "north-west", "north-north-west",
        ),
        strict=True,
    )
)  # fmt: skip
_DEGREES = {wind: n * 22.5 for n, wind in enumerate(WINDS)}
LABEL_PURPOSE = "cameras.label"


@dataclass(frozen=True, slots=True)
class Spot:
    """A postcode and the middle of it, where a pin begins."""

    postcode: str
    centre: Pt
    area_id: int
    ward_code: str
    ward_name: str
    borough_name: str


@dataclass(frozen=True, slots=True)
class Facts:
    """A camera as its owner describes it. ``height`` in metres; ``bearing``, ``field`` in degrees; ``reach`` in metres.

    Raises Invalid, naming the field.
    """

    kind: str
    postcode: str
    at: Pt
    bearing: int
    field: int
    reach: int
    height: float | None
    night: bool
    audio: bool
    covers: str
    days_kept: int
    label: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (("kind", KINDS), ("covers", COVERS)):
            if getattr(self, name) not in allowed:
                raise Invalid(name, "Choose one of the list.")
        if not all(map(math.isfinite, self.at)):
            raise Invalid(
                "at", "Put the pin on the map, or say how far it is from the middle of the postcode."
            )
        _within("bearing", self.bearing, 0, 359, "Enter a direction from 0 to 359 degrees.")
        _within("field", self.field, 1, 360, "Enter an angle of view from 1 to 360 degrees.")
        _within("reach", self.reach, 1, int(MOST_REACH), f"Enter a distance of 1 to {MOST_REACH:.0f} metres.")
        _within("days_kept", self.days_kept, 0, MOST_DAYS, f"Enter a number of days from 0 to {MOST_DAYS}.")
        if self.height is not None:
            _within(
                "height", self.height, 0, MOST_HEIGHT, f"Enter a height of up to {MOST_HEIGHT:.0f} metres."
            )
        if len(self.label) > LONGEST_LABEL or not self.label.isprintable():
            raise Invalid("label", f"The name of the camera must be at most {LONGEST_LABEL} characters.")

    @property
    def values(self) -> str:
        """As the database takes it, JSON."""
        return json.dumps(
            {
                "kind": self.kind,
                "postcode": self.postcode,
                "east": round(self.at.easting, 1),
                "north": round(self.at.northing, 1),
                "bearing": self.bearing,
                "field": self.field,
                "reach": self.reach,
                "height": None if self.height is None else round(self.height * 100),
                "night": self.night,
                "audio": self.audio,
                "covers": self.covers,
                "days_kept": self.days_kept,
            }
        )

    @property
    def sealed_label(self) -> bytes | None:
        return crypto.keyring().encrypt(self.label, LABEL_PURPOSE) if self.label else None


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera as its owner's page shows it."""

    id: UUID
    facts: Facts
    centre: Pt | None
    paused: bool
    live: bool
    created_at: datetime

    @property
    def name(self) -> str:
        """What its owner calls it, or what it is."""
        return self.facts.label or f"{KINDS[self.facts.kind]}, {self.facts.postcode}"


def _within(field: str, value: float, least: float, most: float, message: str) -> None:
    if not least <= value <= most:  # NaN is nowhere
        raise Invalid(field, message)


def read(found: Mapping[str, Any]) -> Camera:
    """From what the register returned."""
    label = found["label"]
    facts = Facts(
        kind=found["kind"],
        postcode=found["postcode"],
        at=Pt(found["east"], found["north"]),
        bearing=found["bearing"],
        field=found["field"],
        reach=found["reach"],
        height=None if found["height"] is None else found["height"] / 100,
        night=found["night"],
        audio=found["audio"],
        covers=found["covers"],
        days_kept=found["days_kept"],
        label=crypto.keyring().decrypt(bytes.fromhex(label), LABEL_PURPOSE) if label else "",
    )
    centre = Pt(*found["centre"]) if found["centre"] else None
    created = datetime.fromisoformat(found["created_at"])
    return Camera(UUID(found["id"]), facts, centre, found["paused"], found["live"], created)


# -- where it is
def spot(session: Session, typed: str) -> Spot:
    """The middle of a postcode as somebody typed it. Raises geo.postcode.PostcodeError."""
    ward = areas.find_ward(session, typed)
    return Spot(ward.postcode, ward.at, ward.area_id, ward.code, ward.name, ward.borough_name)


def degrees(towards: str) -> float:
    """Of a wind."""
    return _DEGREES[towards]


def wind(bearing: float) -> str:
    """The nearest of the sixteen winds."""
    return list(WINDS)[round(bearing / 22.5) % 16]


def move(at: Pt, metres: float, towards: str) -> Pt:
    """A pin moved so many metres towards a wind, on the grid."""
    angle = math.radians(_DEGREES[towards])
    return Pt(round(at[0] + metres * math.sin(angle), 1), round(at[1] + metres * math.cos(angle), 1))


def away(centre: Pt, at: Pt) -> tuple[int, str]:
    """How many metres a pin lies from the middle of its postcode, and in which direction."""
    east, north = at[0] - centre[0], at[1] - centre[1]
    return round(math.hypot(east, north)), wind(math.degrees(math.atan2(east, north)) % 360)


# -- what its owner does with it
def add(session: Session, token: str, owner: UUID, facts: Facts, *, actor: audit.Actor) -> UUID:
    """Put another camera of an owner's on the register; its id. Missing, Invalid or TooMany."""
    id = new_id()
    done = calls.call(
        session,
        "add_camera",
        token=token,
        a_owner=owner,
        a_camera=id,
        a_facts=facts.values,
        a_label=facts.sealed_label,
    )
    record(session, "camera:add", id, done, audit.S62.COLLECTION, actor)
    return id


def change(session: Session, token: str, camera: UUID, facts: Facts, *, actor: audit.Actor) -> None:
    """Write a camera's facts anew. Missing or Invalid."""
    done = calls.call(
        session,
        "change_camera",
        token=token,
        a_camera=camera,
        a_facts=facts.values,
        a_label=facts.sealed_label,
    )
    record(session, "camera:alter", camera, done, audit.S62.ALTERATION, actor)


def pause(session: Session, token: str, camera: UUID, paused: bool, *, actor: audit.Actor) -> None:
    """Take one camera out of searches at once, or put it back. Missing."""
    done = calls.call(session, "pause_camera", token=token, a_camera=camera, a_paused=paused)
    record(session, "camera:alter", camera, done, audit.S62.ALTERATION, actor, paused=paused)


def remove(session: Session, token: str, camera: UUID, *, actor: audit.Actor) -> None:
    """Delete one camera. Missing."""
    done = calls.call(session, "remove_camera", token=token, a_camera=camera)
    record(session, "camera:remove", camera, done, audit.S62.ERASURE, actor)


def record(
    session: Session,
    event: str,
    camera: UUID,
    done: Mapping[str, Any],
    kind: audit.S62,
    actor: audit.Actor,
    **detail: bool | str,
) -> None:
    """What was done to a camera, without a word of where it is but its ward."""
    controller = UUID(done["controller"])
    audit.record(
        session,
        event=event,
        subject=f"camera:{camera}",
        actor=actor,
        organisation=controller,
        area=done["ward"],
        s62=processing.s62(session, controller, kind),
        detail={"owner": done["owner"], **detail},
    )


def outline(facts: Facts) -> Sequence[tuple[float, float]]:
    """What a camera sees, as the corners of a polygon in grid metres."""
    return sector.outline(sector.Sector(Point(*facts.at), facts.bearing, facts.field, facts.reach))
