"""Reviews of searches: a reviewer's list, one search read on the record, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid
from app.models.register_watch import SearchReview
from app.models.staff import Staff
from app.permissions import Permission
from app.services.register import shown, watchers
from app.services.register.shown import Cursor

PAGE = 25
LONGEST_NOTE = 2_000
VERDICTS = {
    "proper": "Proper",
    "explain": "Needs an explanation",
    "improper": "Improper",
}
STATES = ("mine", "all", "done")
_JUDGE = Permission.REVIEW_JUDGE


@dataclass(frozen=True, slots=True)
class Line:
    """A review in the list. ``late``: it was due before now."""

    id: UUID
    searcher: str
    reviewer: str | None
    month: date
    due_at: datetime
    late: bool
    verdict: str | None
    judged_at: datetime | None


@dataclass(frozen=True, slots=True)
class Review:
    """A review as it is read, with the search."""

    line: Line
    search: shown.Whole
    judge: str | None
    note: str | None


def listed(
    session: Session, who: Who, state: str, *, now: datetime, after: Cursor | None = None
) -> tuple[list[Line], Cursor | None]:
    """A page of reviews: one's own that are open, all that are open, or those done. Never of one's own searches, nor
    of one's own line.
    """
    reviewer, searcher = aliased(Staff), aliased(Staff)
    by = SearchReview.judged_at if state == "done" else SearchReview.due_at
    query = (
        sa.select(SearchReview, searcher.name, reviewer.name)
        .join(searcher, searcher.id == SearchReview.staff_id)
        .outerjoin(reviewer, reviewer.id == SearchReview.reviewer_id)
        .where(
            SearchReview.organisation_id == who.organisation_id, access.outside(who, SearchReview.staff_id)
        )
        .limit(PAGE + 1)
    )
    place = sa.tuple_(by, SearchReview.id)
    mark = None if after is None else sa.tuple_(sa.literal(after.at), sa.literal(after.id))
    if state == "done":
        query = query.where(by.is_not(None)).order_by(by.desc(), SearchReview.id.desc())
        query = query if mark is None else query.where(place < mark)
    else:
        query = query.where(SearchReview.judged_at.is_(None)).order_by(by, SearchReview.id)
        query = query.where(SearchReview.reviewer_id == who.id) if state == "mine" else query
        query = query if mark is None else query.where(place > mark)
    found = [(_line(one, name, theirs, now), one) for one, name, theirs in session.execute(query)]
    page, more = found[:PAGE], len(found) > PAGE
    last = page[-1][1] if more else None
    onward = None if last is None else Cursor(last.judged_at or last.due_at, last.id)
    return [line for line, _ in page], onward


def _line(one: SearchReview, searcher: str, reviewer: str | None, now: datetime) -> Line:
    late = one.judged_at is None and one.due_at < now
    return Line(one.id, searcher, reviewer, one.month, one.due_at, late, one.verdict, one.judged_at)


def consult(session: Session, who: Who, review_id: UUID, *, actor: audit.Actor) -> None:
    """That somebody reads a search, on the record; commit it, then ``read``. Missing for one that is not theirs."""
    found = access.row(session, who, _JUDGE, SearchReview, review_id)
    _record(session, found, "review:consult", actor, audit.S62.CONSULTATION)


def read(session: Session, who: Who, review_id: UUID, *, now: datetime) -> Review:
    """One review with its search. Missing for one that is not this reader's."""
    found = access.row(session, who, _JUDGE, SearchReview, review_id)
    search = shown.whole(session, found.search_id)
    line = _line(found, search.line.searcher, _name(session, found.reviewer_id), now)
    return Review(line, search, _name(session, found.judged_by), found.note)


def _name(session: Session, staff_id: UUID | None) -> str | None:
    return session.get_one(Staff, staff_id).name if staff_id else None


def judge(
    session: Session,
    who: Who,
    review_id: UUID,
    *,
    verdict: str,
    note: str,
    actor: audit.Actor,
    now: datetime,
) -> None:
    """The verdict, once. What is not proper says why. Missing, Invalid, or Conflict when there is one already."""
    found = access.row(session, who, _JUDGE, SearchReview, review_id, lock=True)
    if verdict not in VERDICTS:
        raise Invalid("verdict", "Choose a verdict.")
    if verdict != "proper" and not note.strip():
        raise Invalid("note", "Say why.")
    if len(note.strip()) > LONGEST_NOTE:
        raise Invalid("note", f"Write {LONGEST_NOTE:,} characters or fewer.")
    if found.judged_at is not None:
        raise Conflict("Somebody has given a verdict already.")
    found.verdict, found.note, found.judged_by, found.judged_at = verdict, note.strip(), who.id, now
    session.flush()
    _record(session, found, "review:judge", actor, audit.S62.ALTERATION, verdict=verdict)
    watchers.unheard(session, found.organisation_id, now=now)


def _record(
    session: Session, found: SearchReview, event: str, actor: audit.Actor, kind: audit.S62, **more: str
) -> None:
    audit.record(
        session,
        event=event,
        subject=f"review:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        s62=kind,
        detail={"search": found.search_id, **more},
    )
