"""The team's inbox: who may see which thread, the list, one thread, and the answer.

Whoever is in a team sees that team's threads, and those of the organisation that belong to no team: otherwise
nobody might. Whoever is in none sees all of the organisation's. A thread of others is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid
from app.models.alerts import Alert
from app.models.people import ContactPoint
from app.models.replies import STATES, Reply, ReplyMessage
from app.models.staff import Staff
from app.permissions import Permission
from app.services import consent, processing, published, receiving

PAGE, THREAD_PAGE = 25, 50
COUNTED = 1_000  # an inbox is counted up to here: beyond it, it is simply full
_GLANCE = 120


class Cursor(NamedTuple):
    """Where a page ends: its last row's time and id."""

    at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class AlertName:
    """The alert that a thread answers, as a heading. ``public``: it has a page of its own."""

    reference: str
    headline: str
    public: bool


@dataclass(frozen=True, slots=True)
class Line:
    """A thread in the list, with the beginning of its last message."""

    id: UUID
    state: str
    last_at: datetime
    name: str | None
    channel: str
    ours: bool  # the last message is the team's own
    glance: str


@dataclass(frozen=True, slots=True)
class Group:
    """The threads of one alert on a page; ``alert`` None: texts that answer no alert."""

    alert: AlertName | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Inbox:
    """A page of the list. ``counts`` by state, none above COUNTED."""

    groups: tuple[Group, ...]
    counts: dict[str, int]
    after: Cursor | None


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a thread; ``who``: the officer's name for one of ours."""

    ours: bool
    channel: str
    body: str
    at: datetime
    who: str | None


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread as it is read. ``cannot``: why nobody can answer it, in words; None when one can."""

    id: UUID
    state: str
    last_at: datetime
    alert: AlertName | None
    name: str | None
    channel: str  # the channel that an answer goes by: email or sms
    reader: str
    messages: tuple[Message, ...]
    earlier: Cursor | None
    cannot: str | None


# -- the list
def _rows(
    who: Who, state: str, most: int, *columns: Any, after: Cursor | None = None
) -> sa.CompoundSelect[Any]:
    """The newest ``most`` of each part of what an officer sees, each by its index."""
    parts = []
    for mine in access.of_team(who, Reply.controller_id, Reply.team_id):
        part = sa.select(*columns).where(mine, Reply.state == state)
        if after is not None:
            part = part.where(sa.tuple_(Reply.last_at, Reply.id) < sa.tuple_(*map(sa.literal, after)))
        part = part.order_by(Reply.last_at.desc(), Reply.id.desc()).limit(most)
        parts.append(sa.select(part.subquery()))
    return sa.union_all(*parts)


def counts(
    session: Session, who: Who, states: Sequence[str] = STATES, *, most: int = COUNTED
) -> dict[str, int]:
    """Threads by state, each counted up to ``most``."""
    queries = [
        sa.select(sa.func.count()).select_from(_rows(who, state, most, Reply.id).subquery()).scalar_subquery()
        for state in states
    ]
    found = session.execute(sa.select(*queries)).one()
    return {state: min(most, count) for state, count in zip(states, found, strict=True)}


def unread(session: Session, who: Who) -> int:
    """How many threads wait for a first or a further answer, counted up to COUNTED."""
    return counts(session, who, ("new",))["new"]


def inbox(
    session: Session, who: Who, *, state: str = "new", after: Cursor | None = None, most: int = PAGE
) -> Inbox:
    """A page of threads in one state, the newest last word first, grouped by alert. Invalid for no such state."""
    if state not in STATES:
        raise Invalid("state", f"Choose one of: {', '.join(STATES)}.")
    page = _rows(who, state, most + 1, Reply.id, Reply.last_at, after=after).subquery()
    last = (
        sa.select(ReplyMessage.direction, ReplyMessage.channel, ReplyMessage.body)
        .where(ReplyMessage.reply_id == Reply.id)
        .order_by(ReplyMessage.at.desc(), ReplyMessage.id.desc())
        .limit(1)
        .lateral()
    )
    rows = session.execute(
        sa.select(
            Reply.id, Reply.last_at, Reply.name, Alert, last.c.direction, last.c.channel, last.c.body
        )
        .select_from(page)
        .join(Reply, Reply.id == page.c.id)
        .join(last, sa.true())
        .outerjoin(Alert, Alert.id == Reply.alert_id)
        .order_by(page.c.last_at.desc(), page.c.id.desc())
        .limit(most + 1)
    ).all()  # fmt: skip
    groups: dict[AlertName | None, list[Line]] = {}
    for row in rows[:most]:
        alert = None if row.Alert is None else _alert_name(row.Alert)
        line = Line(
            row.id, state, row.last_at, row.name, row.channel, row.direction == "out", _glance(row.body)
        )
        groups.setdefault(alert, []).append(line)
    more = Cursor(rows[most - 1].last_at, rows[most - 1].id) if len(rows) > most else None
    return Inbox(
        tuple(Group(alert, tuple(lines)) for alert, lines in groups.items()), counts(session, who), more
    )


def read_page(session: Session, who: Who, page: Inbox, *, actor: audit.Actor) -> None:
    """A page of the list was read, with names and first words: on the record before it is shown."""
    shown = [line.id for group in page.groups for line in group.lines]
    if shown:
        audit.record(
            session,
            event="reply:consult",
            subject=f"organisation:{who.organisation_id}",
            actor=actor,
            organisation=who.organisation_id,
            s62=audit.S62.CONSULTATION if who.competent else None,
            detail={"replies": shown},
        )


def _alert_name(alert: Alert) -> AlertName:
    public = alert.sent_at is not None and not alert.restricted
    return AlertName(alert.reference, published.filled(alert.headline), public)


def _glance(body: str) -> str:
    words = " ".join(body.split())
    return words if len(words) <= _GLANCE else f"{words[: _GLANCE - 1].rstrip()}…"


# -- one thread
def thread(
    session: Session,
    who: Who,
    reply_id: UUID,
    *,
    actor: audit.Actor,
    before: Cursor | None = None,
    most: int = THREAD_PAGE,
) -> Thread:
    """Read a thread: on the record before anything is shown. Missing for one that is not this officer's."""
    reply = access.row(session, who, Permission.REPLY_READ, Reply, reply_id)
    _record(session, reply, "reply:consult", actor, audit.S62.CONSULTATION)
    query = (
        sa.select(ReplyMessage, Staff.name)
        .outerjoin(Staff, Staff.id == ReplyMessage.staff_id)
        .where(ReplyMessage.reply_id == reply.id)
    )
    if before is not None:
        query = query.where(sa.tuple_(ReplyMessage.at, ReplyMessage.id) < sa.tuple_(*map(sa.literal, before)))
    found = session.execute(
        query.order_by(ReplyMessage.at.desc(), ReplyMessage.id.desc()).limit(most + 1)
    ).all()
    shown = found[:most]
    earlier = Cursor(shown[-1][0].at, shown[-1][0].id) if len(found) > most else None
    alert = None if reply.alert_id is None else session.get_one(Alert, reply.alert_id)
    contact = session.get_one(ContactPoint, reply.contact_id)
    return Thread(
        id=reply.id,
        state=reply.state,
        last_at=reply.last_at,
        alert=None if alert is None else _alert_name(alert),
        name=reply.name,
        channel=contact.channel,
        reader=receiving.reader_name(session, reply.controller_id, reply.team_id),
        messages=tuple(
            Message(m.direction == "out", m.channel, m.body, m.at, name) for m, name in reversed(shown)
        ),
        earlier=earlier,
        cannot=why_not(session, contact, reply.controller_id),
    )


