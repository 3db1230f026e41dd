"""kill -9: of a worker at each step of its cycle, of the scheduler, of the site."""

from __future__ import annotations

import os
import signal

from app.cli.stack import Child
from messaging.types import Channel
from tests.chaos import codes
from tests.chaos.harness import Scene, until
from tests.chaos.registry import fault
from tests.chaos.stall import Stall

# The first calls pass, a few later ones are held at the provider, and the rest go on until the step
# at which the worker is stalled and killed.
FIRST = 1_000
FEW = {Channel.EMAIL: 2, Channel.SMS: 150}
RECORDED = "(SELECT count(*) FROM deliveries) >= 2000"


def _with_a_new_worker(scene: Scene) -> None:
    scene.stop_some()
    scene.worker()


@fault("worker-killed-before-attempt", "kill -9 of a worker between its claim and its attempt")
def before_attempt(scene: Scene) -> None:
    scene.hold(FIRST, "before", FEW[scene.channel])
    with Stall(scene.database.admin, "INSERT", "attempts", RECORDED) as stall:
        worker = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, worker.kill, what="before the attempt")
    _with_a_new_worker(scene)


@fault("worker-killed-before-acceptance", "kill -9 of a worker whose calls the provider has not yet taken")
def before_acceptance(scene: Scene) -> None:
    _while_open(scene, "before")


@fault(
    "worker-killed-after-acceptance", "kill -9 of a worker whose calls the provider took and did not answer"
)
def after_acceptance(scene: Scene) -> None:
    _while_open(scene, "after")


def _while_open(scene: Scene, when: str) -> None:
    scene.hold(FIRST, when)
    worker = scene.worker()
    scene.scheduler()
    scene.strike_when(lambda: True, worker.kill, what=f"{when} acceptance")
    _with_a_new_worker(scene)


@fault(
    "worker-killed-before-record", "kill -9 of a worker that read its answers and has not written them down"
)
def before_record(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    with Stall(scene.database.admin, "INSERT", "deliveries", RECORDED) as stall:
        worker = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, worker.kill, what="before the record")
    _with_a_new_worker(scene)


@fault("worker-killed-after-record", "kill -9 of a worker between a record and its next claim")
def after_record(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    claims = "NEW.state = 'claimed' AND OLD.state = 'waiting'"
    with Stall(scene.database.admin, "UPDATE", "batches", RECORDED, rows=claims) as stall:
        worker = scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, worker.kill, what="after the record")
    _with_a_new_worker(scene)


@fault(
    "codes-worker-killed-before-record",
    "kill -9 of the worker that sends 20 codes, after the provider took them",
)
def codes_before_record(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    sent = codes.queued(scene, 20)
    final = "NEW.state NOT IN ('waiting', 'sending')"
    with Stall(scene.database.admin, "UPDATE", "service_messages", "true", rows=final) as stall:
        # The urgent lane's worker has the codes; the bulk lane's begins once it stands before the lock.
        urgent = scene.stack.worker("urgent")
        until(stall.waiting, "the codes to be with the provider")
        scene.worker()
        scene.scheduler()
        scene.strike_when(stall.waiting, urgent.kill, what="before the record of a code")
    scene.doubtful.clear()  # of the dispatch nobody was struck
    scene.stack.worker("urgent", "urgent-2")
    until(lambda: codes.settled(scene), "the end of every code")
    codes.judge(scene, sent)


@fault("scheduler-killed", "kill -9 of the scheduler, and of the worker whose leases it watches over")
def scheduler(scene: Scene) -> None:
    scene.hold(FIRST, "after")
    worker = scene.worker()
    watch = scene.scheduler()

    def both() -> None:
        watch.kill()
        worker.kill()

    scene.strike_when(lambda: True, both, what="a kill of the scheduler")
    scene.stop_some()
    scene.scheduler()
    scene.worker()


def kill_site(web: Child) -> None:
    """kill -9 of the server and all its processes."""
    os.killpg(web.pid, signal.SIGKILL)
    web.process.wait()


@fault(
    "web-killed-before-commit", "kill -9 of the site while it stores what a provider posted", receipts=True
)
def web_before_commit(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    web = scene.site()
    scene.merger()
    scene.scheduler()
    posted = "(SELECT count(*) FROM raw_events) >= 1"
    with Stall(scene.database.admin, "INSERT", "raw_events", posted) as stall:
        scene.worker()
        scene.strike_when(stall.waiting, lambda: kill_site(web), what="a kill of the site", kills=False)
    scene.site()


@fault("web-killed-after-commit", "kill -9 of the site between its commit and its answer", receipts=True)
def web_after_commit(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    web = scene.site()
    scene.merger()
    scene.scheduler()
    scene.worker()
    valkey = next(child for child in scene.stack.children if child.name == "valkey")

    def strike() -> None:
        # The site rings after its commit and before its answer: with the queue server asleep it stands there.
        scene.asleep(valkey)
        before = scene.one("SELECT count(*) FROM raw_events")
        until(lambda: scene.one("SELECT count(*) FROM raw_events") > before, "a post to be stored")
        kill_site(web)
        scene.awake(valkey)

    scene.strike_when(lambda: True, strike, what="a kill of the site", kills=False)
    scene.site()
