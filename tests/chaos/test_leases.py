"""SIGSTOP past the lease, then SIGCONT: the batch is taken over, and the sleeper adds only its evidence."""

from __future__ import annotations

import pytest

from messaging.types import Channel
from tests.chaos.conftest import MakeScene
from tests.chaos.harness import Scene, until
from tests.chaos.stall import Stall

pytestmark = pytest.mark.chaos

# SMS batches of 300 have three windows, so a sleeper has work left to do wrong.
SENDERS = {Channel.EMAIL: 12, Channel.SMS: 8}
FIRST = {Channel.EMAIL: 500, Channel.SMS: 600}


def test_a_worker_that_slept_past_its_lease_adds_its_evidence_and_sends_nothing_more(
    make_scene: MakeScene, channel: Channel
) -> None:
    scene = make_scene(channel, senders=SENDERS[channel])
    scene.hold(FIRST[channel], "after")
    sleeper = scene.worker()
    scene.scheduler()
    scene.strike_when(lambda: True, lambda: scene.asleep(sleeper), what="a worker falls asleep")
    assert scene.stop_some()
    scene.no_more_holds()
    scene.release()  # the provider's answers now lie in the sleeper's sockets
    until(scene.taken_back, "the end of the sleeper's leases")
    assert scene.one("SELECT count(*) FROM deliveries WHERE status = 10") > 0
    scene.worker()
    until(scene.finished, "the other worker to take over")
    scene.awake(sleeper)
    scene.doubtful.clear()  # it lived to read every answer: nobody may stay in doubt
    in_doubt = "SELECT count(*) FROM deliveries WHERE status = 10"
    until(lambda: scene.one(in_doubt) == 0, "the sleeper's evidence")
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.accepted == scene.recipients - len(scene.stops)


def wake_in_the_middle(scene: Scene, sabotage: str | None = None) -> None:
    """A worker sleeps past its lease in the second window of its batches, and wakes while the third
    windows are open in another worker's hands. (Played with and without the lease fence in
    test_can_fail.)
    """
    scene.hold(FIRST[Channel.SMS], "after", times=600)
    sleeper = scene.worker(sabotage)
    scene.strike_when(lambda: True, lambda: scene.asleep(sleeper), what="a worker falls asleep")
    scene.scheduler()
    until(scene.taken_back, "the end of the sleeper's leases")
    # The second windows' answers now lie in the sleeper's sockets: it has every reason to go on with the third.
    scene.release()
    before = scene.sandbox.gauge()["accepted"]["sms"]
    scene.hold(0, "after")
    scene.worker()
    until(lambda: scene.sandbox.gauge()["accepted"]["sms"] >= before + 50, "the other worker's calls")
    scene.awake(sleeper)
    closed = "SELECT count(*) FROM attempts WHERE dispatch_id = :dispatch AND n = 3 AND closed_at IS NOT NULL"
    until(lambda: scene.one(closed) > 0, "the end of the third windows")


def test_a_worker_frozen_inside_its_transaction_holds_nobody_up_past_its_lease(
    make_scene: MakeScene, channel: Channel
) -> None:
    scene = make_scene(channel)
    scene.hold(FIRST[channel], "after", {Channel.EMAIL: 2, Channel.SMS: 150}[channel])
    recorded = {Channel.EMAIL: 400, Channel.SMS: 700}[channel]
    condition = f"(SELECT count(*) FROM deliveries) >= {recorded}"
    with Stall(scene.database.admin, "INSERT", "deliveries", condition) as stall:
        sleeper = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, lambda: scene.asleep(sleeper), what="a worker freezes")
    # Its rows are written now and not committed, and it cannot know.
    scene.release()
    scene.no_more_holds()
    scene.worker()
    until(scene.finished, "the other worker to take over")
    scene.awake(sleeper)
    scene.doubtful.clear()  # it lived to read every answer
    sleeper.process.terminate()  # it ends once it has written down what it knows
    until(lambda: not sleeper.alive(), "the sleeper's end")
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict


def test_what_a_sleeper_gives_back_is_sent_by_whoever_holds_the_batch(make_scene: MakeScene) -> None:
    scene = make_scene(Channel.SMS, senders=SENDERS[Channel.SMS])
    # The provider is too busy for the second windows, and says so while the worker sleeps.
    scene.sandbox.faults(sms={"latency_ms": 300, "status": {"code": 429, "start": 600}})
    sleeper = scene.worker()
    scene.strike_when(lambda: True, lambda: scene.asleep(sleeper), what="a worker falls asleep")
    scene.scheduler()
    until(scene.taken_back, "the end of the sleeper's leases")
    until(lambda: scene.sandbox.gauge()["open_sms"] == 0, "the provider's refusals")
    scene.hold(0, "after")
    scene.worker()
    until(lambda: scene.sandbox.gauge()["open_sms"] >= 50, "the other worker's calls")
    scene.awake(sleeper)
    scene.doubtful.clear()  # a refusal that was read is no doubt
    given_back = "SELECT count(*) FROM deliveries WHERE status = 0"
    until(lambda: scene.one(given_back) > 0, "what the sleeper gives back")
    scene.sandbox.ask("DELETE", "faults")
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.accepted == scene.recipients
