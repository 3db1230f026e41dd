"""Misuse by staff: reported by anybody of staff, read by auditors and supervisors outside the reporter's line.

Nobody reads a report of their own, of their own team, or about themselves; ``access`` judges that for each reader and
report. What was written leaves by no message: whoever is told gets a link. When nobody of the organisation may read
it, its professional standards are told, and when it has named none, the operator is, by an alarm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from app import access
from app.access import Held, Who
from app.audit import record as audit
from app.errors import Conflict, Invalid, TooMany
from app.models.access import RoleGrant
from app.models.misuse import MisuseReport
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import TABLE, Permission, Role
from app.services import alarms, limits, people, post, staff
from app.services.limits import Limit
from messaging.notices import Notice, notice

ALARM = "misuse-unheard"
LONGEST = {"what": 5_000, "happened": 200, "whom": 200, "note": 2_000}
MOST_A_DAY = 5  # of one person
PAGE = 25
_CANDIDATES, _MOST_TOLD = 200, 20
_BATCH, _MOST_BATCHES = 100, 20
_KEPT_TRYING = timedelta(days=3)
_LONDON = ZoneInfo("Europe/London")
_READ = Permission.MISUSE_READ


class Cursor(NamedTuple):
    """Where a page ends: the last report that was looked at."""

    on: date
    id: UUID


@dataclass(frozen=True, slots=True)
class Line:
    """A report in the list: nothing of what it says."""

    id: UUID
    reported_on: date
    anonymous: bool
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    lines: tuple[Line, ...]
    after: Cursor | None


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it is read. ``reporter`` None: anonymous, or no longer known."""

    id: UUID
    reported_on: date
    what: str
    happened: str
    whom: str | None
    reporter: str | None
    closed_at: datetime | None
    closer: str | None
    note: str | None


# -- reporting
def report(
    session: Session,
    who: Who,
    *,
    what: str,
    happened: str,
    whom: str = "",
    anonymous: bool = False,
    public_url: str,
    actor: audit.Actor,
    now: datetime,
) -> None:
    """Keep a report and tell those who may read it. Invalid, or TooMany on one day.

    Anonymous: nothing that is kept, here or on the record, says who reported; so nothing comes back either.
    """
    texts = {"what": what.strip(), "happened": happened.strip(), "whom": whom.strip()}
    _check(texts, needed={"what": "Say what happened.", "happened": "Say when it happened."})
    if limits.take(session, [Limit("misuse", str(who.id), MOST_A_DAY, timedelta(days=1))], now=now):
        raise TooMany(f"You have sent {MOST_A_DAY} reports today. Tell whoever got them the rest.")
    made = MisuseReport(
        id=uuid4(),
        organisation_id=who.organisation_id,
        reporter_id=None if anonymous else who.id,
        what=texts["what"],
        happened=texts["happened"],
        whom=texts["whom"] or None,
        barred=[],
        told=0,
        reported_on=now.astimezone(_LONDON).date(),
    )
    made.bar(who.id, who.team_id, _by_address(session, texts["whom"]))
    made.told = _tell(session, made, public_url, now)
    session.add(made)
    session.flush()
    _record(
        session,
        made,
        "misuse:report",
        # Who wrote stands in the report, and there alone: on the record whom it is about could read it.
        audit.Actor(actor.kind),
        audit.S62.COLLECTION,
        told=made.told,
    )


def _check(texts: dict[str, str], *, needed: dict[str, str]) -> None:
    for field, text in texts.items():
        if field in needed and not text:
            raise Invalid(field, needed[field])
        if len(text) > LONGEST[field]:
            raise Invalid(field, f"Write {LONGEST[field]:,} characters or fewer.")


def _by_address(session: Session, whom: str) -> UUID | None:
    """Whom an e-mail address names, if it is somebody of staff."""
    try:
        found = staff.by_address(session, staff.read_email(whom))
    except Invalid:
        return None
    return found.id if found else None


def _tell(session: Session, made: MisuseReport, public_url: str, now: datetime) -> int:
    """Tell the readers, else professional standards, else the operator; how many got a message."""
    organisation = session.get_one(Organisation, made.organisation_id)
    readers = [one.email for one in _readers(session, made, now)][:_MOST_TOLD]
    if readers:
        content = _to_reader(organisation.name, f"{public_url}/staff/misuse/{made.id}")
    elif organisation.standards_email:
        readers, content = [organisation.standards_email], _to_standards(organisation.name, public_url)
    else:
        alarms.raise_(session, ALARM, f"organisation:{organisation.slug}", now=now)
        return 0
    for address in readers:
        post.queue_email(
            session,
            kind="misuse",
            address=address,
            content=content,
            controller=organisation.id,
            expires_at=now + _KEPT_TRYING,
            synthetic=people.made_up(address),
            now=now,
        )
    return len(readers)


def _readers(session: Session, made: MisuseReport, now: datetime) -> Iterator[Staff]:
    """Those who hold a role that reads reports, and may read this one."""
    roles = sorted(map(str, TABLE[_READ].roles))
    rows = session.execute(
        sa.select(Staff, sa.func.min(RoleGrant.role))
        .join(RoleGrant, RoleGrant.staff_id == Staff.id)
        .where(
            RoleGrant.organisation_id == made.organisation_id,
            RoleGrant.role.in_(roles),
            access.standing(now),
            Staff.state == "active",
        )
        .group_by(Staff.id)
        .order_by(sa.func.min(RoleGrant.role), Staff.id)  # auditors first
        .limit(_CANDIDATES)
    )
    for one, role in rows.all():
        them = Who(one.id, one.organisation_id, one.team_id, one.name, False, (Held(Role(role)),))
        if access.may_on(session, them, _READ, made):
            yield one


