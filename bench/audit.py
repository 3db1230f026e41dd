"""``python -m bench.audit``: the record under load, and how long a large one takes to verify.

Processes put acts on the record, each in a transaction of its own, while another transaction that has put one there
stays open for ten seconds: the chain never stalls an act. The sealer runs beside them, as in any installation. Then
the record grows to a million entries, and is verified whole.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.audit import record as audit
from app.audit.verify import verify
from app.cli.stack import Stack, StackError, wait_until
from app.db import make_engine
from app.registry import Registry, open_registry
from bench import ground, start
from config.fields import Part

PROCESSES = 4
OPEN_SECONDS = 10.0
PATIENCE = 600.0
_COUNT = sa.text("SELECT count(*) FROM audit_entries")
_WAITING = sa.text("SELECT (SELECT count(*) FROM audit_entries) - (SELECT count(*) FROM audit_seals)")
# As ``record`` writes them, without a round trip for each.
_MANY = sa.text(
    """
    INSERT INTO audit_entries (actor_kind, actor_id, subject, event, origin, detail)
    SELECT 'staff', CAST(gen_random_uuid() AS text), 'contact:' || n, 'contact:consult', 'web', :detail
    FROM generate_series(1, :n) n
    """
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = start.parser("audit", __doc__)
    parser.add_argument(
        "--n",
        type=start.whole(1, 50_000_000),
        default=1_000_000,
        help="entries of the record that is verified",
    )
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as heads:
        return start.play(lambda stack: measure(stack, given.n, Path(heads)), given.results)


def measure(stack: Stack, n: int, heads: Path) -> dict[str, Any]:
    """One run on a fresh database, with an empty folder for the signed heads; the result for bench.record."""
    ground.services()
    os.environ["HEADS_DIR"] = str(heads)
    registry = open_registry(part=Part.APP)
    stack.worker("sealer")
    print(f"{PROCESSES} processes put acts on the record …", file=sys.stderr, flush=True)
    written, latencies, spread = load(registry)
    with registry.sessions() as session:
        lost = written + 1 - session.execute(_COUNT).scalar_one()
    sealed_after = caught_up(registry)
    print(f"The record grows to {n:,} entries …", file=sys.stderr, flush=True)
    sealing = grow(registry, n)
    print("Verifying …", file=sys.stderr, flush=True)
    seconds, links = verified(registry, heads)
    registry.engine.dispose()
    steps = statistics.quantiles(latencies, n=100)
    return {
        "bench": "audit",
        "case": "the record",
        "n": n,
        "seconds": round(spread, 3),
        "per_second": round(written / spread),
        "p50_ms": round(steps[49] * 1000, 2),
        "p95_ms": round(steps[94] * 1000, 2),
        "lost": abs(lost) + abs(links - max(n, written + 1)),
        "caught_up_seconds": round(sealed_after, 2),
        "sealed_per_second": round(sealing),
        "verify_seconds": round(seconds, 2),
        "verified": links,
        "processes": PROCESSES,
    }


def load(registry: Registry) -> tuple[int, list[float], float]:
    """Entries written, seconds that each transaction took, and seconds of it all, beside an open transaction."""
    context = multiprocessing.get_context("spawn")
    ready, told = context.Barrier(PROCESSES + 1), context.Queue()
    children = [
        context.Process(target=_process, args=(n, ready, told), daemon=True) for n in range(PROCESSES)
    ]
    for child in children:
        child.start()
    with registry.sessions.begin() as session:  # an act that takes long, on the record before all others
        act(session, "slow")
        ready.wait(PATIENCE)
        heard = [told.get(timeout=PATIENCE) for _ in children]
    for child in children:
        child.join()
    latencies = [seconds for one in heard for seconds in one[2]]
    return len(latencies), latencies, max(one[1] for one in heard) - min(one[0] for one in heard)


def act(session: Any, who: str) -> None:
    actor = audit.Actor(audit.ActorKind.STAFF, id=who, origin="web")
    audit.record(session, event="contact:consult", subject=f"contact:{who}", actor=actor, detail={"found": 1})


def _process(number: int, ready: Barrier, told: Queue[tuple[float, float, list[float]]]) -> None:
    registry = open_registry(part=Part.APP)
    taken: list[float] = []
    with registry.sessions.begin() as session:
        session.execute(sa.text("SELECT 1"))
    ready.wait(PATIENCE)
    began = time.monotonic()
    while (start := time.monotonic()) < began + OPEN_SECONDS:
        with registry.sessions.begin() as session:
            act(session, str(number))
        taken.append(time.monotonic() - start)
    registry.engine.dispose()
    told.put((began, time.monotonic(), taken))


def caught_up(registry: Registry) -> float:
    """Seconds until nothing that is committed waits for the sealer."""
    began = time.monotonic()

    def none_waits() -> bool:
        with registry.sessions() as session:
            return bool(session.execute(_WAITING).scalar_one() == 0)

    wait_until(none_waits, seconds=PATIENCE, what="the sealer")
    return time.monotonic() - began


def grow(registry: Registry, n: int) -> float:
    """Fill the record up to ``n`` entries; how many a second the sealer chained."""
    with registry.sessions.begin() as session:
        more = n - session.execute(_COUNT).scalar_one()
        if more > 0:
            session.execute(_MANY, {"n": more, "detail": '{"found":1}'})
    seconds = caught_up(registry)
    return max(more, 0) / seconds if seconds else 0.0


def verified(registry: Registry, heads: Path) -> tuple[float, int]:
    """Seconds of a whole verification, and how many links it walked. StackError if it found anything wrong."""
    key = Ed25519PublicKey.from_public_bytes(registry.settings.seal_public_key)
    engine = make_engine(os.environ["OWNER_DATABASE_URL"], pool_size=1)
    try:
        began = time.monotonic()
        with sa.orm.Session(engine) as session:
            found = verify(session, heads, key, 90.0)
        seconds = time.monotonic() - began
    finally:
        engine.dispose()
    if not found.ok:
        raise StackError("\n".join(found.lines()))
    return seconds, found.links


if __name__ == "__main__":
    sys.exit(main())
