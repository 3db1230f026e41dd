"""The commands for providers, stand-ins and the brake."""

from __future__ import annotations

import sqlalchemy as sa

from app.models.organisations import Sender
from app.services import routes
from config.fields import Part
from messaging.types import Channel
from tests.app.cli.conftest import Run
from tests.conftest import Database
from tests.factories import Makes

SPARE = "+447700900999"


def test_providers_are_listed_as_the_scheduler_saw_them(run: Run, committed: Database) -> None:
    assert run("provider", "list").output == "No scheduler has looked at the providers yet.\n"
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        routes.evaluate(session, {Channel.EMAIL: ["sendgrid", "smtp"], Channel.SMS: ["twilio"]})
    worker.engine.dispose()
    lines = run("provider", "list").output.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [
        ["email", "sendgrid", "up"], ["email", "smtp", "up"], ["sms", "twilio", "up"],
    ]  # fmt: skip
    assert lines[3] == "3 providers"


def test_a_number_gets_another_to_stand_in_for_it_and_loses_it(run: Run, committed: Database) -> None:
    app = committed.open()
    with app.sessions.begin() as session:
        makes = Makes(session)
        number = makes.sender(makes.organisation(), "sms").address
    result = run("provider", "stand-in", number, "--by", SPARE, "--rate", "5")
    assert (result.exit_code, result.output) == (0, "stands in for 1 senders\n")
    with app.sessions() as session:
        first, spare = session.scalars(sa.select(Sender).order_by(Sender.id)).all()
        assert (first.fallback_sender_id, spare.address, spare.provider) == (spare.id, SPARE, "twilio-2")
    assert run("provider", "stand-in", number, "--remove").output == "1 senders changed\n"
    app.engine.dispose()
    for words in ([number], [number, "--by", SPARE, "--remove"]):
        assert run("provider", "stand-in", *words).exit_code == 2
    nobody = run("provider", "stand-in", "+447700900001", "--by", SPARE)
    assert (nobody.exit_code, nobody.output) == (1, "Error: There is no such number on the first account.\n")


def test_a_brake_is_listed_and_released_with_a_reason(run: Run, committed: Database) -> None:
    assert run("brake", "list").output == "0 held\n"
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        session.execute(
            sa.text(
                "INSERT INTO brakes (domain, why, accepted, complained, bounced) "
                "VALUES ('alerts.example', 'complaints', 4000, 6, 1)"
            )
        )
    worker.engine.dispose()
    shown = run("brake", "list").output
    assert shown.startswith("alerts.example  since ")
    assert "6 complaints and 1 bounces of 4,000 e-mails of a day\n1 held\n" in shown
    assert run("brake", "release", "alerts.example").exit_code == 2
    assert run("brake", "release", "other.example", "--why", "No.").exit_code == 1
    assert run("brake", "release", "alerts.example", "--why", "The list was cleaned.").output == "released\n"
    assert run("brake", "list").output == "0 held\n"
