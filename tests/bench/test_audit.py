"""The benchmark of the record runs, small, loses nothing, and is held to what the issue asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import record

PROJECT = Path(__file__).resolve().parents[2]


def test_the_targets_of_the_issue_stand_in_the_table() -> None:
    good = {"bench": "audit", "case": "the record", "n": 1_000_000, "per_second": 1_000, "p95_ms": 10.0}
    good |= {"verify_seconds": 60.0, "lost": 0}
    assert record.judge(good, record.targets())[1] == []
    for bad in ({"per_second": 999}, {"p95_ms": 10.1}, {"verify_seconds": 60.1}, {"lost": 1}):
        assert len(record.judge(good | bad, record.targets())[1]) == 1


@pytest.mark.slow
@pytest.mark.long
def test_a_small_run_ends_with_one_line_and_nothing_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.audit", "--n", "100000", "--results", str(tmp_path)],
        cwd=PROJECT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout, done.stderr[-2000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["bench"], line["lost"]) == ("audit", 0)
    assert line["verified"] >= 100_000 and line["per_second"] > 0
