"""``wardlink team …``: a team is added, changed, listed and ended from a terminal."""

from __future__ import annotations

from tests.app.cli.conftest import Run
from tests.app.cli.test_commands import made
from tests.conftest import Database


def test_a_team_is_added_changed_listed_and_ended(run: Run, committed: Database) -> None:
    slug, ward = made(committed)
    whose = ("--organisation", slug)
    of = (*whose, "--team", "Bow team")
    added = run("team", "add", *whose, "--name", "Bow team", "--area", ward, "--phone", "101")
    assert added.output.startswith("team ")
    assert run("team", "member", *of, "--role", "PC", "--name", "B Person", "--agreed").output == "added\n"
    assert run("team", "member", *of, "--role", "PCSO").output == "added\n"
    assert run("team", "alter", *of, "--email", "bow@police.example", "--phone", "").output == "changed\n"
    assert run("team", "list", *whose).output == (
        "Bow team\n  bow@police.example\n  PC B Person\n  PCSO\n1 teams\n"
    )
    assert run("team", "member", *of, "--role", "PC", "--name", "B Person", "--remove").output == "removed\n"
    assert "B Person" not in run("team", "list", *whose).output
    assert run("team", "end", *of).output == "ended\n"
    assert run("team", "list", *whose).output == "0 teams\n"


def test_what_is_wrong_with_a_team_is_said_in_plain_english(run: Run, committed: Database) -> None:
    slug, ward = made(committed)
    add = ("team", "add", "--organisation", slug, "--name", "Bow team", "--area", ward)
    for words, said in (
        (("team", "list", "--organisation", "nobody"), "no organisation with this short name"),
        ((*add, "--url", "http://police.example"), "starts with https://"),
        ((*add, "--area", "E05999999"), "No area of today"),
        (("team", "end", "--organisation", slug, "--team", "Bow team"), "no team of this name"),
    ):
        result = run(*words)
        assert (result.exit_code, said in result.output) == (1, True), result.output
    assert run(*add).exit_code == 0
    assert "of this name already" in run(*add).output
    named = (
        "team",
        "member",
        "--organisation",
        slug,
        "--team",
        "Bow team",
        "--role",
        "PC",
        "--name",
        "B Person",
    )
    assert "only if its bearer agreed" in run(*named).output
