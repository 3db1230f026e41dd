"""The queue server flushed, stopped, and started again empty: it was only the doorbell."""

from __future__ import annotations

from app.cli.stack import Child
from tests.chaos.faults.kills import FIRST
from tests.chaos.harness import Scene
from tests.chaos.registry import fault
from tests.chaos.servers import flush, port_of, private_valkey


def _begun(scene: Scene) -> Child:
    """A worker in mid-send, and the queue server it listens to."""
    scene.hold(FIRST, "after")
    scene.worker()
    scene.scheduler()
    return next(child for child in scene.stack.children if child.name == "valkey")


@fault("queue-flushed", "FLUSHALL of the queue server")
def flushed(scene: Scene) -> None:
    _begun(scene)
    keys: list[int] = []
    scene.strike_when(lambda: True, lambda: keys.append(flush(scene.redis_url)), what="a flush", kills=False)
    assert keys[0] > 0, "there was nothing to flush"
    scene.stop_some()


@fault("queue-stopped", "kill -9 of the queue server, which stays away to the end")
def stopped(scene: Scene) -> None:
    valkey = _begun(scene)
    scene.strike_when(lambda: True, valkey.kill, what="a stop of the queue server", kills=False)
    scene.stop_some()


@fault("queue-restarted-empty", "kill -9 of the queue server, then another, empty one at its address")
def restarted(scene: Scene) -> None:
    valkey = _begun(scene)
    scene.strike_when(lambda: True, valkey.kill, what="a kill of the queue server", kills=False)
    scene.stop_some()
    private_valkey(scene.stack, port_of(scene.redis_url))
