"""Receipts late, doubled, out of order, forged, and with nobody to take them: each counts once, none is lost."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.chaos.faults.kills import FEW, FIRST
from tests.chaos.harness import Scene, until
from tests.chaos.registry import fault

WITHHELD_SECONDS = 60
DOWN_SECONDS = 6.0  # longer than Twilio goes on trying


def _from_now_on(scene: Scene, **receipts: Any) -> None:
    """From mid-send to the end the provider's receipts are as ``receipts`` say."""
    scene.hold(FIRST, "after", FEW[scene.channel])
    scene.site()
    scene.merger()
    scene.scheduler()
    scene.worker()

    def strike() -> None:
        scene.standing["receipts"] = receipts
        scene.faults()
        scene.release()

    scene.strike_when(lambda: True, strike, what="receipts go wrong", kills=False)


@fault("receipts-withheld", "every receipt kept back for 60 seconds", receipts=True, patient=True)
def withheld(scene: Scene) -> None:
    _from_now_on(scene, delay=WITHHELD_SECONDS)


@fault("receipts-doubled", "every receipt posted twice", receipts=True)
def doubled(scene: Scene) -> None:
    _from_now_on(scene, double=1.0)


@fault("receipts-reordered", "the last word before the first", receipts=True)
def reordered(scene: Scene) -> None:
    _from_now_on(scene, reorder=True)


@fault("receipts-forged", "beside every receipt a forged one, which says the opposite", receipts=True)
def forged(scene: Scene) -> None:
    _from_now_on(scene, forge=True)
    until(lambda: scene.sandbox.gauge()["callbacks_failed"] > 0, "a forgery to be refused")


@fault("web-down-while-receipts-come", "nobody at the webhooks for six seconds", receipts=True)
def web_down(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    web = scene.site()
    scene.merger()
    scene.scheduler()
    scene.worker()

    def strike() -> None:
        web.process.send_signal(signal.SIGTERM)
        web.process.wait()

    scene.strike_when(lambda: True, strike, what="the site goes down", kills=False)
    scene.no_more_holds()
    scene.release()
    ends = time.monotonic() + DOWN_SECONDS
    until(lambda: time.monotonic() > ends, "the end of the outage")
    scene.site()
