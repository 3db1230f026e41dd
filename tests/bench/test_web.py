"""The benchmark of the ward page runs, small, and compares pages of the same size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import record, still

PROJECT = Path(__file__).resolve().parents[2]


def test_the_target_of_the_issue_stands_in_the_table() -> None:
    table = record.targets()
    result = {"bench": "web", "case": "ward page", "n": 1, "ratio": 0.5}
    assert record.judge(result, table) == ({"ratio": "at least 0.5"}, [])
    assert len(record.judge(result | {"ratio": 0.499}, table)[1]) == 1


def test_the_words_of_the_still_page_are_not_read_as_a_template() -> None:
    made = still.template("{{ 7 * 7 }}{% endraw %}{% include 'x' %}")
    assert made.count("{% endraw %}") == 1
    assert made.startswith('{% extends "layout.html" %}')


@pytest.mark.slow
def test_a_small_run_ends_with_one_line_and_pages_of_the_same_size(tmp_path: Path) -> None:
    words = ["-m", "bench.web", "--turns", "1", "--seconds", "0.3", "--results", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=PROJECT, capture_output=True, text=True, timeout=220)
    # So short a run may miss its target; it must not fail in another way.
    assert done.returncode in {0, 1} and done.stdout, done.stderr[-2000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["bench"], line["case"]) == ("web", "ward page")
    assert line["n"] > 0 and line["per_second"] > 0 and line["still_per_second"] > 0
    assert 0.85 < line["still_bytes"] / line["page_bytes"] < 1.15
    assert [json.loads(kept) for kept in (tmp_path / "web.jsonl").read_text().splitlines()] == [line]
