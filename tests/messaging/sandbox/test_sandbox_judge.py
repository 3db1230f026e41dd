"""The judge of lost and twice reads the log and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from messaging.sandbox import judge
from messaging.sandbox.log import AcceptanceLog

from .conftest import DISPATCH, Caller, mail, person

OTHER = "f" * 32


def test_a_tally_counts_one_dispatch_by_address_and_by_place(tmp_path: Path) -> None:
    path = tmp_path / "acceptance.jsonl"
    log = AcceptanceLog(path)
    refs = [f"{DISPATCH}.0.1.{n}" for n in range(3)]
    log.append("email", "a", "x@y.example", refs, ["a@b.example", "b@b.example", "c@b.example"])
    log.append("email", "b", "x@y.example", [f"{DISPATCH}.0.2.1"], ["B@b.example"])
    log.append("email", "c", "x@y.example", [f"{DISPATCH}.1.1.0", ""], ["a@b.example", "z@b.example"])
    log.append("sms", "d", "+447700900001", [f"{DISPATCH}.2.1.0"], ["+447700900123"])
    log.append("sms", "e", "+447700900001", [f"{OTHER}.2.1.0"], ["+447700900123"])
    log.close()
    tally = judge.tally(path, DISPATCH)
    email, sms = tally.channels["email"], tally.channels["sms"]
    assert (email.accepted, sms.accepted, tally.accepted) == (5, 1, 6)
    assert email.twice_places == {"0.1": 2}
    assert email.twice_addresses == {"b@b.example": 2, "a@b.example": 2}
    assert (sms.twice_places, sms.twice_addresses, tally.twice) == ({}, {}, 2)
    assert [a.id for a in judge.read(path)] == ["a", "b", "c", "d", "e"]


def test_a_line_cut_off_is_left_out_and_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "acceptance.jsonl"
    log = AcceptanceLog(path)
    log.append("sms", "a", "+447700900001", [f"{DISPATCH}.0.1.0"], ["+447700900123"])
    log.append("sms", "b", "+447700900001", [f"{DISPATCH}.0.1.1"], ["+447700900124"])
    log.close()
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 5)
    tally = judge.tally(path, DISPATCH)
    assert tally.accepted == 1
    path.write_bytes(whole)
    tally.catch_up(path)
    assert tally.accepted == 2
    assert judge.tally(tmp_path / "none", DISPATCH).accepted == 0


def test_counts_and_log_are_there_over_http_and_grow(caller: Caller) -> None:
    caller.mail(mail([person(n) for n in range(20)]))
    dashed = f"{DISPATCH[:8]}-{DISPATCH[8:]}"
    first = caller.control("GET", f"counts?dispatch={dashed}").json()
    assert first["email"]["accepted"] == first["email"]["distinct_refs"] == 20
    length = len(caller.control("GET", "log").body)
    caller.mail(mail([person(3)]))
    caller.text(StatusCallback=f"http://127.0.0.1:1/s?x=1&ref={DISPATCH}.4.1.9#rc=0")
    second = caller.control("GET", f"counts?dispatch={DISPATCH}").json()
    assert second["email"]["accepted"] == 21 and second["sms"]["accepted"] == 1
    assert second["email"]["twice_refs"] == {"0.3": 2}
    assert second["email"]["twice_addresses"] == {"person3@post.example": 2}
    log = caller.sandbox.log_path.read_bytes()
    assert caller.control("GET", "log").body == log
    assert caller.control("GET", f"log?from={length}").body == log[length:]


@pytest.mark.parametrize("ref", [f"{DISPATCH}.", f"{DISPATCH}.1", f"{DISPATCH}..", "", "é" * 40])
def test_a_reference_that_is_none_does_not_stop_the_judge(tmp_path: Path, ref: str) -> None:
    log = AcceptanceLog(tmp_path / "log")
    log.append("email", "a", "x@y.example", [ref], ["a@b.example"])
    log.close()
    assert judge.tally(tmp_path / "log", DISPATCH).accepted in (0, 1)
