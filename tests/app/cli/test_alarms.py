"""Alarms on the command line: what is open, and a test by every route."""

from __future__ import annotations

import sqlalchemy as sa

from app.models.audit import AuditEntry
from app.models.service_messages import ServiceMessage
from app.models.sight import AlarmPost
from app.services import alarms
from tests.app.cli.conftest import Run
from tests.conftest import Database
from tests.factories import Makes

ROUTES = {
    "ALARM_EMAILS": "duty@police.example,it@police.example",
    "ALARM_MOBILES": "+447700900123",
    "ALARM_WEBHOOK": "https://hook.police.example/in",
    "ALARM_WEBHOOK_KEY": "a-key-of-the-tests",
}


def test_what_is_open_and_what_is_over_is_listed_with_what_to_do(run: Run, committed: Database) -> None:
    assert run("alarms").output == (
        "0 open. No route is set: nobody is told. Set ALARM_EMAILS, ALARM_MOBILES or ALARM_WEBHOOK.\n"
    )
    app = committed.open()
    with app.sessions.begin() as session:
        alarms.raise_(session, "urgent-stalled", "lane:urgent", seconds=75)
        alarms.raise_(session, "queue-away", "queue:redis", seconds=31)
        alarms.clear(session, "queue-away", "queue:redis", calm=alarms.CALM * 0)
    app.engine.dispose()
    lines = run("alarms", **ROUTES).output.splitlines()
    assert lines[0].startswith("open  ")
    assert lines[0].endswith("urgent-stalled  lane:urgent  seconds=75")
    assert "start more of them" in lines[1]
    assert lines[2].startswith("over  ")
    assert lines[-1] == "1 open. Told by 2 e-mail, 1 text, the webhook."


def test_a_test_goes_by_every_route_and_leaves_nothing_open(run: Run, committed: Database) -> None:
    app = committed.open()
    with app.sessions.begin() as session:
        makes = Makes(session)
        makes.sender(makes.organisation(), "sms")
    result = run("alarms", "test", **ROUTES)
    assert result.exit_code == 0
    assert "On its way by 4 of 4" in result.output
    assert "duty@" not in result.output
    with app.sessions() as session:
        kinds = session.scalars(sa.select(ServiceMessage.channel).where(ServiceMessage.kind == "alarm")).all()
        assert sorted(kinds) == ["email", "email", "sms"]
        assert session.scalars(sa.select(AlarmPost.what)).all() == ["test"]
        assert alarms.opened(session) == []
        events = session.scalars(sa.select(AuditEntry.event).where(AuditEntry.event.like("alarm:%"))).all()
        assert events == ["alarm:test"]
    app.engine.dispose()
    lines = run("alarms", **ROUTES).output.splitlines()
    assert [x for x in lines if x.startswith("told")] == [
        "told  2 by e-mail: waiting",
        "told  1 by text: waiting",
        "told  1 by webhook: waiting",
    ]


def test_a_test_without_any_route_says_which_settings_there_are(run: Run) -> None:
    result = run("alarms", "test")
    assert result.exit_code == 1
    assert "ALARM_EMAILS" in result.output


def test_a_webhook_needs_a_key_and_an_address_that_is_safe(run: Run) -> None:
    bare = run("alarms", ALARM_WEBHOOK="https://hook.police.example")
    assert (bare.exit_code, "ALARM_WEBHOOK_KEY must be set" in bare.output) == (1, True)
    open_ = run("alarms", **(ROUTES | {"ALARM_WEBHOOK": "http://hook.police.example"}))
    assert (open_.exit_code, "ALARM_WEBHOOK must begin with https://" in open_.output) == (1, True)


def test_the_settings_say_that_no_route_is_set(run: Run) -> None:
    assert "No route is set" in run("settings").output
    assert "No route is set" not in run("settings", **ROUTES).output
