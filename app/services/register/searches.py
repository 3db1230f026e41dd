"""An investigator's own searches, and the words for where cells lie. What was answered is not kept anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.models.register import Investigation, RegisterSearch
from app.permissions import Permission
from app.services.register.search import PURPOSES
from app.services.register.shapes import KINDS

PAGE = 25
Cursor = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True)
class Listed:
    """A search as its searcher sees it. ``answered``: whether an answer was shown; None while that is not settled."""

    id: UUID
    reference: str
    case_id: UUID
    purpose: str
    reason: str
    kind: str
    size: float  # square kilometres
    radius: float | None
    since: datetime
    until: datetime
    opened_at: datetime
    beyond: bool  # by a supervisor's leave
    answered: bool | None


def mine(session: Session, who: Who, *, before: Cursor | None = None) -> list[Listed]:
    """A page of somebody's own, newest first, and one more if there is one."""
    query = (
        sa.select(RegisterSearch, Investigation.reference)
        .join(Investigation, Investigation.id == RegisterSearch.investigation_id)
        .where(RegisterSearch.staff_id == who.id, RegisterSearch.organisation_id == who.organisation_id)
        .order_by(RegisterSearch.opened_at.desc(), RegisterSearch.id.desc())
        .limit(PAGE + 1)
    )
    if before is not None:
        query = query.where(sa.tuple_(RegisterSearch.opened_at, RegisterSearch.id) < sa.tuple_(*before))
    return [_listed(search, reference) for search, reference in session.execute(query)]


def one(session: Session, who: Who, search_id: UUID) -> Listed:
    """One of their own. Missing otherwise."""
    found = access.row(session, who, Permission.REGISTER_SEARCH, RegisterSearch, search_id)
    reference = session.get_one(Investigation, found.investigation_id).reference
    return _listed(found, reference)


def _listed(one: RegisterSearch, reference: str) -> Listed:
    answered = None if not one.settled else one.lapsed_at is None
    return Listed(
        one.id,
        reference,
        one.investigation_id,
        PURPOSES[one.purpose],
        one.reason,
        KINDS[one.kind],
        one.size,
        one.radius,
        one.window_from,
        one.window_to,
        one.opened_at,
        one.lift_id is not None,
        answered,
    )


_WHERE = sa.text(
    """
    SELECT k.id, n.name, p.postcodes FROM unnest(CAST(:cells AS integer[])) AS wanted (id)
    JOIN register_cells k ON k.id = wanted.id
    CROSS JOIN LATERAL (
        SELECT array_agg(f.postcode ORDER BY f.postcode) AS postcodes, min(f.ward_code) AS ward_code FROM (
            SELECT p.postcode, p.ward_code FROM postcodes p WHERE p.at <@ k.outline AND p.live
            ORDER BY p.postcode LIMIT 3
        ) f
    ) p
    LEFT JOIN areas n ON n.code = p.ward_code AND n.valid_to IS NULL
    """
)


def where(session: Session, cells: Sequence[int]) -> dict[int, str]:
    """Cells in words: a ward of theirs and the first of their postcodes. Anybody may know these."""
    found = session.execute(_WHERE, {"cells": list(cells)}).all()
    return {id: _words(name, postcodes or []) for id, name, postcodes in found}


def _words(ward: str | None, postcodes: list[str]) -> str:
    around = f"{', '.join(postcodes)} and around" if postcodes else "no postcode of today"
    return f"{ward}: {around}" if ward else around
