"""Alarms: raised once, told by every route, told again while they last, and told when they are over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from app.models.audit import AuditEntry
from app.models.receipts import RawEvent
from app.models.service_messages import ServiceMessage
from app.models.sight import AlarmPost
from app.services import alarm_routes, alarm_watch, alarms, dispatch, heartbeats
from app.services.alarm_routes import Routes
from config.fields import Part
from tests.conftest import Database
from tests.factories import ACTOR, Makes

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
CODE, ABOUT = "urgent-stalled", "lane:urgent"
NOBODY = Routes((), (), False, 30 * MINUTE, "https://wards.example")
ALL = Routes(
    ("duty@police.example", "it@police.example"),
    ("+447700900123",),
    True,
    30 * MINUTE,
    "https://wards.example",
)


def told(session: Session) -> dict[str, int]:
    """How many tellings wait, by route."""
    found = dict(
        session.execute(
            sa.select(ServiceMessage.channel, sa.func.count())
            .where(ServiceMessage.kind == "alarm")
            .group_by("channel")
        ).all()
    )
    return found | {"webhook": session.scalar(sa.select(sa.func.count()).select_from(AlarmPost)) or 0}


def test_an_alarm_is_raised_once_and_its_figures_stay_fresh(session: Session) -> None:
    assert alarms.raise_(session, CODE, ABOUT, now=NOW, seconds=61)
    assert not alarms.raise_(session, CODE, ABOUT, now=NOW + SECOND, seconds=62)
    (one,) = alarms.opened(session)
    assert (one.code, one.subject, one.raised_at, one.detail) == (CODE, ABOUT, NOW, {"seconds": 62})
    assert alarms.raise_(session, CODE, "lane:other", now=NOW)
    assert alarms.counts(session) == {CODE: 2}
    events = session.scalars(sa.select(AuditEntry.subject).where(AuditEntry.event == "alarm:raise")).all()
    assert events == [f"alarm:{CODE}"] * 2


def test_an_alarm_that_no_runbook_knows_is_a_mistake_of_the_caller(session: Session) -> None:
    with pytest.raises(KeyError):
        alarms.raise_(session, "something-else", ABOUT)


def test_it_is_over_only_after_it_has_been_well_for_a_while(session: Session) -> None:
    alarms.raise_(session, CODE, ABOUT, now=NOW, seconds=61)
    assert not alarms.clear(session, CODE, ABOUT, now=NOW + SECOND)
    alarms.raise_(session, CODE, ABOUT, now=NOW + 20 * SECOND, seconds=70)  # it was not over at all
    assert not alarms.clear(session, CODE, ABOUT, now=NOW + 40 * SECOND)
    assert not alarms.clear(session, CODE, ABOUT, now=NOW + 60 * SECOND)
    assert alarms.clear(session, CODE, ABOUT, now=NOW + 70 * SECOND)
    assert not alarms.clear(session, CODE, ABOUT, now=NOW + 80 * SECOND)
    assert alarms.opened(session) == []
    (over,) = alarms.latest(session)
    assert over.cleared_at == NOW + 70 * SECOND
    assert session.scalars(sa.select(AuditEntry.subject).where(AuditEntry.event == "alarm:clear")).all() == [
        f"alarm:{CODE}"
    ]


def test_every_route_is_used_and_used_again_while_it_lasts_and_once_more_when_it_is_over(
    session: Session, makes: Makes
) -> None:
    makes.sender(makes.organisation(), "sms", lane="urgent")
    alarms.raise_(session, CODE, ABOUT, now=NOW, seconds=61)
    assert alarm_routes.tell(session, ALL, now=NOW) == 1
    assert told(session) == {"email": 2, "sms": 1, "webhook": 1}
    assert alarm_routes.tell(session, ALL, now=NOW + 29 * MINUTE) == 0
    assert alarm_routes.tell(session, ALL, now=NOW + 30 * MINUTE) == 1
    assert told(session) == {"email": 4, "sms": 2, "webhook": 2}
    alarms.clear(session, CODE, ABOUT, now=NOW + 31 * MINUTE)
    alarms.clear(session, CODE, ABOUT, now=NOW + 32 * MINUTE)
    assert alarm_routes.tell(session, ALL, now=NOW + 32 * MINUTE) == 1
    assert alarm_routes.tell(session, ALL, now=NOW + 90 * MINUTE) == 0
    assert told(session) == {"email": 6, "sms": 3, "webhook": 3}
    subjects = session.scalars(
        sa.select(ServiceMessage.subject)
        .where(ServiceMessage.channel == "email")
        .order_by(ServiceMessage.created_at)
    ).all()
    assert [s.partition(":")[0] for s in subjects if s][::2] == ["Alarm", "Still an alarm", "Over"]
    assert session.scalars(sa.select(AlarmPost.what).order_by(AlarmPost.id)).all() == [
        "raised",
        "again",
        "over",
    ]


def test_what_came_and_went_before_anybody_was_told_is_not_told(session: Session) -> None:
    alarms.raise_(session, CODE, ABOUT, now=NOW)
    alarms.clear(session, CODE, ABOUT, now=NOW + SECOND, calm=timedelta(0))
    assert alarm_routes.tell(session, ALL, now=NOW + 2 * SECOND) == 0


def test_without_a_route_it_is_an_error_in_the_log_and_stays_open(session: Session) -> None:
    alarms.raise_(session, CODE, ABOUT, now=NOW, seconds=61)
    with capture_logs() as lines:
        assert alarm_routes.tell(session, NOBODY, now=NOW) == 1
    assert [(x["log_level"], x["event"], x["told"]) for x in lines] == [("error", "alarm", False)]
    assert told(session) == {"webhook": 0}
    assert len(alarms.opened(session)) == 1


def test_a_text_without_any_sender_of_texts_is_said_in_the_log_and_stops_no_other_route(
    session: Session,
) -> None:
    alarms.raise_(session, CODE, ABOUT, now=NOW)
    with capture_logs() as lines:
        alarm_routes.tell(session, ALL, now=NOW)
    assert "alarm_without_sender" in {x["event"] for x in lines}
    assert told(session) == {"email": 2, "webhook": 1}


def test_what_is_told_says_what_to_do_and_names_nobody(session: Session, makes: Makes) -> None:
    makes.sender(makes.organisation(), "sms", lane="urgent")
    alarms.raise_(session, CODE, ABOUT, now=NOW, seconds=75)
    alarm_routes.tell(session, ALL, now=NOW)
    messages = session.scalars(sa.select(ServiceMessage).where(ServiceMessage.kind == "alarm")).all()
    mail = next(m for m in messages if m.channel == "email")
    assert mail.text
    for words in (
        "The urgent lane stands still",
        "seconds 75",
        "docs/runbook.md",
        "https://wards.example/status",
    ):
        assert words in mail.text
    text = next(m for m in messages if m.channel == "sms").text
    assert text == (
        "Wardlink. Alarm: The urgent lane stands still (lane:urgent). https://wards.example/status"
    )


def test_a_call_of_the_webhook_is_taken_by_one_worker_and_tried_for_a_day(committed: Database) -> None:
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        routes = Routes((), (), True, 30 * MINUTE, "https://wards.example")
        alarms.raise_(session, CODE, ABOUT, now=NOW)
        alarm_routes.tell(session, routes, now=NOW)
        (call,) = alarm_routes.calls_due(session, now=NOW, held_for=2 * MINUTE)
        assert alarm_routes.calls_due(session, now=NOW, held_for=2 * MINUTE) == []
        alarm_routes.called(session, call, now=NOW, problem="503")
        assert not alarm_routes.any_due(session, now=NOW + 9 * SECOND)
        assert alarm_routes.any_due(session, now=NOW + 10 * SECOND)
        at, waits = NOW, []
        for _ in range(200):
            later = session.scalar(sa.select(AlarmPost.not_before).where(AlarmPost.closed_at.is_(None)))
            if later is None:
                break
            waits.append((later - at).total_seconds())
            at = later
            (call,) = alarm_routes.calls_due(session, now=at, held_for=2 * MINUTE)
            alarm_routes.called(session, call, now=at, problem="OSError")
        assert waits[:4] == [10, 20, 40, 80]
        assert max(waits) == 900
        post = session.scalars(sa.select(AlarmPost)).one()
        assert (post.outcome, post.reason) == ("given-up", "OSError")
        assert timedelta(hours=24) < at - NOW < timedelta(hours=25)
    worker.engine.dispose()


# -- what raises them
def well(committed: Database) -> None:
    """A worker lives and the scheduler leads."""
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        for kind in ("scheduler", "urgent"):
            heartbeats.beat(session, kind, "host", uuid4(), queue_away=False)
    worker.engine.dispose()


def looked(committed: Database, change: str = "") -> list[tuple[str, str]]:
    """One look after a change of the rows, by the worker's role: the alarms that are open then."""
    admin = sa.create_engine(
        committed.admin.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    with admin.begin() as connection:
        for statement in filter(str.strip, change.split(";")):
            connection.execute(sa.text(statement))
    worker = committed.open(Part.WORKER)
    try:
        with worker.sessions.begin() as session:
            assert alarm_watch.watch(session, NOBODY)
        with worker.sessions() as session:
            return [(a.code, a.subject) for a in alarms.opened(session)]
    finally:
        worker.engine.dispose()


CALM = "UPDATE alarms SET over_since = over_since - interval '1 minute' WHERE over_since IS NOT NULL"


def test_a_healthy_service_raises_nothing_and_neither_does_an_empty_one(committed: Database) -> None:
    assert looked(committed) == []
    well(committed)
    assert looked(committed) == []


def test_a_silent_scheduler_is_an_alarm_and_so_is_one_that_never_was(committed: Database) -> None:
    well(committed)
    age = "UPDATE heartbeats SET at = at - interval '{} seconds', began_at = began_at - interval '1 minute'"
    assert looked(committed, age.format(29)) == []
    assert looked(committed, age.format(2)) == [("scheduler-silent", "process:scheduler")]
    # Between the two heights nothing changes.
    assert looked(committed, "UPDATE heartbeats SET at = now() - interval '15 seconds'") != []
    assert looked(committed, "UPDATE heartbeats SET at = now()") != []
    assert looked(committed, "UPDATE heartbeats SET at = now();" + CALM) == []
    assert looked(committed, "DELETE FROM heartbeats WHERE kind = 'scheduler'") == [
        ("scheduler-silent", "process:scheduler")
    ]


def test_an_urgent_batch_that_nobody_takes_is_an_alarm_but_not_one_that_must_wait_or_was_stopped(
    committed: Database,
) -> None:
    well(committed)
    app = committed.open(Part.APP)
    with app.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.sender(police, lane="urgent")
        _, ward, _ = makes.borough()
        makes.resident(police, ward)
        alert = makes.alert(police, [ward], urgency="urgent", kind="alert")
        session.flush()
        sent = dispatch.send(
            session, alert.id, token="a good token", actor=ACTOR, public_url="https://x.example"
        ).id
    app.engine.dispose()
    assert looked(committed) == []
    stalled = ("urgent-stalled", "lane:urgent")
    older = "UPDATE dispatches SET frozen_at = frozen_at - interval '61 seconds';"
    assert looked(committed, older) == []  # its batches wait for their own time
    past = f"UPDATE batches SET not_before = now() - interval '61 seconds' WHERE dispatch_id = '{sent}'"
    assert looked(committed, past) == [stalled]
    assert looked(committed, "UPDATE batches SET not_before = now() + interval '1 hour'") == [stalled]
    assert looked(committed, CALM) == []
    assert looked(committed, past) == [stalled]
    moved = (
        "INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, closed_at, "
        "outcome, lease_token) SELECT dispatch_id, n, 1, 'sendgrid', sender_id, 1, 1, now(), 'taken', "
        "gen_random_uuid() FROM batches"
    )
    assert looked(committed, moved) == [stalled]  # its sender carries others at its own pace
    assert looked(committed, CALM) == []
    assert looked(committed, "UPDATE attempts SET closed_at = now() - interval '31 seconds'") == [stalled]
    assert looked(committed, "UPDATE attempts SET closed_at = now(), outcome = 'not_taken'") == [stalled]
    assert looked(committed, "UPDATE dispatches SET state = 'stopped', stopped_at = now()") == [stalled]
    assert looked(committed, CALM) == []


def test_receipts_and_entries_that_wait_too_long_are_alarms(committed: Database) -> None:
    well(committed)
    app = committed.open(Part.APP)
    with app.sessions.begin() as session:
        session.add(RawEvent(source="sendgrid", body="[]"))
        alarms.test(session, actor=ACTOR, now=NOW)  # anything that is on the record
    app.engine.dispose()
    assert looked(committed) == []
    assert looked(committed, "UPDATE raw_events SET received_at = now() - interval '121 seconds'") == [
        ("receipts-behind", "lane:receipts")
    ]
    late = (
        "ALTER TABLE audit_entries DISABLE TRIGGER ALL; UPDATE audit_entries SET at = now() - interval '61 seconds';"
        "ALTER TABLE audit_entries ENABLE TRIGGER ALL"
    )
    assert ("sealer-behind", "process:sealer") in looked(committed, late)


def test_a_queue_that_is_away_for_a_process_that_lives_is_an_alarm(committed: Database) -> None:
    well(committed)
    away = "UPDATE heartbeats SET queue_away_since = now() - interval '31 seconds' WHERE kind = 'urgent';"
    assert looked(committed, away) == [("queue-away", "queue:redis")]
    gone = "UPDATE heartbeats SET at = now() - interval '10 minutes' WHERE kind = 'urgent'"
    assert looked(committed, gone) == [("queue-away", "queue:redis")]  # its last word no longer counts
    assert looked(committed, CALM) == []


def test_doubt_that_stays_is_an_alarm_and_doubt_that_receipts_settle_is_none(committed: Database) -> None:
    worker = committed.open(Part.WORKER)

    def grown(*samples: tuple[float, int], doubt: int) -> int:
        with worker.sessions() as session:
            for minutes, n in samples:
                session.execute(
                    sa.text("INSERT INTO doubt_samples (at, in_doubt) VALUES (:at, :n)"),
                    {"at": NOW - minutes * MINUTE, "n": n},
                )
            found = alarm_watch.growth(session, doubt, NOW)
            session.rollback()
            return found

    assert grown(doubt=5_000) == 0  # nobody knows yet what was before
    assert grown((20, 0), (1.5, 5_000), doubt=5_000) == 0
    assert grown((14, 10), (5, 10), (1.5, 5_000), (0.5, 5_000), doubt=5_000) == 4_990
    assert grown((14, 10), (5, 5_000), (1.5, 5_000), (0.5, 12), doubt=12) == 2
    assert grown((14, 10), (5, 10), (1.5, 10), (0.5, 5_000), doubt=5_000) == 0  # not for two minutes yet
    assert grown((14, 500), (5, 400), (1, 300), doubt=300) == -200
    worker.engine.dispose()


def test_a_provider_that_is_down_is_an_alarm_until_it_is_up(committed: Database) -> None:
    well(committed)
    state = (
        "INSERT INTO provider_states (channel, provider, place, state) VALUES ('sms', 'twilio', 0, 'down')"
    )
    down = [("provider-down", "provider:sms-twilio")]
    assert looked(committed, state) == down
    assert looked(committed, "UPDATE provider_states SET state = 'trying';" + CALM) == down
    assert looked(committed, "UPDATE provider_states SET state = 'up'") == down
    assert looked(committed, CALM) == []


def test_a_provider_that_nobody_needs_or_that_was_taken_out_is_an_alarm_no_more(committed: Database) -> None:
    well(committed)
    state = (
        "INSERT INTO provider_states (channel, provider, place, state) VALUES ('sms', 'twilio-2', 1, 'down')"
    )
    down = [("provider-down", "provider:sms-twilio-2")]
    assert looked(committed, state) == down
    long_ago = "UPDATE provider_states SET state = 'trying', since = now() - interval '11 minutes';"
    assert looked(committed, long_ago) == down
    assert looked(committed, CALM) == []
    assert looked(committed, "UPDATE provider_states SET state = 'down', since = now()") == down
    assert looked(committed, "DELETE FROM provider_states") == down
    assert looked(committed, CALM) == []


def test_a_brake_is_an_alarm_until_a_human_releases_it(committed: Database) -> None:
    well(committed)
    pulled = (
        "INSERT INTO brakes (domain, why, accepted, complained, bounced) "
        "VALUES ('police.example', 'complaints', 5000, 6, 0)"
    )
    assert looked(committed, pulled) == [("brake-pulled", "domain:police.example")]
    assert (
        looked(committed, "UPDATE brakes SET released_at = now(), released_by = 'x', release_why = 'y'") == []
    )


def test_a_limit_that_is_nearly_used_up_is_an_alarm(committed: Database) -> None:
    well(committed)
    app = committed.open(Part.APP)
    with app.sessions.begin() as session:
        police = Makes(session).organisation()
        slug = police.slug
    app.engine.dispose()
    limit = f"INSERT INTO organisation_limits SELECT id, 'month', 'pence', 1000 FROM organisations WHERE slug = '{slug}';"
    spent = (
        "INSERT INTO spend_counters SELECT id, 'month', CAST(date_trunc('month', now() AT TIME ZONE 'Europe/London') "
        f"AS date), 0, 0, 89900 FROM organisations WHERE slug = '{slug}'"
    )
    assert looked(committed, limit + spent) == []
    near = [("cap-near", f"limit:{slug}/month/pence")]
    assert looked(committed, "UPDATE spend_counters SET cost = 90000") == near
    assert looked(committed, "UPDATE spend_counters SET cost = 85000;" + CALM) == near
    looked(committed, "UPDATE organisation_limits SET most = 2000")
    assert looked(committed, CALM) == []


def test_two_do_not_look_at_once(committed: Database) -> None:
    one, other = committed.open(Part.WORKER), committed.open(Part.WORKER)
    with one.sessions.begin() as first, other.sessions.begin() as second:
        assert alarm_watch.watch(first, NOBODY)
        assert not alarm_watch.watch(second, NOBODY)
    for opened in (one, other):
        opened.engine.dispose()


def test_what_has_had_its_time_goes_once_a_minute(committed: Database) -> None:
    well(committed)
    old = (
        "UPDATE heartbeats SET at = now() - interval '25 hours' WHERE kind = 'urgent';"
        "INSERT INTO doubt_samples VALUES (now() - interval '49 hours', 1);"
        "INSERT INTO alarms (code, subject, raised_at, cleared_at) VALUES "
        "('test', 'old', now(), now() - interval '401 days'), ('test', 'young', now(), now() - interval '399 days')"
    )
    looked(committed, old)
    worker = committed.open(Part.WORKER)
    with worker.sessions() as session:
        left = [
            session.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("heartbeats", "doubt_samples", "alarms")
        ]
    worker.engine.dispose()
    assert left == [1, 1, 1]
