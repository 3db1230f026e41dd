"""What machines and administrators may see of the service, and that none of it is about a person."""

from __future__ import annotations

import io
from collections.abc import Iterator
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from prometheus_client.parser import text_string_to_metric_families

from app import logs, migrate
from app.db import utc_now
from app.models.receipts import RawEvent
from app.services import alarm_routes, alarm_watch, alarms, heartbeats, sight
from app.services.alarm_routes import Routes
from app.web import health
from app.web.admin import runbook
from app.web.admin.status import lasting
from config.fields import Part
from tests.app.web.conftest import Site, open_site
from tests.conftest import Database
from tests.factories import Makes
from tests.populated import Populated, populate

SECRET = "a-token-of-the-tests"
OUTSIDE = {"REMOTE_ADDR": "203.0.113.9"}


def figures(site: Site, **more: object) -> dict[tuple[str, ...], float]:
    """(name, label, value …) → figure, as Prometheus's own parser reads the answer."""
    answer = site.client.get("/metrics", **more)
    assert answer.status_code == 200
    return {
        (s.name.removeprefix("wardlink_"), *(v for _, v in sorted(s.labels.items()))): s.value
        for family in text_string_to_metric_families(answer.text)
        for s in family.samples
    }


def admin(database: Database, statement: str) -> None:
    """As the superuser: what a test does to time."""
    engine = sa.create_engine(
        database.admin.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def beat(database: Database, *kinds: str) -> None:
    worker = database.open(Part.WORKER)
    with worker.sessions.begin() as session:
        for kind in kinds:
            heartbeats.beat(session, kind, "host-1", uuid4(), queue_away=False)
    worker.engine.dispose()


@pytest.fixture
def filled(site: Site) -> Populated:
    with site.registry.sessions.begin() as session:
        return populate(Makes(session), site.registry)


@pytest.fixture
def outside(committed: Database) -> Iterator[Site]:
    opened = open_site(committed, METRICS_TOKEN=SECRET)
    yield opened
    opened.registry.engine.dispose()


# -- health
def test_a_site_with_tables_of_before_is_not_ready_and_one_with_tables_to_come_is(
    site: Site, committed: Database
) -> None:
    assert site.client.get("/health/ready").get_json()["tables"] == "ok"
    admin(committed, "UPDATE alembic_version SET version_num = '0002'")
    answer = site.client.get("/health/ready")
    assert (answer.status_code, answer.get_json()["status"], answer.get_json()["tables"]) == (
        503,
        "away",
        "behind",
    )
    admin(committed, "DELETE FROM alembic_version")
    assert site.client.get("/health/ready").status_code == 503
    admin(committed, "INSERT INTO alembic_version VALUES ('9999')")
    answer = site.client.get("/health/ready")
    assert (answer.status_code, answer.get_json()["tables"]) == (200, "ahead")


def test_a_database_without_any_tables_is_not_ready(site: Site, committed: Database) -> None:
    admin(committed, "DROP TABLE alembic_version")
    answer = site.client.get("/health/ready")
    assert (answer.status_code, answer.get_json()["database"]) == (503, "away")


def test_the_revisions_known_by_their_files_are_those_that_alembic_knows() -> None:
    known = [r.revision for r in ScriptDirectory.from_config(migrate.configuration()).walk_revisions()]
    assert list(health.revisions()) == sorted(known)
    assert ScriptDirectory.from_config(migrate.configuration()).get_heads() == [health.revisions()[-1]]


def test_a_silent_scheduler_makes_a_site_degraded_and_not_unready(site: Site, committed: Database) -> None:
    beat(committed, "scheduler", "urgent")
    assert site.client.get("/health/ready").get_json()["scheduler"] == "ok"
    admin(committed, "UPDATE heartbeats SET at = now() - interval '31 seconds' WHERE kind = 'scheduler'")
    answer = site.client.get("/health/ready")
    assert answer.status_code == 200
    assert (answer.get_json()["status"], answer.get_json()["scheduler"]) == ("degraded", "silent")


def test_health_is_told_in_lines_to_whoever_asks_for_text(site: Site) -> None:
    for path, first in (("/health/live", "status ok"), ("/health/ready", "status ok")):
        answer = site.client.get(path, headers={"Accept": "text/plain"})
        assert (answer.mimetype, answer.text.splitlines()[0]) == ("text/plain", first)
        assert site.client.get(path, headers={"Accept": "*/*"}).mimetype == "application/json"


def test_health_does_not_tell_strangers_whether_anybody_is_alarmed(committed: Database) -> None:
    told = open_site(committed, ALARM_EMAILS="duty@police.example")
    assert set(told.client.get("/health/ready").get_json()) == {
        "status", "database", "tables", "scheduler", "queue",
    }  # fmt: skip
    told.registry.engine.dispose()


# -- metrics
def test_metrics_are_for_private_networks_and_not_by_a_proxys_word(site: Site) -> None:
    assert site.client.get("/metrics").status_code == 200
    for address in ("10.1.2.3", "192.168.0.7", "::1", "fd00::1"):
        assert site.client.get("/metrics", environ_base={"REMOTE_ADDR": address}).status_code == 200
    for address in ("203.0.114.9", "8.8.8.8", "2a00:1450::1", "x", ""):
        answer = site.client.get("/metrics", environ_base={"REMOTE_ADDR": address})
        assert (answer.status_code, "wardlink_" in answer.text) == (404, False)
    # A proxy that PROXIES does not count: everybody would look like this machine.
    for header in ("X-Forwarded-For", "Forwarded"):
        assert site.client.get("/metrics", headers={header: "for=10.0.0.1"}).status_code == 404


def test_behind_a_proxy_the_address_that_it_forwards_decides(committed: Database) -> None:
    behind = open_site(committed, PROXIES="1")
    for address, status in (("10.0.0.8", 200), ("8.8.8.8", 404), ("10.0.0.8, 8.8.8.8", 404)):
        assert behind.client.get("/metrics", headers={"X-Forwarded-For": address}).status_code == status
    behind.registry.engine.dispose()


def test_where_a_token_is_set_it_alone_opens_the_metrics(outside: Site) -> None:
    for value in (None, "", "Bearer", "Bearer x", f"Basic {SECRET}", f"Bearer {SECRET}x", "Bearer é"):
        headers = {} if value is None else {"Authorization": value}
        assert outside.client.get("/metrics", headers=headers).status_code == 404
        assert outside.client.get("/metrics", headers=headers, environ_base=OUTSIDE).status_code == 404
    right = {"Authorization": f"Bearer {SECRET}"}
    assert outside.client.get("/metrics", headers=right, environ_base=OUTSIDE).status_code == 200


def test_an_empty_service_has_every_figure_at_nought(site: Site) -> None:
    found = figures(site)
    assert found["database_up",] == 1
    assert found["queue_up",] == 1
    for lane in ("urgent", "bulk"):
        for name in ("batches_waiting", "batches_ready", "batches_claimed", "queue_oldest_seconds"):
            assert found[name, lane] == 0
    for code in alarms.CODES:
        assert found["alarms_open", code] == 0
    assert sum(v for k, v in found.items() if k[0] == "recipients_day") == 0
    for name in ("receipts_lag_seconds", "sealer_lag_seconds", "service_messages_due", "brakes_pulled"):
        assert found[name,] == 0


def test_figures_are_those_of_the_rows(site: Site, filled: Populated, committed: Database) -> None:
    beat(committed, "scheduler", "urgent", "bulk", "bulk")
    admin(committed, "UPDATE heartbeats SET at = now() - interval '10 minutes' WHERE kind = 'urgent'")
    with site.registry.sessions.begin() as session:
        session.add_all(RawEvent(source="sendgrid", body="[]") for _ in range(3))
        waiting = session.execute(
            sa.text("SELECT count(*) FROM batches WHERE lane = 0 AND state = 'waiting'")
        ).scalar()
        unsealed = session.execute(sa.text("SELECT waiting FROM unsealed(10000)")).scalar_one()
    admin(
        committed,
        "UPDATE raw_events SET received_at = now() - interval '90 seconds' "
        "WHERE id = (SELECT min(id) FROM raw_events)",
    )
    admin(
        committed,
        "UPDATE batches SET accepted = 3, delivered = 2, in_doubt = 1 WHERE channel = 'email' AND lane = 0",
    )
    found = figures(site)
    assert found["batches_waiting", "urgent"] == waiting > 0
    assert found["recipients_day", "email", "sendgrid", "accepted"] == 3
    assert found["recipients_day", "email", "sendgrid", "in_doubt"] == 1
    assert found["in_doubt", "email"] == 1
    assert found["in_doubt_growth",] == 0
    assert found["receipts_waiting",] == 3
    assert 90 <= found["receipts_lag_seconds",] < 150
    assert found["unsealed_entries",] == unsealed > 0
    assert found["processes", "bulk"] == 2
    assert found["processes", "urgent"] == 0
    assert found["heartbeat_age_seconds", "urgent"] >= 600
    assert found["heartbeat_age_seconds", "scheduler"] < 60
    assert ("heartbeat_age_seconds", "sealer") not in found


def test_failures_fall_into_classes_and_never_bring_their_own_words(
    site: Site, filled: Populated, committed: Database
) -> None:
    reasons = {
        "connect-timeout": "connection", "reset": "connection", "timeout": "timeout", "429": "rate-limited",
        "20429": "rate-limited", "503": "provider-error", "account": "account", "21211": "refused-request",
        "400": "refused-request", "unreadable": "unreadable", "worker lost": "worker-lost",
        "jo.bloggs@people.example is away": "other", "": "other",
    }  # fmt: skip
    for n, reason in enumerate(reasons, 1):
        admin(
            committed,
            "INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, closed_at, "
            "outcome, reason, lease_token) SELECT dispatch_id, n, "
            f"{900 + n}, 'twilio', sender_id, 1, 1, now(), 'not_taken', '{reason}', gen_random_uuid() "
            "FROM batches ORDER BY dispatch_id, n LIMIT 1",
        )
    found = figures(site)
    for kind in sight.CLASSES:
        wanted = list(reasons.values()).count(kind)
        assert found["failures_hour", kind, "twilio"] == wanted, kind
    assert found["attempts_hour", "not_taken", "twilio"] == len(reasons)


def test_every_provider_that_can_be_chosen_has_its_label() -> None:
    from app import providers

    names = {getattr(providers, n) for n in ("SENDGRID", "SMTP", "TWILIO", "SECOND_TWILIO", "NOTIFY")}
    assert names == set(sight.PROVIDERS)
    assert sight.known("Jo Bloggs's own provider") == "other"


def test_without_a_database_a_scrape_says_that(database: Database) -> None:
    site = open_site(database, DATABASE_URL="postgresql+psycopg://nobody:x@127.0.0.1:1/none")
    assert figures(site) == {("database_up",): 0.0}


# -- the status page
def test_the_status_page_is_for_staff_alone(site: Site, filled: Populated) -> None:
    for path in ("/status", "/status/figures", "/status/alarms/urgent-stalled"):
        assert site.client.get(path).headers["Location"] == "/staff/sign-in"
    site.enter(staff=filled.staff(site.registry))
    page = site.client.get("/status")
    assert page.status_code == 200
    for words in (
        "No alarm is open",
        "Nobody is told",
        "Urgent lane",
        "Providers",
        "Processes",
        "Senders",
    ):
        assert words in page.text
    assert site.client.get("/status/alarms/no-such").status_code == 404
    assert site.client.get("/status/figures").get_json()["summary"] == "No alarm is open"


def test_an_alarm_that_did_not_arrive_is_told_on_the_page(
    site: Site, filled: Populated, committed: Database
) -> None:
    told = open_site(committed, ALARM_EMAILS="duty@police.example")
    with told.registry.sessions.begin() as session:
        alarms.raise_(session, "queue-away", "queue:redis", seconds=40)
        alarm_routes.tell(session, Routes.of(told.registry.settings), now=utc_now())
    told.enter(staff=filled.staff(site.registry))
    assert "Not every alarm" not in told.client.get("/status").text
    admin(committed, "UPDATE service_messages SET state = 'refused', reason = 'stopped' WHERE kind = 'alarm'")
    page = told.client.get("/status").text
    assert "1 by e-mail refused (stopped)" in page
    assert "duty@" not in page
    told.registry.engine.dispose()


def test_open_alarms_stand_there_with_what_to_do(site: Site, filled: Populated, committed: Database) -> None:
    beat(committed, "scheduler", "back")
    with site.registry.sessions.begin() as session:
        alarms.raise_(session, "urgent-stalled", "lane:urgent", seconds=75)
    site.enter(staff=filled.staff(site.registry))
    page = site.client.get("/status").text
    assert "1 alarm is open" in page
    for words in ("The urgent lane stands still", "seconds 75", "/status/alarms/urgent-stalled", "host-1"):
        assert words in page
    with site.registry.sessions.begin() as session:
        alarms.clear(session, "urgent-stalled", "lane:urgent", calm=alarms.CALM * 0)
    assert "Alarms that are over" in site.client.get("/status").text


def test_another_organisations_limits_are_not_shown(site: Site, filled: Populated) -> None:
    with site.registry.sessions.begin() as session:
        for slug in (filled.slug, "another-force"):
            alarms.raise_(session, "cap-near", f"limit:{slug}/day/segments", now=utc_now(), percent=95)
    site.enter(staff=filled.staff(site.registry))
    page = site.client.get("/status").text
    assert f"limit:{filled.slug}/day/segments" in page
    assert "another-force" not in page


@pytest.mark.parametrize("code", sorted(set(alarms.CODES) - {alarms.TEST}))
def test_the_runbook_has_a_section_for_every_alarm(code: str) -> None:
    section = runbook.sections()[code]
    for words in ("What it means", "How to look", "What to do", "When it is over"):
        assert f"<strong>{words}.</strong>" in section, (code, words)
    assert "<h" not in section
    assert 'href="' not in section or 'href="http' in section


def test_the_runbook_has_no_section_for_an_alarm_that_there_is_not() -> None:
    assert set(runbook.sections()) == set(alarms.CODES) - {alarms.TEST}


def test_the_site_shows_what_the_runbook_says_of_an_alarm(site: Site, filled: Populated) -> None:
    site.enter(staff=filled.staff(site.registry))
    assert str(runbook.sections()["urgent-stalled"]) in site.client.get("/status/alarms/urgent-stalled").text
    assert "Somebody asked for a test" in site.client.get("/status/alarms/test").text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1.9, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7_300, "2 hours"),
     (90_000, "1 day"), (200_000, "2 days")],
)  # fmt: skip
def test_how_long_something_lasts_is_said_in_words(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


# -- nobody in it
def test_nothing_of_anybody_appears_in_metrics_status_health_or_logs(
    site: Site, filled: Populated, committed: Database
) -> None:
    ours = ("duty.sergeant@police.example", "+447700900999")
    told = open_site(committed, ALARM_EMAILS=ours[0], ALARM_MOBILES=ours[1])
    beat(committed, "scheduler", "urgent")
    admin(committed, "UPDATE heartbeats SET at = now() - interval '5 minutes'")
    admin(committed, "UPDATE batches SET not_before = now() - interval '5 minutes', in_doubt = 2")
    admin(committed, "UPDATE dispatches SET frozen_at = now() - interval '5 minutes'")
    admin(committed, "UPDATE attempts SET reason = 'resident1@people.example'")
    stream = io.StringIO()
    logs.set_up("debug", "json", stream)
    try:
        worker = committed.open(Part.WORKER, ALARM_EMAILS=ours[0], ALARM_MOBILES=ours[1])
        with worker.sessions.begin() as session:
            assert alarm_watch.watch(session, Routes.of(worker.settings))
        worker.engine.dispose()
        told.enter(staff=filled.staff(site.registry))
        seen = {
            path: told.client.get(path).text
            for path in ("/metrics", "/status", "/status/figures", "/health/ready")
        }
    finally:
        logs.set_up("warning", "text")
        told.registry.engine.dispose()
    seen["logs"] = stream.getvalue()
    assert "urgent-stalled" in seen["logs"]
    assert "The urgent lane stands still" in seen["/status"]
    with site.registry.sessions() as session:
        ids = {str(n) for n in session.execute(sa.text("SELECT id FROM contact_points")).scalars()}
        ids |= {str(n) for n in session.execute(sa.text("SELECT id FROM people")).scalars()}
        ids |= {str(n) for n in session.execute(sa.text("SELECT id FROM staff")).scalars()}
    values = {
        "people.example", "officer-", "Sam Okafor", "Alex Morgan", "07700 900", "+4477009007", "electric bicycle",
        "Ada", "UB8", "Kim", filled.ward, *ours, *ids,
    }  # fmt: skip
    for where, text in seen.items():
        for value in values:
            assert value not in text, (where, value)
