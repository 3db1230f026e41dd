"""Each safeguard switched off in a real worker: the same harness must then report the harm.

Every scene is played twice, with the safeguard and without it, so that neither the scene nor the
verdict can be blind.
"""

from __future__ import annotations

import pytest

from messaging.types import Channel
from tests.chaos import verdict as kinds
from tests.chaos.conftest import MakeScene
from tests.chaos.harness import Scene, until
from tests.chaos.stall import Stall
from tests.chaos.test_leases import SENDERS, wake_in_the_middle

pytestmark = pytest.mark.chaos


def harms(scene: Scene) -> set[str]:
    return {kind for kind, lines in scene.verdict().harms.items() if lines}


@pytest.mark.parametrize("sabotage", [None, "attempt-mark"])
def test_without_the_attempt_mark_a_killed_call_is_sent_twice(
    make_scene: MakeScene, sabotage: str | None
) -> None:
    scene = make_scene(Channel.EMAIL)
    scene.hold(500, "after")
    worker = scene.worker(sabotage)
    scene.scheduler()
    scene.strike_when(lambda: True, worker.kill, what="after acceptance")
    scene.worker(sabotage)
    scene.finish()
    found = harms(scene)
    assert (kinds.TWICE in found) if sabotage else not found, scene.verdict()


@pytest.mark.parametrize("sabotage", [None, "lease-fence"])
def test_without_the_lease_fence_a_sleeper_sends_what_another_is_sending(
    make_scene: MakeScene, sabotage: str | None
) -> None:
    scene = make_scene(Channel.SMS, senders=SENDERS[Channel.SMS])
    wake_in_the_middle(scene, sabotage)
    scene.finish()
    found = harms(scene)
    assert (kinds.TWICE in found) if sabotage else not found, scene.verdict()


@pytest.mark.parametrize("sabotage", [None, "suppression-check"])
def test_without_the_check_of_suppressions_somebody_is_written_to_after_a_stop(
    make_scene: MakeScene, channel: Channel, sabotage: str | None
) -> None:
    scene = make_scene(channel)
    scene.hold(500, "before", times=2 if channel is Channel.EMAIL else 150)
    enough = {Channel.EMAIL: 7, Channel.SMS: 10}[channel]
    condition = f"(SELECT count(*) FROM attempts) >= {enough}"
    with Stall(scene.database.admin, "INSERT", "attempts", condition) as stall:
        scene.worker(sabotage)
        scene.scheduler()
        scene.strike_when(stall.waiting, lambda: scene.stop_some(), what="somebody says stop")
        assert scene.stops
    scene.doubtful |= scene.open_attempts()  # a held call may time out
    scene.finish()
    found = harms(scene)
    assert (kinds.AFTER_STOP in found) if sabotage else not found, scene.verdict()


@pytest.mark.parametrize("sabotage", [None, "on-conflict"])
def test_without_on_conflict_a_sleepers_evidence_is_lost(
    make_scene: MakeScene, channel: Channel, sabotage: str | None
) -> None:
    scene = make_scene(channel, senders=SENDERS[channel])
    scene.hold(500 if channel is Channel.EMAIL else 600, "after")
    sleeper = scene.worker(sabotage)
    scene.scheduler()
    scene.strike_when(lambda: True, lambda: scene.asleep(sleeper), what="a worker falls asleep")
    scene.no_more_holds()
    scene.release()
    until(scene.taken_back, "the end of the sleeper's leases")
    scene.worker()
    until(scene.finished, "the other worker to take over")
    scene.awake(sleeper)
    scene.doubtful.clear()  # it lived to read every answer
    sleeper.process.terminate()  # it ends once it has written down what it knows
    until(lambda: not sleeper.alive(), "the sleeper's end")
    scene.finish()
    found = harms(scene)
    assert (kinds.DOUBT in found) if sabotage else not found, scene.verdict()


@pytest.mark.parametrize("withheld", [0.0, 1.0])
def test_receipts_that_never_come_are_counted_as_lost(make_scene: MakeScene, withheld: float) -> None:
    scene = make_scene(Channel.EMAIL, receipts=True)
    scene.standing["receipts"] = {"withhold": withheld}
    scene.faults()
    scene.site()
    scene.merger()
    scene.scheduler()
    scene.worker()
    until(scene.finished, "the end of the dispatch")
    if withheld:
        assert scene.verdict().receipts_lost == scene.recipients
    else:
        until(lambda: not scene.verdict().receipts_lost, "every receipt")
