"""``make chaos``: every fault on e-mail and on texts, with real processes; one line for each case.

Exit status 1 when anybody was lost or reached twice, when a receipt or a reply was lost, when somebody
ended in doubt whom the fault does not explain, and when a fault found no moment to strike.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from app.cli.stack import PROJECT
from app.embedded import client
from messaging.types import Channel
from tests.chaos import table
from tests.chaos.case import FAILED, MISSED, OK, SKIPPED, Row
from tests.chaos.needs import why_not
from tests.chaos.registry import Fault, known

CASE_SECONDS = 300.0
LEAST_FAULTS = 18
TRIES = 2  # a moment that was missed says nothing: such a case is played once more

Case = tuple[Fault, Channel]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="faults by name or pattern (several)")
    parser.add_argument("--channel", choices=[str(c) for c in Channel], help="one channel instead of both")
    parser.add_argument("--jobs", type=int, default=2, help="cases at once, each on a cluster of its own")
    parser.add_argument("--resume", action="store_true", help="play what has not passed in the results file")
    parser.add_argument("--results", type=Path, help="file of JSON lines (default: below LOCAL_DIR)")
    parser.add_argument("--list", action="store_true", help="print the faults and end")
    return parser.parse_args(argv)


def wanted(given: argparse.Namespace, passed: set[tuple[str, str]]) -> list[Case]:
    """The cases to play: those that only wait come first, for others can run beside them."""
    cases = [
        (fault, channel)
        for fault in known().values()
        for channel in fault.channels
        if (not given.only or any(fnmatch(fault.name, pattern) for pattern in given.only))
        and given.channel in (None, str(channel))
        and (fault.name, str(channel)) not in passed
    ]
    return sorted(cases, key=lambda case: not case[0].patient)


class Run:
    """Plays cases in lanes, prints their rows as they come, and keeps them."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.rows: list[Row] = []
        self.folder = Path(tempfile.mkdtemp(prefix="wardlink-chaos-"))
        self._print = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()
        self._over = threading.Event()

    def play(self, cases: Iterable[Case], jobs: int) -> None:
        left: queue.SimpleQueue[Case] = queue.SimpleQueue()
        for case in cases:
            left.put(case)
        lanes = [threading.Thread(target=self._lane, args=(n, left), daemon=True) for n in range(jobs)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()

    def _lane(self, number: int, left: queue.SimpleQueue[Case]) -> None:
        folder = self.folder / f"lane-{number}"
        # The clusters of a run stay up as long as the runner holds its share of them.
        client.ensure(folder)
        laid = False
        while not self._over.is_set():
            try:
                fault, channel = left.get_nowait()
            except queue.Empty:
                return
            missing = why_not(fault.needs)
            if missing:
                self._keep(Row(fault.name, str(channel), SKIPPED, missing))
                continue
            if not laid:  # by a process of its own, which has the lane's keys
                command = [sys.executable, "-m", "tests.chaos.ground", str(folder)]
                environ = {**os.environ, "LOCAL_DIR": str(folder)}
                subprocess.run(command, cwd=PROJECT, env=environ, check=True)
                laid = True
            for tries in range(TRIES):
                row = self._one(fault, channel, folder, number)
                if row.result != MISSED or self._over.is_set():
                    break
                row.notes["missed"] = tries + 1
            self._keep(row)

    def _one(self, fault: Fault, channel: Channel, lane: Path, number: int) -> Row:
        """Play one case in a process of its own."""
        folder = Path(tempfile.mkdtemp(prefix=f"case-{number}-", dir=self.folder))
        command = [sys.executable, "-m", "tests.chaos.case", fault.name, str(channel), str(lane), str(folder)]
        errors = folder / "case.log"
        with errors.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=PROJECT, env={**os.environ, "LOCAL_DIR": str(lane)}, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._processes.add(process)
        try:
            told, _ = process.communicate(timeout=CASE_SECONDS)
            row = Row(**json.loads(told.splitlines()[-1]))
        except subprocess.TimeoutExpired:
            self._end(process)
            row = Row(fault.name, str(channel), FAILED, f"not over after {CASE_SECONDS:g} seconds")
        except (IndexError, ValueError):
            words = errors.read_text(errors="replace")[-800:]
            row = Row(fault.name, str(channel), FAILED, f"the case ended without a row: {words}")
        finally:
            self._processes.discard(process)
        if row.result in (OK, MISSED):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            row.notes["logs"] = str(folder)
        return row

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.terminate()
        try:
            process.wait(60)  # not communicate: a lane reads what it says
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _keep(self, row: Row) -> None:
        if self._over.is_set():  # it was ended, and says nothing
            return
        with self._print:
            self.rows.append(row)
            with self.results.open("a") as file:
                file.write(row.line() + "\n")
            print(table.line(row), flush=True)

    def close(self) -> None:
        """End what still runs, and remove what passed; the logs of what failed stay."""
        self._over.set()
        for process in list(self._processes):
            self._end(process)
        for lane in self.folder.glob("lane-*"):
            client.stop(lane)
            shutil.rmtree(lane, ignore_errors=True)
        if not any(row.result == FAILED for row in self.rows):
            shutil.rmtree(self.folder, ignore_errors=True)


def read(results: Path) -> dict[tuple[str, str], Row]:
    """The last row of each case in a results file."""
    if not results.exists():
        return {}
    rows = [Row(**json.loads(line)) for line in results.read_text().splitlines()]
    return {(row.fault, row.channel): row for row in rows}


def main(argv: list[str] | None = None) -> int:
    given = arguments(argv)
    if given.list:
        print("\n".join(f"{fault.name:36} {fault.does}" for fault in known().values()))
        return 0
    local = Path(os.environ["LOCAL_DIR"])
    local.mkdir(parents=True, exist_ok=True)
    results = given.results or local / "chaos.jsonl"
    before = read(results) if given.resume else {}
    if not given.resume:
        results.write_text("")
    passed = {key for key, row in before.items() if row.result == OK}
    cases = wanted(given, passed)
    if not cases and not passed:
        print("No fault has such a name. --list shows them.", file=sys.stderr)
        return 2
    began = time.monotonic()
    run = Run(results)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(table.head(), flush=True)
    try:
        run.play(cases, max(1, given.jobs))
    finally:
        run.close()
    rows = [before[key] for key in passed] + run.rows
    print(table.summary(rows, time.monotonic() - began))
    print(f"{results} has a JSON line for each case.")
    return status(rows, whole=not given.only and given.channel is None)


def status(rows: list[Row], *, whole: bool) -> int:
    """0 when nothing went wrong, and in a whole run enough faults were played on both channels."""
    results = Counter(row.result for row in rows)
    if results[FAILED] or results[MISSED]:
        return 1
    played = Counter(row.fault for row in rows if row.result == OK)
    enough = sum(times == len(Channel) for times in played.values()) >= LEAST_FAULTS
    return 0 if enough or not whole else 1


if __name__ == "__main__":
    sys.exit(main())
