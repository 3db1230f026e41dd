"""Asking the owners whose cameras may have seen something, and closing the question.

Whoever asks learns a band of how many were asked, later, and who they are only when they answer. Whom a request goes to
is decided by the database when a worker sends it (``sending``); what it says is checked here for anything that says who
somebody is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app import access, queue
from app.access import Who
from app.db import EncryptedText
from app.errors import Invalid, Missing
from app.models.organisations import Organisation
from app.models.register import CameraRequest, Investigation, RegisterLift, RegisterSearch, RegisterSetting
from app.permissions import Permission
from app.services.register.refusals import refusals
from config.queues import Queue
from messaging.linter.identifying import findings

SHORTEST, LONGEST, LONGEST_WHY = 20, 600, 300
DAYS = (3, 7, 14)
ASKED_WITHIN = timedelta(hours=24)
JOB, PILE = "workers.cameras.tend", "cameras"


@dataclass(frozen=True, slots=True)
class Found:
    """A search that owners can still be asked about. ``lift``: a supervisor's leave to ask some of them once more."""

    id: UUID
    investigation_id: UUID
    reference: str
    window_from: datetime
    window_to: datetime
    cells: tuple[int, ...]
    lift_id: UUID | None


def found(session: Session, who: Who, search_id: UUID, *, now: datetime) -> Found:
    """A search of one's own of the last 24 hours. Missing for anybody else's, and for an older one."""
    one = access.row(session, who, Permission.REQUEST_OPEN, RegisterSearch, search_id)
    if one.lapsed_at is not None or one.opened_at <= now - ASKED_WITHIN:
        raise Missing("There is no such search.")
    reference = session.get_one(Investigation, one.investigation_id).reference
    lift = session.scalar(
        sa.select(RegisterLift.id)
        .where(
            RegisterLift.staff_id == who.id,
            RegisterLift.investigation_id == one.investigation_id,
            RegisterLift.cap == "requests",
            RegisterLift.used_at.is_(None),
            RegisterLift.expires_at > now,
        )
        .order_by(RegisterLift.given_at)
        .limit(1)
    )
    return Found(
        one.id, one.investigation_id, reference, one.window_from, one.window_to, tuple(one.cells), lift
    )


def checked(words: str, *, field: str = "look_for", shortest: int = SHORTEST, longest: int = LONGEST) -> str:
    """Words that owners will read. Invalid when they say who somebody is, or are too few or too many."""
    told = words.strip()
    if not shortest <= len(told) <= longest:
        raise Invalid(field, f"Write {shortest} to {longest} characters.")
    if "\x00" in told or any("\ud800" <= c <= "\udfff" for c in told):
        raise Invalid(field, "This holds a character that cannot be used. Type it again.")
    for one in findings(told):
        raise Invalid(field, one.message)
    return told


_ASK = sa.text("SELECT register.ask(:token, :id, :search, :cells, :look_for, :expires, :lift)").bindparams(
    sa.bindparam("id", type_=sa.Uuid),
    sa.bindparam("search", type_=sa.Uuid),
    sa.bindparam("lift", type_=sa.Uuid),
    sa.bindparam("cells", type_=ARRAY(sa.Integer)),
    sa.bindparam("look_for", type_=EncryptedText("camera_requests.look_for")),
    sa.bindparam("expires", type_=sa.DateTime(timezone=True)),
)


def ask(
    session: Session,
    token: str,
    request_id: UUID,
    search_id: UUID,
    *,
    look_for: str,
    cells: Sequence[int] | None,
    days: int,
    lift_id: UUID | None,
    now: datetime,
) -> UUID:
    """Put the question; a worker sends it after the commit. The same id again is the same request.

    ``cells``: those of the answer that are asked; None: all who may have seen it. Raises Invalid naming the field,
    Conflict when the search is too old, the case closed or the leave used, Missing for nobody's session.
    """
    if days not in DAYS:
        raise Invalid("days", "Choose how long the request is open.")
    values = {
        "token": token.replace("\x00", ""),
        "id": request_id,
        "search": search_id,
        "cells": None if cells is None else sorted(set(cells)),
        "look_for": checked(look_for),
        "expires": now + timedelta(days=days) - timedelta(seconds=1),
        "lift": lift_id,
    }
    with refusals():
        made: UUID = session.execute(_ASK, values).scalar_one()
    queue.ring(session, Queue.URGENT, JOB, coalesce=PILE)
    return made


_CLOSE = sa.text("SELECT register.close(:token, :request, :why, :outcome)").bindparams(
    sa.bindparam("request", type_=sa.Uuid),
    sa.bindparam("outcome", type_=EncryptedText("camera_requests.outcome")),
)


def close(session: Session, token: str, request_id: UUID, *, why: str, outcome: str) -> bool:
    """End a question for good; whoever answered is thanked, and reads ``outcome`` behind their link.

    False when it had ended before. Raises Invalid naming the field, Missing for another's.
    """
    told = why.strip()
    if not 3 <= len(told) <= LONGEST_WHY or "\x00" in told or any("\ud800" <= c <= "\udfff" for c in told):
        raise Invalid("why", f"Say in 3 to {LONGEST_WHY} characters why it is closed.")
    values = {
        "token": token.replace("\x00", ""),
        "request": request_id,
        "why": told,
        "outcome": checked(outcome, field="outcome", shortest=3) if outcome.strip() else None,
    }
    with refusals():
        done: bool = session.execute(_CLOSE, values).scalar_one()
    queue.ring(session, Queue.URGENT, JOB, coalesce=PILE)
    return done


@dataclass(frozen=True, slots=True)
class Standing:
    """A request as it stands."""

    investigation_id: UUID
    reference: str
    asking: bool


def standing(session: Session, who: Who, request_id: UUID) -> Standing:
    """A request of a case of somebody's. Missing otherwise."""
    one = access.row(session, who, Permission.REQUEST_OPEN, CameraRequest, request_id)
    return Standing(one.investigation_id, reference(one.id), one.state == "asking")


def reference(request_id: UUID) -> str:
    """What a message calls a request: it says nothing of the case."""
    return f"CR-{request_id.hex[-8:].upper()}"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and where owners hand footage over."""

    name: str
    portal_name: str | None
    portal_url: str | None


def asker(session: Session, organisation_id: UUID) -> Asker:
    """An organisation as owners read it."""
    name = session.get_one(Organisation, organisation_id).name
    settings = session.get(RegisterSetting, organisation_id)
    if settings is None:
        return Asker(name, None, None)
    return Asker(name, settings.portal_name, settings.portal_url)
