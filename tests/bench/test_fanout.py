"""The fan-out benchmark itself runs, small, and judges by the sandbox's log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench import fanout

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_small_fan_out_ends_with_one_line_and_nobody_lost_or_twice(tmp_path: Path) -> None:
    for channel in ("email", "sms"):  # one after the other: a benchmark has its database to itself
        _small(channel, tmp_path / channel)


def _small(channel: str, folder: Path) -> None:
    words = ["-m", "bench.fanout", "--n", "2000", "--channel", channel, "--results", str(folder)]
    done = subprocess.run([sys.executable, *words], cwd=PROJECT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["bench"], line["channel"], line["n"]) == ("fanout", channel, 2000)
    assert (line["lost"], line["twice"]) == (0, 0)
    assert line["per_second"] > 0
    assert line["wire_per_second"] > 0
    assert [json.loads(kept) for kept in (folder / "fanout.jsonl").read_text().splitlines()] == [line]


def test_growth_compares_what_a_recipient_costs_us_and_adds_up_who_was_lost() -> None:
    small = {
        "n": 100,
        "lost": 1,
        "twice": 0,
        "cpu_us_each": {"workers": 6.0, "sandbox": 5.0, "postgres": 4.0},
    }
    large = {
        "n": 1_000,
        "lost": 0,
        "twice": 2,
        "cpu_us_each": {"workers": 7.0, "sandbox": 9.0, "postgres": 4.5},
    }
    assert fanout.growth(small, large) == {
        "cpu_ratio": 1.15,
        "cpu_us_each_at_100": small["cpu_us_each"],
        "lost": 1,
        "twice": 2,
    }