def _to_reader(organisation: str, url: str) -> Notice:
    return notice(
        "A report of misuse waits for you",
        [
            f"Somebody of the staff of {organisation} has reported misuse of Wardlink.",
            "You may read it as an auditor or a supervisor outside the reporter's team, and it is not about you.",
            "Do not talk about it with that team, or with whom it is about. That you read it goes on the record.",
        ],
        button=("Read the report", url),
        controller_name=organisation,
        closing=["What the report says is not in this message, and is not sent by any."],
    )


def _to_standards(organisation: str, public_url: str) -> Notice:
    return notice(
        "A report of misuse waits, and nobody may read it",
        [
            f"Somebody of the staff of {organisation} has reported misuse of Wardlink.",
            "No auditor or supervisor is outside the reporter's team, or the report is about the only one.",
            "Have that role given to somebody whom you trust with it. They find the report under the address below.",
        ],
        button=("Reports of misuse", f"{public_url}/staff/misuse"),
        controller_name=organisation,
        closing=["What the report says is not in this message, and is not sent by any."],
    )


# -- reading
def listed(session: Session, who: Who, *, closed: bool = False, after: Cursor | None = None) -> Page:
    """A page of the reports that somebody may read, the newest first.

    Whether one may be read is judged for each; a page that ends early still has a cursor, and goes on.
    """
    lines: list[Line] = []
    for _ in range(_MOST_BATCHES):
        batch = _batch(session, who.organisation_id, closed, after)
        for one in batch:
            if len(lines) == PAGE:
                return Page(tuple(lines), after)
            after = Cursor(one.reported_on, one.id)
            if access.may_on(session, who, _READ, one):
                lines.append(Line(one.id, one.reported_on, one.reporter_id is None, one.closed_at))
        if len(batch) < _BATCH:
            return Page(tuple(lines), None)
    return Page(tuple(lines), after)


def _batch(
    session: Session, organisation: UUID, closed: bool, after: Cursor | None
) -> Sequence[MisuseReport]:
    state = MisuseReport.closed_at.is_not(None) if closed else MisuseReport.closed_at.is_(None)
    query = sa.select(MisuseReport).where(MisuseReport.organisation_id == organisation, state)
    if after is not None:
        place = sa.tuple_(MisuseReport.reported_on, MisuseReport.id)
        query = query.where(place < sa.tuple_(*map(sa.literal, after)))
    # What was written is opened for who reads the report, not for the list.
    query = query.options(*map(defer, (MisuseReport.what, MisuseReport.happened, MisuseReport.note)))
    newest = query.order_by(MisuseReport.reported_on.desc(), MisuseReport.id.desc())
    return session.scalars(newest.limit(_BATCH)).all()


def read(session: Session, who: Who, report_id: UUID, *, actor: audit.Actor) -> Report:
    """One report: that it is read goes on the record first. Missing for one that is not this reader's."""
    found = access.row(session, who, _READ, MisuseReport, report_id)
    _record(session, found, "misuse:consult", actor, audit.S62.CONSULTATION)
    return Report(
        id=found.id,
        reported_on=found.reported_on,
        what=found.what,
        happened=found.happened,
        whom=found.whom,
        reporter=_name(session, found.reporter_id),
        closed_at=found.closed_at,
        closer=_name(session, found.closed_by),
        note=found.note,
    )


def _name(session: Session, staff_id: UUID | None) -> str | None:
    found = session.get(Staff, staff_id) if staff_id else None
    return found.name if found else None


def close(
    session: Session, who: Who, report_id: UUID, *, note: str, actor: audit.Actor, now: datetime
) -> None:
    """Nothing more to do, and what was done. Missing, Invalid, or Conflict when it was closed already."""
    found = access.row(session, who, _READ, MisuseReport, report_id, lock=True)
    texts = {"note": note.strip()}
    _check(texts, needed={"note": "Say what was done."})
    if found.closed_at is not None:
        raise Conflict("Somebody has closed this report already.")
    found.closed_at, found.closed_by, found.note = now, who.id, texts["note"]
    session.flush()
    _record(session, found, "misuse:close", actor, audit.S62.ALTERATION)
    unheard = sa.select(
        sa.exists().where(
            MisuseReport.organisation_id == found.organisation_id,
            MisuseReport.closed_at.is_(None),
            MisuseReport.told == 0,
        )
    )
    if not session.scalar(unheard):
        slug = session.get_one(Organisation, found.organisation_id).slug
        alarms.clear(session, ALARM, f"organisation:{slug}", now=now, calm=timedelta(0))


# -- the organisation's setting
def set_standards(
    session: Session, organisation: Organisation, email: str | None, *, actor: audit.Actor
) -> None:
    """Whom reports go to that nobody here may read: an organisation's professional standards. Invalid."""
    organisation.standards_email = None if email is None else staff.read_email(email).as_sent
    session.flush()
    audit.record(
        session,
        event="organisation:alter",
        subject=f"organisation:{organisation.id}",
        actor=actor,
        organisation=organisation.id,
        detail={"standards": email is not None},
    )


def _record(
    session: Session, found: MisuseReport, event: str, actor: audit.Actor, kind: audit.S62, **detail: int
) -> None:
    audit.record(
        session,
        event=event,
        subject=f"misuse:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        s62=kind,
        detail=detail or None,
    )