_WHY_NOT = {
    "stop": "This person texted STOP, so no text may go to this number.",
    "provider": "This person texted STOP, so no text may go to this number.",
    "left": "This person has stopped all messages, so they cannot be answered.",
    "unsubscribe": "This person has stopped all messages, so they cannot be answered.",
    "complaint": "This person reported our messages as spam, so they cannot be answered.",
    "bounce": "Messages to this address come back, so they cannot be answered.",
}


def why_not(session: Session, contact: ContactPoint, controller: UUID) -> str | None:
    """Why an answer must not go to this address, in words; None when it may."""
    reason = consent.suppression_of(session, contact, controller)
    if reason is None:
        return None
    return _WHY_NOT.get(reason, "No message may go to this address, so they cannot be answered.")


# -- done with
def unseen(reply: Reply, seen: datetime | None) -> None:
    """Conflict when a word came in since the page was shown on which the last one was of ``seen``.

    None: whoever acts has not read a page.
    """
    if seen is not None and reply.last_at > seen:
        raise Conflict("Something was written here since you opened this page. Read it first.")


def close(
    session: Session,
    who: Who,
    reply_id: UUID,
    *,
    actor: audit.Actor,
    now: datetime,
    seen: datetime | None = None,
) -> None:
    """Nothing more to do here. Twice is once; a new word from them opens it again. Conflict as in ``unseen``."""
    reply = access.row(session, who, Permission.REPLY_ANSWER, Reply, reply_id, lock=True)
    if reply.state == "closed":
        return
    unseen(reply, seen)
    reply.state, reply.closed_at, reply.closed_by = "closed", now, who.id
    session.flush()
    _record(session, reply, "reply:close", actor, audit.S62.ALTERATION)


def reopen(session: Session, who: Who, reply_id: UUID, *, actor: audit.Actor) -> None:
    """A closed thread is new again. Twice is once."""
    reply = access.row(session, who, Permission.REPLY_ANSWER, Reply, reply_id, lock=True)
    if reply.state != "closed":
        return
    reply.state, reply.closed_at, reply.closed_by = "new", None, None
    session.flush()
    _record(session, reply, "reply:reopen", actor, audit.S62.ALTERATION)


def _record(session: Session, reply: Reply, event: str, actor: audit.Actor, kind: audit.S62) -> None:
    audit.record(
        session,
        event=event,
        subject=f"reply:{reply.id}",
        actor=actor,
        organisation=reply.controller_id,
        s62=processing.s62(session, reply.controller_id, kind),
    )
