"""``python -m bench.report``: writes the latest results into docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
COLUMNS = (
    ("bench", "Benchmark"), ("case", "Case"), ("channel", "Channel"), ("n", "n"), ("seconds", "Seconds"),
    ("per_second", "per second"), ("wire_per_second", "Wire limit per second"), ("ratio", "Ratio"),
    ("p50_ms", "p50 ms"), ("p95_ms", "p95 ms"), ("peak_mb", "Peak MB"), ("lost", "Lost"), ("twice", "Twice"),
)  # fmt: skip


def latest(results: Path = RESULTS) -> list[dict[str, Any]]:
    """The newest line of each benchmark, case, channel and set of targets, in that order; none without targets."""
    newest: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in sorted(results.glob("*.jsonl")):
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if line.get("targets"):
                # Runs that are held to the same are the same; a larger one may be held to more.
                held_to = json.dumps(line["targets"], sort_keys=True)
                newest[(line["bench"], line.get("case", ""), line.get("channel", ""), held_to)] = line
    return [newest[key] for key in sorted(newest)]


def table(lines: Iterable[Mapping[str, Any]]) -> str:
    """Markdown: one row per result with its targets, then what they ran on."""
    rows = [[title for _, title in COLUMNS] + ["Targets", "Met", "Run on"]]
    rows.append(["---"] * len(rows[0]))
    machines: dict[str, int] = {}
    for line in lines:
        shown = ", ".join(f"{name} {wish}" for name, wish in line["targets"].items())
        where = _machine(line)
        mark = machines.setdefault(where, len(machines) + 1)
        met = "no" if line["missed"] else "yes"
        rows.append(
            [_cell(line.get(name)) for name, _ in COLUMNS] + [shown, met, f"{line['at'][:10]}, {mark}"]
        )
    if not machines:
        return "No results yet.\n"
    notes = [f"{mark}. {text}" for text, mark in machines.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\nRun on:\n\n" + "\n".join(notes) + "\n"


def _machine(line: Mapping[str, Any]) -> str:
    machine, versions = line["machine"], line["versions"]
    parts = [
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, {machine['os']}",
        f"Python {machine['python']}",
    ]
    parts += [f"{name} {versions[name]}" for name in ("postgresql", "valkey", "wardlink") if name in versions]
    return ", ".join(parts)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}"


def rendered(document: str, lines: Iterable[Mapping[str, Any]]) -> str:
    """The document with the table of ``lines`` between its two marks. ValueError when it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The document must hold {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n{table(lines)}{END}{after}"


def update() -> None:
    """Bring docs/benchmarks.md up to date."""
    DOCUMENT.write_text(rendered(DOCUMENT.read_text(encoding="utf-8"), latest()), encoding="utf-8")


if __name__ == "__main__":
    update()
    print(f"Wrote the latest results into {DOCUMENT.relative_to(ROOT)}.", file=sys.stderr)
