"""The end of every benchmark: one JSON object, printed and kept, and the verdict on its targets."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import report
from bench.machine import machine, versions

TARGETS = Path(__file__).resolve().parent / "targets.toml"
ORDER = (
    "bench", "case", "channel", "n", "seconds", "per_second", "wire_per_second", "ratio", "p50_ms", "p95_ms",
    "peak_mb", "lost", "twice",
)  # fmt: skip


def finish(result: Mapping[str, Any], *, results: Path = report.RESULTS) -> int:
    """Judge a result, append it to ``results``/NAME.jsonl and print it as the last line; 0, or 1 for a miss.

    ``result`` has at least bench, n and seconds. Misses are named on standard error. The document
    with the latest results follows when they are the project's own.
    """
    bound, missed = judge(result, targets())
    line = {name: result[name] for name in ORDER if name in result}
    line |= {name: value for name, value in result.items() if name not in line}
    line |= {
        "targets": bound,
        "missed": missed,
        "machine": machine(),
        "versions": versions(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    text = json.dumps(line, ensure_ascii=False)
    results.mkdir(parents=True, exist_ok=True)
    with (results / f"{line['bench']}.jsonl").open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    if results == report.RESULTS:
        report.update()
    for sentence in missed:
        print(sentence, file=sys.stderr)
    if not bound:
        print("No target is set for a run of this kind and size.", file=sys.stderr)
    sys.stderr.flush()
    print(text, flush=True)
    return 1 if missed else 0


def targets(path: Path = TARGETS) -> dict[str, Any]:
    """The table of targets."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def judge(result: Mapping[str, Any], table: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """(targets that bind this result, as "at least 0.15" by name; a sentence for each that it misses)."""
    bound: dict[str, str] = {}
    missed: list[str] = []
    for name in ("lost", "twice", "strangers", "ledger_disagrees"):
        if result.get(name):
            missed.append(f"Target missed: {name} is {result[name]:,}, and must be 0.")
    of_bench = table.get(result["bench"], {})
    keys = dict.fromkeys(filter(None, (result.get("channel"), result.get("case"), "all")))
    for entry in (entry for key in keys for entry in of_bench.get(key, ())):
        if result["n"] < entry.get("from_n", 0):
            continue
        if any(result.get(name) != value for name, value in entry.get("where", {}).items()):
            continue
        for name, least in entry.get("void_below", {}).items():
            if (value := result.get(name)) is None or value < least:
                shown = "not measured" if value is None else f"{value:,}"
                missed.append(
                    f"Void: {name} is {shown}, and a run below {least:,} says nothing. Run it again."
                )
        for word, better in (("at_least", 1), ("at_most", -1)):
            for name, limit in entry.get(word, {}).items():
                wish = f"{word.replace('_', ' ')} {limit:,}"
                bound[name] = f"{bound[name]}, {wish}" if name in bound else wish
                value = result.get(name)
                if value is None:
                    missed.append(f"Target missed: {name} was not measured, and must be {wish}.")
                elif (value - limit) * better < 0:
                    missed.append(f"Target missed: {name} is {value:,}, and must be {wish}.")
    return bound, missed
