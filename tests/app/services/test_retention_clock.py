"""The retention clock: each class goes in its time, each run is reported, and one that does not run is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.consent import Consent
from app.models.replies import Reply
from app.models.retention import RetentionRun
from app.models.service_messages import ServiceMessage
from app.models.sign_in import Ceremony
from app.registry import Registry, metadata
from app.services import alarm_watch, alarms, consent, people, retention, retention_runs
from app.services.alarm_routes import Routes
from config.fields import PROJECT, Part
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from workers import housekeeping

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NOBODY = Routes((), (), False, 30 * MINUTE, "https://wards.example")
BY_NAME = {one.name: one for one in retention.CLASSES}


@pytest.fixture
def session(database: Database, registry: object) -> Iterator[Session]:
    """What the app writes and what the worker removes, in one transaction."""
    with ledger.by_anybody(database) as both:
        yield both


# -- the table
def test_the_runbook_prints_the_table() -> None:
    assert "\n".join(retention.printed()) in (PROJECT / "docs/runbook.md").read_text(encoding="utf-8")


def test_every_class_is_a_table_and_stands_there_once() -> None:
    assert len(BY_NAME) == len(retention.CLASSES)
    assert set(BY_NAME) <= set(metadata.tables)


def test_how_long_is_said_as_it_is_done() -> None:
    assert BY_NAME["raw_events"].spoken == "30 days after it came"
    assert BY_NAME["rate_counters"].spoken == "1 hour after its window ended"
    assert BY_NAME["web_sessions"].spoken == "until they expire"


@pytest.mark.parametrize(
    "one", [c for c in retention.CLASSES if isinstance(c, retention.Kept)], ids=lambda c: c.name
)
def test_the_oldest_are_found_by_an_index(session: Session, one: retention.Kept) -> None:
    """Without one, each hour would read the whole table."""
    session.execute(sa.text("SET LOCAL enable_seqscan = off"))
    session.execute(sa.text("SET LOCAL enable_sort = off"))
    plan = session.execute(
        sa.text(
            f"EXPLAIN SELECT {one.key} FROM {one.name} WHERE {one.until} < '2026-01-01' AND {one.where} "
            f"ORDER BY {one.until} LIMIT 5"
        )
    ).scalars()
    text = "\n".join(plan)
    assert "Index" in text, text
    assert "Seq Scan" not in text, text
    assert "Sort" not in text, text


# -- classes that are new
def test_evidence_of_consent_goes_two_years_after_it_ended_and_a_consent_that_names_anybody_never(
    session: Session,
) -> None:
    makes = Makes(session)
    makes.wording()
    police = makes.organisation()
    gone, stays, left = (makes.contact() for _ in range(3))
    for one in (gone, stays, left):
        consent.give(session, one, police.id, how="test", actor=ACTOR)
    consent.leave(session, left.id, police.id, how="page", actor=ACTOR)
    people.erase(session, gone.id, actor=ACTOR)
    ended = session.scalars(sa.select(Consent.withdrawn_at).where(Consent.contact_id.is_(None))).one()
    kept = BY_NAME["consents"]
    assert kept.purge(session, now=ended + retention.EVIDENCE_KEPT - MINUTE) == 0
    assert kept.purge(session, now=ended + retention.EVIDENCE_KEPT + MINUTE) == 1
    assert set(session.scalars(sa.select(Consent.contact_id))) == {stays.id, left.id}


def test_no_worker_can_delete_a_consent_that_names_somebody(committed: Database) -> None:
    app = committed.open(Part.APP)
    with app.sessions.begin() as session:
        makes = Makes(session)
        makes.wording()
        contact, police = makes.contact(), makes.organisation()
        consent.give(session, contact, police.id, how="test", actor=ACTOR)
    app.engine.dispose()
    url = committed.environ()["WORKER_DATABASE_URL"].replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute("DELETE FROM consents")


def test_threads_go_only_when_they_were_closed_for_long(session: Session) -> None:
    makes = Makes(session)
    police, contact = makes.organisation(), makes.contact()
    old = NOW - retention.REPLIES_KEPT
    for state, closed in (("closed", old - DAY), ("closed", old + DAY), ("new", None)):
        alert = makes.alert(police, [makes.borough()[0]])
        session.add(
            Reply(
                controller_id=police.id,
                alert_id=alert.id,
                contact_id=contact.id,
                state=state,
                closed_at=closed,
            )
        )
    session.flush()
    assert BY_NAME["replies"].purge(session, now=NOW) == 1
    assert sorted(session.scalars(sa.select(Reply.state))) == ["closed", "new"]


def test_what_was_asked_of_somebody_signing_in_goes_when_it_expires(session: Session) -> None:
    for n, at in enumerate((NOW - MINUTE, NOW + MINUTE)):
        session.add(Ceremony(digest=bytes([n]), kind="oidc", expires_at=at))
    session.flush()
    assert BY_NAME["sign_in_ceremonies"].purge(session, now=NOW) == 1


# -- the report
def message(controller: object, created: datetime) -> ServiceMessage:
    return ServiceMessage(
        kind="help",
        channel="email",
        state="sent",
        controller_id=controller,
        created_at=created,
        expires_at=created,
    )


def test_a_run_is_reported_and_each_organisation_sees_its_own_figures_alone(session: Session) -> None:
    makes = Makes(session)
    mine, theirs = makes.organisation().id, makes.organisation().id
    for controller, ages in ((mine, (31, 40, 3)), (theirs, (50, 20)), (None, (60,))):
        session.add_all(message(controller, NOW - age * DAY) for age in ages)
    session.flush()
    one = BY_NAME["service_messages"]
    gone = one.purge(session, now=NOW)
    retention.note_run(session, one, gone, now=NOW)
    assert gone == 4

    def line(organisation: object) -> retention_runs.Line:
        found = retention_runs.report(session, retention.OWNED, organisation)  # type: ignore[arg-type]
        assert found is not None and found.day == NOW.date()
        (only,) = (line for line in found.lines if line.name == "service_messages")
        return only

    assert (line(None).removed, line(None).oldest_left) == (4, NOW - 20 * DAY)
    assert (line(mine).removed, line(mine).oldest_left) == (2, NOW - 3 * DAY)
    assert (line(theirs).removed, line(theirs).oldest_left) == (1, NOW - 20 * DAY)
    later = NOW + timedelta(hours=1)
    retention.note_run(session, one, one.purge(session, now=later), now=later)
    assert line(None).removed == 4, "the day's, added up"
    assert line(None).ran_at == later


def test_the_days_of_the_report_lead_to_each_other(session: Session) -> None:
    one = BY_NAME["raw_events"]
    for days in (0, 1, 5):
        retention.note_run(session, one, days, now=NOW - days * DAY)
    last = retention_runs.report(session, retention.OWNED)
    assert last is not None
    assert (last.day, last.earlier, last.later) == (NOW.date(), (NOW - DAY).date(), None)
    between = retention_runs.report(session, retention.OWNED, day=(NOW - 3 * DAY).date())
    assert between is not None
    assert (between.day, between.earlier) == ((NOW - 5 * DAY).date(), None)
    assert between.later == (NOW - DAY).date()
    assert retention_runs.report(session, retention.OWNED, day=(NOW - 9 * DAY).date()) is None


def test_keeping_house_reports_every_class_once_a_day(committed: Database, worker: Registry) -> None:
    housekeeping.keep_house()
    housekeeping.keep_house()
    with worker.sessions() as session:
        runs = session.scalars(sa.select(RetentionRun).where(RetentionRun.organisation_id.is_(None))).all()
        assert {run.name for run in runs} == set(BY_NAME)
        assert len(runs) == len(BY_NAME)
        assert all(run.ran_at for run in runs)
        assert retention_runs.overdue(session, list(BY_NAME), now=datetime.now(UTC)) == {}


# -- the alarm
def open_codes(session: Session) -> set[tuple[str, str]]:
    return {(one.code, one.subject) for one in alarms.opened(session) if one.code == "retention-stopped"}


def test_a_class_that_did_not_run_for_two_days_is_an_alarm_until_it_runs(session: Session) -> None:
    def look(now: datetime) -> set[tuple[str, str]]:
        assert alarm_watch.watch(session, NOBODY, now=now)
        return open_codes(session)

    assert look(NOW) == set(), "a new service has two days to begin"
    for one in retention.CLASSES:
        if one.name != "signups":  # this one was never run
            retention.note_run(session, one, 0, now=NOW)
    assert look(NOW + 2 * DAY - MINUTE) == set()
    late = look(NOW + 2 * DAY + timedelta(hours=13))
    assert ("retention-stopped", "class:signups") in late
    assert len(late) == len(retention.CLASSES)
    then = NOW + 3 * DAY
    for one in retention.CLASSES[1:]:
        retention.note_run(session, one, 0, now=then)
    look(then + MINUTE)
    assert look(then + 2 * MINUTE) == {("retention-stopped", "class:deliveries")}
