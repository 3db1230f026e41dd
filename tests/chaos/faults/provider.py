"""The provider says no, breaks, hangs, or drops the line: doubt is named, and nobody in it hears twice."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.services import stand_ins
from messaging.types import Channel
from tests.chaos.faults.kills import FIRST
from tests.chaos.harness import Scene, until
from tests.chaos.registry import fault
from tests.factories import ACTOR

# How many calls each fault strikes at most: about a tenth of the recipients.
STRUCK = {Channel.EMAIL: 3, Channel.SMS: 400}

_DOWN = sa.text("SELECT EXISTS (SELECT 1 FROM provider_states WHERE channel = :channel AND state <> 'up')")


def _struck(scene: Scene, **faults: Any) -> None:
    """Calls are held until mid-send; from then on the provider does what ``faults`` say, until it did so to as many
    calls as it may, or is judged down: then few people at a time try it, and it is well again.
    """
    scene.hold(FIRST, "after")
    scene.worker()
    scene.scheduler()

    def strike() -> None:
        scene.faults(**faults)
        scene.release()

    scene.strike_when(lambda: True, strike, what="the provider fails", kills=False)
    name = next(iter(faults))

    def over() -> bool:
        left: int = scene.sandbox.ask("GET", "faults")[str(scene.channel)][name]["times"]
        with scene.registry.sessions() as session:
            return left == 0 or session.execute(_DOWN, {"channel": str(scene.channel)}).scalar_one()

    until(over, "every call to be struck that is to be, or the provider to be judged down")
    scene.faults()


@fault("provider-429", "the provider answers 429 and asks for a second's patience")
def busy(scene: Scene) -> None:
    _struck(scene, status={"code": 429, "retry_after": 1, "times": STRUCK[scene.channel]})


@fault("provider-500", "the provider answers 500: it may have taken the call or not")
def broken(scene: Scene) -> None:
    scene.reasons |= {"500"}
    _struck(scene, status={"code": 500, "times": STRUCK[scene.channel]})


@fault("provider-hangs", "the provider reads calls and never answers")
def hangs(scene: Scene) -> None:
    _struck(scene, hang={"times": STRUCK[scene.channel]})


@fault("provider-drops-before", "the provider drops the line before it takes a call")
def drops_before(scene: Scene) -> None:
    scene.reasons |= {"reset"}
    _struck(scene, drop={"when": "before", "times": STRUCK[scene.channel]})


@fault(
    "provider-drops-after", "the provider takes a call and drops the line; its receipts tell", receipts=True
)
def drops_after(scene: Scene) -> None:
    scene.reasons |= {"reset"}
    scene.site()
    scene.merger()
    _struck(scene, drop={"when": "after", "times": STRUCK[scene.channel]})


@fault(
    "second-provider-while-the-first-hangs",
    "the first provider hangs for good, and a second one is there",
    second=True,
)
def second(scene: Scene) -> None:
    if scene.channel is Channel.SMS:
        _have_stand_ins(scene)
    scene.hold(FIRST, "after")
    scene.worker()
    scene.scheduler()

    def strike() -> None:
        scene.faults(hang=True)
        scene.release()

    scene.strike_when(lambda: True, strike, what="the first provider hangs", kills=False)
    until(scene.finished, "the second provider to have carried the rest")
    taken = scene.sandbox.gauge()["accepted_second"]["sms-2" if scene.channel is Channel.SMS else "smtp"]
    scene.notes["by the second"] = taken
    assert taken > 0, "the second provider was never asked"


def _have_stand_ins(scene: Scene) -> None:
    """A number of the second account for each number of the first."""
    with scene.registry.sessions.begin() as session:
        numbers = session.scalars(
            sa.text("SELECT address FROM senders WHERE channel = 'sms' ORDER BY id")
        ).all()
        for n, number in enumerate(numbers):
            stand_ins.stand_in(session, number, f"+4477009002{n:02d}", rate=10_000.0, actor=ACTOR)
