"""Reading the record is on the record first: a search is an entry, committed, and only that entry opens its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from app import access
from app.access import Who
from app.audit import record as audit
from app.db import utc_now
from app.errors import Invalid, Missing, TooMany
from app.models.audit import AuditEntry
from app.permissions import Permission
from app.services import limits
from app.services.limits import Limit
from app.services.record_search import finding
from app.services.record_search.finding import Cursor, Found
from app.services.record_search.wanted import Wanted, of_detail

LIVES = timedelta(hours=1)  # a search opens its answer for so long, to whoever searched
SHORTEST_WHY, LONGEST_WHY = 10, 500
SEARCHES, OPENED, EXPORTS = 60, 300, 10
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
MOST_EXPORTED = 50_000
_BATCH = 1_000
FORMATS = ("csv", "jsonl")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A search that is on the record."""

    id: int
    wanted: Wanted
    why: str
    at: datetime


def begin(session: Session, who: Who, wanted: Wanted, *, why: str, actor: audit.Actor, now: datetime) -> int:
    """Put a search on the record; its id opens the answer once this transaction is committed.

    Invalid for a reason that says nothing, TooMany when somebody searches without end.
    """
    reason = why.strip()
    if len(reason) < SHORTEST_WHY:
        raise Invalid("why", f"Say why you look, in {SHORTEST_WHY} characters or more.")
    if len(reason) > LONGEST_WHY:
        raise Invalid("why", f"Your reason must be {LONGEST_WHY} characters or fewer.")
    _take(session, who, "record-search", SEARCHES, _HOUR, now)
    return audit.record(
        session,
        event="record:search",
        subject=wanted.about or f"organisation:{who.organisation_id}",
        actor=actor,
        organisation=who.organisation_id,
        area=wanted.area,
        s62=audit.S62.CONSULTATION if who.competent else None,
        why=reason,
        detail=wanted.detail,
    )


def found(session: Session, who: Who, ticket_id: int, *, now: datetime) -> Ticket:
    """A search of their own that still opens its answer; Missing otherwise."""
    entry = session.get(AuditEntry, ticket_id)
    if (
        entry is None
        or entry.event != "record:search"
        or (entry.actor_kind, entry.actor_id) != (audit.ActorKind.STAFF, str(who.id))
        or entry.organisation_id != who.organisation_id
        or not access.may(who, Permission.RECORD_SEARCH)
        or entry.at + LIVES <= now
    ):
        raise Missing("There is no such search.")
    return Ticket(entry.id, of_detail(entry.detail), entry.why or "", entry.at)


def page(session: Session, who: Who, ticket: Ticket, *, before: Cursor | None) -> list[Found]:
    """A page of the answer and one entry more, if there is one: the record as it stood when they searched."""
    return finding.page(session, who, ticket.wanted, below=ticket.id, before=before, most=finding.PAGE + 1)


def consult(
    session: Session, who: Who, ticket: Ticket, entry_id: int, *, actor: audit.Actor, now: datetime
) -> None:
    """Put on the record that somebody opens an entry of their search's answer, for its reason. Missing otherwise."""
    entry = access.row(session, who, Permission.RECORD_SEARCH, AuditEntry, entry_id)
    if not finding.page(session, who, ticket.wanted, below=ticket.id, only=entry.id, most=1):
        raise Missing("There is no such entry in the answer.")
    _take(session, who, "record-consult", OPENED, _HOUR, now)
    audit.record(
        session,
        event="record:consult",
        subject=f"entry:{entry.id}",
        actor=actor,
        organisation=who.organisation_id,
        area=entry.area_code,
        s62=audit.S62.CONSULTATION if who.competent else None,
        why=ticket.why,
        detail={"search": ticket.id},
    )


def opened(session: Session, entry_id: int) -> Found:
    """An entry whose opening is on the record."""
    (one,) = finding.entries(session, [entry_id])
    return one


def export(
    session: Session, who: Who, ticket: Ticket, form: str, *, actor: audit.Actor, now: datetime
) -> int:
    """Put an export of a search's answer on the record, as the disclosure that it is. Returns its entry's id."""
    if form not in FORMATS:
        raise Invalid("form", "Choose a format.")
    if not access.may(who, Permission.RECORD_EXPORT):
        raise Missing("There is no such search.")
    _take(session, who, "record-export", EXPORTS, _DAY, now)
    return audit.record(
        session,
        event="record:export",
        subject=ticket.wanted.about or f"organisation:{who.organisation_id}",
        actor=actor,
        organisation=who.organisation_id,
        area=ticket.wanted.area,
        s62=audit.S62.DISCLOSURE if who.competent else None,
        why=ticket.why,
        detail={"search": ticket.id, "form": form, "most": MOST_EXPORTED},
    )


def export_heads(session: Session, who: Who, *, actor: audit.Actor, now: datetime) -> int:
    """Put on the record that the signed heads were handed out: of everybody's record, and nothing of anybody's."""
    _take(session, who, "record-export", EXPORTS, _DAY, now)
    return audit.record(
        session,
        event="record:export",
        subject="heads:all",
        actor=actor,
        organisation=who.organisation_id,
    )


def exported(sessions: sessionmaker[Session], who: Who, ticket: Ticket) -> Iterator[Found]:
    """The answer, newest first, up to ``MOST_EXPORTED`` entries; no transaction stays open between two batches."""
    before: Cursor | None = None
    left = MOST_EXPORTED
    while left > 0:
        with sessions() as session:
            try:  # whoever is cut off meanwhile gets no more
                still = access.may(access.of(session, who.id, now=utc_now()), Permission.RECORD_EXPORT)
            except Missing:
                still = False
            if not still:
                return
            batch = finding.page(
                session, who, ticket.wanted, below=ticket.id, before=before, most=min(_BATCH, left)
            )
        yield from batch
        if len(batch) < min(_BATCH, left):
            return
        left -= len(batch)
        before = batch[-1].cursor


def _take(session: Session, who: Who, scope: str, most: int, per: timedelta, now: datetime) -> None:
    if limits.take(session, [Limit(scope, str(who.id), most, per)], now=now) is not None:
        when = "an hour" if per == _HOUR else "a day"
        raise TooMany(f"You have done this {most} times within {when}. Wait, then go on.")


def own_searches(session: Session, who: Who, *, now: datetime, most: int = 5) -> list[Ticket]:
    """Their searches that still open an answer, the newest first."""
    rows = session.scalars(
        sa.select(AuditEntry)
        .where(
            AuditEntry.organisation_id == who.organisation_id,
            AuditEntry.actor_kind == "staff",
            AuditEntry.actor_id == str(who.id),
            AuditEntry.at > now - LIVES,
            AuditEntry.event == "record:search",
        )
        .order_by(AuditEntry.at.desc(), AuditEntry.id.desc())
        .limit(most)
    )
    return [Ticket(one.id, of_detail(one.detail), one.why or "", one.at) for one in rows]
