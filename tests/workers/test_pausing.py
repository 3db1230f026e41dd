"""A pause holds within one batch or window, on both channels, and what is left goes out once when it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from app import queue
from app.db import new_id, utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.audit import AuditEntry
from app.models.ledger import Delivery, Dispatch
from app.services import dispatch, pausing
from app.services.ledger import attempts, claims, recovery, results
from messaging.types import Channel, DeliveryStatus
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.sending import World, world
from tests.workers.test_post import wait_until
from workers.schedule import sweep

SENDERS = 30  # e-mail: as many batches, more than a worker has in hand at once


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


def frozen(here: World, channel: Channel, count: int = 90, **changes: object) -> UUID:
    with here.making() as makes:
        police = makes.organisation()
        if channel is Channel.EMAIL:
            for _ in range(SENDERS):
                makes.sender(police)
        else:  # windows of ten
            makes.sender(police, "sms", rate=4.0)
        _, ward, _ = makes.borough()
        for _ in range(count):
            makes.resident(police, ward, channel=channel)
        return here.send(makes, makes.alert(police, [ward], channels=[channel], **changes))


def pause(here: World, sent: UUID) -> datetime:
    """When it was on the record, by the database's clock."""
    with here.app.sessions.begin() as session:
        pausing.pause(session, sent, actor=ACTOR, why="Wrong picture")
    with here.looking() as session:
        found: datetime = session.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return found


def resume(here: World, sent: UUID) -> None:
    with here.app.sessions.begin() as session:
        pausing.resume(session, sent, actor=ACTOR)


def swept(here: World) -> None:
    with here.worker.sessions.begin() as session:
        sweep(session, 60)


def states(here: World, sent: UUID) -> dict[str, int]:
    with here.looking() as session:
        rows = session.execute(
            sa.text("SELECT state, count(*) FROM batches WHERE dispatch_id = :d GROUP BY 1"), {"d": sent}
        )
        return dict(map(tuple, rows))


def state(here: World, sent: UUID) -> str:
    with here.looking() as session:
        return session.get_one(Dispatch, sent).state


@contextmanager
def held(here: World, channel: Channel) -> Iterator[None]:
    """A worker is at work, and its calls are held at the provider; at the end they go on, and it ends."""
    here.faults(**{channel: {"hold": {"when": "before"}}})
    thread = threading.Thread(target=here.drain)
    thread.start()
    try:
        wait_until(lambda: here.sandbox.gauge()["held"][channel] >= 1, what="a call under way")
        yield
    finally:
        here.sandbox._server.get_loop().call_soon_threadsafe(here.sandbox.faults.release, channel)
        thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("channel", list(Channel))
def test_a_pause_acts_within_one_batch_or_window_and_the_rest_goes_out_once(
    here: World, channel: Channel
) -> None:
    sent = frozen(here, channel)
    with held(here, channel):
        paused_at = pause(here, sent)
    # What was under way is finished and written down; nothing began after it.
    opened = here.attempts(sent)
    assert opened and all(a.opened_at <= paused_at and a.outcome == "taken" for a in opened)
    began = sum(a.ordinal_to - a.ordinal_from + 1 for a in opened)
    reached = here.reached(sent)
    assert sum(reached.values()) == began < 90
    assert set(reached.values()) == {1}
    if channel is Channel.SMS:
        assert len({a.batch_n for a in opened}) == 1
        assert began <= 20, "windows of ten, and no more of them than the sender passes on in five seconds"
    swept(here)
    assert set(states(here, sent)) <= {"paused", "done"}
    (line,) = here.balance(sent)
    assert (line.accepted, line.waiting) == (began, 90 - began)
    # Whoever looks again finds nothing to do, whatever happens to be ready.
    assert here.drain() == 0
    with here.worker.sessions.begin() as session:
        assert recovery.waiting(session) == {}
        assert recovery.finish(session) == []
    resume(here, sent)
    assert "paused" not in states(here, sent)
    finish(here, sent)
    assert state(here, sent) == "done"
    everybody = here.reached(sent)
    assert len(everybody) == 90
    assert set(everybody.values()) == {1}
    (line,) = here.balance(sent)
    assert (line.accepted, line.unaccounted) == (90, 0)


def finish(here: World, sent: UUID) -> None:
    """Drain to the end: a text's sender may make the rest wait for its turn."""

    here.run("UPDATE senders SET segments_per_second = 1000")

    def done() -> bool:
        here.come_back(sent)
        here.drain()
        return states(here, sent) == {"done": sum(states(here, sent).values())}

    wait_until(done, what="the last batch")
    swept(here)


