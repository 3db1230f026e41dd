"""The board of a case: what was asked, and who answered. And the list of cases that have one.

Two steps, each a transaction of its own: that somebody looks goes on the record and is committed (``begin``), then the
ticket is given for the answers (``show``). Only who answered "have it" or "call me" is shown; of all others there are
bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.access import Who
from app.models.people import ADDRESS_PURPOSE
from app.models.register import CameraRequest, Investigation, RegisterSearch
from app.models.staff import Staff
from app.permissions import Role
from app.services.register.refusals import refusals
from app.services.register.requests import reference

PAGE, CASES = 25, 25

KINDS = {
    "doorbell": "Video doorbell",
    "fixed": "Fixed camera",
    "ptz": "Camera that turns",
    "dash-cam": "Dash cam",
    "business": "Business CCTV",
}
COVERS = {"own-land": "their own land", "street": "the street", "shared": "shared ground"}
REACH_HOW = {"link": "by a link", "phone": "by phone", "visit": "by a visit"}
REACH_WHEN = {"any": "at any time", "day": "by day", "evening": "in the evening", "weekend": "at the weekend"}
COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page of answers ended."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class SeenCamera:
    """A camera as its owner described it. Metres of the British National Grid; ``bearing``, ``field``: degrees."""

    kind: str
    postcode: str
    easting: float
    northing: float
    bearing: int
    field: int
    reach: int
    height: int | None
    night: bool
    audio: bool
    covers: str
    days_kept: int

    @property
    def words(self) -> str:
        """In one line."""
        kind = KINDS.get(self.kind, self.kind)
        facing = COMPASS[round(self.bearing / 45) % 8]
        parts = [f"{kind} at {self.postcode}, facing {facing}, {self.reach} m"]
        parts += ["sees by night"] * self.night + ["records sound"] * self.audio
        parts.append(f"covers {COVERS.get(self.covers, self.covers)}")
        days = "day" if self.days_kept == 1 else "days"
        return ", ".join([*parts, f"keeps footage {self.days_kept} {days}"])


@dataclass(frozen=True, slots=True)
class Disclosed:
    """An owner who answered, as they agreed to be shown to the case."""

    id: UUID
    request_id: UUID
    reference: str
    answer: str
    at: datetime
    name: str
    address: str
    channel: str
    note: str | None
    reach: str
    cameras: tuple[SeenCamera, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A request on the board. ``tallies``: answer → band, of those who are not shown; "none": no answer yet."""

    id: UUID
    reference: str
    asked_by: str
    look_for: str
    window_from: datetime
    window_to: datetime
    state: str
    asked: str
    opened_at: datetime
    expires_at: datetime
    closed_at: datetime | None
    closed_why: str | None
    outcome: str | None
    tallies: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Board:
    """``entry``: of the record, that it was looked at. ``after``: where the next page of answers begins."""

    id: UUID
    case: str
    entry: int
    questions: tuple[Question, ...]
    answers: tuple[Disclosed, ...]
    after: Cursor | None


@dataclass(frozen=True, slots=True)
class Case:
    """A line of the list of cases."""

    id: UUID
    reference: str
    opened_at: datetime
    closed_at: datetime | None
    requests: int
    asking: int


def cases(session: Session, who: Who, *, before: Cursor | None = None) -> list[Case]:
    """Cases that somebody searched for, all of the organisation's for a supervisor; the newest first, one more than a
    page when there are more.
    """
    one, q = Investigation, CameraRequest
    counted = (
        sa.select(sa.func.count().label("all"), sa.func.count().filter(q.state == "asking").label("asking"))
        .where(q.investigation_id == one.id)
        .lateral()
    )
    query = (
        sa.select(one.id, one.reference, one.opened_at, one.closed_at, counted.c.all, counted.c.asking)
        .join(counted, sa.true())
        .where(one.organisation_id == who.organisation_id)
        .order_by(one.opened_at.desc(), one.id.desc())
        .limit(CASES + 1)
    )
    if Role.SUPERVISOR not in who.roles():
        mine = sa.select(RegisterSearch.investigation_id).where(RegisterSearch.staff_id == who.id)
        query = query.where(one.id.in_(mine))
    if before is not None:
        query = query.where(
            sa.tuple_(one.opened_at, one.id) < sa.tuple_(sa.literal(before.at), sa.literal(before.id))
        )
    return [Case(*row) for row in session.execute(query)]


