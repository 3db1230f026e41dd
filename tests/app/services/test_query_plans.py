"""The hot queries use their indexes on tables of tens of thousands of rows, and are as many for 10 as for 1,000."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import new_id, utc_now
from app.errors import Conflict
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.reconcile import WebListening
from app.permissions import Permission
from app.services import (
    alerts,
    answers,
    areas,
    audience,
    compose,
    consent,
    dispatch,
    inbound,
    pausing,
    people,
    receipts,
    receiving,
    reports,
    sign_in,
    staff,
)
from app.services import replies as inbox
from app.services.budgets import allowances, reserving, settling
from app.services.erasure import engine
from app.services.ledger import attempts, claims, months, recovery, results
from app.services.ledger.results import Row
from app.services.passwords import Verdict
from app.services.reconcile import inbox as polled
from app.services.reconcile import mail, silence, texts, verdicts
from messaging.links import Signer
from messaging.types import Channel, DeliveryStatus, InboundSms, Keyword, Outcome
from tests import ledger, plans, replies
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC, Makes
from workers.receipts import merge_some

MANY = 30_000

# People, places, topics and consents spread over 300 wards of an organisation that nobody here writes for, with
# dispatches long done: what a database looks like after a year.
_SEED = """
INSERT INTO areas (code, kind, name, parent_id, valid_from)
    SELECT 'E05' || lpad(n::text, 6, '0'), 'ward', 'Ward ' || n, :borough, '2022-05-05'
    FROM generate_series(900000, 900299) n;
INSERT INTO contact_points (id, channel, address_enc, digest, digest_key, form_version, confirmed_at, synthetic)
    SELECT n, CASE WHEN n % 3 = 0 THEN 'sms' ELSE 'email' END, '\\x00', sha256(n::text::bytea), 1, 1, now(), true
    FROM generate_series(1, :many) n;
INSERT INTO places (id, controller_id, kind)
    SELECT md5('place' || n)::uuid, :controller, 'ward' FROM generate_series(1, :many) n;
INSERT INTO place_areas (place_id, area_id, release_id, valid_from)
    SELECT md5('place' || n)::uuid, a.id, 'test', '2026-01-01' FROM generate_series(1, :many) n
    JOIN areas a ON a.code = 'E05' || lpad((900000 + n % 300)::text, 6, '0');
INSERT INTO subscriptions (id, place_id, contact_id, controller_id, topic)
    SELECT md5('sub' || n)::uuid, md5('place' || n)::uuid, n, :controller, 'incidents and appeals'
    FROM generate_series(1, :many) n;
INSERT INTO consents (id, contact_id, controller_id, channel, purpose, wording_id, how)
    SELECT md5('consent' || n)::uuid, n, :controller, 'email', 'alerts', :wording, 'seed'
    FROM generate_series(1, :many) n;
INSERT INTO suppressions (channel, digest, digest_key, controller_id, reason)
    SELECT 'email', sha256(('s' || n)::bytea), 1, :controller, 'left' FROM generate_series(1, :many) n;
INSERT INTO postcodes (postcode, at, ward_code, quality, live, release_id)
    SELECT 'ZZ' || n, point(n, n), 'E05900000', 1, true, 'test' FROM generate_series(1, :many) n;
INSERT INTO dispatches (id, alert_id, controller_id, send_token, urgency, lane, topic, state, recipients, not_before,
        expires_at, finished_at)
    SELECT md5('dispatch' || n)::uuid, :alert, :controller, 'seed' || n, 'routine', 1, 'events', 'done', 3, now(), now(),
        now() FROM generate_series(1, 10000) n;
INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise, contact_ids,
        size, reserved_segments, not_before, expires_at, state, accepted)
    SELECT md5('dispatch' || n)::uuid, 0, 'email', 'en', :controller, :sender, 1, 'routine', false,
        ARRAY[n, n + 1, n + 2], 3, 0, now(), now(), 'done', 3 FROM generate_series(1, 10000) n;
INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, closed_at, outcome,
        lease_token)
    SELECT md5('dispatch' || n)::uuid, 0, 1, 'seed', :sender, 1, 3, now(), 'taken', md5('x')::uuid
    FROM generate_series(1, 10000) n;
INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status, provider_ref)
    SELECT md5('dispatch' || n)::uuid, n + o, 0, o + 1, 1, 30, CASE WHEN n % 3 = 0 THEN 'SM' || n END
    FROM generate_series(1, 10000) n, generate_series(0, 2) o;
INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status)
    SELECT CAST(:sent AS uuid), 1000000 + n, 99, 1, 1, 30 FROM generate_series(1, :many) n;
INSERT INTO reservations (dispatch_id, organisation_id, day, emails, segments, cost, email_pence, segment_pence, over,
        counted, settled_at)
    SELECT md5('dispatch' || n)::uuid, :controller, '2026-01-01', 3, 0, 0, 0, 4, false, true, now()
    FROM generate_series(1, 10000) n;
INSERT INTO spend_counters (organisation_id, period, starts, emails, segments, cost)
    SELECT :controller, 'day', CAST('2000-01-01' AS date) + n, 1, 0, 0 FROM generate_series(1, 10000) n;
INSERT INTO raw_events (source, body, merged_at) SELECT 'sendgrid', '[]', now() FROM generate_series(1, :many) n;
INSERT INTO replies (id, controller_id, team_id, alert_id, contact_id, state, opened_at, last_at)
    SELECT md5('reply' || n)::uuid, :police, CASE n % 2 WHEN 0 THEN CAST(:team AS uuid) END, :alert, n,
        (ARRAY['new', 'answered', 'closed'])[n % 3 + 1], now(), now() - n * interval '1 minute'
    FROM generate_series(1, :many) n;
INSERT INTO reply_messages (id, reply_id, direction, channel, body_enc, at)
    SELECT md5('said' || n)::uuid, md5('reply' || n)::uuid, 'in', 'web', '\\x00', now() - n * interval '1 minute'
    FROM generate_series(1, :many) n;
