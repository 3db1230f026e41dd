"""``python -m bench.fanout --n 100000 --channel email``: an alert to N people, whole, through real processes.

Seconds run from the call that sends to the last row of the ledger. Lost and twice come from the
sandbox's own log, joined to the frozen batches. The wire limit is measured in the same run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psutil
import redis
import sqlalchemy as sa

from app.cli.stack import Child, SandboxHandle, Stack, StackError, wait_until
from app.embedded.state import Endpoints
from app.registry import Registry, open_registry
from app.services import dispatch
from app.services.ledger import check
from bench import ground, record, start, wire
from config.fields import Part
from messaging.sandbox import judge
from messaging.types import Channel

# So large a run is preceded by a small one, so that their costs are compared on the same machine in the same hour.
GROWTH_FROM, SMALL = 1_000_000, 100_000
OURS = ("workers", "postgres")  # the sandbox is the provider's
SLOWEST = 500.0  # recipients a second: who is slower has stopped
POLL, POLL_EACH = 0.01, 1e-7  # seconds
_OPEN = sa.text("SELECT EXISTS (SELECT 1 FROM batches WHERE dispatch_id = :dispatch AND state <> 'done')")
_LEADS = sa.text("SELECT EXISTS (SELECT 1 FROM heartbeats WHERE kind = 'scheduler')")
_FROZEN = sa.text(
    """
    SELECT b.n || '.' || u.ordinal, u.contact_id
    FROM batches b CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
    WHERE b.dispatch_id = :dispatch
    """
)
_CALLS = sa.text(
    """
    SELECT count(*), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM closed_at - opened_at))
    FROM attempts WHERE dispatch_id = :dispatch
    """
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = start.parser("fanout", __doc__)
    parser.add_argument("--n", type=start.whole(1, 5_000_000), default=100_000, help="people")
    parser.add_argument("--channel", choices=[c.value for c in Channel], default="email")
    parser.add_argument(
        "--latency-ms", type=start.whole(0, 60_000), default=0, help="of the provider, each call"
    )
    parser.add_argument("--workers", type=start.whole(1, 64), default=2, help="sending processes")
    given = parser.parse_args(arguments)
    channel = Channel(given.channel)
    grown = channel is Channel.EMAIL and given.n >= GROWTH_FROM
    try:
        small = run(channel, SMALL, given.latency_ms, given.workers, limited=False) if grown else None
        result = run(channel, given.n, given.latency_ms, given.workers)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    if small is not None:
        result |= growth(small, result)
    return record.finish(result, results=given.results)


def run(channel: Channel, n: int, latency_ms: int, workers: int, *, limited: bool = True) -> dict[str, Any]:
    """``measure`` with processes of its own, which end with it."""
    stack = Stack(ground.LOCAL / "run", {})
    try:
        return measure(stack, channel, n, latency_ms, workers, limited=limited)
    finally:
        stack.stop()


def growth(small: Mapping[str, Any], large: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipient of the large run cost by what one of the small run cost, in processor time of ours."""
    costs = [sum(run["cpu_us_each"][name] for name in OURS) for run in (small, large)]
    return {
        "cpu_ratio": round(costs[1] / costs[0], 3),
        f"cpu_us_each_at_{small['n']}": small["cpu_us_each"],
        # Of the small run as well: nobody lost or written to twice.
        "lost": large["lost"] + small["lost"],
        "twice": large["twice"] + small["twice"],
    }


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def measure(
    stack: Stack, channel: Channel, n: int, latency_ms: int, workers: int, *, limited: bool = True
) -> dict[str, Any]:
    """One run on a fresh database; the result for bench.record. Without the wire limit if not ``limited``."""
    endpoints = ground.services()
    (stack.folder / "sandbox" / "acceptance.jsonl").unlink(missing_ok=True)
    sandbox = stack.sandbox("http://127.0.0.1:9", "--receipts", "off", "--sender-rate", "1000000")
    os.environ.update(sandbox.environ())
    registry = open_registry(part=Part.APP)
    say(f"Making {n:,} people …")
    audience = ground.settle(registry, channel, n)
    ground.analyse(os.environ["OWNER_DATABASE_URL"])
    if latency_ms:
        sandbox.faults(**{channel.value: {"latency_ms": latency_ms}})
    children = begin(stack, endpoints, workers, registry)
    say("Sending …")
    meter = Meter(
        {
            "workers": [c.pid for c in children],
            "sandbox": [sandbox.child.pid],
            "postgres": [endpoints.postgres_pid],
        }
    )
    sent, seconds = send(registry, audience.alert, children)
    spent = meter.spent()
    peak = max(peak_mb(child.pid) for child in children)
    for child in children:
        child.process.terminate()
    for child in children:
        child.process.wait(30)
    say(f"{seconds:.2f} s. Judging …")
    verdict = judged(registry, sent.id, audience.addresses, sandbox)
    calls = attempts(registry, sent.id)
    per_second = sent.recipients / seconds
    compared = {}
    if limited:
        say("Measuring the wire limit …")
        limit = wire.limit(sent.id, channel, workers).per_second
        compared = {"wire_per_second": round(limit), "ratio": round(per_second / limit, 3)}
    registry.engine.dispose()
    return {
        "bench": "fanout",
        "channel": channel.value,
        "n": sent.recipients,
        "seconds": round(seconds, 3),
        "per_second": round(per_second),
        **compared,
        "peak_mb": round(peak, 1),
        **calls,
        **verdict,
        "latency_ms": latency_ms,
        "workers": workers,
        "in_flight": wire.in_flight(channel),
        "freeze_seconds": round(sent.seconds, 3),
        "cpu_us_each": {name: round(used / sent.recipients * 1e6, 1) for name, used in spent.items()},
    }