Act = Literal["board", "schedule"]


def begin(session: Session, token: str, investigation_id: UUID, act: Act = "board") -> UUID:
    """Put on the record that somebody looks; the ticket to what is there, once this transaction is committed.

    Raises Missing for a case that is not theirs, Conflict when a factor must be shown again.
    """
    query = sa.text(f"SELECT register.open_{act}(:token, :case)").bindparams(
        sa.bindparam("case", type_=sa.Uuid)
    )
    with refusals():
        ticket: UUID = session.execute(query, {"token": _plain(token), "case": investigation_id}).scalar_one()
    return ticket


def show(
    session: Session,
    token: str,
    ticket: UUID,
    investigation_id: UUID,
    *,
    act: Act = "board",
    after: Cursor | None = None,
    most: int = PAGE,
) -> Board:
    """What a ticket is good for, once. Raises Conflict for no good ticket."""
    query = sa.text(f"SELECT * FROM register.run_{act}(:ticket, :token, :after, :id, :most)").bindparams(
        sa.bindparam("ticket", type_=sa.Uuid),
        sa.bindparam("id", type_=sa.Uuid),
        sa.bindparam("after", type_=sa.DateTime(timezone=True)),
    )
    values = {
        "ticket": ticket,
        "token": _plain(token),
        "after": after and after.at,
        "id": after and after.id,
        "most": most + 1,
    }
    with refusals():
        rows = session.execute(query, values).all()
    found = session.get_one(Investigation, investigation_id)
    (entry,) = (row.facts["entry"] for row in rows if row.part == "entry")
    tallies = {row.request_id: row.facts for row in rows if row.part == "tally"}
    answers = [_disclosed(row) for row in rows if row.part == "disclosure"]
    last = answers[most - 1] if len(answers) > most else None
    return Board(
        id=found.id,
        case=found.reference,
        entry=entry,
        questions=_questions(session, investigation_id, tallies),
        answers=tuple(answers[:most]),
        after=Cursor(last.at, last.id) if last else None,
    )


def _questions(session: Session, investigation_id: UUID, tallies: Mapping[UUID, Any]) -> tuple[Question, ...]:
    rows = session.execute(
        sa.select(CameraRequest, Staff.name)
        .join(Staff, Staff.id == CameraRequest.staff_id)
        .where(CameraRequest.investigation_id == investigation_id, CameraRequest.id.in_(tallies))
        .order_by(CameraRequest.opened_at, CameraRequest.id)
    )
    return tuple(
        Question(
            id=one.id,
            reference=reference(one.id),
            asked_by=name,
            look_for=one.look_for,
            window_from=one.window_from,
            window_to=one.window_to,
            state=one.state,
            asked=one.asked_band,
            opened_at=one.opened_at,
            expires_at=one.expires_at,
            closed_at=one.closed_at,
            closed_why=one.closed_why,
            outcome=one.outcome,
            tallies=tallies[one.id],
        )
        for one, name in rows
    )


def _disclosed(row: sa.Row[Any]) -> Disclosed:
    ring = crypto.keyring()
    facts = row.facts
    how, when = (
        words.get(facts[key], facts[key])
        for words, key in ((REACH_HOW, "reach_how"), (REACH_WHEN, "reach_when"))
    )
    return Disclosed(
        id=row.id,
        request_id=row.request_id,
        reference=reference(row.request_id),
        answer=row.answer,
        at=row.at,
        name=ring.decrypt(bytes(row.name_enc), "camera_owners.name"),
        address=ring.decrypt(bytes(row.address_enc), ADDRESS_PURPOSE),
        channel=row.channel,
        note=None if row.note_enc is None else ring.decrypt(bytes(row.note_enc), "request_recipients.note"),
        reach=f"{how}, {when}",
        cameras=_cameras(facts["cameras"]),
    )


def _cameras(facts: Sequence[Mapping[str, Any]]) -> tuple[SeenCamera, ...]:
    return tuple(SeenCamera(**{name: one[name] for name in SeenCamera.__slots__}) for one in facts)


def _plain(token: str) -> str:
    return token.replace("\x00", "")
