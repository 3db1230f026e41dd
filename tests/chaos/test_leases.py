"""SIGSTOP past the lease, then SIGCONT: the batch is taken over, and the sleeper adds only its evidence."""

from __future__ import annotations

import signal

import pytest

from app.cli.stack import wait_until
from messaging.types import Channel
from tests.chaos.conftest import MakeScene
from tests.chaos.harness import Scene

pytestmark = pytest.mark.chaos

# Batches of 300: an SMS batch has three windows, so a sleeper has work left to do wrong.
SHAPE = {"recipients": 2_400, "senders": 8}
FIRST = {Channel.EMAIL: 500, Channel.SMS: 600}


def taken_back(scene: Scene) -> bool:
    """Whether every lease of the sleeper has been taken away, and its open calls put in doubt."""
    return not scene.open_attempts() and not scene.one(
        "SELECT count(*) FROM batches WHERE dispatch_id = :dispatch AND state = 'claimed'"
    )


def test_a_worker_that_slept_past_its_lease_adds_its_evidence_and_sends_nothing_more(
    make_scene: MakeScene, channel: Channel
) -> None:
    scene = make_scene(channel, **SHAPE)
    scene.hold(FIRST[channel], "after")
    sleeper = scene.worker()
    scene.scheduler()
    sleep = lambda: sleeper.process.send_signal(signal.SIGSTOP)  # noqa: E731
    scene.strike_when(lambda: True, sleep, what="a worker falls asleep")
    assert scene.stop_some()
    scene.no_more_holds()
    scene.release()  # the provider's answers now lie in the sleeper's sockets
    wait_until(lambda: taken_back(scene), what="the end of the sleeper's leases")
    assert scene.one("SELECT count(*) FROM deliveries WHERE status = 10") > 0
    scene.worker()
    wait_until(scene.finished, what="the other worker to take over")
    sleeper.process.send_signal(signal.SIGCONT)
    scene.doubtful.clear()  # it lived to read every answer: nobody may stay in doubt
    in_doubt = "SELECT count(*) FROM deliveries WHERE status = 10"
    wait_until(lambda: scene.one(in_doubt) == 0, what="the sleeper's evidence")
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.accepted == scene.recipients - len(scene.stops)


def test_a_worker_that_wakes_while_another_sends_its_batch_sends_none_of_it(make_scene: MakeScene) -> None:
    scene = make_scene(Channel.SMS, **SHAPE)
    wake_in_the_middle(scene)
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict


def wake_in_the_middle(scene: Scene, sabotage: str | None = None) -> None:
    """A worker sleeps past its lease in the second window of its batches, and wakes while the third
    windows are open in another worker's hands.
    """
    scene.hold(FIRST[Channel.SMS], "after", times=600)
    sleeper = scene.worker(sabotage)
    sleep = lambda: sleeper.process.send_signal(signal.SIGSTOP)  # noqa: E731
    scene.strike_when(lambda: True, sleep, what="a worker falls asleep")
    scene.scheduler()
    wait_until(lambda: taken_back(scene), what="the end of the sleeper's leases")
    before = scene.sandbox.gauge()["accepted"]["sms"]
    scene.hold(0, "after")
    scene.worker()
    wait_until(
        lambda: scene.sandbox.gauge()["accepted"]["sms"] >= before + 50, what="the other worker's calls"
    )
    sleeper.process.send_signal(signal.SIGCONT)
    closed = "SELECT count(*) FROM attempts WHERE dispatch_id = :dispatch AND n = 3 AND closed_at IS NOT NULL"
    wait_until(lambda: scene.one(closed) > 0, what="the end of the third windows")


def test_what_a_sleeper_gives_back_is_sent_by_whoever_holds_the_batch(make_scene: MakeScene) -> None:
    scene = make_scene(Channel.SMS, **SHAPE)
    # The provider is too busy for the second windows, and says so while the worker sleeps.
    scene.sandbox.faults(sms={"latency_ms": 300, "status": {"code": 429, "start": 600}})
    sleeper = scene.worker()
    sleep = lambda: sleeper.process.send_signal(signal.SIGSTOP)  # noqa: E731
    scene.strike_when(lambda: True, sleep, what="a worker falls asleep")
    scene.scheduler()
    wait_until(lambda: taken_back(scene), what="the end of the sleeper's leases")
    wait_until(lambda: scene.sandbox.gauge()["open_sms"] == 0, what="the provider's refusals")
    scene.hold(0, "after")
    scene.worker()
    wait_until(lambda: scene.sandbox.gauge()["open_sms"] >= 50, what="the other worker's calls")
    sleeper.process.send_signal(signal.SIGCONT)
    scene.doubtful.clear()  # a refusal that was read is no doubt
    given_back = "SELECT count(*) FROM deliveries WHERE status = 0"
    wait_until(lambda: scene.one(given_back) > 0, what="what the sleeper gives back")
    scene.sandbox.ask("DELETE", "faults")
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.accepted == scene.recipients
