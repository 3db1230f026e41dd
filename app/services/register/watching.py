"""The run that looks for unusual searching, by every rule, and tells who is to look into it. Idempotent."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import new_id
from app.models.register import RegisterSearch
from app.permissions import Role
from app.services.register import unusual, watchers
from app.services.register.unusual import Found

TOLD = (Role.STEWARD, Role.AUDITOR)
MOST_TOLD = 20

# Whose finding is open has it grow; what it holds already changes nothing.
_KEEP = sa.text(
    """
    INSERT INTO search_findings AS f (id, organisation_id, rule, staff_id, searches, found_at)
    VALUES (:id, :organisation, :rule, :staff, :searches, :now)
    ON CONFLICT (rule, staff_id) WHERE state = 'open' DO UPDATE
        SET searches = ARRAY(SELECT unnest(f.searches) UNION SELECT unnest(excluded.searches))
        WHERE NOT excluded.searches <@ f.searches
    RETURNING id, id = :id
    """
).bindparams(sa.bindparam("searches", type_=ARRAY(sa.Uuid)))
# A finding that nobody could be told of is told once somebody has the role.
_UNTOLD = sa.text(
    "SELECT id, staff_id FROM search_findings WHERE organisation_id = :organisation AND state = 'open' AND told = 0 "
    "ORDER BY found_at, id LIMIT :most"
)
_NOTE = sa.text("UPDATE search_findings SET told = :told WHERE id = ANY(CAST(:ids AS uuid[]))")


def organisations(session: Session) -> list[UUID]:
    """Those whose staff have ever searched."""
    organisation = RegisterSearch.organisation_id
    # One step of the index to an organisation, however many searches each made.
    first = sa.text(
        """
        WITH RECURSIVE one AS (
            (SELECT organisation_id FROM register_searches ORDER BY organisation_id LIMIT 1)
            UNION ALL
            SELECT (SELECT s.organisation_id FROM register_searches s WHERE s.organisation_id > one.organisation_id
                ORDER BY s.organisation_id LIMIT 1)
            FROM one WHERE one.organisation_id IS NOT NULL
        ) SELECT organisation_id FROM one WHERE organisation_id IS NOT NULL
        """
    ).columns(organisation)
    return list(session.scalars(first))


def look(session: Session, organisation: UUID, *, public_url: str, now: datetime) -> int:
    """Look at one organisation's searches by every rule; how many findings are new. Again, it finds nothing new."""
    new = 0
    for rule in unusual.RULES:
        for found in unusual.find(session, rule, organisation, now=now):
            new += _keep(session, organisation, found, now)
    _tell(session, organisation, public_url, now)
    return new


def _keep(session: Session, organisation: UUID, found: Found, now: datetime) -> bool:
    made = new_id()
    values = {
        "id": made,
        "organisation": organisation,
        "rule": found.rule,
        "staff": found.staff_id,
        "now": now,
    }
    kept = session.execute(_KEEP, values | {"searches": found.searches}).one_or_none()
    if kept is None or not kept[1]:
        return False
    audit.record(
        session,
        event="finding:raise",
        subject=f"finding:{made}",
        actor=audit.SYSTEM,
        organisation=organisation,
        detail={"rule": found.rule, "searches": len(found.searches)},
    )
    return True


def _tell(session: Session, organisation: UUID, public_url: str, now: datetime) -> None:
    """Stewards and auditors, one message each for all that is new to them; the operator when there is none of them."""
    untold = session.execute(_UNTOLD, {"organisation": organisation, "most": unusual.MOST}).all()
    about: dict[UUID, list[UUID]] = defaultdict(list)
    for id, staff in untold:
        about[staff].append(id)
    told: dict[UUID, int] = defaultdict(int)
    for watcher in watchers.of(session, organisation, TOLD, now=now) if about else ():
        theirs = [
            id
            for staff in watchers.may_watch(session, watcher, about)
            for id in about[staff]
            if told[id] < MOST_TOLD
        ]
        if not theirs:
            continue
        for id in theirs:
            told[id] += 1
        one = len(theirs) == 1
        watchers.write(
            session,
            organisation,
            watcher.email,
            "Unusual searching of the camera register",
            [
                "One finding waits for you." if one else f"{len(theirs)} findings wait for you.",
                "A rule found searches that look unusual. It may be honest work: look, and write down what it was.",
                "Do not talk about it with whoever it is about, or their team. That you read it goes on the record.",
            ],
            (
                "Read the finding" if one else "Read the findings",
                f"{public_url}/staff/register/findings" + (f"/{theirs[0]}" if one else ""),
            ),
            kind="misuse",
            now=now,
        )
    counts: dict[int, list[UUID]] = defaultdict(list)
    for id, count in told.items():
        counts[count].append(id)
    for count, ids in counts.items():
        session.execute(_NOTE, {"told": count, "ids": ids})
