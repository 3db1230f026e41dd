"""``make chaos`` itself: its list of faults, its documentation, and when it fails."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from messaging.types import Channel
from tests.chaos import ground, run, table
from tests.chaos.case import FAILED, MISSED, OK, SKIPPED, Row
from tests.chaos.registry import known

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"


def rows(result: str = OK, faults: int = run.LEAST_FAULTS) -> list[Row]:
    return [Row(f"fault-{n}", str(channel), result) for n in range(faults) for channel in Channel]


def test_there_are_enough_faults_on_e_mail_and_on_texts() -> None:
    both = [fault for fault in known().values() if set(fault.channels) == set(Channel)]
    assert len(both) >= run.LEAST_FAULTS
    assert ground.RECIPIENTS >= 5_000


def test_the_page_names_every_fault_and_what_it_does() -> None:
    told = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \|$", PAGE.read_text(), re.MULTILINE)
    assert told == [(fault.name, fault.does) for fault in known().values()]


def test_a_run_in_which_all_went_well_succeeds() -> None:
    assert run.status(rows(), whole=True) == 0


@pytest.mark.parametrize("result", [FAILED, MISSED])
def test_one_case_that_failed_or_missed_its_moment_fails_the_run(result: str) -> None:
    assert run.status([*rows(), Row("another", "sms", result)], whole=True) == 1
    assert run.status([Row("another", "sms", result)], whole=False) == 1


def test_what_was_skipped_is_not_counted_as_passed() -> None:
    few = [
        *rows(faults=run.LEAST_FAULTS - 1),
        Row("another", "email"),
        Row("another", "sms", SKIPPED, "no root"),
    ]
    assert run.status(few, whole=True) == 1
    assert "1 skipped" in table.summary(few, 60.0)


def test_a_row_names_who_is_in_doubt_and_what_went_wrong() -> None:
    row = Row("fault", "email", FAILED, "lost: 3", in_doubt=7, doubts={"timeout": 5, "worker lost": 2})
    shown = table.line(row)
    assert "in doubt: 5 timeout, 2 worker lost" in shown
    assert "lost: 3" in shown


def test_the_last_row_of_a_case_counts_when_a_run_is_resumed(tmp_path: Path) -> None:
    results = tmp_path / "rows.jsonl"
    results.write_text("\n".join([Row("fault", "sms", FAILED).line(), Row("fault", "sms").line()]) + "\n")
    assert run.read(results)["fault", "sms"].result == OK
