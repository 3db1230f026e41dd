"""``python -m workers.main urgent|bulk|receipts|back``: one worker process for one kind of work."""

from __future__ import annotations

import argparse
import gc
import sys

from app import logs
from app.embedded.state import EmbeddedError
from config.queues import Queue
from config.settings import SettingsError
from workers import alarms, area_changes, housekeeping, post, receipts, reconcile, runtime, send

LISTENS = {
    "urgent": [Queue.URGENT],
    "bulk": [Queue.URGENT, Queue.BULK],
    "receipts": [Queue.RECEIPTS],
    "back": [Queue.BACK],
}
SENDS = {"urgent", "bulk"}
POLLS = {
    "urgent": lambda: post.deliver() + send.drain(urgent=True),
    "bulk": lambda: post.deliver() + send.drain(),
    "receipts": receipts.merge,
    "back": lambda: (
        alarms.post() + housekeeping.keep_house() + reconcile.reconcile() + area_changes.apply_due()
    ),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="workers.main", description=__doc__)
    parser.add_argument("kind", choices=sorted(LISTENS), help="what this worker does")
    kind = parser.parse_args(arguments).kind
    try:
        settings = runtime.registry().settings
        logs.set_up(settings.log_level, settings.log_format)
    except (SettingsError, EmbeddedError) as error:
        print(error, file=sys.stderr)  # noqa: T201  no logs before the settings are known
        return 2
    if kind in SENDS:
        runtime.engine()  # a second's imports, before the first ring and not after it
    # A batch makes tens of thousands of objects that end with it: what lives on need not be looked at again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        return runtime.listen(LISTENS[kind], POLLS[kind], kind)
    finally:
        runtime.close()


if __name__ == "__main__":
    sys.exit(main())
