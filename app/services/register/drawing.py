"""The monthly review: which searches are drawn, who is to look at them, and who is reminded. Run by the clock.

The draw is by a digest under a key of ours: it can be repeated, and nobody who searches can foresee it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.db import new_id
from app.models.register_watch import SearchReview
from app.permissions import Role
from app.services.register import watchers
from app.services.register.watchers import Watcher

LONDON = ZoneInfo("Europe/London")
LEAST, MOST = 5, 100
DUE = timedelta(days=28)
SOON = timedelta(days=7)
REVIEWERS = (Role.SUPERVISOR, Role.AUDITOR)
REPORTED_TO = (Role.STEWARD, Role.AUDITOR)
_REMINDED_AT_ONCE = 10_000

# Each searcher's first lot comes before anybody's second.
_DRAW = sa.text(
    """
    WITH lots AS (
        SELECT id, staff_id, sha256(CAST(:seed AS bytea) || uuid_send(id)) AS lot FROM register_searches
        WHERE organisation_id = :organisation AND opened_at >= :begins AND opened_at < :ends
    ), ranked AS (
        SELECT id, staff_id, lot, row_number() OVER (PARTITION BY staff_id ORDER BY lot) > 1 AS more FROM lots
    )
    SELECT id, staff_id FROM ranked ORDER BY more, lot LIMIT :size
    """
)
_COUNT = sa.text(
    "SELECT count(*), count(DISTINCT staff_id) FROM register_searches "
    "WHERE organisation_id = :organisation AND opened_at >= :begins AND opened_at < :ends"
)
_REMIND = sa.text(
    """
    UPDATE search_reviews SET reminded = :level WHERE id = ANY(ARRAY(
        SELECT id FROM search_reviews
        WHERE judged_at IS NULL AND due_at <= :before AND reminded < :level ORDER BY due_at LIMIT :most))
    RETURNING organisation_id, reviewer_id
    """
)
_LOST = sa.text(
    """
    SELECT r.id, r.staff_id FROM search_reviews r
    WHERE r.organisation_id = :organisation AND r.judged_at IS NULL AND (
        r.reviewer_id IS NULL OR r.reviewer_id <> ALL(CAST(:standing AS uuid[])))
    ORDER BY r.due_at, r.id LIMIT :most
    """
)


def size(searches: int, searchers: int) -> int:
    """How many of a month's searches are reviewed: twice the square root, at least 5, at most 100; and never fewer
    than there were searchers, for each has at least one.
    """
    wanted = min(max(LEAST, math.ceil(2 * math.sqrt(searches))), MOST)
    return min(max(wanted, searchers), searches)


def month_before(now: datetime) -> date:
    """The first day of the last month that is over in London."""
    first = now.astimezone(LONDON).date().replace(day=1)
    return (first - timedelta(days=1)).replace(day=1)


def draw(session: Session, organisation: UUID, *, now: datetime) -> int:
    """Draw last month's searches, once; how many. What a reviewer who is gone left goes to another."""
    month = month_before(now)
    reviewers = watchers.of(session, organisation, REVIEWERS, now=now)
    drawn = (
        sa.select(SearchReview.id)
        .where(SearchReview.organisation_id == organisation, SearchReview.month == month)
        .exists()
    )
    made = 0
    if not session.scalar(sa.select(drawn)):
        made = _draw(session, organisation, month, reviewers, now)
    standing = [one.who.id for one in reviewers]
    lost = session.execute(
        _LOST, {"organisation": organisation, "standing": standing, "most": _REMINDED_AT_ONCE}
    )
    left = [(id, staff) for id, staff in lost]
    for id, reviewer in _assigned(session, left, reviewers).items():
        if reviewer is not None:
            session.execute(sa.update(SearchReview).where(SearchReview.id == id).values(reviewer_id=reviewer))
    return made


