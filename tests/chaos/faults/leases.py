"""SIGSTOP past the lease, then SIGCONT: whoever slept adds evidence and sends nothing more."""

from __future__ import annotations

from tests.chaos.faults.kills import FEW, FIRST, RECORDED
from tests.chaos.harness import Scene, until
from tests.chaos.registry import fault
from tests.chaos.stall import Stall

IN_DOUBT = "SELECT count(*) FROM deliveries WHERE status = 10"


@fault(
    "worker-asleep-past-its-lease",
    "SIGSTOP of a worker with open calls until another has its batches, then SIGCONT",
)
def asleep(scene: Scene) -> None:
    scene.hold(FIRST, "after")
    sleeper = scene.worker()
    scene.scheduler()
    scene.strike_when(lambda: True, lambda: scene.asleep(sleeper), what="a worker falls asleep")
    scene.stop_some()
    scene.no_more_holds()
    scene.release()  # the provider's answers now lie in the sleeper's sockets
    until(scene.taken_back, "the end of the sleeper's leases")
    scene.worker()
    until(scene.finished, "the other worker to take over")
    scene.awake(sleeper)
    scene.doubtful.clear()  # it lived to read every answer: nobody may stay in doubt
    until(lambda: scene.one(IN_DOUBT) == 0, "the sleeper's evidence")


@fault(
    "worker-asleep-in-its-transaction",
    "SIGSTOP of a worker with rows written and not committed, then SIGCONT",
)
def in_transaction(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    with Stall(scene.database.admin, "INSERT", "deliveries", RECORDED) as stall:
        sleeper = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, lambda: scene.asleep(sleeper), what="a worker freezes")
    scene.release()
    scene.no_more_holds()
    scene.worker()
    until(scene.finished, "the other worker to take over")
    scene.awake(sleeper)
    scene.doubtful.clear()  # it lived to read every answer
    sleeper.process.terminate()  # it ends once it has written down what it knows
    until(lambda: not sleeper.alive(), "the sleeper's end")
