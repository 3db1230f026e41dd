"""What happened decides what may follow: later, never again, or not at all. Judged by the sandbox's log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from app.cli.stack import wait_until
from app.models.organisations import Organisation
from app.services import consent, dispatch, people
from app.services.ledger import recovery
from messaging.types import Channel, DeliveryStatus
from tests.conftest import Database
from tests.factories import ACTOR
from tests.sending import World, world

BOTH = pytest.mark.parametrize("channel", [Channel.EMAIL, Channel.SMS])
ONCE = 1


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


def freeze(
    here: World, channel: Channel, count: int, *, rate: float = 1_000.0
) -> tuple[UUID, list[int], Organisation]:
    """A dispatch to ``count`` people; (dispatch, their ids in the order of the batch, controller)."""
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police, channel, rate=rate)
        _, ward, _ = makes.borough()
        for _ in range(count):
            makes.resident(police, ward, channel=channel)
        sent = here.send(makes, makes.alert(police, [ward], channels=[channel]))
    return sent, list(here.batch(sent).contact_ids), police


@contextmanager
def held_call(here: World, channel: Channel) -> Iterator[None]:
    """The engine works in another thread; inside, its first call hangs before the provider took it."""
    here.faults(**{channel: {"hold": {"times": 1, "when": "before"}}})
    failure: list[BaseException] = []

    def work() -> None:
        try:
            here.drain()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: here.sandbox.gauge()["held"][channel] == 1, what="the call that hangs")
        yield
    finally:
        here.sandbox._server.get_loop().call_soon_threadsafe(here.sandbox.faults.release, str(channel))
        thread.join(30)
    assert not thread.is_alive()
    assert not failure, failure


@BOTH
def test_429_goes_back_to_waiting_for_as_long_as_asked_and_is_sent_later_once(
    here: World, channel: Channel
) -> None:
    sent, ids, _ = freeze(here, channel, 3)
    here.faults(**{channel: {"status": {"code": 429, "retry_after": 77}}})
    before = datetime.now(UTC)
    here.drain()
    batch = here.batch(sent)
    assert (batch.state, batch.lease_token) == ("waiting", None)
    assert batch.not_before >= before + timedelta(seconds=77)
    assert not here.reached(sent)
    (line,) = here.balance(sent)
    assert line.waiting == 3
    here.faults(**{channel: {}})
    assert here.drain() == 0, "not before its time"
    here.come_back(sent)
    here.drain()
    assert here.reached(sent) == dict.fromkeys(ids, ONCE)
    assert [a.outcome for a in here.attempts(sent)] == ["not_taken", "taken"]
    assert here.balance(sent)[0].accepted == 3


@BOTH
def test_who_cannot_be_written_to_at_all_does_not_end_the_wait_of_the_others(
    here: World, channel: Channel
) -> None:
    sent, ids, _ = freeze(here, channel, 3)
    here.run("UPDATE contact_points SET address_enc = '\\x00' WHERE id = :c", c=ids[1])
    here.faults(**{channel: {"status": {"code": 429}}})
    here.drain()
    assert here.statuses(sent) == {ids[1]: DeliveryStatus.REFUSED}
    assert here.batch(sent).state == "waiting"
    here.faults(**{channel: {}})
    here.come_back(sent)
    here.drain()
    assert here.reached(sent) == {ids[0]: ONCE, ids[2]: ONCE}
    here.balance(sent)


@BOTH
@pytest.mark.parametrize(
    ("fault", "reason"), [({"status": {"code": 503}}, "503"), ({"drop": {"when": "before"}}, "reset")]
)
def test_an_outage_leaves_everybody_in_doubt_and_nothing_is_ever_sent_again(
    here: World, channel: Channel, fault: dict[str, object], reason: str
) -> None:
    sent, ids, _ = freeze(here, channel, 3)
    here.faults(**{channel: fault})
    here.drain()
    assert here.statuses(sent) == dict.fromkeys(ids, DeliveryStatus.IN_DOUBT)
    assert set(here.reasons(sent).values()) == {reason}
    assert [a.outcome for a in here.attempts(sent)] == ["in_doubt"]
    assert here.balance(sent)[0].in_doubt == 3
    here.faults(**{channel: {}})
    here.come_back(sent)
    assert here.drain() == 0
    assert not here.reached(sent)


@BOTH
def test_an_answer_that_is_lost_after_acceptance_is_doubt_and_the_provider_took_it_once(
    here: World, channel: Channel
) -> None:
    sent, ids, _ = freeze(here, channel, 3)
    here.faults(**{channel: {"drop": {"when": "after"}}})
    here.drain()
    here.come_back(sent)
    here.drain()
    assert here.reached(sent) == dict.fromkeys(ids, ONCE)
    assert here.statuses(sent) == dict.fromkeys(ids, DeliveryStatus.IN_DOUBT)
    here.balance(sent)


def test_a_stop_midway_ends_the_rest_as_stopped(here: World) -> None:
    # 4 segments a second: windows of 10, and the sender's queue is full after two of them.
    sent, ids, _ = freeze(here, Channel.SMS, 25, rate=4.0)
    here.drain()
    assert here.reached(sent) == dict.fromkeys(ids[:20], ONCE)
    assert here.batch(sent).state == "waiting"
    with here.app.sessions.begin() as session:
        dispatch.stop(session, sent, actor=ACTOR, why="it was a false alarm")
    here.drain()
    statuses = here.statuses(sent)
    assert {c for c, s in statuses.items() if s is DeliveryStatus.STOPPED} == set(ids[20:])
    assert here.reached(sent) == dict.fromkeys(ids[:20], ONCE)
    (line,) = here.balance(sent)
    assert (line.accepted, line.stopped, line.waiting) == (20, 5, 0)
    assert here.batch(sent).state == "done"


def test_a_stop_while_a_call_is_open_ends_what_the_provider_named_no_fault_of(here: World) -> None:
    sent, ids, malformed = _with_a_malformed_address(here)
    with held_call(here, Channel.EMAIL), here.app.sessions.begin() as session:
        dispatch.stop(session, sent, actor=ACTOR, why="it was a false alarm")
    assert not here.reached(sent)
    statuses = here.statuses(sent)
    assert statuses.pop(malformed) is DeliveryStatus.REFUSED
    assert statuses == {c: DeliveryStatus.STOPPED for c in ids if c != malformed}
    assert here.batch(sent).state == "done"
    here.balance(sent)


def test_when_everybody_left_has_stopped_before_the_second_try_the_batch_is_done_at_once(
    here: World,
) -> None:
    sent, ids, malformed = _with_a_malformed_address(here)
    with held_call(here, Channel.EMAIL), here.app.sessions.begin() as session:
        controller = here.batch(sent).controller_id
        for contact in ids:
            consent.leave(session, contact, controller, how="test", actor=ACTOR)
    assert not here.reached(sent)
    assert {c for c, s in here.statuses(sent).items() if s is DeliveryStatus.STOPPED} == {*ids} - {malformed}
    batch = here.batch(sent)
    assert (batch.state, batch.lease_token) == ("done", None), "nobody waits for a lease to run out"
    here.balance(sent)


def _with_a_malformed_address(here: World) -> tuple[UUID, list[int], int]:
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police)
        _, ward, _ = makes.borough()
        for _ in range(3):
            makes.resident(police, ward)
        malformed = here.imported(makes, police, ward, "no address at all")
        sent = here.send(makes, makes.alert(police, [ward]))
    return sent, list(here.batch(sent).contact_ids), malformed.id


@BOTH
def test_what_was_not_sent_in_its_time_expires(here: World, channel: Channel) -> None:
    sent, ids, _ = freeze(here, channel, 3)
    here.run("UPDATE batches SET expires_at = now() - interval '1 second'")
    here.drain()
    assert not here.reached(sent)
    assert here.statuses(sent) == dict.fromkeys(ids, DeliveryStatus.EXPIRED)
    assert here.balance(sent)[0].expired == 3
    assert not here.attempts(sent)


@BOTH
def test_who_was_erased_or_said_stop_after_the_freeze_is_not_written_to(
    here: World, channel: Channel
) -> None:
    sent, ids, police = freeze(here, channel, 4)
    gone, left, *stay = ids
    with here.app.sessions.begin() as session:
        people.erase(session, gone, actor=ACTOR)
        assert consent.leave(session, left, police.id, how="test", actor=ACTOR)
    here.drain()
    assert here.reached(sent) == dict.fromkeys(stay, ONCE)
    assert here.statuses(sent) == {
        gone: DeliveryStatus.ERASED,
        left: DeliveryStatus.STOPPED,
        **dict.fromkeys(stay, DeliveryStatus.ACCEPTED),
    }
    (line,) = here.balance(sent)
    assert (line.accepted, line.erased, line.stopped) == (2, 1, 1)


def test_a_stop_while_a_window_is_under_way_holds_for_the_next_window(here: World) -> None:
    sent, ids, police = freeze(here, Channel.SMS, 15, rate=4.0)
    with held_call(here, Channel.SMS), here.app.sessions.begin() as session:
        consent.leave(session, ids[12], police.id, how="test", actor=ACTOR)
        people.erase(session, ids[13], actor=ACTOR)
    statuses = here.statuses(sent)
    assert (statuses[ids[12]], statuses[ids[13]]) == (DeliveryStatus.STOPPED, DeliveryStatus.ERASED)
    assert here.reached(sent) == dict.fromkeys([*ids[:12], ids[14]], ONCE)
    here.balance(sent)


@BOTH
def test_a_made_up_person_is_refused_where_the_provider_is_not_this_machine(
    committed: Database, tmp_path: Path, channel: Channel
) -> None:
    real = {"SENDGRID_BASE_URL": "https://api.sendgrid.com", "TWILIO_BASE_URL": "https://api.twilio.com"}
    with world(committed, tmp_path, **real) as here:
        sent, ids, _ = freeze(here, channel, 3)
        here.drain()
        assert here.statuses(sent) == dict.fromkeys(ids, DeliveryStatus.REFUSED)
        assert set(here.reasons(sent).values()) == {"synthetic"}
        assert not here.reached(sent)
        here.balance(sent)


@BOTH
def test_one_address_that_does_not_decrypt_holds_up_nobody_else(here: World, channel: Channel) -> None:
    sent, ids, _ = freeze(here, channel, 4)
    here.run("UPDATE contact_points SET address_enc = '\\x00' WHERE id = :c", c=ids[1])
    here.drain()
    assert here.reached(sent) == {c: ONCE for c in ids if c != ids[1]}
    assert here.reasons(sent)[ids[1]] == "unreadable address"
    here.balance(sent)


@BOTH
def test_a_worker_that_lost_its_lease_still_adds_its_evidence(here: World, channel: Channel) -> None:
    sent, ids, _ = freeze(here, channel, 3)
    with held_call(here, channel):
        _lose_the_lease(here, sent, doubt=3)
        assert here.statuses(sent) == dict.fromkeys(ids, DeliveryStatus.IN_DOUBT)
    assert here.statuses(sent) == dict.fromkeys(ids, DeliveryStatus.ACCEPTED)
    assert here.drain() <= 1
    assert here.reached(sent) == dict.fromkeys(ids, ONCE)
    (line,) = here.balance(sent)
    assert (line.accepted, line.in_doubt) == (3, 0)
    assert here.batch(sent).state == "done"


def test_a_late_proof_that_nothing_was_taken_lets_the_others_be_sent_after_all(here: World) -> None:
    sent, ids, malformed = _with_a_malformed_address(here)
    with held_call(here, Channel.EMAIL):
        _lose_the_lease(here, sent, doubt=4)
        here.drain()  # another worker finds nobody left
        assert here.batch(sent).state == "done"
    assert here.batch(sent).state == "waiting"
    here.come_back(sent)
    here.drain()
    assert here.reached(sent) == {c: ONCE for c in ids if c != malformed}
    (line,) = here.balance(sent)
    assert (line.accepted, line.refused, line.in_doubt, line.waiting) == (3, 1, 0, 0)
    assert here.batch(sent).state == "done"


def test_a_worker_without_its_lease_opens_no_further_window(here: World) -> None:
    sent, ids, _ = freeze(here, Channel.SMS, 15, rate=4.0)
    with held_call(here, Channel.SMS):
        # Another worker holds the batch now, and will hold it for a minute.
        here.run(
            "UPDATE batches SET lease_token = gen_random_uuid(), lease_until = now() + interval '1 minute' "
            "WHERE dispatch_id = :d",
            d=sent,
        )
    assert here.reached(sent) == dict.fromkeys(ids[:10], ONCE)
    assert here.batch(sent).state == "claimed", "it is the other one's to let go"
    here.balance(sent)


def _lose_the_lease(here: World, sent: UUID, *, doubt: int) -> None:
    here.run("UPDATE batches SET lease_until = now() - interval '1 second' WHERE dispatch_id = :d", d=sent)
    with here.worker.sessions.begin() as session:
        assert recovery.recover(session) == [(sent, 0, doubt)]
    here.balance(sent)