def begin(stack: Stack, endpoints: Endpoints, workers: int, registry: Registry) -> list[Child]:
    """Sending processes that wait for rings, and a scheduler beside them as in any installation, all of them ready:
    what it costs to start a process is no part of a dispatch.
    """
    children = [stack.worker("bulk", f"worker-{n}") for n in range(workers)]
    with redis.Redis.from_url(endpoints.redis_url) as valkey:
        wait_until(
            lambda: valkey.scard("rq:workers") == workers or not all(c.alive() for c in children),
            what="the workers",
        )
    scheduler = stack.worker("scheduler")

    def leads() -> bool:
        with registry.sessions() as session:
            return not scheduler.alive() or session.execute(_LEADS).scalar_one()

    wait_until(leads, what="the scheduler")
    for child in (*children, scheduler):
        if not child.alive():
            raise StackError(f"{child.name} ended:\n{child.last_words()}")
    return children


class Sent(NamedTuple):
    """One dispatch, and how long the call that froze it took."""

    id: UUID
    recipients: int
    seconds: float


def send(registry: Registry, alert: UUID, children: Sequence[Child]) -> tuple[Sent, float]:
    """Send the alert; seconds until the last row of the ledger is committed."""
    began = time.monotonic()
    with registry.sessions.begin() as session:
        frozen = dispatch.send(
            session, alert, token=f"bench-{alert.hex}", actor=ground.ACTOR, public_url=ground.PUBLIC_URL
        )
    sent = Sent(frozen.id, frozen.recipients, time.monotonic() - began)

    def done() -> bool:
        if not all(child.alive() for child in children):
            raise StackError("A worker ended in the middle:\n" + "".join(c.last_words() for c in children))
        with registry.sessions() as session:
            return not session.execute(_OPEN, {"dispatch": frozen.id}).scalar_one()

    patience = 60 + sent.recipients / SLOWEST
    pause = max(POLL, sent.recipients * POLL_EACH)  # the question costs the database what it measures
    while not done():
        if time.monotonic() - began > patience:
            raise StackError(
                f"Not finished after {patience:,.0f} seconds:\n" + "".join(c.last_words() for c in children)
            )
        time.sleep(pause)
    return sent, time.monotonic() - began


def judged(
    registry: Registry, sent: UUID, addresses: Mapping[int, str], sandbox: SandboxHandle
) -> dict[str, Any]:
    """Lost and twice by the sandbox's log and the frozen batches; the ledger must agree with both."""
    tally = judge.tally(sandbox.log, sent.hex)
    accepted = [c for c in tally.channels.values() if c.accepted]
    places = {place for channel in accepted for place in channel.places}
    reached = {address for channel in accepted for address in channel.addresses}
    with registry.sessions() as session:
        frozen = {
            place: addresses[contact] for place, contact in session.execute(_FROZEN, {"dispatch": sent})
        }
        balances = check.balance(session, sent)
    lost = max(len(frozen.keys() - places), len(set(frozen.values()) - reached))
    strangers = max(len(places - frozen.keys()), len(reached - set(frozen.values())))
    found: dict[str, Any] = {"lost": lost, "twice": tally.twice}
    if strangers:
        found["strangers"] = strangers
    wrong = sum(abs(b.recipients - b.accepted) for b in balances) + sum(not b.balances for b in balances)
    if wrong:
        found["ledger_disagrees"] = wrong
    return found


def attempts(registry: Registry, sent: UUID) -> dict[str, Any]:
    """How long attempts were open, from their record before the first byte to the result's."""
    with registry.sessions() as session:
        count, (median, most) = session.execute(_CALLS, {"dispatch": sent}).one()
    return {"p50_ms": round(median * 1000, 1), "p95_ms": round(most * 1000, 1), "attempts": count}


class Meter:
    """CPU seconds of groups of processes, with the children they had."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = {name: [psutil.Process(pid) for pid in pids] for name, pids in groups.items()}
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        return {name: sum(map(_cpu, processes)) for name, processes in self._groups.items()}

    def spent(self) -> dict[str, float]:
        """Since the start."""
        return {name: now - self._before[name] for name, now in self._read().items()}


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    total = float(used.user + used.system + used.children_user + used.children_system)
    return total + sum(_own(child) for child in process.children())


def _own(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)


def peak_mb(pid: int) -> float:
    """The most memory a process ever held; where the system does not tell, what it holds now."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return psutil.Process(pid).memory_info().rss / 2**20


if __name__ == "__main__":
    sys.exit(main())
