"""kill -9 of a worker at each step of its cycle: nobody lost, nobody twice, doubt named."""

from __future__ import annotations

import pytest

from messaging.types import Channel
from tests.chaos.conftest import MakeScene
from tests.chaos.stall import Stall

pytestmark = pytest.mark.chaos

# In a scene of 12 batches of 200, six are in the air at once. Of e-mail each is one call; of SMS
# two windows of 100. So the first calls pass, some later ones are held, and the rest go on until
# the step where the worker is stalled and killed.
FIRST = {Channel.EMAIL: 500, Channel.SMS: 600}
HELD = {Channel.EMAIL: 2, Channel.SMS: 150}
DELIVERED = "(SELECT count(*) FROM deliveries) >= "


def test_a_worker_killed_between_its_claim_and_its_attempt_leaves_nobody_out(
    make_scene: MakeScene, channel: Channel
) -> None:
    scene = make_scene(channel)
    scene.hold(FIRST[channel], "before", HELD[channel])
    enough = {Channel.EMAIL: 7, Channel.SMS: 10}[channel]
    with Stall(
        scene.database.admin, "INSERT", "attempts", f"(SELECT count(*) FROM attempts) >= {enough}"
    ) as stall:
        worker = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, worker.kill, what="before the attempt")
        assert scene.stop_some()
    scene.worker()
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.stopped == len(scene.stops)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_killed_while_calls_are_open_leaves_them_in_doubt_and_nobody_else(
    make_scene: MakeScene, channel: Channel, when: str
) -> None:
    scene = make_scene(channel)
    scene.hold(FIRST[channel], when)
    worker = scene.worker()
    scene.scheduler()
    scene.strike_when(lambda: True, worker.kill, what=f"{when} acceptance")
    assert scene.stop_some()
    scene.worker()
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.stopped == len(scene.stops)
    assert verdict.in_doubt > 0, "a killed call must be named"


def test_a_worker_killed_before_it_could_record_an_answer_leaves_the_doubt_named(
    make_scene: MakeScene, channel: Channel
) -> None:
    scene = make_scene(channel)
    scene.hold(FIRST[channel], "after", HELD[channel])
    recorded = {Channel.EMAIL: 400, Channel.SMS: 700}[channel]
    with Stall(scene.database.admin, "INSERT", "deliveries", f"{DELIVERED}{recorded}") as stall:
        worker = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, worker.kill, what="before the record")
        assert scene.stop_some()
    scene.worker()
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.stopped == len(scene.stops)
    assert verdict.in_doubt_and_taken > 0, "an answer that was not recorded must be named"


def test_a_worker_killed_right_after_a_record_has_it_stand(make_scene: MakeScene, channel: Channel) -> None:
    scene = make_scene(channel)
    scene.hold(FIRST[channel], "after", HELD[channel])
    recorded = {Channel.EMAIL: 600, Channel.SMS: 700}[channel]
    with Stall(
        scene.database.admin,
        "UPDATE",
        "batches",
        f"{DELIVERED}{recorded}",
        rows="NEW.state = 'claimed' AND OLD.state = 'waiting'",
    ) as stall:
        worker = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, worker.kill, what="after the record")
        written = scene.one("SELECT count(*) FROM deliveries WHERE status >= 30")
        assert written > 0
        assert scene.stop_some()
    scene.worker()
    scene.finish()
    verdict = scene.verdict()
    assert not any(verdict.harms.values()), verdict
    assert verdict.stopped == len(scene.stops)
    assert scene.one("SELECT count(*) FROM deliveries WHERE status >= 30") >= written
