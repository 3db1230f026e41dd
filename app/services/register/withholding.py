"""Withholding: a supervisor keeps a search from owners until a date, for a reason that is recorded."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid
from app.models.register import Investigation, RegisterSearch, SearchWithholding
from app.permissions import Permission
from app.services.register import shown
from app.services.register.shown import Cursor

LONGEST, SHORTEST_REASON, LONGEST_REASON = timedelta(days=730), 10, 500
_WITHHOLD = Permission.WITHHOLD_SEARCH


def case(session: Session, who: Who, reference: str) -> UUID:
    """The case of a reference of somebody's organisation. Invalid when nobody has searched under it."""
    found: UUID | None = session.scalar(
        sa.select(Investigation.id).where(
            Investigation.organisation_id == who.organisation_id,
            Investigation.reference == reference.strip().upper(),
        )
    )
    if found is None:
        raise Invalid("reference", "Nobody has searched the register under this reference.")
    return found


def of_case(
    session: Session, who: Who, case_id: UUID, *, after: Cursor | None = None
) -> tuple[str, list[shown.Line], Cursor | None]:
    """A case's reference, a page of its searches, the newest first, and where it goes on. Missing."""
    found = access.row(session, who, _WITHHOLD, Investigation, case_id)
    return found.reference, *shown.lines(session, [RegisterSearch.investigation_id == found.id], after=after)


def one(session: Session, who: Who, search_id: UUID) -> shown.Line:
    """The search that is to be withheld. Missing for one of another organisation's, and for one's own."""
    found = access.row(session, who, _WITHHOLD, RegisterSearch, search_id)
    (line,), _ = shown.lines(session, [RegisterSearch.id == found.id])
    return line


def withhold(
    session: Session,
    who: Who,
    search_id: UUID,
    *,
    until: datetime | None,
    reason: str,
    actor: audit.Actor,
    now: datetime,
) -> None:
    """Keep a search from owners until then. Missing, Invalid, or Conflict when it is withheld already."""
    found = access.row(session, who, _WITHHOLD, RegisterSearch, search_id)
    text = reason.strip()
    if until is None or not now < until <= now + LONGEST:
        raise Invalid("until", "Enter a day within two years from today.")
    if not SHORTEST_REASON <= len(text) <= LONGEST_REASON:
        raise Invalid("reason", f"Say why, in {SHORTEST_REASON} to {LONGEST_REASON} characters.")
    made = session.execute(
        insert(SearchWithholding)
        .values(search_id=found.id, given_by=who.id, reason=text, until=until, at=now)
        .on_conflict_do_nothing()
        .returning(SearchWithholding.search_id)
    ).one_or_none()
    if made is None:
        raise Conflict("This search is withheld already.")
    audit.record(
        session,
        event="register:withhold",
        subject=f"search:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        why=text,
        detail={"until": until.date().isoformat()},
    )