@pytest.mark.parametrize("channel", list(Channel))
def test_a_batch_that_was_claimed_before_the_pause_opens_no_attempt_after_it(
    here: World, channel: Channel
) -> None:
    sent = frozen(here, channel, 5)
    with here.worker.sessions.begin() as session:
        mine = claims.claim(session, lanes=ledger.LANES, channels=list(Channel), lease_seconds=60)
        assert mine is not None
    pause(here, sent)
    with here.worker.sessions.begin() as session:
        assert (
            attempts.open_attempt(session, mine, provider="test", first=1, last=mine.size, lease_seconds=60)
            is None
        )
        assert results.release(session, mine, done=False)
    # It waits, and is claimed by nobody; the sweeper sets it aside.
    assert states(here, sent)["waiting"] == 1
    assert here.drain() == 0
    swept(here)
    assert set(states(here, sent)) == {"paused"}


def test_what_the_sweeper_finds_on_the_wrong_side_it_puts_right(here: World) -> None:
    sent = frozen(here, Channel.SMS, 5)
    pause(here, sent)
    # A batch was let go while the pause was being written, or set aside while it ended.
    here.run("UPDATE batches SET state = 'waiting'")
    swept(here)
    assert states(here, sent) == {"paused": 1}
    here.run("UPDATE dispatches SET state = 'running'")
    swept(here)
    assert states(here, sent) == {"waiting": 1}
    with here.worker.sessions.begin() as session:
        assert pausing.sweep(session) == (0, 0)


def test_time_runs_on_and_what_expires_while_paused_ends_as_expired(here: World) -> None:
    sent = frozen(here, Channel.EMAIL, 40)
    pause(here, sent)
    here.run("UPDATE batches SET expires_at = now() - interval '1 second' WHERE dispatch_id = :d", d=sent)
    swept(here)
    assert here.drain() > 0
    assert set(here.statuses(sent).values()) == {DeliveryStatus.EXPIRED}
    assert not here.reached(sent)
    swept(here)
    assert (state(here, sent), states(here, sent).keys()) == ("done", {"done"})


def test_a_paused_dispatch_can_be_stopped_and_then_it_neither_pauses_nor_goes_on(here: World) -> None:
    sent = frozen(here, Channel.EMAIL, 10)
    pause(here, sent)
    with here.app.sessions.begin() as session:
        dispatch.stop(session, sent, actor=ACTOR, why="Withdrawn")
    for act in (pausing.pause, pausing.resume):
        with pytest.raises(Conflict, match="was stopped"), here.app.sessions.begin() as session:
            act(session, sent, actor=ACTOR, why="x")
    here.drain()
    assert set(here.statuses(sent).values()) == {DeliveryStatus.STOPPED}
    assert not here.reached(sent)
    swept(here)
    with pytest.raises(Conflict, match="already finished"), here.app.sessions.begin() as session:
        pausing.pause(session, sent, actor=ACTOR, why="x")


def test_a_stop_between_pause_and_sweep_leaves_nothing_paused(here: World) -> None:
    sent = frozen(here, Channel.EMAIL, 10)
    pause(here, sent)
    here.run("UPDATE dispatches SET state = 'stopped', stopped_at = now()")
    swept(here)
    assert "paused" not in states(here, sent)


def test_a_stop_waits_for_no_worker_and_the_sweeper_finds_what_it_had_in_hand(here: World) -> None:
    """A worker has claimed a batch, and may come to want its dispatch; a stop has the dispatch. Were it to want the
    batch as well, the two could wait for each other.
    """
    sent = frozen(here, Channel.EMAIL, 60)
    claiming = here.worker.sessions()
    mine = ledger.claimed(claiming)
    with here.app.sessions.begin() as session:
        session.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
        dispatch.stop(session, sent, actor=ACTOR, why="Wrong ward")
    results.release(claiming, mine, done=False, delay_seconds=300)
    claiming.commit()
    claiming.close()
    assert here.batch(sent, mine.batch).not_before > utc_now(), "it would end in five minutes"
    swept(here)
    here.drain()
    assert set(here.statuses(sent).values()) == {DeliveryStatus.STOPPED}
    with here.looking() as session:
        assert session.get_one(Dispatch, sent).finished_at is not None


def test_others_go_on_while_one_is_paused(here: World) -> None:
    first = frozen(here, Channel.EMAIL, 30)
    pause(here, first)
    second = frozen(here, Channel.EMAIL, 30, urgency="routine")
    here.drain()
    assert len(here.reached(second)) == 30
    assert not here.reached(first)


