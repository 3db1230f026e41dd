"""Searching the register, in two steps: the search is put on the record and committed, and only then answered.

Each step is a transaction of its own, which the caller begins and commits. Everything is judged by the database itself
(``migrations/register_search_sql.py``), by the token of the searcher's session; nothing here could let anybody through.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import EncryptedText, GridPoint
from app.models.area_changes import GridPolygon
from app.models.register import GridPath
from app.services.register.errors import gate
from app.services.register.shapes import Shape

__all__ = ["PURPOSES", "Answer", "Band", "Cell", "Left", "Wanted", "open_search", "run_search"]

# Law-enforcement purposes, as section 31 of the Data Protection Act 2018 lists them.
PURPOSES = {
    "investigation": "To investigate a crime",
    "detection": "To detect a crime, or who did it",
    "prosecution": "To prosecute a crime",
    "prevention": "To prevent a crime",
    "safeguarding": "To safeguard against or prevent a threat to public security",
}


class Band(StrEnum):
    """How many, never exactly."""

    NONE = "none"
    FEW = "few"
    THREE = "3-5"
    SIX = "6-10"
    ELEVEN = "11-20"
    TWENTY = "21-50"
    FIFTY = "over-50"

    @property
    def words(self) -> str:
        named = {"none": "none", "few": "fewer than 3", "over-50": "more than 50"}
        return named.get(self.value, self.value.replace("-", " to "))


class Left(StrEnum):
    """How long it is until the first of the footage is overwritten, in the order of the answer."""

    DAY = "day"
    THREE_DAYS = "three-days"
    WEEK = "week"
    MORE = "more"
    GONE = "gone"

    @property
    def words(self) -> str:
        return {
            "day": "less than 24 hours",
            "three-days": "1 to 3 days",
            "week": "3 to 7 days",
            "more": "more than 7 days",
            "gone": "probably overwritten",
        }[self.value]


FACTS = {
    "doorbell": "video doorbells",
    "fixed": "fixed cameras",
    "ptz": "cameras that turn",
    "dash-cam": "dash cams",
    "business": "business CCTV",
    "night": "that see by night",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search as it is asked for."""

    reference: str
    purpose: str
    reason: str
    shape: Shape
    since: datetime
    until: datetime
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """What is said of one cell. ``box``: west, south, east, north in grid metres; ``by_left`` and ``facts``: of a cell
    with fewer than three cameras nothing.
    """

    id: int
    box: tuple[int, int, int, int]
    total: Band
    soonest: Left
    by_left: dict[Left, Band] = field(default_factory=dict)
    facts: dict[str, Band] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Blind: cells in the order of the hours that are left."""

    total: Band
    cells: tuple[Cell, ...]


_OPEN = sa.text(
    "SELECT register.open_search(:token, :reference, :purpose, :reason, :sealed, :kind, :centre, :radius, :outline, "
    ":route, :since, :until, :origin)"
).bindparams(
    sa.bindparam("sealed", type_=EncryptedText("register_searches.reason")),
    sa.bindparam("centre", type_=GridPoint),
    sa.bindparam("outline", type_=GridPolygon),
    sa.bindparam("route", type_=GridPath),
    sa.bindparam("radius", type_=sa.Double),
    sa.bindparam("since", type_=sa.DateTime(timezone=True)),
    sa.bindparam("until", type_=sa.DateTime(timezone=True)),
)
_RUN = sa.text("SELECT register.run_search(:ticket, :token)").bindparams(
    sa.bindparam("ticket", type_=sa.Uuid)
)


def open_search(session: Session, token: str, wanted: Wanted) -> UUID:
    """Put a search on the record; the ticket to its answer, good for a minute once this transaction is committed.

    Raises Missing (not an investigator's session), StepUp, Invalid (``field`` as in ``Wanted``, or “shape”), TooMany.
    """
    values: dict[str, Any] = {
        "token": token.replace("\x00", ""),
        "reference": wanted.reference,
        "purpose": wanted.purpose,
        "reason": wanted.reason,
        "sealed": wanted.reason.strip(),
        "kind": wanted.shape.kind,
        "centre": wanted.shape.centre,
        "radius": wanted.shape.radius,
        "outline": wanted.shape.outline,
        "route": wanted.shape.route,
        "since": wanted.since,
        "until": wanted.until,
        "origin": wanted.origin,
    }
    with gate():
        found: UUID = session.execute(_OPEN, values).scalar_one()
    return found


def run_search(session: Session, ticket: UUID, token: str) -> Answer:
    """The answer to a search, once, in another transaction. Raises Missing, StepUp, and Conflict for no good ticket."""
    with gate():
        found = session.execute(_RUN, {"ticket": ticket, "token": token.replace("\x00", "")}).scalar_one()
    return Answer(Band(found["total"]), tuple(map(_cell, found["cells"])))


def _cell(one: dict[str, Any]) -> Cell:
    west, south, east, north = one["box"]
    by_left = one["left"] or {}
    facts = one["facts"] or {}
    return Cell(
        one["cell"],
        (west, south, east, north),
        Band(one["total"]),
        Left(one["soonest"]),
        {left: Band(by_left[left]) for left in Left if left in by_left},
        {name: Band(facts[name]) for name in FACTS if name in facts},
    )
