"""The latency benchmark itself runs, small: one round, an urgent alert out while the rest is under way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.long
def test_a_small_round_ends_with_one_line_and_the_urgent_alert_out_first(tmp_path: Path) -> None:
    words = [
        "-m",
        "bench.latency",
        "--n",
        "100000",
        "--mail-ms",
        "600",
        "--rounds",
        "1",
        "--results",
        str(tmp_path),
    ]
    done = subprocess.run([sys.executable, *words], cwd=PROJECT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["bench"], line["rounds"], line["lost"], line["twice"]) == ("latency", 1, 0, 0)
    assert 0 < line["first_out_s"] <= line["last_email_s"]
    assert line["newsletter_under_way"] < 1
    assert line["stop_left_segments"] > 0
