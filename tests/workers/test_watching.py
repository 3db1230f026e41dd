"""The clock watches the register in the worker's own rights: findings, the draw, reminders, figures, each once."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import Pt, utc_now
from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.register_watch import RegisterFigure, SearchFinding, SearchPlace, SearchReview
from app.models.service_messages import ServiceMessage
from app.permissions import Role
from app.registry import Registry
from app.roles import libpq
from app.services.register import drawing, places
from tests.conftest import Database
from tests.factories import Makes
from tests.watching import Register, by_owner
from workers import housekeeping

HOUR = timedelta(hours=1)


def settle(app: Registry) -> tuple[Organisation, str, str]:
    """An organisation with an auditor; somebody there swept over much ground today, and searched a year long."""
    now = utc_now()
    with app.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        police.competent_authority = True
        _, ward, _ = makes.borough()
        makes.postcode(ward, "UB8 1UW")
        searcher, auditor = makes.officer(police, role=None), makes.officer(police, role=None)
        searcher.name = "DC Lee Searcher"
        makes.role(auditor, Role.AUDITOR)
    owner = by_owner(app.engine)
    with Session(owner) as session, session.begin():
        made = Register(session, police.id)
        shapes: list[dict[str, object]] = [
            {},
            {"kind": "route", "centre": None, "route": [Pt(505_000, 184_000), Pt(505_900, 184_000)]},
        ]
        for n in range(6):
            made.search(searcher.id, now - n * HOUR / 6, f"S/{n}", cells=range(n * 60, n * 60 + 60))
        before = places.before(places.quarter_of(now.date()))
        month = drawing.month_before(now)
        for n in range(12):
            on = month if n % 2 else before
            at = now.replace(year=on.year, month=on.month, day=1 + n, hour=12)
            made.search(searcher.id, at, f"O/{n}", **shapes[n % 2])
    owner.dispose()
    return police, searcher.name, auditor.email


def test_keeping_house_watches_the_register_and_again_finds_nothing_new(
    app: Registry, worker: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SEEN_AGAIN", timedelta(days=250))
    police, name, auditor = settle(app)

    def kept() -> dict[str, list[tuple[object, ...]]]:
        with app.sessions() as session:
            return {
                table.__tablename__: [
                    tuple(row)
                    for row in session.execute(sa.select(table.__table__).order_by(sa.text("1, 2")))
                ]
                for table in (SearchFinding, SearchReview, SearchPlace, RegisterFigure, ServiceMessage)
            }

    housekeeping.keep_house()
    first = kept()
    housekeeping.keep_house()
    assert kept() == first
    with app.sessions() as session:
        (found,) = session.scalars(sa.select(SearchFinding))
        assert (found.rule, found.told, found.organisation_id) == ("sweep", 1, police.id)
        reviews = session.scalars(sa.select(SearchReview)).all()
        assert len(reviews) >= 5
        assert session.scalar(sa.select(sa.func.count()).select_from(SearchPlace)) == 18
        assert session.scalar(sa.select(sa.func.max(RegisterFigure.searches))) in (5, 10)
        (message,) = session.scalars(sa.select(ServiceMessage))
        assert message.address == auditor
        assert name not in f"{message.subject} {message.text}"
        events = session.execute(
            sa.select(AuditEntry.event, sa.func.count())
            .where(AuditEntry.event.in_(["finding:raise", "review:draw"]))
            .group_by(AuditEntry.event)
        ).all()
        assert dict(events) == {"finding:raise": 1, "review:draw": 1}


def test_a_worker_reads_no_note_and_the_app_makes_no_finding_review_or_figure(
    committed: Database, app: Registry, worker: Registry
) -> None:
    urls = committed.environ()
    refused = {
        "WORKER_DATABASE_URL": [
            "SELECT note_enc FROM search_findings",
            "SELECT note_enc FROM search_reviews",
            "UPDATE search_findings SET state = 'explained'",
            "UPDATE search_reviews SET verdict = 'proper'",
            "UPDATE register_figures SET searches = 0",
            "INSERT INTO register_searches SELECT * FROM register_searches",
            "SELECT * FROM register.followed(gen_random_uuid())",
        ],
        "DATABASE_URL": [
            "INSERT INTO search_findings SELECT * FROM search_findings",
            "UPDATE search_findings SET searches = '{}'",
            "UPDATE search_findings SET staff_id = staff_id",
            "DELETE FROM search_findings",
            "INSERT INTO search_reviews SELECT * FROM search_reviews",
            "UPDATE search_reviews SET reviewer_id = NULL",
            "DELETE FROM search_reviews",
            "UPDATE register_figures SET searches = 0",
            "SELECT register.count_figures('2026-01-01', now())",
            "UPDATE search_withholdings SET until = now()",
            "DELETE FROM search_withholdings",
            "DELETE FROM staff_homes",
            "UPDATE staff_homes SET ward_code = 'E05000001'",
        ],
    }
    for url, statements in refused.items():
        with psycopg.connect(libpq(urls[url]), autocommit=True) as connection:
            for statement in statements:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
