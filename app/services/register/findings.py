"""Findings of unusual searching: listed, read on the record, and closed with what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid
from app.models.register import RegisterSearch
from app.models.register_watch import SearchFinding
from app.models.staff import Staff
from app.permissions import Permission
from app.services.register import shown, watchers
from app.services.register.shown import Cursor
from app.services.register.unusual import BY_NAME, Rule

PAGE = 25
LONGEST_NOTE = 2_000
VERDICTS = {
    "explained": "Explained: it was proper, or somebody has been advised",
    "referred": "Referred: to professional standards, or to whoever looks into misuse",
}
_READ = Permission.FINDING_READ


@dataclass(frozen=True, slots=True)
class Line:
    """A finding in the list."""

    id: UUID
    rule: Rule
    searcher: str
    searches: int
    found_at: datetime
    state: str
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding as it is read, with a page of its searches."""

    line: Line
    searches: tuple[shown.Line, ...]
    after: Cursor | None
    closer: str | None
    note: str | None


def listed(
    session: Session, who: Who, *, closed: bool = False, after: Cursor | None = None
) -> tuple[list[Line], Cursor | None]:
    """A page of the findings that somebody may read, the newest first; and where it goes on."""
    state = SearchFinding.state != "open" if closed else SearchFinding.state == "open"
    query = (
        sa.select(
            SearchFinding.id, SearchFinding.rule, Staff.name, sa.func.cardinality(SearchFinding.searches),
            SearchFinding.found_at, SearchFinding.state, SearchFinding.closed_at,
        )
        .join(Staff, Staff.id == SearchFinding.staff_id)
        .where(
            SearchFinding.organisation_id == who.organisation_id, state, access.outside(who, SearchFinding.staff_id)
        )
        .order_by(SearchFinding.found_at.desc(), SearchFinding.id.desc())
        .limit(PAGE + 1)
    )  # fmt: skip
    if after is not None:
        place = sa.tuple_(SearchFinding.found_at, SearchFinding.id)
        query = query.where(place < sa.tuple_(sa.literal(after.at), sa.literal(after.id)))
    found = [_line(*row) for row in session.execute(query)]
    page = found[:PAGE]
    return page, Cursor(page[-1].found_at, page[-1].id) if len(found) > PAGE else None


def _line(
    id: UUID, rule: str, name: str, searches: int, found_at: datetime, state: str, closed_at: datetime | None
) -> Line:
    return Line(id, BY_NAME[rule], name, searches, found_at, state, closed_at)


def consult(session: Session, who: Who, finding_id: UUID, *, actor: audit.Actor) -> None:
    """That somebody reads a finding, on the record; commit it, then ``read``. Missing for one that is not theirs."""
    found = access.row(session, who, _READ, SearchFinding, finding_id)
    _record(session, found, "finding:consult", actor, audit.S62.CONSULTATION)


def read(session: Session, who: Who, finding_id: UUID, *, after: Cursor | None = None) -> Finding:
    """One finding. Missing for one that is not this reader's."""
    found = access.row(session, who, _READ, SearchFinding, finding_id)
    wanted = [
        RegisterSearch.organisation_id == found.organisation_id,
        RegisterSearch.id.in_(
            sa.select(sa.func.unnest(SearchFinding.searches)).where(SearchFinding.id == found.id)
        ),
    ]
    searches, onward = shown.lines(session, wanted, after=after, reasons=True)
    return Finding(
        _line(
            found.id, found.rule, _name(session, found.staff_id), len(found.searches), found.found_at, found.state,
            found.closed_at,
        ),
        tuple(searches),
        onward,
        _name(session, found.closed_by) if found.closed_by else None,
        found.note,
    )  # fmt: skip


def _name(session: Session, staff_id: UUID) -> str:
    return session.get_one(Staff, staff_id).name


def close(
    session: Session,
    who: Who,
    finding_id: UUID,
    *,
    verdict: str,
    note: str,
    actor: audit.Actor,
    now: datetime,
) -> None:
    """What it was, in a word and a note. Missing, Invalid, or Conflict when it was closed already."""
    found = access.row(session, who, _READ, SearchFinding, finding_id, lock=True)
    if verdict not in VERDICTS:
        raise Invalid("verdict", "Choose what it was.")
    if not note.strip():
        raise Invalid("note", "Say what you found out.")
    if len(note.strip()) > LONGEST_NOTE:
        raise Invalid("note", f"Write {LONGEST_NOTE:,} characters or fewer.")
    if found.state != "open":
        raise Conflict("Somebody has closed this finding already.")
    found.state, found.closed_at, found.closed_by, found.note = verdict, now, who.id, note.strip()
    session.flush()
    _record(session, found, "finding:close", actor, audit.S62.ALTERATION, verdict=verdict)
    watchers.unheard(session, found.organisation_id, now=now)


def _record(
    session: Session, found: SearchFinding, event: str, actor: audit.Actor, kind: audit.S62, **detail: str
) -> None:
    audit.record(
        session,
        event=event,
        subject=f"finding:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        s62=kind,
        detail=detail or None,
    )
