"""Staff from a terminal: invited, listed, gone."""

from __future__ import annotations

import sqlalchemy as sa

from app.models.staff import Staff
from tests.app.cli.conftest import Run
from tests.conftest import Database
from tests.factories import Makes

INVITE = ("staff", "invite", "--organisation", "org-1", "--name", "Kim New")
# Only where both providers are on this machine may an address be made up.
SANDBOX = {"TWILIO_BASE_URL": "http://127.0.0.1:9", "SENDGRID_BASE_URL": "http://127.0.0.1:9"}


def ground(committed: Database) -> None:
    opened = committed.open()
    with opened.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.team(police, makes.borough()[:1], name="Uxbridge")
    opened.engine.dispose()


def test_somebody_is_invited_listed_and_leaves(run: Run, committed: Database) -> None:
    ground(committed)
    made = run(*INVITE, "--email", "kim@police.example", "--team", "Uxbridge", **SANDBOX)
    assert made.exit_code == 0, made.output
    assert made.output.splitlines()[1].startswith("http")
    assert "/staff/invitation/" in made.output
    listed = run("staff", "list", "--organisation", "org-1").output
    assert "invited  Kim New <kim@police.example>, Uxbridge\n1 listed\n" in listed
    only = listed.split()[0]
    assert run("staff", "list", "--organisation", "org-1", "--after", only).output == "0 listed\n"
    assert run("staff", "leave", "--email", "KIM@police.example").output == "Kim New has left.\n"
    again = run("staff", "leave", "--email", "kim@police.example")
    assert (again.exit_code, again.output) == (1, "Error: They have left already.\n")


def test_what_is_wrong_is_said_in_one_line_and_nobody_is_added(run: Run, committed: Database) -> None:
    ground(committed)
    for words, said in (
        ((*INVITE, "--email", "kim@police.example"), "kept for examples"),
        ((*INVITE, "--email", "kim"), "right form"),
        ((*INVITE, "--email", "kim@police.uk", "--team", "Nowhere"), "no team"),
        (
            (*INVITE[:2], "--organisation", "org-9", "--name", "Kim", "--email", "kim@police.uk"),
            "no organisation",
        ),
        ((*INVITE[:4], "--name", " ", "--email", "kim@police.uk"), "1 to 100 characters"),
        (("staff", "leave", "--email", "kim@police.uk"), "Nobody of staff"),
        (("staff", "list", "--organisation", "org-9"), "no organisation"),
    ):
        result = run(*words)
        assert result.exit_code == 1
        assert said in result.output
        assert len(result.output.splitlines()) == 1
    opened = committed.open()
    with opened.sessions() as session:
        assert session.scalars(sa.select(Staff)).all() == []
    opened.engine.dispose()