def _draw(
    session: Session, organisation: UUID, month: date, reviewers: Sequence[Watcher], now: datetime
) -> int:
    ends = (month + timedelta(days=32)).replace(day=1)
    span = {
        "organisation": organisation,
        "begins": datetime.combine(month, time(), LONDON),
        "ends": datetime.combine(ends, time(), LONDON),
    }
    searches, searchers = session.execute(_COUNT, span).one()
    if not searches:
        return 0
    seed = crypto.keyring().digest("register.review", f"{organisation} {month:%Y-%m}")
    lots = session.execute(_DRAW, span | {"seed": seed, "size": size(searches, searchers)}).all()
    rows = [(search, staff) for search, staff in lots]
    given = _assigned(session, rows, reviewers)
    session.execute(
        insert(SearchReview.__table__).on_conflict_do_nothing(),  # type: ignore[arg-type]
        [
            {
                "id": new_id(), "organisation_id": organisation, "search_id": search, "staff_id": staff, "month": month,
                "reviewer_id": given[search], "assigned_at": now, "due_at": now + DUE,
            }
            for search, staff in rows
        ],
    )  # fmt: skip
    audit.record(
        session,
        event="review:draw",
        subject=f"organisation:{organisation}",
        actor=audit.SYSTEM,
        organisation=organisation,
        detail={"month": f"{month:%Y-%m}", "searches": searches, "searchers": searchers, "drawn": len(rows)},
    )
    return len(rows)


def _assigned(
    session: Session, rows: Sequence[tuple[UUID, UUID]], reviewers: Sequence[Watcher]
) -> dict[UUID, UUID | None]:
    """(thing, searcher) → each thing's reviewer: of those outside the searcher's line, whoever has the fewest."""
    if not rows:
        return {}
    may = {one.who.id: watchers.may_watch(session, one, {staff for _, staff in rows}) for one in reviewers}
    load: dict[UUID, int] = dict.fromkeys(may, 0)
    found: dict[UUID, UUID | None] = {}
    # Searchers whom few may review come first, or those few would be busy with others'.
    for thing, staff in sorted(rows, key=lambda row: (sum(row[1] in those for those in may.values()), row)):
        able = [id for id, those in may.items() if staff in those]
        found[thing] = min(able, key=lambda id: (load[id], id)) if able else None
        if found[thing] is not None:
            load[found[thing]] += 1  # type: ignore[index]
    return found


def remind(session: Session, *, public_url: str, now: datetime) -> int:
    """Tell reviewers what is due within a week, and what is late; of the late ones, stewards and auditors too."""
    told = 0
    for level, before in ((2, now), (1, now + SOON)):
        mine: dict[tuple[UUID, UUID], int] = defaultdict(int)
        late: dict[UUID, int] = defaultdict(int)
        due = session.execute(_REMIND, {"level": level, "before": before, "most": _REMINDED_AT_ONCE})
        for organisation, reviewer in due:
            told += 1
            late[organisation] += level == 2
            if reviewer is not None:
                mine[organisation, reviewer] += 1
        everybody = {id: watchers.of(session, id, (*REVIEWERS, Role.STEWARD), now=now) for id in late}
        for (organisation, reviewer), count in mine.items():
            for one in everybody[organisation]:
                if one.who.id == reviewer:
                    _remind(session, organisation, one, count, level, public_url, now)
        for organisation, count in late.items():
            for one in everybody[organisation]:
                if count and one.who.roles() & set(REPORTED_TO):
                    _report(session, organisation, one, count, public_url, now)
    return told


def _remind(
    session: Session, organisation: UUID, to: Watcher, count: int, level: int, public_url: str, now: datetime
) -> None:
    what = "1 review of a search" if count == 1 else f"{count} reviews of searches"
    state = "late" if level == 2 else "due within a week"
    watchers.write(
        session,
        organisation,
        to.email,
        f"{what}: {state}",
        [f"{what} of the camera register that you were asked to make: {state}."],
        ("Your reviews", f"{public_url}/staff/register/reviews"),
        kind="reminder",
        now=now,
    )


def _report(
    session: Session, organisation: UUID, to: Watcher, count: int, public_url: str, now: datetime
) -> None:
    what = "1 review of a search is late" if count == 1 else f"{count} reviews of searches are late"
    watchers.write(
        session,
        organisation,
        to.email,
        what,
        [f"{what}. See who was asked, or make them yourself."],
        ("Reviews that are open", f"{public_url}/staff/register/reviews?state=all"),
        kind="reminder",
        now=now,
    )
