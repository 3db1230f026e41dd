"""Looking is cheap: as many queries whatever there is, and no large table is read from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy.orm import Session

from app.db import utc_now
from app.services import alarm_watch, alarms, heartbeats, sight, standing
from app.services.alarm_routes import Routes, any_due, fates, tell
from tests import ledger, plans
from tests.app.services.test_alarms import NOBODY
from tests.conftest import Database
from tests.factories import Makes

# A year of dispatches, two hundred of them today: 20,000 batches with their attempts, and what waits beside them.
_SEED = """
INSERT INTO dispatches (id, alert_id, controller_id, send_token, urgency, lane, topic, state, recipients, not_before,
        expires_at, finished_at, frozen_at)
    SELECT s.id, :alert, :controller, 'sight' || n, 'routine', 1, 'events', 'done', 3, s.at, s.at, s.at, s.at
    FROM generate_series(1, 20000) n
    CROSS JOIN LATERAL (SELECT CASE WHEN n <= 200 THEN now() - n * interval '5 minutes'
        ELSE now() - interval '2 days' - n * interval '25 minutes' END) t(at)
    CROSS JOIN LATERAL (SELECT t.at, CAST(lpad(to_hex(CAST(extract(epoch FROM t.at) * 1000 AS bigint)), 12, '0')
        || '7' || substr(md5(CAST(n AS text)), 1, 19) AS uuid)) s(at, id);
INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise, contact_ids,
        size, reserved_segments, not_before, expires_at, state, accepted, in_doubt)
    SELECT id, 0, 'email', 'en', controller_id, :sender, 1, 'routine', false, ARRAY[1, 2, 3], 3, 0, not_before,
        expires_at, 'done', 3, CASE WHEN id < CAST('00000000-0000-0000-0000-00000000000f' AS uuid) THEN 1 ELSE 0 END
    FROM dispatches WHERE send_token LIKE 'sight%';
INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, opened_at, closed_at,
        outcome, lease_token)
    SELECT id, 0, 1, 'sendgrid', :sender, 1, 3, frozen_at, frozen_at, 'taken', md5('x')::uuid
    FROM dispatches WHERE send_token LIKE 'sight%';
INSERT INTO raw_events (source, body, merged_at) SELECT 'sendgrid', '[]', now() FROM generate_series(1, 30000) n;
INSERT INTO service_messages (id, kind, channel, state, expires_at, created_at)
    SELECT md5('m' || n)::uuid, 'confirm', 'email', 'sent', now(), now() FROM generate_series(1, 30000) n;
INSERT INTO doubt_samples (at, in_doubt) SELECT now() - n * interval '1 minute', 0 FROM generate_series(1, 4000) n;
INSERT INTO alarms (code, subject, raised_at, told_at, cleared_at, over_told_at)
    SELECT 'queue-away', 'queue:' || n, now(), now(), now(), now() FROM generate_series(1, 5000) n;
INSERT INTO alarm_posts (alarm_id, what, created_at, not_before, closed_at, outcome)
    SELECT id, 'raised', now(), now(), now(), 'sent' FROM alarms
"""


@dataclass
class Seeded:
    session: Session
    large: frozenset[str]


@pytest.fixture(scope="module")
def seeded(database: Database, registry: object) -> Iterator[Seeded]:
    """In one transaction that ends with the module; tests use savepoints."""
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        police = makes.organisation()
        sender = makes.sender(police)
        _, ward, _ = makes.borough()
        alert = makes.alert(police, [ward])
        session.flush()
        values = {"alert": alert.id, "controller": police.id, "sender": sender.id}
        large = plans.filled(session, _SEED, values)
        yield Seeded(session, large)


ACTS: dict[str, Callable[[Session], object]] = {
    "look": sight.look,
    "idle": sight.idle,
    "idle bulk": lambda s: sight.idle(s, 1),
    "caps": standing.caps,
    "senders": standing.senders,
    "beats": heartbeats.latest,
    "watch": lambda s: alarm_watch.watch(s, NOBODY),
    "tell": lambda s: tell(s, NOBODY, now=utc_now()),
    "open": alarms.opened,
    "over": alarms.latest,
    "counts": alarms.counts,
    "fates": fates,
    "posts": lambda s: any_due(s, now=utc_now()),
    "raise": lambda s: alarms.raise_(s, "queue-away", "queue:redis"),
    "clear": lambda s: alarms.clear(s, "queue-away", "queue:redis"),
}


@pytest.mark.parametrize("act", ACTS)
def test_no_look_reads_a_large_table_from_end_to_end(seeded: Seeded, act: str) -> None:
    assert {"batches", "attempts", "dispatches", "raw_events", "service_messages", "alarms"} <= seeded.large
    with seeded.session.begin_nested() as savepoint:
        with plans.noting(seeded.session) as noted:
            ACTS[act](seeded.session)
        read = [
            s
            for s in noted
            if s[0].lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"))
        ]
        assert read
        for statement, parameters in read:
            assert plans.scans(seeded.session, seeded.large, statement, parameters) == [], statement
        savepoint.rollback()


def test_a_look_is_as_many_queries_for_much_as_for_nothing(seeded: Seeded, session: Session) -> None:
    with plans.noting(seeded.session) as much:
        found = sight.look(seeded.session)
    with plans.noting(session) as nothing:
        empty = sight.look(session)
    assert len(much) == len(nothing) <= 14
    assert sum(found.day["email", "sendgrid"].values()) == 3 * 200
    assert found.attempts["sendgrid", "taken"] == 11  # an hour, one each five minutes
    assert not empty.day


def test_the_routes_of_an_alarm_are_counted_and_not_named() -> None:
    routes = Routes(("a@b.example",), ("+447700900123",), True, alarms.CALM, "https://x.example")
    assert (routes.any, routes.count) == (True, 3)
    assert not NOBODY.any
