"""Searches of the register as its gate leaves them, put in by the owner of the tables: no other role may."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db import Pt, new_id
from app.embedded import client
from app.models.organisations import Organisation
from app.models.register import CameraRequest, Investigation, RegisterSearch
from app.models.register_watch import FIGURES, RegisterFigure, SearchFinding, SearchReview
from app.registry import Registry
from tests.factories import Makes

_NUMBERS = itertools.count(1_000_000)
HOUR = timedelta(hours=1)
UXBRIDGE = Pt(505_600.0, 184_000.0)


@dataclass
class Register:
    """Makes searches in a session of the owner's. ``organisation``: whose; cases are made as they are named."""

    session: Session
    organisation: UUID
    cases: dict[str, UUID] = field(default_factory=dict)

    def case(self, reference: str, by: UUID, at: datetime) -> UUID:
        if reference not in self.cases:
            made = Investigation(
                id=new_id(),
                organisation_id=self.organisation,
                reference=reference,
                opened_by=by,
                opened_at=at,
            )
            self.session.add(made)
            self.session.flush()
            self.cases[reference] = made.id
        return self.cases[reference]

    def search(
        self,
        by: UUID,
        at: datetime,
        reference: str = "1234567/26",
        *,
        cells: Sequence[int] = (1, 2, 3),
        **more: object,
    ) -> RegisterSearch:
        number = next(_NUMBERS)
        values: dict[str, object] = {
            "kind": "radius", "centre": UXBRIDGE, "radius": 200.0, "size": 0.13, "purpose": "investigation",
            "reason": "A burglary was seen by the neighbours.", "window_from": at - 3 * HOUR, "window_to": at - HOUR,
        }  # fmt: skip
        made = RegisterSearch(
            id=new_id(),
            entry_id=number,
            organisation_id=self.organisation,
            staff_id=by,
            investigation_id=self.case(reference, by, at),
            cells=list(cells),
            number=number,
            saw=0,
            settled=True,
            opened_xid="1",
            opened_at=at,
            **(values | more),
        )
        self.session.add(made)
        self.session.flush()
        return made

    def request(self, search: RegisterSearch) -> CameraRequest:
        made = CameraRequest(
            search_id=search.id,
            investigation_id=search.investigation_id,
            organisation_id=search.organisation_id,
            staff_id=search.staff_id,
            look_for="A white van.",
            window_from=search.window_from,
            window_to=search.window_to,
            asked_band="3 to 5",
            opened_at=search.opened_at + HOUR,
            expires_at=search.opened_at + 200 * HOUR,
        )
        self.session.add(made)
        self.session.flush()
        return made

    def finding(
        self, searches: Sequence[RegisterSearch], at: datetime, rule: str = "volume", **more: object
    ) -> UUID:
        made = SearchFinding(
            organisation_id=self.organisation,
            rule=rule,
            staff_id=searches[0].staff_id,
            searches=[one.id for one in searches],
            found_at=at,
            **more,
        )
        self.session.add(made)
        self.session.flush()
        return made.id

    def review(
        self, search: RegisterSearch, at: datetime, reviewer: UUID | None = None, **more: object
    ) -> UUID:
        values: dict[str, object] = {"due_at": at + 28 * 24 * HOUR}
        made = SearchReview(
            organisation_id=self.organisation,
            search_id=search.id,
            staff_id=search.staff_id,
            month=search.opened_at.date().replace(day=1),
            reviewer_id=reviewer,
            assigned_at=at,
            **(values | more),
        )
        self.session.add(made)
        self.session.flush()
        return made.id


def by_owner(engine: sa.Engine) -> sa.Engine:
    """The owner of the tables, on the database that somebody else is connected to."""
    cluster = client.ensure(Path(os.environ["LOCAL_DIR"]))
    url = sa.make_url(cluster.owner_database_url).set(database=engine.url.database)
    return sa.create_engine(url, poolclass=sa.NullPool)


@contextmanager
def lent(engine: sa.Engine) -> Iterator[None]:
    """The app may put in what otherwise only the gate and a worker do: for what is made in its own transaction."""
    owner = by_owner(engine)
    with owner.begin() as connection:
        missing = [
            table
            for table in (
                "investigations",
                "register_searches",
                "search_findings",
                "search_reviews",
                "register_figures",
            )
            if not connection.scalar(
                sa.text(f"SELECT has_table_privilege('wardlink_app', '{table}', 'INSERT')")
            )
        ]
        connection.execute(sa.text(f"GRANT INSERT ON {', '.join(missing)} TO wardlink_app"))
    try:
        yield
    finally:
        with owner.begin() as connection:
            connection.execute(sa.text(f"REVOKE INSERT ON {', '.join(missing)} FROM wardlink_app"))
        owner.dispose()


@dataclass(frozen=True, slots=True)
class Watched:
    """Something behind every address of whoever watches the register."""

    case: str
    case_id: UUID
    searches: tuple[UUID, ...]
    findings: tuple[UUID, ...]
    reviews: tuple[UUID, ...]


def watched(makes: Makes, registry: Registry, organisation: UUID, borough: str, now: datetime) -> Watched:
    """Searches of somebody in no team, found unusual and drawn for review; one finding and one review are done."""
    session = makes.session
    police = session.get_one(Organisation, organisation)
    searcher, judge = makes.officer(police, role=None), makes.officer(police, role=None)
    searcher.name, judge.name = "DC Lee Searcher", "Ann Auditor"
    session.flush()
    with lent(registry.engine):
        made = Register(session, organisation)
        square = [Pt(505_400, 183_900), Pt(505_800, 183_900), Pt(505_800, 184_300), Pt(505_400, 184_300)]
        shapes: list[dict[str, object]] = [
            {},
            {"kind": "area", "centre": None, "radius": None, "outline": square},
            {"kind": "route", "centre": None, "radius": 50.0, "route": square[:3]},
        ]
        searches = [
            made.search(searcher.id, now - n * HOUR, cells=range(n, n + 12), **more)
            for n, more in enumerate(shapes)
        ]
        done: dict[str, object] = {"note": "They work on a series of burglaries."}
        findings = [
            made.finding(searches, now),
            made.finding(
                searches[:1], now, "hours", state="explained", closed_at=now, closed_by=judge.id, **done
            ),
        ]
        given: dict[str, object] = {"verdict": "explain", "judged_by": judge.id, "judged_at": now}
        reviews = [
            made.review(searches[0], now),
            made.review(searches[1], now, judge.id, due_at=now - HOUR),
            made.review(searches[2], now, judge.id, **given, **done),
        ]
        for quarter, many in ((date(2026, 4, 1), 125), (date(2026, 7, 1), 180)):
            numbers = dict.fromkeys(FIGURES) | {
                "searches": many,
                "requests": 40,
                "answers": 35,
                "reviews": 10,
            }
            row = {"quarter": quarter, "borough_code": borough, "counted_at": now, **numbers}
            session.execute(insert(RegisterFigure).values(row).on_conflict_do_nothing())
    return Watched(
        "1234567/26",
        made.cases["1234567/26"],
        tuple(one.id for one in searches),
        tuple(findings),
        tuple(reviews),
    )
