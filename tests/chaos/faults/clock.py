"""A host's clock steps an hour forwards, then two hours back: leases are the database's time."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.faults.kills import FIRST
from tests.chaos.harness import Scene, until
from tests.chaos.needs import libfaketime
from tests.chaos.registry import fault


def stepping(file: Path) -> dict[str, str]:
    """The environment of a process whose wall clock is set by what ``file`` says, such as ``+3600``.

    Its monotonic clock is the machine's, as on a host whose clock is stepped.
    """
    return {
        "LD_PRELOAD": str(libfaketime()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@fault(
    "clock-stepped",
    "the clock of a worker's and the scheduler's host an hour ahead, then an hour behind",
    needs=("libfaketime",),
)
def stepped(scene: Scene) -> None:
    clock = scene.stack.folder / "clock"
    clock.parent.mkdir(parents=True, exist_ok=True)

    def step(seconds: int) -> None:
        draft = clock.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.replace(clock)

    step(0)
    environ = stepping(clock)
    scene.hold(FIRST, "after")
    scene.worker(**environ)
    scene.stack.run("scheduler", ["workers.schedule"], **environ)
    scene.strike_when(lambda: True, lambda: step(3_600), what="a step of the clock", kills=False)
    scene.no_more_holds()
    scene.release()
    halfway = scene.sandbox.gauge()["accepted"][str(scene.channel)] + scene.recipients // 10
    until(
        lambda: scene.sandbox.gauge()["accepted"][str(scene.channel)] >= min(halfway, scene.recipients),
        "more to be sent with the clock ahead",
    )
    step(-3_600)
