"""Several hosts: a share of the work each, and one of them cut off and let back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.cli.stack import Child
from tests.chaos.faults.kills import FEW, FIRST
from tests.chaos.harness import Scene, until
from tests.chaos.network import lan
from tests.chaos.registry import fault
from tests.chaos.stall import Stall

HOSTS = 3


@fault(
    "many-hosts",
    "three hosts with nothing shared but PostgreSQL and the queue server; one loses its worker",
    needs=("network namespaces",),
)
def many_hosts(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel], latency_ms=200)
    with lan(scene, HOSTS) as net:
        scene.scheduler()
        # Nobody begins before all are there: else the first would have sent everything.
        claims = "NEW.state = 'claimed' AND OLD.state = 'waiting'"
        with Stall(scene.database.admin, "UPDATE", "batches", "true", rows=claims) as stall:
            workers = [host.worker() for host in net.hosts]
            until(lambda: _apart(workers), "every host to be one of its own")
            until(lambda: stall.waiting(HOSTS), "every host to ask for a batch")
        scene.strike_when(lambda: True, workers[0].kill, what="a host loses its worker")
        scene.no_more_holds()
        scene.release()
        net.hosts[0].worker()
        scene.finish()
        said = {host.name: host.bytes_to_provider() for host in net.hosts}
        scene.notes["bytes to the provider"] = said
        assert all(size > 10_000 for size in said.values()), f"not every host sent something: {said}"


def _apart(workers: Sequence[Child]) -> bool:
    """Whether each lives on a host with a name and a network of its own, apart from this machine's."""
    pids = ["self", *(str(child.pid) for child in workers)]
    return all(
        len({Path(f"/proc/{pid}/ns/{kind}").readlink() for pid in pids}) == len(pids)
        for kind in ("uts", "net", "mnt")
    )


@fault(
    "host-cut-off-and-let-back",
    "one of two hosts loses the network with calls open, and has it back when its batches are another's",
    patient=True,
    needs=("network namespaces",),
)
def cut_off(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    with lan(scene, 2) as net:
        far, near = net.hosts
        scene.scheduler()
        lost = far.worker()
        scene.strike_when(lambda: True, far.cut_off, what="a host is cut off")
        scene.stop_some()
        scene.no_more_holds()
        scene.release()
        until(scene.taken_back, "the end of the lost host's leases")
        near.worker()
        until(scene.finished, "the other host to take over")
        far.let_back()
        lost.process.terminate()  # it ends once it has written down what it knows
        until(lambda: not lost.alive(), "the end of the worker that was cut off")
        scene.finish()  # what it gives back is the near host's to send