@pytest.mark.parametrize("channel", list(Channel))
def test_pauses_and_resumes_under_two_workers_lose_nobody_and_reach_nobody_twice(
    here: World, channel: Channel
) -> None:
    sent = frozen(here, channel)
    here.run("UPDATE senders SET segments_per_second = 200")  # several windows at once
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            here.drain(seconds=1)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(15):
            try:
                pause(here, sent)
                swept(here)
                resume(here, sent)
            except Conflict:  # it has ended
                break
            swept(here)
        wait_until(lambda: _over(here, sent), what="the end of the dispatch")
    finally:
        ended.set()
        for worker in workers:
            worker.join(60)
    reached = here.reached(sent)
    assert len(reached) == 90
    assert set(reached.values()) == {1}
    (line,) = here.balance(sent)
    assert line.accepted == 90
    with here.looking() as session:
        events = session.scalars(sa.select(AuditEntry.event).where(AuditEntry.subject == f"dispatch:{sent}"))
        assert sum(event == "dispatch:pause" for event in events) >= 1


def _over(here: World, sent: UUID) -> bool:
    here.come_back(sent)
    swept(here)
    return state(here, sent) == "done"


def test_twice_is_once_and_each_is_on_the_record_with_its_reason(here: World) -> None:
    sent = frozen(here, Channel.EMAIL, 3)
    for nothing in ("", "  ", "x" * 501):
        with pytest.raises(Invalid), here.app.sessions.begin() as session:
            pausing.pause(session, sent, actor=ACTOR, why=nothing)
    with pytest.raises(Invalid), here.app.sessions.begin() as session:
        pausing.resume(session, sent, actor=ACTOR, why="x" * 501)
    with pytest.raises(Missing), here.app.sessions.begin() as session:
        pausing.pause(session, new_id(), actor=ACTOR, why="x")
    resume(here, sent)  # it was running
    pause(here, sent)
    pause(here, sent)
    resume(here, sent)
    resume(here, sent)
    with here.looking() as session:
        entries = session.execute(
            sa.select(AuditEntry.event, AuditEntry.why)
            .where(AuditEntry.subject == f"dispatch:{sent}")
            .order_by(AuditEntry.id)
        ).all()
    assert [tuple(e) for e in entries] == [("dispatch:pause", "Wrong picture"), ("dispatch:resume", None)]


def test_going_on_rings_the_lane_after_the_commit(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = frozen(here, Channel.EMAIL, 3)
    pause(here, sent)
    with here.app.sessions.begin() as session:
        pausing.resume(session, sent, actor=ACTOR)
        rings = list(session.info[queue._RINGS])
    assert {(r.lane.value, r.job) for r in rings} == {("bulk", "workers.send.drain")}


def test_a_paused_million_costs_other_claims_nothing(database: Database) -> None:
    """The plan of a claim never meets what was set aside: it has left the index."""
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        sent = ledger.frozen(makes, 3)
        session.execute(
            sa.text(
                "INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise, "
                "contact_ids, size, reserved_segments, not_before, expires_at) SELECT dispatch_id, g, channel, language, "
                "controller_id, sender_id, lane, urgency, exercise, contact_ids, size, 0, not_before, expires_at "
                "FROM batches, generate_series(1, 1000) g WHERE dispatch_id = :d"
            ),
            {"d": sent},
        )
        pausing.pause(session, sent, actor=ACTOR, why="x")
        other = ledger.frozen(makes, 3)
        session.execute(sa.text("ANALYZE batches"))
        for way in ("seqscan", "bitmapscan", "sort"):  # few rows could as well be read and put in order
            session.execute(sa.text(f"SET LOCAL enable_{way} = off"))
        plan = session.execute(
            sa.text(
                "EXPLAIN (ANALYZE, FORMAT JSON) SELECT dispatch_id, n FROM batches WHERE state = 'waiting' AND lane = 1 "
                "ORDER BY lane, n, dispatch_id LIMIT 1"
            )
        ).scalar_one()
        node = plan[0]["Plan"]["Plans"][0]
        assert node["Index Name"] == "ix_batches_waiting"
        assert ledger.claimed(session).dispatch == other
        assert claims.claim(session, lanes=[1], channels=list(Channel), lease_seconds=60) is None


def test_many_batches_that_only_end_hold_up_no_answer(here: World) -> None:
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police, lane="urgent")
        _, ward, _ = makes.borough()
        makes.resident(police, ward)
        urgent = here.send(makes, makes.alert(police, [ward], urgency="urgent"))
    stopped = frozen(here, Channel.EMAIL, 90)
    with here.app.sessions.begin() as session:
        dispatch.stop(session, stopped, actor=ACTOR, why="Wrong ward")
    here.drain()
    with here.looking() as session:
        last = session.scalars(
            sa.select(sa.func.max(Delivery.at)).where(Delivery.dispatch_id == stopped)
        ).one()
    (attempt,) = here.attempts(urgent)
    assert attempt.closed_at is not None and attempt.closed_at < last
