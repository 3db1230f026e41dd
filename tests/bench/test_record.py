"""How benchmarks are judged and recorded, and that the document shows the newest results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import record, report

TABLE = {
    "trial": {
        "email": [
            {"from_n": 100, "at_least": {"ratio": 0.15}},
            {"from_n": 1_000, "at_most": {"peak_mb": 200}},
        ],
        "sms": [{"where": {"latency_ms": 100}, "at_least": {"ratio": 0.3}}],
        "all": [{"at_least": {"per_second": 10}}],
    }
}


def result(**values: Any) -> dict[str, Any]:
    return {
        "bench": "trial",
        "channel": "email",
        "n": 100,
        "seconds": 1.0,
        "per_second": 50,
        "ratio": 0.2,
    } | values


def test_a_result_that_reaches_all_its_targets_misses_none() -> None:
    assert record.judge(result(), TABLE) == ({"ratio": "at least 0.15", "per_second": "at least 10"}, [])


def test_a_missed_target_is_named_in_plain_words() -> None:
    _, missed = record.judge(result(ratio=0.149), TABLE)
    assert missed == ["Target missed: ratio is 0.149, and must be at least 0.15."]


def test_an_upper_limit_is_missed_from_above() -> None:
    _, missed = record.judge(result(n=1_000, peak_mb=201.5), TABLE)
    assert missed == ["Target missed: peak_mb is 201.5, and must be at most 200."]


def test_a_figure_that_was_not_measured_is_a_miss() -> None:
    _, missed = record.judge(result(n=1_000), TABLE)
    assert missed == ["Target missed: peak_mb was not measured, and must be at most 200."]


def test_a_small_run_is_not_bound_by_the_targets_of_a_large_one() -> None:
    assert record.judge(result(n=99, ratio=0.01), TABLE) == ({"per_second": "at least 10"}, [])


def test_a_target_for_one_latency_binds_no_other() -> None:
    slow = result(channel="sms", ratio=0.1)
    assert record.judge(slow | {"latency_ms": 0}, TABLE)[1] == []
    assert len(record.judge(slow | {"latency_ms": 100}, TABLE)[1]) == 1


@pytest.mark.parametrize(("wire", "words"), [(79_999, "79,999"), (None, "not measured")])
def test_a_run_on_too_slow_a_machine_is_void_and_fails(wire: int | None, words: str) -> None:
    table = {"trial": {"email": [{"void_below": {"wire_per_second": 80_000}}]}}
    assert record.judge(result(wire_per_second=80_000), table)[1] == []
    _, missed = record.judge(result(wire_per_second=wire), table)
    assert missed == [f"Void: wire_per_second is {words}, and a run below 80,000 says nothing. Run it again."]


@pytest.mark.parametrize("what", ["lost", "twice", "strangers", "ledger_disagrees"])
def test_anybody_lost_or_written_to_twice_fails_without_any_target(what: str) -> None:
    assert record.judge(result(**{what: 1}), {})[1] == [f"Target missed: {what} is 1, and must be 0."]


def test_the_result_is_printed_as_the_last_line_and_appended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "targets", lambda: TABLE)
    assert record.finish(result(lost=0, twice=0), results=tmp_path) == 0
    assert record.finish(result(ratio=0.01), results=tmp_path) == 1
    printed = capsys.readouterr()
    lines = (tmp_path / "trial.jsonl").read_text().splitlines()
    assert printed.out.splitlines() == lines and len(lines) == 2
    assert "ratio is 0.01" in printed.err
    line = json.loads(lines[0])
    assert {"bench", "n", "seconds", "ratio", "lost", "twice", "at"} <= line.keys()
    assert {"cores", "cpu", "memory_gb", "python", "os"} <= line["machine"].keys()
    assert {"wardlink", "postgresql", "valkey", "sqlalchemy", "psycopg"} <= line["versions"].keys()


def test_the_targets_of_the_issue_stand_in_the_table() -> None:
    table = record.targets()
    assert {"from_n": 100_000, "at_least": {"ratio": 0.15}} in table["fanout"]["email"]
    million = {
        "from_n": 1_000_000,
        "void_below": {"wire_per_second": 80_000},
        "at_least": {"ratio": 0.35, "per_second": 25_000},
        "at_most": {"cpu_ratio": 1.2, "peak_mb": 200},
    }
    assert million in table["fanout"]["email"]
    texts = {
        "from_n": 20_000,
        "where": {"latency_ms": 100},
        "at_least": {"ratio": 0.5, "per_second": 1_000},
    }
    assert texts in table["fanout"]["sms"]
    assert table["sandbox"]["sms"] == [{"at_least": {"per_second": 5_000}}]
    assert table["sandbox"]["email"] == [{"at_least": {"per_second": 80_000}}]


def test_only_the_newest_line_of_a_kind_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "targets", lambda: TABLE)
    for ratio in (0.2, 0.3):
        record.finish(result(ratio=ratio), results=tmp_path)
    record.finish(result(bench="untold"), results=tmp_path)
    lines = report.latest(tmp_path)
    assert [line["ratio"] for line in lines] == [0.3]
    document = report.rendered(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", lines)
    assert document.startswith("before\n") and document.endswith("after\n") and "old" not in document
    assert "| trial |" in document and "| 0.3 |" in document and "at least 0.15" in document


def test_a_document_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        report.rendered("no marks", [])


def test_the_document_shows_the_newest_results() -> None:
    document = report.DOCUMENT.read_text(encoding="utf-8")
    assert report.rendered(document, report.latest()) == document, "run: python -m bench.report"
