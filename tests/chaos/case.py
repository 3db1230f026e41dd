"""``python -m tests.chaos.case FAULT CHANNEL LANE FOLDER``: plays one case, and prints its row as JSON.

A process of its own for each, so that nothing of one case is left in the next.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app import logs
from app.cli.stack import StackError, wait_until
from app.embedded import client
from messaging.types import Channel
from tests.chaos import later, servers
from tests.chaos.ground import Ground, Lane
from tests.chaos.harness import MissedMoment, Scene, until
from tests.chaos.registry import Fault, known
from tests.chaos.stage import scene
from tests.conftest import Database

OK, FAILED, MISSED, SKIPPED = "ok", "FAILED", "missed", "skipped"
RECEIPTS_SECONDS = 20.0  # for the last receipt to be merged, once the provider has told everything


@dataclass(slots=True)
class Row:
    """One case: what the gauge showed when the fault struck, and what became of everybody."""

    fault: str
    channel: str
    result: str = OK
    why: str = ""
    open_calls: int = 0
    accepted: int = 0
    share: float = 0.0
    recipients: int = 0
    once: int = 0
    twice: int = 0
    lost: int = 0
    possibly_twice: int = 0
    in_doubt: int = 0
    doubts: dict[str, int] = field(default_factory=dict)
    receipts: int = 0  # final statuses that the sandbox had to tell
    receipts_lost: int = 0
    replies_lost: int = 0
    seconds: float = 0.0
    notes: dict[str, object] = field(default_factory=dict)
    at: float = field(default_factory=time.time)

    def line(self) -> str:
        return json.dumps(asdict(self), default=str)


def play(fault: Fault, channel: Channel, lane: Path, folder: Path) -> Row:
    """Play a case on a copy of the lane's ground."""
    row = Row(fault.name, str(channel))
    began = time.monotonic()
    try:
        with (
            _database(fault, channel, lane, folder) as (database, laid),
            scene(database, folder, channel, laid=laid, receipts=fault.receipts, second=fault.second) as on,
        ):
            try:
                fault.play(on)
                on.finish()
                _receipts_are_in(on)
            finally:
                if on.moments:
                    last = on.moments[-1]
                    row.open_calls, row.accepted, row.share = last.open_calls, last.accepted, last.share
            _judge(row, on)
    except MissedMoment as missed:
        row.result, row.why = MISSED, str(missed)
    except (StackError, AssertionError) as wrong:
        row.result, row.why = FAILED, f"{type(wrong).__name__}: {wrong}"
    except Exception:
        row.result, row.why = FAILED, traceback.format_exc()
    row.seconds = round(time.monotonic() - began, 1)
    return row


@contextmanager
def _database(fault: Fault, channel: Channel, lane: Path, folder: Path) -> Iterator[tuple[Database, Ground]]:
    with ExitStack() as ends:
        if fault.disk:
            lane = ends.enter_context(servers.sized_disk(folder / "disk", fault.disk)) / "lane"
            ends.callback(client.stop, lane)
            os.environ["LOCAL_DIR"] = str(lane)
            Lane(lane).lay(channel)
        yield ends.enter_context(Lane(lane).copy(channel))


def _receipts_are_in(on: Scene) -> None:
    """Wait for the receipts of all that was taken; what is missing after that counts as lost."""
    if not on.receipts:
        return
    until(lambda: _all_told(on.sandbox.gauge()), "the provider to have told everything")

    def all_in() -> bool:
        return not on.verdict().receipts_lost

    try:
        wait_until(all_in, seconds=RECEIPTS_SECONDS, what="the last receipts")
    except StackError:
        on.notes["not told by webhooks"] = on.verdict().receipts_lost
        on.notes["runs of reconcile"] = later.ask_providers(on, all_in)


def _all_told(gauge: Mapping[str, Any]) -> bool:
    return not gauge["timers"] and not gauge["callbacks_pending"]


# Who was sent the alert again while an earlier sending of it had left them in doubt.
_POSSIBLY = """
    SELECT count(*) FROM deliveries d JOIN dispatches first ON first.id = d.dispatch_id
    JOIN dispatches again ON again.alert_id = first.alert_id AND again.id > first.id
    JOIN batches b ON b.dispatch_id = again.id AND b.contact_ids @> ARRAY[d.contact_id]
    WHERE d.dispatch_id = :dispatch AND d.status = 10
"""


def _judge(row: Row, on: Scene) -> None:
    found = on.verdict()
    row.recipients, row.once = found.frozen, found.once
    row.twice = len({line for line in found.harms["twice"] if line.startswith("contact")})
    row.lost = len(found.harms["lost"])
    row.possibly_twice = on.one(_POSSIBLY)
    row.in_doubt, row.doubts = found.in_doubt, dict(found.doubts)
    row.receipts = found.accepted if on.receipts else 0
    row.receipts_lost, row.replies_lost = found.receipts_lost, on.replies_lost
    row.notes = on.notes
    harms = {kind: lines for kind, lines in (found.harms | on.harms).items() if lines}
    wrong = [f"{kind}: {len(lines)}, such as {lines[0]}" for kind, lines in harms.items()]
    wrong += [f"receipts lost: {row.receipts_lost}"] * bool(row.receipts_lost)
    wrong += [f"replies lost: {row.replies_lost}"] * bool(row.replies_lost)
    wrong += [f"only {row.recipients} recipients"] * (row.recipients < 5_000)
    if not on.moments:
        wrong.append("the fault never struck")
    row.result, row.why = (FAILED, "; ".join(wrong)) if wrong else (OK, "")


def main() -> int:
    name, channel, lane, folder = sys.argv[1:]
    logs.set_up("error", "text")  # the row is all that is printed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended all the same
    row = play(known()[name], Channel(channel), Path(lane), Path(folder))
    print(row.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
