"""A provider fails, another carries on, the first comes back: and nobody in doubt is ever sent to again."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qsl
from uuid import UUID

import pytest
import sqlalchemy as sa

from app import providers
from app.cli.stack import free_port, wait_until
from app.db import utc_now
from app.errors import Invalid, Missing
from app.models.audit import AuditEntry
from app.models.consent import Suppression
from app.models.organisations import Sender
from app.models.people import ContactPoint
from app.models.replies import Reply
from app.models.routes import ProviderState
from app.services import brake, dispatch, inbound, post, routes, stand_ins
from app.services.ledger import recovery
from config.fields import Part
from config.settings import SPECS
from messaging.notices import notice
from messaging.sandbox import judge
from messaging.types import Channel, DeliveryStatus, InboundSms, Keyword, Outcome, SendResult
from tests.conftest import Database
from tests.factories import ACTOR, START
from tests.messaging.providers.conftest import SID, Request, Server
from tests.sending import URL, World, world
from tests.workers.test_sending_requests import ACCOUNT, valid
from workers import schedule
from workers.judge import judge as look
from workers.sending.drain import drain
from workers.sending.routes import failed

CODE = notice("Your code", ["It is 123456."], button=None, controller_name="Police")
EMAIL, SMS = Channel.EMAIL, Channel.SMS
SPARE = "+447700900999"
MINE = ("twilio", "sendgrid", "smtp", "notify")
ACCEPTED, IN_DOUBT = DeliveryStatus.ACCEPTED, DeliveryStatus.IN_DOUBT


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path, second=True, PROVIDER_TIMEOUT_SECONDS="1") as made:
        yield made


def audience(
    here: World,
    channel: Channel,
    count: int,
    *,
    stand_in: bool = True,
    rate: float = 1_000.0,
    **changes: object,
) -> UUID:
    """A dispatch to so many people. Texts have a number of the second account to fall back on."""
    with here.making() as makes:
        police = makes.organisation()
        lane = "bulk" if changes.get("urgency", "routine") == "routine" else "urgent"
        sender = makes.sender(police, str(channel), lane=lane, rate=rate)
        if channel is SMS and stand_in:
            stand_ins.stand_in(makes.session, sender.address, SPARE, actor=ACTOR)
        _, ward, _ = makes.borough()
        for _ in range(count):
            makes.resident(police, ward, channel=channel)
        return here.send(makes, makes.alert(police, [ward], channels=[channel], **changes))


def by_provider(here: World, sent: UUID) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for attempt in here.attempts(sent):
        found.setdefault(attempt.provider, []).append(attempt.outcome)
    return found


def state(here: World, channel: Channel, provider: str) -> ProviderState:
    with here.looking() as session:
        return session.get_one(ProviderState, (str(channel), provider))


@contextmanager
def another_worker(here: World, **settings: str) -> Iterator[None]:
    """The worker as other settings would have it."""
    was = here.worker
    kept = {SPECS[name].name: str(getattr(was.settings, name)) for name in SPECS if name.startswith(MINE)}
    here.worker = here.database.open(
        Part.WORKER, PROVIDER_TIMEOUT_SECONDS="1", PUBLIC_URL=URL, **(kept | settings)
    )
    try:
        yield
    finally:
        here.worker.engine.dispose()
        here.worker = was


def well(here: World) -> None:
    here.sandbox.faults.clear()


def reached_in_all(here: World, sent: UUID, people: int, doubtful: int = 0) -> None:
    """Nobody twice; everybody but those in doubt was reached; the ledger agrees."""
    reached = here.reached(sent)
    statuses = here.statuses(sent)
    assert set(reached.values()) <= {1}
    assert sum(s is IN_DOUBT for s in statuses.values()) == doubtful
    assert sum(s is ACCEPTED for s in statuses.values()) == people - doubtful
    assert {c for c, s in statuses.items() if s is ACCEPTED} <= set(reached)
    here.balance(sent)


# -- the first is refused: at once, and in the same drain
def test_mail_that_the_first_did_not_take_goes_by_the_second_at_once(here: World) -> None:
    sent = audience(here, EMAIL, 120)
    with another_worker(here, SENDGRID_BASE_URL=f"http://127.0.0.1:{free_port()}"):
        here.drain()
    found = by_provider(here, sent)
    assert found["sendgrid"] == ["not_taken"]
    assert len(found["smtp"]) >= 3, "50 people an attempt at most"
    assert set(found["smtp"]) == {"taken"}
    reached_in_all(here, sent, 120)


def test_texts_that_the_first_did_not_take_go_from_the_number_of_the_second(here: World) -> None:
    sent = audience(here, SMS, 30)
    here.faults(sms={"status": 403})
    here.drain()
    assert by_provider(here, sent) == {"twilio": ["not_taken"], "twilio-2": ["taken"]}
    assert {c.sender for c in judge.read(here.sandbox.log_path)} == {SPARE}
    with here.looking() as session:
        numbers = {s.id: s.address for s in session.scalars(sa.select(Sender))}
        assert [numbers[a.sender_id] for a in here.attempts(sent) if a.outcome == "taken"] == [SPARE]
    reached_in_all(here, sent, 30)


def test_a_provider_that_paces_us_is_waited_for_and_not_left(here: World) -> None:
    mail, texts = audience(here, EMAIL, 5), audience(here, SMS, 5)
    here.faults(
        email={"status": {"code": 429, "retry_after": 30}}, sms={"status": {"code": 429, "retry_after": 30}}
    )
    here.drain()
    assert by_provider(here, mail) == {"sendgrid": ["not_taken"]}
    assert by_provider(here, texts) == {"twilio": ["not_taken"]}
    assert {a.failed_percent for a in here.attempts(mail) + here.attempts(texts)} == {None}
    assert not here.reached(mail) + here.reached(texts)


# -- the first leaves us in doubt: the others go on, those in doubt never
@pytest.mark.parametrize("fault", [{"hang": True}, {"status": 500}, {"drop": "before"}, {"drop": "after"}])
def test_texts_in_doubt_go_to_nobody_else_and_the_rest_by_the_second(here: World, fault: dict) -> None:
    sent = audience(here, SMS, 30, rate=10.0)
    here.faults(sms=fault)
    here.drain()
    first, *rest = here.attempts(sent)
    assert (first.provider, first.outcome, first.failed_percent) == ("twilio", "in_doubt", 100)
    doubtful = first.ordinal_to
    assert 0 < doubtful < 30
    assert {(a.provider, a.outcome) for a in rest} == {("twilio-2", "taken")}
    assert min(a.ordinal_from for a in rest) == doubtful + 1
    reached_in_all(here, sent, 30, doubtful)


@pytest.mark.parametrize("fault", [{"hang": True}, {"status": 500}, {"drop": "after"}])
def test_mail_in_doubt_goes_to_nobody_else_and_the_next_by_the_second(here: World, fault: dict) -> None:
    lost, sent = audience(here, EMAIL, 7), audience(here, EMAIL, 60)
    here.run("UPDATE batches SET not_before = now() + interval '1 hour' WHERE dispatch_id = :d", d=sent)
    here.faults(email=fault)

    async def go() -> None:
        engine = here.engine()
        await drain(engine, (0, 1), 20)
        here.come_back(sent)
        await drain(engine, (0, 1), 20)
        await engine.aclose()

    asyncio.run(go())
    assert by_provider(here, lost) == {"sendgrid": ["in_doubt"]}
    assert set(by_provider(here, sent)) == {"smtp"}
    reached_in_all(here, lost, 7, 7)
    reached_in_all(here, sent, 60)


def test_of_mail_by_smtp_one_is_in_doubt_and_the_others_wait(here: World) -> None:
    sent = audience(here, EMAIL, 10)
    here.faults(smtp={"hang": {"start": 4, "times": 1}})
    with another_worker(here, SENDGRID_BASE_URL=f"http://127.0.0.1:{free_port()}"):
        here.drain()
        here.come_back(sent)
        here.drain()
    assert sorted(here.statuses(sent).values()) == [IN_DOUBT] + [ACCEPTED] * 9
    assert by_provider(here, sent)["smtp"].count("in_doubt") == 1
    reached_in_all(here, sent, 10, 1)


# -- judged for all workers
def failing(here: World, channel: Channel, times: int = 3) -> None:
    """So many attempts of the first provider that failed, as workers leave them."""
    for _ in range(times):
        audience(here, channel, 1)
    here.faults(**{str(channel): {"status": 500}})
    here.drain()


def test_a_provider_that_fails_is_down_for_all_on_the_record_and_comes_back_by_a_trial(here: World) -> None:
    look(here.worker, 1)
    assert state(here, EMAIL, "sendgrid").state == "up"
    failing(here, EMAIL)
    look(here.worker, 1)
    down = state(here, EMAIL, "sendgrid")
    assert (down.state, down.falls, down.calls, down.failed_percent) == ("down", 1, 3, 100)
    assert state(here, EMAIL, "smtp").state == "up"

    sent = audience(here, EMAIL, 3)
    here.drain()  # another worker, who heard nothing itself
    assert by_provider(here, sent) == {"smtp": ["taken"]}

    well(here)
    look(here.worker, 1)
    assert state(here, EMAIL, "sendgrid").state == "down", "not before its time"
    here.run("UPDATE provider_states SET retry_at = now() WHERE state = 'down'")
    look(here.worker, 1)
    assert (state(here, EMAIL, "sendgrid").state, state(here, EMAIL, "sendgrid").trials) == ("trying", 3)

    more = [audience(here, EMAIL, 60) for _ in range(5)]
    here.drain()
    tried = [a for one in more for a in here.attempts(one) if a.provider == "sendgrid"]
    assert [a.ordinal_to - a.ordinal_from + 1 for a in tried] == [50, 50, 50], "few calls, of few people"
    look(here.worker, 1)
    assert state(here, EMAIL, "sendgrid").state == "up"
    last = audience(here, EMAIL, 60)
    here.drain()
    assert by_provider(here, last) == {"sendgrid": ["taken"]}
    for one in (sent, *more, last):
        reached_in_all(here, one, len(here.statuses(one)))
    with here.looking() as session:
        events = session.scalars(
            sa.select(AuditEntry.event)
            .where(AuditEntry.subject == "provider:sendgrid")
            .order_by(AuditEntry.id)
        ).all()
    assert events == ["provider:down", "provider:up"]


def test_a_trial_that_fails_makes_the_next_wait_longer_and_is_no_news(here: World) -> None:
    look(here.worker, 1)
    failing(here, EMAIL)
    look(here.worker, 1)
    waits = []
    for fall in (1, 2, 3):
        assert state(here, EMAIL, "sendgrid").falls == fall
        waits.append(state(here, EMAIL, "sendgrid"))
        here.run("UPDATE provider_states SET retry_at = now() WHERE state = 'down'")
        look(here.worker, 1)
        audience(here, EMAIL, 2)
        here.drain()
        look(here.worker, 1)
    assert [round((w.retry_at - w.since).total_seconds()) for w in waits] == [10, 20, 40]
    with here.looking() as session:
        news = session.scalar(
            sa.select(sa.func.count())
            .where(AuditEntry.subject == "provider:sendgrid")
            .select_from(AuditEntry)
        )
    assert news == 1


def test_one_bad_call_is_no_outage_and_old_ones_are_forgotten(here: World) -> None:
    look(here.worker, 1)
    failing(here, EMAIL, 2)
    look(here.worker, 1)
    assert state(here, EMAIL, "sendgrid").state == "up"
    here.run("UPDATE attempts SET closed_at = now() - interval '3 minutes'")
    well(here)
    audience(here, EMAIL, 1)
    here.drain()
    look(here.worker, 1)
    assert (state(here, EMAIL, "sendgrid").calls, state(here, EMAIL, "sendgrid").failed_percent) == (1, 0)


@pytest.mark.parametrize(
    ("shares", "new"),
    [
        ([100, 100], "up"),
        ([0] * 10 + [100, 100, 0], "up"),
        ([0, 100, 0, 100, 0, 100], "down"),
        ([30] * 9, "down"),
        ([20] * 20, "up"),
        ([0] * 17 + [40] * 3, "down"),
        ([100] * 20 + [0] * 20, "up"),
    ],
)
def test_how_many_failures_make_an_outage(here: World, shares: list[int], new: str) -> None:
    sent = audience(here, EMAIL, 1)
    look(here.worker, 1)
    here.run(
        "INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, opened_at,"
        " closed_at, outcome, lease_token, failed_percent)"
        " SELECT b.dispatch_id, b.n, s.place, 'sendgrid', b.sender_id, 1, 1, p.since, p.since + s.place *"
        " interval '1 ms', 'taken', gen_random_uuid(), s.share"
        " FROM batches b, provider_states p, unnest(CAST(:shares AS int[])) WITH ORDINALITY s(share, place)"
        " WHERE b.dispatch_id = :d AND p.channel = 'email' AND p.provider = 'sendgrid'",
        shares=shares,
        d=sent,
    )
    look(here.worker, 1)
    assert state(here, EMAIL, "sendgrid").state == new


def test_refusals_of_single_people_are_held_against_nobody(here: World) -> None:
    look(here.worker, 1)
    here.faults(sms={"recipients": {"invalid": ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]}})
    for _ in range(4):
        audience(here, SMS, 2)
    here.drain()
    look(here.worker, 1)
    found = state(here, SMS, "twilio")
    assert (found.state, found.calls, found.failed_percent) == ("up", 4, 0)


def test_a_lost_worker_says_nothing_about_the_provider(here: World) -> None:
    look(here.worker, 1)
    for _ in range(4):
        sent = audience(here, EMAIL, 1)
        engine = here.engine()
        assert engine.begin((0, 1)) is not None
        here.run("UPDATE batches SET lease_until = now() - interval '1 hour' WHERE dispatch_id = :d", d=sent)
        with here.worker.sessions.begin() as session:
            recovery.recover(session)
        asyncio.run(engine.aclose())
    look(here.worker, 1)
    found = state(here, EMAIL, "sendgrid")
    assert (found.state, found.calls) == ("up", 0)


def test_the_scheduler_judges_at_each_tick_and_forgets_who_is_set_up_no_more(here: World) -> None:
    here.run("INSERT INTO provider_states (channel, provider, place) VALUES ('sms', 'carrier-pigeon', 7)")
    ended = threading.Event()
    running = threading.Thread(target=schedule.run, args=(here.worker, ended))
    running.start()

    def known() -> set[tuple[str, str]]:
        with here.looking() as session:
            return {(s.channel, s.provider) for s in routes.states(session)}

    configured = {(str(c), n) for c, names in providers.names(here.worker.settings).items() for n in names}
    try:
        wait_until(lambda: known() == configured, what="the scheduler's look at the providers")
    finally:
        ended.set()
        running.join()


# -- the last way
@pytest.mark.parametrize("channel", list(Channel))
def test_when_all_others_are_down_urgent_messages_go_by_notify_and_the_rest_waits(
    here: World, channel: Channel
) -> None:
    look(here.worker, 1)
    here.run("UPDATE provider_states SET state = 'down', retry_at = now() + interval '1 hour'"
             " WHERE provider <> 'notify'")  # fmt: skip
    news = audience(here, channel, 3)
    urgent = audience(here, channel, 25, urgency="urgent")
    here.drain()
    assert by_provider(here, urgent) == {"notify": ["taken", "taken"]}
    assert by_provider(here, news) == {}
    assert here.batch(news).state == "waiting"
    reached_in_all(here, urgent, 25)
    if channel is SMS:
        shown = here.sandbox._inbox.newest("channel=sms")[0]
        assert "Stop: http" in str(shown["text"])
        assert "STOP to end" not in str(shown["text"])


def test_batches_whose_ways_are_all_closed_are_left_where_they_are(here: World) -> None:
    look(here.worker, 1)
    here.run("UPDATE provider_states SET state = 'down', retry_at = now() + interval '1 hour'"
             " WHERE channel = 'sms' AND provider = 'twilio'")  # fmt: skip
    alone, backed = audience(here, SMS, 3, stand_in=False), audience(here, SMS, 3)
    assert here.drain() == 1
    assert here.batch(alone).tries == 0
    assert by_provider(here, backed) == {"twilio-2": ["taken"]}


def test_what_was_stopped_or_ran_out_of_time_ends_though_nothing_can_leave(here: World) -> None:
    look(here.worker, 1)
    stopped, over, waits = (audience(here, EMAIL, 2) for _ in range(3))
    here.run("UPDATE provider_states SET state = 'down', retry_at = now() + interval '1 hour'")
    with here.app.sessions.begin() as session:
        dispatch.stop(session, stopped, actor=ACTOR, why="Wrong ward")
    here.run("UPDATE batches SET expires_at = now() WHERE dispatch_id = :d", d=over)
    assert here.drain() == 2
    assert set(here.statuses(stopped).values()) == {DeliveryStatus.STOPPED}
    assert set(here.statuses(over).values()) == {DeliveryStatus.EXPIRED}
    assert (here.statuses(waits), here.batch(waits).tries) == ({}, 0)


def test_a_code_goes_by_the_second_when_the_first_is_down(here: World) -> None:
    look(here.worker, 1)
    here.run("UPDATE provider_states SET state = 'down', retry_at = now() + interval '1 hour'"
             " WHERE provider IN ('twilio', 'sendgrid')")  # fmt: skip
    with here.making() as makes:
        police = makes.organisation()
        sender = makes.sender(police, "sms", lane="urgent")
        stand_ins.stand_in(makes.session, sender.address, SPARE, actor=ACTOR)
        soon = utc_now() + timedelta(hours=1)
        more = {
            "kind": "confirm",
            "controller": police.id,
            "expires_at": soon,
            "synthetic": True,
            "now": START,
        }
        post.queue_text(makes.session, address="+447700900555", text="Your code is 123456.", **more)
        post.queue_email(makes.session, address="ann@people.example", content=CODE, **more)
    assert here.deliver() == 2
    assert sorted((c.channel, c.sender) for c in judge.read(here.sandbox.log_path)) == [
        ("email", here.worker.settings.email_from), ("sms", SPARE),
    ]  # fmt: skip


# -- the number that stands in
def test_stop_to_the_number_that_stood_in_stops_whoever_writes_from_the_first(here: World) -> None:
    here.faults(sms={"status": 403})
    sent = audience(here, SMS, 2)
    here.drain()
    with here.looking() as session:
        contact = session.get_one(ContactPoint, here.batch(sent).contact_ids[0])
    with here.app.sessions.begin() as session:
        theirs = InboundSms("SM" + "1" * 32, contact.address, SPARE, "Stop", Keyword.STOP)
        assert inbound.receive(session, theirs) is None
        word = InboundSms("SM" + "2" * 32, contact.address, SPARE, "I saw a white van", None)
        assert inbound.receive(session, word) is None
    with here.looking() as session:
        found = session.scalars(sa.select(Suppression)).all()
        assert [(s.digest, s.reason, s.controller_id) for s in found] == [
            (contact.digest, "stop", here.batch(sent).controller_id)
        ]
        said = session.scalars(sa.select(Reply)).one()
        assert said.controller_id == here.batch(sent).controller_id
        assert said.alert_id is not None, "it answers what came from that number"


def test_a_stop_that_the_second_account_holds_becomes_ours(here: World) -> None:
    sent = audience(here, SMS, 2)
    here.faults(sms={"status": 403}, **{"sms-2": {"recipients": {"opted_out": list("0123456789")}}})
    here.drain()
    assert set(here.statuses(sent).values()) == {DeliveryStatus.STOPPED}
    with here.looking() as session:
        spare = session.scalars(sa.select(Sender).where(Sender.address == SPARE)).one()
        found = session.scalars(sa.select(Suppression)).all()
    assert {(s.sender_id, s.controller_id) for s in found} == {(spare.id, here.batch(sent).controller_id)}
    assert len(found) == 2


def test_a_number_stands_in_only_from_another_account_and_of_the_same_kind(here: World) -> None:
    with here.making() as makes:
        police = makes.organisation()
        one, two = makes.sender(police, "sms"), makes.sender(police, "sms")
        for other, words in ((two.address, "one provider account"), ("MetPolice", "a number like")):
            with pytest.raises(Invalid, match=words):
                stand_ins.stand_in(makes.session, one.address, other, actor=ACTOR)
        with pytest.raises(Missing):
            stand_ins.stand_in(makes.session, "+447700900001", SPARE, actor=ACTOR)
        made = stand_ins.stand_in(makes.session, one.address, SPARE, rate=5.0, actor=ACTOR)
        assert [(s.provider, s.kind, s.segments_per_second) for s in made] == [("twilio-2", "two-way", 5.0)]
        assert stand_ins.end_stand_in(makes.session, one.address, actor=ACTOR) == 1
        assert one.fallback_sender_id is None


# -- cheap to judge
def test_the_look_at_the_providers_reads_no_table_from_end_to_end(here: World) -> None:
    audience(here, EMAIL, 1)
    here.drain()
    here.run(
        "INSERT INTO attempts (dispatch_id, batch_n, n, provider, sender_id, ordinal_from, ordinal_to, opened_at,"
        " closed_at, outcome, lease_token, failed_percent)"
        " SELECT a.dispatch_id, a.batch_n, 100 + g, 'sendgrid', a.sender_id, 1, 1, now() - g * interval '1 minute',"
        " now() - g * interval '1 minute', 'taken', a.lease_token, 0 FROM attempts a, generate_series(1, 20000) g"
    )
    here.run("ANALYZE attempts")
    look(here.worker, 1)
    configured = providers.names(here.worker.settings)
    seen: list[tuple[str, object]] = []
    with here.worker.sessions() as session:
        connection = session.connection()
        sa.event.listen(connection, "before_cursor_execute", lambda *a: seen.append((a[2], a[3])))
        routes.evaluate(session, configured)
        brake.check(session, configured[EMAIL])
        asked = [s for s in seen if "attempts" in s[0]]
        assert len(asked) == 2
        raw = connection.connection.driver_connection
        assert raw is not None
        for statement, parameters in asked:
            plan = "\n".join(r[0] for r in raw.execute(f"EXPLAIN {statement}", parameters).fetchall())
            assert "ix_attempts_closed" in plan, plan
            assert "Seq Scan on attempts" not in plan, plan
            bounded = [line for line in plan.splitlines() if "Index Cond" in line and "closed_at >" in line]
            assert bounded, plan


def test_a_few_texts_try_a_number_again_and_the_rest_of_their_batch_goes_on(here: World) -> None:
    look(here.worker, 1)
    here.run("UPDATE provider_states SET state = 'trying', trials = 3 WHERE channel = 'sms' AND place = 0")
    sent = audience(here, SMS, 40)
    here.drain()
    found = [(a.provider, a.ordinal_to - a.ordinal_from + 1) for a in here.attempts(sent)]
    assert found[:3] == [("twilio", 10)] * 3
    assert {provider for provider, _ in found[3:]} == {"twilio-2"}
    look(here.worker, 1)
    assert state(here, SMS, "twilio").state == "up"
    reached_in_all(here, sent, 40)


def test_every_request_to_the_second_account_is_what_twilios_specification_says(
    committed: Database, tmp_path: Path
) -> None:
    port = free_port()
    there = f"http://127.0.0.1:{port}"
    second = "AC" + "fedcba9876543210" * 2
    accounts = {
        "TWILIO_BASE_URL": there, "TWILIO_ACCOUNT_SID": ACCOUNT, "TWILIO_AUTH_TOKEN": "first",
        "TWILIO_2_ACCOUNT_SID": second, "TWILIO_2_AUTH_TOKEN": "second",
    }  # fmt: skip
    with world(committed, tmp_path, **accounts) as here:
        audience(here, SMS, 1)

        async def go() -> list[Request]:
            answers = Server.answer(403, {"code": 20003}), Server.answer(201, {"sid": SID})
            async with Server(*answers, port=port) as server:
                engine = here.engine()
                await drain(engine, (0, 1), 20)
                await engine.aclose()
                return server.requests

        first, other = asyncio.run(asyncio.wait_for(go(), 60))
    assert other.target == f"/2010-04-01/Accounts/{second}/Messages.json"
    for request in (first, other):
        valid(
            "twilio_create_message.json",
            request,
            "https://api.twilio.com",
            "application/x-www-form-urlencoded",
        )
    assert (
        base64.b64decode(other.headers["authorization"].removeprefix("Basic ")) == f"{second}:second".encode()
    )
    was, now = (dict(parse_qsl(r.body.decode())) for r in (first, other))
    assert (now.pop("From"), was.pop("From") != SPARE) == (SPARE, True)
    assert "ref=" in now["StatusCallback"]
    assert {k: v for k, v in now.items() if k != "StatusCallback"} == {
        k: v for k, v in was.items() if k != "StatusCallback"
    }


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (SendResult(Outcome.TAKEN), False),
        (SendResult(Outcome.IN_DOUBT, reason="500"), True),
        (SendResult(Outcome.NOT_TAKEN, reason="connect"), True),
        (SendResult(Outcome.NOT_TAKEN, reason="account"), True),
        (SendResult(Outcome.NOT_TAKEN, reason="429"), None),
        (SendResult(Outcome.NOT_TAKEN, reason="30001"), None),
        (SendResult(Outcome.NOT_TAKEN, reason="pool-timeout"), None),
        (SendResult(Outcome.NOT_TAKEN, reason="deadline"), None),
        (SendResult(Outcome.NOT_TAKEN, reason="pace"), None),
        (SendResult(Outcome.NOT_TAKEN, reason="rcpt-451"), None),
        (SendResult(Outcome.NOT_TAKEN, reason="400", rejected={1: "bad-address"}), False),
        (SendResult(Outcome.NOT_TAKEN, reason="413", bisect=True), False),
        (SendResult(Outcome.NOT_TAKEN, reason="content", retryable=False), False),
        (SendResult(Outcome.REFUSED, reason="21211"), False),
        (SendResult(Outcome.REFUSED, reason="synthetic"), None),
    ],
)
def test_what_a_call_says_about_its_provider(result: SendResult, said: bool | None) -> None:
    assert failed(result) is said
