"""``wardlink preferences …``: what an address asked for, shown and changed from a terminal."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.app.cli.conftest import Run
from tests.conftest import Database
from tests.factories import Makes

MAIL, MOBILE = "somebody@people.example", "07700 900123"


@pytest.fixture
def both(committed: Database) -> None:
    from messaging.types import Channel

    registry = committed.open()
    with registry.sessions.begin() as session:
        makes = Makes(session)
        makes.contact(MAIL)
        makes.contact(MOBILE, Channel.SMS)
    registry.engine.dispose()


@pytest.mark.usefixtures("both")
def test_preferences_are_set_shown_and_cleared(run: Run) -> None:
    assert run("preferences", "show", MAIL).output == "everything at once\n"
    change = ("preferences", "set", MAIL, "--quiet", "22", "7", "--weekly-most", "3", "--digest", "weekly",
              "--digest-day", "Friday")  # fmt: skip
    assert run(*change).output == "changed\n"
    assert run(*change).output == "as it was\n"
    assert run("preferences", "show", MAIL).output == (
        "quiet from 22:00 to 7:00\nat most 3 in any seven days\na weekly digest on Friday at 8:00\n"
        "urgent messages at once\n"
    )
    assert run("preferences", "set", MOBILE, "--weekly-most", "1").output == "changed\n"
    assert "a digest" not in run("preferences", "show", MOBILE).output
    assert run("preferences", "clear", MAIL).output == "changed\n"
    assert run("preferences", "show", MAIL).output == "everything at once\n"


@pytest.mark.usefixtures("both")
def test_a_look_is_on_the_record_as_a_consultation(run: Run, committed: Database) -> None:
    assert run("preferences", "show", MAIL).exit_code == 0
    opened = committed.open()
    with opened.sessions() as session:
        found = session.execute(
            sa.text("SELECT actor_kind, s62 FROM audit_entries WHERE event = 'contact:consult'")
        )
        assert found.all() == [("operator", "consultation")]
    opened.engine.dispose()


@pytest.mark.usefixtures("both")
def test_what_cannot_be_is_said_in_plain_english(run: Run) -> None:
    for words, said in (
        (("show", "nobody@people.example"), "Nobody has this address."),
        (("set", MOBILE, "--digest", "daily"), "A digest comes by e-mail only."),
        (("set", MAIL, "--quiet", "7", "6"), "Quiet hours last 1 to 20 hours a day."),
        (("set", MAIL, "--quiet", "22", "9", "--digest", "daily"), "outside your quiet hours"),
        (("set", MAIL, "--digest", "daily", "--digest-hour", "3"), "a full hour from 6 to 22"),
    ):
        result = run("preferences", *words)
        assert (result.exit_code, said in result.output) == (1, True), result.output
