"""The schedule of a case: who has footage of it, for the case file, as a page to print, a table or a map.

Each is a disclosure on the record, and each bears its mark: which case, who made it, when, and the entry that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy.orm import Session

from app.access import Who
from app.services import tables
from app.services.register import board
from app.services.register.answers import ANSWERS
from app.services.register.board import Board, Disclosed
from geo import grid

MOST = 5_000
FORMATS = ("print", "csv", "geojson")

HEADS = (
    "Case", "Schedule made at", "Made by", "Entry of the record", "Request", "Looked for", "Window from", "Window to",
    "Answer", "Answered at", "Name", "Address", "Best reached", "Note", "Camera", "Postcode", "Easting", "Northing",
    "Bearing", "Field of view", "Reach (m)", "Height (cm)", "Night", "Sound", "Covers", "Days kept",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Schedule:
    """What stands on the board, and the mark: by whom and when it was taken out."""

    board: Board
    made_by: str
    made_at: datetime

    @property
    def whole(self) -> bool:
        """Whether every answer of the case is in it."""
        return self.board.after is None

    @property
    def name(self) -> str:
        """Of its file: nothing in it that a file system would not take."""
        safe = "".join(c if c.isalnum() else "-" for c in self.board.case)
        return f"schedule-{safe}-{self.board.entry}"


def begin(session: Session, token: str, investigation_id: UUID) -> UUID:
    """Put the disclosure on the record; the ticket to it. Raises Missing, Conflict."""
    return board.begin(session, token, investigation_id, "schedule")


def make(
    session: Session, who: Who, token: str, ticket: UUID, investigation_id: UUID, *, now: datetime
) -> Schedule:
    """The schedule that a ticket is good for, once. Raises Conflict for no good ticket."""
    found = board.show(session, token, ticket, investigation_id, act="schedule", most=MOST)
    return Schedule(found, who.name, now)


def csv(schedule: Schedule) -> Iterator[bytes]:
    """A row for each camera, each with the mark: a row that is copied out still says where it comes from."""
    return tables.lines(HEADS, _rows(schedule))


def _rows(schedule: Schedule) -> Iterator[tuple[tables.Cell, ...]]:
    mark = (schedule.board.case, schedule.made_at, schedule.made_by, schedule.board.entry)
    questions = {one.id: one for one in schedule.board.questions}
    for one in schedule.board.answers:
        asked = questions[one.request_id]
        said = (
            one.reference, asked.look_for, asked.window_from, asked.window_to, ANSWERS[one.answer], one.at, one.name,
            one.address, one.reach, one.note,
        )  # fmt: skip
        for camera in one.cameras or (None,):
            seen: tuple[tables.Cell, ...] = (None,) * 12
            if camera is not None:
                seen = (
                    board.KINDS.get(camera.kind, camera.kind), camera.postcode, camera.easting, camera.northing,
                    camera.bearing, camera.field, camera.reach, camera.height, camera.night, camera.audio,
                    board.COVERS.get(camera.covers, camera.covers), camera.days_kept,
                )  # fmt: skip
            yield (*mark, *said, *seen)


def geojson(schedule: Schedule) -> bytes:
    """A point for each camera in WGS84 (RFC 7946); the mark stands on the whole and on every point."""
    mark = {
        "case": schedule.board.case,
        "made_at": schedule.made_at.isoformat(),
        "made_by": schedule.made_by,
        "entry": schedule.board.entry,
    }
    features = [
        {"type": "Feature", "geometry": _point(camera.easting, camera.northing), "properties": properties}
        for one in schedule.board.answers
        for camera in one.cameras
        for properties in [mark | _said(one) | {"camera": camera.words, "bearing": camera.bearing,
                                                "field": camera.field, "reach": camera.reach}]
    ]  # fmt: skip
    return orjson.dumps({"type": "FeatureCollection", "mark": mark, "features": features})


def _said(one: Disclosed) -> dict[str, str | None]:
    return {
        "request": one.reference,
        "answer": one.answer,
        "answered_at": one.at.isoformat(),
        "name": one.name,
        "address": one.address,
        "note": one.note,
    }


def _point(easting: float, northing: float) -> dict[str, object]:
    at = grid.to_degrees(grid.Point(easting, northing))
    return {"type": "Point", "coordinates": [round(at.longitude, 6), round(at.latitude, 6)]}
