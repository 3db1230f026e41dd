"""The pace of sending: shared by all workers, cautious alone, urgent before bulk, and what providers ask for."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
from structlog.testing import capture_logs

from app.cli.stack import Stack, free_port
from app.embedded.state import Endpoints
from app.models.ledger import BACKLOG_SECONDS, BULK_LANE, URGENT_LANE
from app.pacing import SharedBuckets
from config.fields import Part
from messaging.types import Channel, DeliveryStatus, Outcome, SendResult
from tests.chaos.servers import flush, private_valkey
from tests.conftest import Database
from tests.sending import World, world
from workers.sending.drain import drain
from workers.sending.engine import Engine
from workers.sending.pacing import BUSY_SECONDS, HELD_BACK, LOCAL_SHARE, LOOK_AGAIN, Pacer

BOTH = pytest.mark.parametrize("channel", [Channel.EMAIL, Channel.SMS])
TOLD = SendResult(Outcome.NOT_TAKEN, reason="20429", retry_after=30.0, busy="account")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


@pytest.fixture
def shared(cluster: Endpoints) -> Iterator[SharedBuckets]:
    with closing(SharedBuckets(cluster.redis_url, uuid4().hex)) as buckets:
        yield buckets


# -- one process alone
def test_without_redis_a_process_takes_a_cautious_share_of_the_rate_and_says_so_once(tmp_path: Path) -> None:
    port, clock = free_port(), Clock()
    stack = Stack(tmp_path / "valkey", {})
    with closing(SharedBuckets(f"redis://127.0.0.1:{port}/0", "x")) as buckets, capture_logs() as logs:
        pacer = Pacer(buckets, {}, clock=clock)
        of_sender = pacer.buckets("twilio", 25, urgent=False, sender=1, rate=10.0)
        try:
            assert pacer.take(25, of_sender) is None, "a window may be in debt, as ever"
            assert pacer.alone
            refused = pacer.take(25, of_sender)
            assert refused is not None
            assert refused.seconds == pytest.approx(25 / (10.0 * LOCAL_SHARE))
            taken = 0
            for _ in range(1_000):  # a hundred seconds
                clock.now += 0.1
                taken += 25 if pacer.take(25, of_sender) is None else 0
            assert 200 <= taken <= 10.0 * LOCAL_SHARE * 100 + 25
            private_valkey(stack, port)
            clock.now += LOOK_AGAIN
            assert pacer.take(25, of_sender) is None, "the shared bucket begins empty, and may be in debt"
            assert not pacer.alone
            assert pacer.take(25, of_sender) is not None
        finally:
            stack.stop()
        assert pacer.take(25, of_sender) is None, "and alone again, from an empty bucket"
        assert pacer.take(25, of_sender) is not None
        told = [line["event"] for line in logs if line["event"].startswith("pace_")]
        assert told == ["pace_alone", "pace_shared", "pace_alone"]


def test_what_a_process_heard_it_obeys_without_redis_and_through_a_flush(tmp_path: Path) -> None:
    clock = Clock()
    stack = Stack(tmp_path / "valkey", {})
    try:
        url = private_valkey(stack)
        with closing(SharedBuckets(url, "x")) as one, closing(SharedBuckets(url, "x")) as two:
            heard, other = Pacer(one, {}, clock=clock), Pacer(two, {}, clock=clock)
            of_account = heard.buckets("twilio", 1, urgent=True)
            heard.heard("twilio", TOLD)
            refused = other.take(1, of_account)
            assert refused is not None and 20 < refused.seconds <= 30
            flush(url)
            for pacer in (heard, other):
                refused = pacer.take(1, of_account)
                assert refused is not None and 20 < refused.seconds <= 30
                assert pacer.told("twilio") > 20
            stack.stop()
            clock.now += 31
            assert heard.take(1, of_account) is None
    finally:
        stack.stop()


def test_too_many_without_a_time_is_a_second_and_a_full_sender_is_not_its_account(
    shared: SharedBuckets,
) -> None:
    pacer = Pacer(shared, {}, clock=Clock())
    pacer.heard("twilio", SendResult(Outcome.NOT_TAKEN, reason="21611", busy="sender"), sender=1)
    assert pacer.told("twilio") == 0
    full = pacer.buckets("twilio", 1, urgent=False, sender=1, rate=10.0)
    refused = pacer.take(1, full)
    assert refused is not None and refused.seconds == pytest.approx(BUSY_SECONDS)
    assert pacer.take(1, pacer.buckets("twilio", 1, urgent=False, sender=2, rate=10.0)) is None
    pacer.heard("twilio", SendResult(Outcome.TAKEN, retry_after=3.0))  # not asked of us
    assert pacer.told("twilio") == 0


# -- an account
def test_an_account_of_two_workers_is_one_and_urgent_goes_before_bulk(cluster: Endpoints) -> None:
    space = uuid4().hex
    with (
        closing(SharedBuckets(cluster.redis_url, space)) as a,
        closing(SharedBuckets(cluster.redis_url, space)) as b,
    ):
        one, two = (Pacer(buckets, {"twilio": 40}, clock=Clock()) for buckets in (a, b))
        depth = 40 * BACKLOG_SECONDS
        assert one.at_once("twilio", 1_000) == depth / 2
        assert one.at_once("sendgrid", 1_000) == 1_000
        # After a flush there is nothing for bulk; urgent may go into debt, and both accounts of a kind differ.
        bulk = one.buckets("twilio", 10, urgent=False)
        urgent = two.buckets("twilio", 10, urgent=True)
        refused = one.take(10, bulk)
        assert refused is not None
        assert refused.seconds == pytest.approx((depth / 2 + 10) / 40, abs=0.1)
        assert two.take(10, urgent) is None
        assert two.take(10, two.buckets("twilio-2", 10, urgent=True)) is None
        longer = one.take(10, bulk)
        assert longer is not None and longer.seconds > refused.seconds, "the other worker's ten count"


def test_a_call_out_of_turn_is_not_made(shared: SharedBuckets) -> None:
    pacer = Pacer(shared, {"sendgrid": 1}, clock=Clock())
    calls = 0

    async def send() -> SendResult:
        nonlocal calls
        calls += 1
        return SendResult(Outcome.TAKEN, retry_after=20.0, busy="account")  # X-RateLimit-Remaining: 0

    async def go() -> list[SendResult]:
        return [await pacer.call("sendgrid", send, urgent=True) for _ in range(2)]

    first, second = asyncio.run(go())
    assert first.outcome is Outcome.TAKEN
    assert (second.outcome, second.reason, calls) == (Outcome.NOT_TAKEN, HELD_BACK, 1)
    assert second.retry_after is not None and 10 < second.retry_after <= 20


# -- whole engines
def freeze(here: World, channel: Channel, count: int, *, rate: float = 1_000.0, **alert: object) -> UUID:
    with here.making() as makes:
        police = makes.organisation()
        urgent = alert.get("urgency", "routine") != "routine"
        makes.sender(police, channel, rate=rate, lane="urgent" if urgent else "bulk")
        _, ward, _ = makes.borough()
        for _ in range(count):
            makes.resident(police, ward, channel=channel)
        return here.send(makes, makes.alert(police, [ward], channels=[channel], **alert))


def drain_limited(here: World, lane: int) -> None:
    """A worker whose Twilio account is given four segments a second."""
    providers = (
        "public_url", "twilio_base_url", "twilio_account_sid", "twilio_auth_token", "sendgrid_base_url",
        "sendgrid_api_key",
    )  # fmt: skip
    known = {name.upper(): getattr(here.worker.settings, name) for name in providers}
    registry = here.database.open(Part.WORKER, TWILIO_SEGMENTS_PER_SECOND="4", **known)

    async def go() -> None:
        engine = Engine(registry)
        try:
            await drain(engine, [lane], 10.0)
        finally:
            await engine.aclose()

    try:
        asyncio.run(go())
    finally:
        registry.engine.dispose()


def reached(here: World, sent: UUID) -> int:
    return sum(here.reached(sent).values())


@BOTH
def test_what_one_worker_is_told_another_obeys_without_asking_the_provider(
    here: World, channel: Channel
) -> None:
    sent = freeze(here, channel, 2)
    here.faults(**{channel: {"status": {"code": 429, "retry_after": 60}}})
    here.drain()
    assert here.batch(sent).state == "waiting"
    here.faults(**{channel: {}})
    here.run("UPDATE batches SET not_before = now()")
    here.drain()  # a new engine: it has heard nothing itself
    assert reached(here, sent) == 0
    batch = here.batch(sent)
    assert batch.not_before > datetime.now(UTC) + timedelta(seconds=50)
    here.come_back(sent)
    here.drain()
    assert set(here.statuses(sent).values()) == {DeliveryStatus.ACCEPTED}
    here.balance(sent)


@BOTH
def test_what_would_have_to_wait_is_not_claimed_until_its_time_is_over(here: World, channel: Channel) -> None:
    sent = freeze(here, channel, 2)
    other = freeze(here, Channel.SMS if channel is Channel.EMAIL else Channel.EMAIL, 1)
    engine = here.engine()
    engine.pacer.heard("sendgrid" if channel is Channel.EMAIL else "twilio", TOLD)
    job = engine.begin([URGENT_LANE, BULK_LANE])
    assert job is not None and job.held.dispatch == other, "the other channel goes on"
    assert engine.begin([URGENT_LANE, BULK_LANE]) is None
    assert (here.batch(sent).state, here.batch(sent).tries) == ("waiting", 0)
    here.run("UPDATE batches SET expires_at = now() WHERE dispatch_id = :d", d=sent)
    assert engine.begin([URGENT_LANE, BULK_LANE]) is not None
    assert set(here.statuses(sent).values()) == {DeliveryStatus.EXPIRED}
    asyncio.run(engine.aclose())


def test_windows_are_measured_in_segments(here: World) -> None:
    # 4 segments a second and two a text: windows of five, and two windows fill the sender's queue.
    long = "Bicycles were stolen on Monday night. " * 5
    sent = freeze(here, Channel.SMS, 30, rate=4.0, sms_text=long)
    assert here.batch(sent).reserved_segments == 60
    here.drain()
    assert [(a.ordinal_from, a.ordinal_to) for a in here.attempts(sent)] == [(1, 5), (6, 10)]
    assert reached(here, sent) == 10


def test_workers_share_a_senders_pace_and_no_flush_lets_more_into_the_providers_queue(here: World) -> None:
    sent = freeze(here, Channel.SMS, 3, rate=0.01)  # one text is a hundred seconds
    here.drain()
    assert reached(here, sent) == 1
    for happened in (lambda: None, lambda: forget(here)):
        happened()
        here.run("UPDATE batches SET not_before = now()")
        here.drain()
        assert reached(here, sent) == 1
    # PostgreSQL said no, so what Redis had granted was given back: it is not in debt.
    here.run("UPDATE batches SET not_before = now()")
    here.run("UPDATE sender_pace SET free_at = now()")
    here.drain()
    assert reached(here, sent) == 2


def forget(here: World) -> None:
    """What a flush does to the pace of one installation; the Valkey serves other tests too."""
    with redis.Redis.from_url(here.worker.settings.redis_url) as valkey:
        for key in valkey.scan_iter(match=f"pace:{here.database.name}:*"):
            valkey.delete(key)


def test_an_urgent_text_does_not_wait_behind_its_accounts_bulk(here: World) -> None:
    bulk = freeze(here, Channel.SMS, 40, rate=100.0)
    urgent = freeze(here, Channel.SMS, 8, rate=100.0, urgency="urgent")
    drain_limited(here, BULK_LANE)
    # A full account holds ten segments; half of them are kept for urgent.
    assert reached(here, bulk) == 5
    drain_limited(here, URGENT_LANE)
    assert reached(here, urgent) == 8
    here.balance(bulk)


@BOTH
def test_nobody_waits_past_the_end_of_their_time(here: World, channel: Channel) -> None:
    sent = freeze(here, channel, 3)
    here.run("UPDATE batches SET expires_at = now() + interval '20 seconds' WHERE dispatch_id = :d", d=sent)
    here.faults(**{channel: {"status": {"code": 429, "retry_after": 3_000}}})
    here.drain()
    batch = here.batch(sent)
    assert (batch.state, batch.not_before) == ("waiting", batch.expires_at)
    # Its time is over: the next look writes it down, though the provider still wants to be left alone.
    here.run("UPDATE batches SET expires_at = now(), not_before = now() WHERE dispatch_id = :d", d=sent)
    here.run("UPDATE sender_pace SET free_at = now() + interval '1 hour'")
    here.drain()
    assert set(here.statuses(sent).values()) == {DeliveryStatus.EXPIRED}
    assert here.batch(sent).state == "done"
    assert not here.reached(sent)
    here.balance(sent)


def test_the_wait_of_a_batch_is_jittered_doubles_and_is_never_shorter_than_asked(here: World) -> None:
    sent = freeze(here, Channel.EMAIL, 1)
    engine = here.engine()
    job = engine.begin([0, 1])
    assert job is not None and job.held.dispatch == sent
    for tries in (1, 4, 12):
        held = dataclasses.replace(job.held, tries=tries)
        waits = [engine.back_off(held, None) for _ in range(50)]
        longest = min(300.0, 2.0 ** min(tries, 9))
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert engine.back_off(held, 1_000.0) == 1_000.0
    asyncio.run(engine.aclose())