"""


@dataclass
class Seeded:
    session: Session
    police: Organisation
    team: UUID
    ward: Area
    sent: UUID
    large: frozenset[str]


@pytest.fixture(scope="module")
def seeded(database: Database, registry: object) -> Iterator[Seeded]:
    """In one transaction that ends with the module; tests use savepoints."""
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        police = makes.organisation()
        sender = makes.sender(police)
        borough, ward, _ = makes.borough()
        for channel in (Channel.EMAIL, Channel.SMS):
            for _ in range(10):
                makes.resident(police, ward, channel=channel)
        other = makes.organisation("Another")
        team = makes.team(police, [ward])
        alert = makes.alert(police, [ward])
        sent = ledger.resent(makes, police, ward)
        values = {
            "borough": borough.id,
            "many": MANY,
            "controller": other.id,
            "police": police.id,
            "team": team.id,
            "wording": consent.current_wording(session).id,
            "alert": alert.id,
            "sender": sender.id,
            "sent": sent,
        }
        large = plans.filled(session, _SEED, values)
        yield Seeded(session, police, team.id, ward, sent, large)


def _claim(s: Seeded) -> claims.Claim:
    return ledger.claimed(s.session)


def _check(s: Seeded) -> None:
    claims.check(s.session, _claim(s))


def _write(s: Seeded) -> None:
    held = _claim(s)
    attempt = ledger.attempted(s.session, held)
    ledger.recorded(s.session, held, attempt, DeliveryStatus.IN_DOUBT)
    ledger.recorded(s.session, held, attempt, DeliveryStatus.ACCEPTED)
    ledger.recorded(s.session, held, ledger.attempted(s.session, held), DeliveryStatus.ACCEPTED)
    results.close_attempt(s.session, held, attempt, Outcome.TAKEN)
    results.give_back(s.session, held.dispatch, held.batch, attempt, ledger.ids(s.session, held.dispatch))
    results.release(s.session, held, done=True)


def _recover(s: Seeded) -> None:
    held = _claim(s)
    ledger.attempted(s.session, held)
    s.session.execute(
        sa.text("UPDATE batches SET lease_until = now() - interval '1 hour' WHERE dispatch_id = :d"),
        {"d": s.sent},
    )
    assert recovery.recover(s.session)
    recovery.finish(s.session)
    recovery.finish(s.session, s.sent)
    recovery.reopen(s.session)
    recovery.waiting(s.session)


def _merge(s: Seeded) -> None:
    held, attempt = ledger.carried(s.session, DeliveryStatus.IN_DOUBT)
    for kind in ("delivered", "bounce", "spamreport"):
        receipts.store(
            s.session, "sendgrid", ledger.body(ledger.event(held.dispatch, 2, kind, attempt=attempt))
        )
    assert merge_some(s.session).moved
    receipts.merge_early(s.session)


def _erase(s: Seeded) -> None:
    people.erase(s.session, 300, actor=ACTOR)
    engine.people(s.session, [new_id()], actor=ACTOR)
    engine.again(s.session, now=utc_now())


def _inbound(s: Seeded) -> None:
    makes = Makes(s.session)
    number = makes.sender(s.police, "sms").address
    reckoning = inbound.Reckoning(ledger.URL, 5_000, Decimal("4"), ("GB",))
    for n, keyword in enumerate((Keyword.STOP, Keyword.START, Keyword.HELP, None)):
        message = InboundSms(f"SM{n:032x}", "+447700900777", number, "Saw him.", keyword)
        inbound.receive(s.session, message, reckoning=reckoning)


def _leave(s: Seeded) -> None:
    contact = ledger.ids(s.session, s.sent)[0]
    consent.leave(s.session, contact, s.police.id, how="test", actor=ACTOR)


def _freeze(s: Seeded) -> None:
    ledger.resent(Makes(s.session), s.police, s.ward)


def _count(s: Seeded) -> None:
    who = audience.parse(
        {"areas": [s.ward.code]}, controller=s.police.id, topic=TOPIC, channels=["email", "sms"]
    )
    assert audience.count(s.session, who) == {"email": 10, "sms": 10}


def _find(s: Seeded) -> None:
    contact = Makes(s.session).contact("somebody@people.example")
    assert people.find_contact(s.session, people.read_address(Channel.EMAIL, contact.address, fictional=True))


def _ward(s: Seeded) -> None:
    s.session.execute(sa.text("UPDATE postcodes SET postcode = 'SW1A 1AA', ward_code = :w WHERE postcode = 'ZZ7'"),
                      {"w": s.ward.code})  # fmt: skip
    assert areas.find_ward(s.session, "SW1A 1AA").code == s.ward.code


def _reply(s: Seeded) -> None:
    """Two people write by their links, an officer of a team and one of none look, and one is answered."""
    makes = Makes(s.session)
    sent = replies.appeal(makes, s.police, s.ward, team=s.team)
    contacts = ledger.ids(s.session, sent)[:2]
    for contact in contacts:
        thread = receiving.receive_web(
            s.session, contact_id=contact, dispatch_id=sent, body="A van.", name="Ann", once=new_id().hex, now=utc_now()
        )  # fmt: skip
    member = replies.staff_row(makes, s.police)
    for team in (s.team, None):
        who = replace(makes.who(member), team_id=team)
        page = inbox.inbox(s.session, who, most=1)
        assert page.after is not None and page.counts == dict.fromkeys(page.counts, inbox.COUNTED)
        inbox.inbox(s.session, who, after=inbox.Cursor(utc_now(), thread), most=1)
        inbox.unread(s.session, who)
        inbox.thread(s.session, who, thread, actor=ACTOR, before=inbox.Cursor(utc_now(), new_id()))
    answers.answer(
        s.session, who, thread, body="Thanks.", once=new_id().hex, signer=Signer({1: bytes(32)}, 1), public_url=ledger.URL,
        regions=("GB",), actor=ACTOR, now=utc_now(),
    )  # fmt: skip
    inbox.close(s.session, who, thread, actor=ACTOR, now=utc_now())


def _desk(s: Seeded) -> None:
    """An officer signs in, looks at the alerts, sends one and watches it."""
    makes = Makes(s.session)
    row = makes.officer(s.police)
    knock = sign_in.knock(s.session, staff.read_email(row.email), neighbours="192.0.2.0/24", now=utc_now())
    sign_in.password(s.session, knock, Verdict(True), neighbours="192.0.2.0/24", origin="web", now=utc_now())
    who = makes.who(row)
    alert = makes.alert(s.police, [s.ward])
    alerts.listed(s.session, s.police.id, "draft", before=(utc_now(), new_id()), most=20)
    sent = compose.send(
        s.session, who, alert.id, token="token-desk", seen=alert.changed_at, exercise=False, public_url=ledger.URL,
        actor=ACTOR, now=utc_now(),
    )  # fmt: skip
    assert compose.already(s.session, alert.id) == sent.dispatch_id
    assert reports.latest(s.session, [alert.id])[alert.id].id == sent.dispatch_id
    reports.sending(s.session, who, Permission.DISPATCH_READ, sent.dispatch_id)
    assert reports.progress(s.session, [sent.dispatch_id])[0].left == 10


def _control(s: Seeded) -> None:
    """A dispatch is paused, goes on and is stopped; a limit refuses one, and what was reserved comes back."""
    pausing.pause(s.session, s.sent, actor=ACTOR, why="x")
    pausing.sweep(s.session)
    pausing.resume(s.session, s.sent, actor=ACTOR)
    changes: dict[tuple[str, str], int | None] = {("day", "emails"): 0}
    allowances.set_limits(s.session, s.police, changes, actor=ACTOR)
    makes = Makes(s.session)
    vital = makes.alert(s.police, [s.ward], urgency="risk-to-life")
    sent = dispatch.send(s.session, vital.id, token="token-vital", actor=ACTOR, public_url=ledger.URL).id
    assert settling.settle(s.session) == 1
    with pytest.raises(Conflict, match="0 e-mails are left"):
        ledger.resent(makes, s.police, s.ward)
    for one in (sent, s.sent):
        dispatch.stop(s.session, one, actor=ACTOR, why="x")
        s.session.execute(
            sa.text("UPDATE batches SET state = 'done', stopped = size WHERE dispatch_id = :d"), {"d": one}
        )
        recovery.finish(s.session, one)
        assert reserving.cost(s.session, one)
    assert settling.settle(s.session) == 2
    assert not months.dropped(s.session, s.sent)


def _reconcile(s: Seeded) -> None:
    """Mail whose silence proves something, texts in doubt, silent texts and the numbers to be read."""
    now = utc_now() + timedelta(hours=1)
    held, attempt = ledger.carried(s.session, DeliveryStatus.IN_DOUBT)
    s.session.add(WebListening(id=new_id(), began_at=now - timedelta(days=2), seen_at=now))
    s.session.execute(
        sa.text("UPDATE attempts SET provider = 'sendgrid', closed_at = opened_at WHERE dispatch_id = :d"),
        {"d": held.dispatch},
    )
    assert mail.silent(s.session, "sendgrid", now=now) == []
    verdicts.not_taken(s.session, held.dispatch, held.batch, attempt, now=now)
    texts.due(s.session, ["twilio"], signer=Signer({1: bytes(32)}, 1), public_url=ledger.URL, now=now)
    texts.named(s.session, [1, 2], ["SM1", "SM2"])
    silence.notice(s.session, now=now)
    for one in silence.due(s.session, ["twilio"], now=now + timedelta(hours=1)):
        silence.asked(s.session, one, now=now)
    polled.due(s.session, ["twilio"], now=now)


HOT: list[Callable[[Seeded], object]] = [
    _claim, _check, _write, _recover, _merge, _erase, _inbound, _leave, _freeze, _count, _find, _ward, _reply,
    _desk, _control, _reconcile,
]  # fmt: skip


@pytest.mark.parametrize("act", HOT, ids=lambda act: act.__name__.strip("_"))
def test_no_hot_query_reads_a_big_table_from_end_to_end(
    seeded: Seeded, act: Callable[[Seeded], object]
) -> None:
    with seeded.session.begin_nested() as savepoint:
        with plans.noting(seeded.session) as noted:
            act(seeded)
        queries = [
            (statement, parameters)
            for statement, parameters in noted
            if statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"))
        ]
        assert queries
        for statement, parameters in queries:
            assert plans.scans(seeded.session, seeded.large, statement, parameters) == [], statement
        savepoint.rollback()
    seeded.session.expire_all()


def test_a_query_without_an_index_would_be_found(seeded: Seeded) -> None:
    assert seeded.large >= {
        "contact_points", "consents", "suppressions", "subscriptions", "places", "place_areas", "postcodes",
        "dispatches", "batches", "attempts", "raw_events", "replies", "reply_messages", "deliveries_default",
        f"deliveries_{utc_now():%Y%m}", "reservations", "spend_counters",
    }  # fmt: skip
    assert plans.scans(
        seeded.session, seeded.large, "SELECT 1 FROM contact_points WHERE salutation_enc = '\\x01'", None
    ) == ["contact_points"]


# -- as many for ten as for a thousand
def statements(session: Session, act: Callable[[], object]) -> int:
    with plans.noting(session) as noted:
        act()
    return len(noted)


def test_a_dispatch_takes_as_many_queries_for_1000_recipients_as_for_10(seeded: Seeded) -> None:
    found: list[dict[str, int]] = []
    session = seeded.session
    for people_count in (10, 1_000):
        with session.begin_nested() as savepoint:
            session.execute(sa.text("UPDATE batches SET state = 'done' WHERE state <> 'done'"))
            ward = _populated(seeded, people_count)
            counts: dict[str, int] = {}
            makes = Makes(session)
            counts["freeze"] = statements(session, lambda w=ward, m=makes: ledger.resent(m, seeded.police, w))
            held = ledger.claimed(session)
            assert held.size == people_count
            counts["check"] = statements(session, lambda h=held: claims.check(session, h))
            counts["attempt"] = statements(
                session,
                lambda h=held: attempts.open_attempt(
                    session, h, provider="test", first=1, last=h.size, lease_seconds=60
                ),
            )
            counts["record"] = statements(session, lambda h=held: _record_two_kinds(session, h))
            for ordinal in range(1, people_count + 1, 5):
                event = ledger.event(held.dispatch, ordinal, "delivered")
                receipts.store(session, "sendgrid", ledger.body(event))
            counts["merge"] = statements(session, lambda: merge_some(session))
            found.append(counts)
            savepoint.rollback()
        session.expire_all()
    assert found[0] == found[1]
    assert all(found[0].values())


def _record_two_kinds(session: Session, held: claims.Claim) -> None:
    contacts = ledger.ids(session, held.dispatch, held.batch)
    rows = [
        Row(o, c, DeliveryStatus.REFUSED if o % 2 else DeliveryStatus.ACCEPTED, "x" if o % 2 else None)
        for o, c in enumerate(contacts, 1)
    ]
    results.write(session, held.dispatch, held.batch, 1, rows)


def _populated(s: Seeded, count: int) -> Area:
    """A ward of its own with so many people, copied from the seed's."""
    ward = s.session.scalars(sa.select(Area).where(Area.code == "E05900001")).one()
    ends = {"ward": ward.id, "count": count, "controller": s.police.id}
    for statement in (
        "DELETE FROM place_areas WHERE area_id = :ward",
        "UPDATE subscriptions SET controller_id = :controller WHERE contact_id <= 3 * :count AND contact_id % 3 <> 0",
        (
            "INSERT INTO consents (id, contact_id, controller_id, channel, purpose, wording_id, how) "
            "SELECT md5('more' || contact_id)::uuid, contact_id, :controller, channel, purpose, wording_id, how "
            "FROM consents "
            "WHERE contact_id <= 3 * :count AND contact_id % 3 <> 0"
        ),
        (
            "INSERT INTO place_areas (place_id, area_id, release_id, valid_from) SELECT md5('place' || n)::uuid, :ward, "
            "'test', '2026-02-02' FROM (SELECT n FROM generate_series(1, 3 * :count) n WHERE n % 3 <> 0 LIMIT :count) x"
        ),
    ):
        plans.run_all(s.session, statement, ends)
    return ward
