"""With many who wait, their rows are found by indexes: at the freeze, each second by the scheduler, and on a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from app.db import utc_now
from app.permissions import Permission
from app.services import audience, deferral, digests, dispatch, reports, retention
from app.services.ledger import check
from app.services.preferences import Preferences
from tests import ledger, plans
from tests.app.services.test_freeze import Town, new_town
from tests.app.services.test_query_plans import Seeded
from tests.conftest import Database
from tests.factories import ACTOR, Makes

MANY = 30_000
# A year of digests, waiting and long gone, messages that count, and batches that sleep.
_SEED = """
INSERT INTO contact_points (id, channel, address_enc, digest, digest_key, form_version, confirmed_at, synthetic)
    SELECT n, 'email', '\\x00', sha256(CAST(CAST(n AS text) AS bytea)), 1, 1, now(), true
    FROM generate_series(1, :many) n;
INSERT INTO contact_preferences (contact_id, channel, weekly_cap) SELECT n, 'email', 3 FROM generate_series(1, :many) n;
INSERT INTO contact_sends (contact_id, at, dispatch_id)
    SELECT n, now() - n * interval '10 seconds', CAST(:sent AS uuid) FROM generate_series(1, :many) n;
INSERT INTO dispatches (id, alert_id, controller_id, send_token, urgency, lane, topic, state, recipients, not_before,
        expires_at, finished_at)
    SELECT CAST(md5('dispatch' || n) AS uuid), :alert, :controller, 'seed' || n, 'routine', 1, 'events', 'done', 3, now(),
        now(), now() FROM generate_series(1, 10000) n;
INSERT INTO digest_items (dispatch_id, contact_id, controller_id, due_at, state, digest_id, settled_at)
    SELECT CAST(md5('dispatch' || 1 + n % 10000) AS uuid), n, :controller, now(), 'sent', CAST(:sent AS uuid), now()
    FROM generate_series(1, :many) n;
INSERT INTO digest_items (dispatch_id, contact_id, controller_id, due_at)
    SELECT CAST(md5('dispatch' || 1 + n % 10000) AS uuid), 1000000 + n, :controller, now() + n * interval '1 minute'
    FROM generate_series(1, :many) n;
INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise, contact_ids,
        size, reserved_segments, not_before, expires_at, state, accepted, quiet_from, quiet_until, not_after)
    SELECT CAST(md5('dispatch' || n) AS uuid), 0, 'email', 'en', :controller, :sender, 1, 'routine', false,
        ARRAY[n, n + 1, n + 2], 3, 0, now(), now(), CASE n % 2 WHEN 0 THEN 'done' ELSE 'waiting' END, 3, 22, 7,
        now() + n * interval '1 minute' FROM generate_series(1, 10000) n
"""


@pytest.fixture(scope="module")
def seeded(database: Database, registry: object) -> Iterator[tuple[Seeded, Town]]:
    with ledger.by_anybody(database) as session:
        town = new_town(Makes(session))
        for n in range(10):
            town.resident(Preferences(weekly_cap=1 + n % 2))
            town.resident(Preferences(quiet_from=n, quiet_until=n + 8))
            town.resident(Preferences(digest="daily", digest_hour=6 + n))
        sent = town.send(utc_now() - timedelta(days=1))
        alert = town.makes.alert(town.police, [town.ward])
        sender = town.makes.sender(town.police)
        values = {
            "many": MANY,
            "sent": sent,
            "alert": alert.id,
            "controller": town.police.id,
            "sender": sender.id,
        }
        large = plans.filled(session, _SEED, values)
        yield Seeded(session, town.police, alert.id, town.ward, sent, large), town


def _freeze(s: Seeded, town: Town) -> None:
    town.send(utc_now())


def _forecast(s: Seeded, town: Town) -> None:
    alert = town.makes.alert(town.police, [town.ward])
    who = audience.parse(alert.audience, controller=town.police.id, topic=alert.topic, channels=["email"])
    deferral.forecast(s.session, who, starts=utc_now(), expires_at=utc_now() + timedelta(days=2))


def _put_off(s: Seeded, town: Town) -> None:
    deferral.put_off(s.session, now=utc_now() + timedelta(minutes=30))


def _digests(s: Seeded, town: Town) -> None:
    made = digests.send_due(s.session, public_url=ledger.URL, now=utc_now() + timedelta(minutes=5))
    assert made.recipients
    digests.send_due(s.session, public_url=ledger.URL, now=utc_now() - timedelta(days=30))


def _stop(s: Seeded, town: Town) -> None:
    makes = Makes(s.session)
    reports.sending(s.session, makes.who(makes.officer(town.police)), Permission.DISPATCH_READ, s.sent)
    check.balance(s.session, s.sent)
    dispatch.stop(s.session, s.sent, actor=ACTOR, why="wrong ward")


def _purge(s: Seeded, town: Town) -> None:
    for _, purge in retention.PURGES:
        purge(s.session, now=utc_now() + timedelta(days=6), most=100)


@pytest.mark.parametrize(
    "act", [_freeze, _forecast, _put_off, _digests, _stop, _purge], ids=lambda act: act.__name__[1:]
)
def test_no_table_of_those_who_wait_is_read_from_end_to_end(
    seeded: tuple[Seeded, Town], act: Callable[[Seeded, Town], None]
) -> None:
    s, town = seeded
    mine = {"digest_items", "contact_sends", "batches", "contact_points", "deliveries", "dispatches"}
    assert mine & s.large >= {"digest_items", "contact_sends", "batches"}
    savepoint = s.session.begin_nested()
    try:
        with plans.noting(s.session) as noted:
            act(s, town)
        assert noted
        for statement, parameters in noted:
            parameters = parameters[0] if isinstance(parameters, list) else parameters  # many at once
            if statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
                assert not mine & set(plans.scans(s.session, s.large, statement, parameters)), statement
    finally:
        savepoint.rollback()
        s.session.expire_all()
