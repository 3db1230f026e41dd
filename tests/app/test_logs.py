from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app import logs
from config.logging import NEVER_BELOW_WARNING, REDACTED


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Where the lines go; the logging of before comes back afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    levels = {name: logging.getLogger(name).level for name in NEVER_BELOW_WARNING}
    stream = io.StringIO()
    logs.set_up("debug", "json", stream)
    yield stream
    root.handlers[:], level = before
    root.setLevel(level)
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)
    structlog.reset_defaults()


def test_personal_values_are_withheld_and_ids_are_kept(written: io.StringIO) -> None:
    structlog.get_logger("x").info(
        "sent",
        dispatch_id="d1",
        to="+447700900123",
        contact_email="a@b.example",
        extra={"postcode": "N1 1AA", "n": 2},
    )
    line = json.loads(written.getvalue())
    assert (line["event"], line["dispatch_id"]) == ("sent", "d1")
    assert line["to"] == line["contact_email"] == line["extra"]["postcode"] == REDACTED
    assert line["extra"]["n"] == 2


def test_the_ids_of_request_and_job_are_in_every_line_written_inside(written: io.StringIO) -> None:
    with logs.about(request_id="r1"):
        structlog.get_logger("x").info("one")
        logging.getLogger("plain").warning("two %s", "three")
    structlog.get_logger("x").info("four")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line.get("request_id") for line in lines] == ["r1", "r1", None]
    assert lines[1]["event"] == "two three"


def test_the_libraries_that_would_write_bodies_and_keys_stay_quiet(written: io.StringIO) -> None:
    for name in ("sendgrid.client", "python_http_client", "twilio.http_client", "urllib3.connectionpool"):
        logging.getLogger(name).debug("Authorization: Bearer secret")
        logging.getLogger(name).info("body")
    assert written.getvalue() == ""


def test_an_exception_is_written_without_the_values_of_its_variables(written: io.StringIO) -> None:
    try:
        hidden = "person" + "@wards.example"
        raise RuntimeError(len(hidden))
    except RuntimeError:
        structlog.get_logger("x").exception("failed")
    assert "RuntimeError" in written.getvalue()
    assert "person@wards.example" not in written.getvalue()
