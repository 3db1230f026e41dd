"""Roles, agreements and the end of an organisation from a terminal."""

from __future__ import annotations

import re
from datetime import date, timedelta

import sqlalchemy as sa

from app.models.consent import Consent
from app.permissions import Role
from tests.app.cli.conftest import Run
from tests.conftest import Database
from tests.factories import Makes

SANDBOX = {"TWILIO_BASE_URL": "http://127.0.0.1:9", "SENDGRID_BASE_URL": "http://127.0.0.1:9"}
IN_A_YEAR = f"{date.today().replace(day=1) + timedelta(days=365):%Y-%m-%d}"  # noqa: DTZ011


def ground(committed: Database) -> tuple[str, str]:
    """An organisation with an officer of a team and three residents; the officer's address, the borough's code."""
    opened = committed.open()
    with opened.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        borough, ward, _ = makes.borough()
        person = makes.officer(police, makes.team(police, [borough], name="Uxbridge"))
        for _ in range(3):
            makes.resident(police, ward)
        found = person.email, borough.code
    opened.engine.dispose()
    return found


def test_a_role_is_granted_listed_and_taken_back(run: Run, committed: Database) -> None:
    email, borough = ground(committed)
    made = run(
        "role", "grant", "--email", email, "--role", "approver", "--area", borough, "--until", IN_A_YEAR
    )
    assert made.exit_code == 0, made.output
    assert re.fullmatch(r"role \S+, until \d+ \w+ \d{4}\n", made.output)
    assert run("role", "grant", "--email", email, "--role", "auditor", "--everywhere").exit_code == 0
    team = run("role", "grant", "--email", email, "--role", "register-steward", "--team", "Uxbridge")
    assert team.exit_code == 0
    listed = run("role", "list", "--email", email).output
    assert "auditor (everywhere) until " in listed
    assert "register-steward (Uxbridge) until " in listed
    assert listed.endswith("4 listed\n")
    assert run("role", "list", "--organisation", "org-1").output == "0 listed\n"
    assert run("role", "take", made.output.split()[1].rstrip(",")).output == "taken back\n"
    assert run("role", "list", "--email", email).output.endswith("3 listed\n")


def test_somebody_is_invited_with_a_role_on_an_area_until_a_day(run: Run, committed: Database) -> None:
    _, borough = ground(committed)
    made = run(
        "staff", "invite", "--organisation", "org-1", "--name", "Kim", "--email", "kim@police.example",
        "--role", "borough-administrator", "--area", borough, "--until", IN_A_YEAR, **SANDBOX,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    listed = run("role", "list", "--email", "kim@police.example").output
    assert re.search(r"borough-administrator \(Borough \d+\) until ", listed)


def test_what_is_wrong_with_a_role_is_said_in_one_line(run: Run, committed: Database) -> None:
    email, borough = ground(committed)
    grant = ("role", "grant", "--email", email, "--role", str(Role.OFFICER))
    for words, said in (
        ((*grant[:3], "nobody@police.uk", *grant[4:], "--everywhere"), "Nobody of staff"),
        ((*grant, "--area", "E05999999"), "no such area"),
        ((*grant, "--area", borough, "--team", "Uxbridge"), "not both"),
        ((*grant, "--team", "Nowhere"), "no team"),
        ((*grant, "--everywhere", "--until", "2020-01-01"), "within three years"),
        ((*grant[:5], "investigator", "--everywhere"), "competent authority"),
        (("role", "take", "00000000-0000-0000-0000-000000000001"), "no such role"),
        (("role", "list", "--organisation", "org-9"), "no organisation"),
    ):
        result = run(*words)
        assert (result.exit_code, said in result.output) == (1, True), (words, result.output)
        assert len(result.output.splitlines()) == 1
    for usage in (grant, (*grant, "--area", borough, "--everywhere"), ("role", "list")):
        assert run(*usage).exit_code == 2


def test_an_organisation_is_changed_agrees_and_ends(run: Run, committed: Database) -> None:
    ground(committed)
    changed = run(
        "organisation", "alter", "org-1", "--competent", "--name", "Test Force", "--kind", "police",
        "--legal-basis", "public task",
    )  # fmt: skip
    assert changed.output == "changed\n"
    of = ("organisation", "agreement")
    made = run(
        *of, "add", "org-1", "--kind", "dpia", "--title", "DPIA", "--reference", "D-1", "--signed", "2025-01-06",
        "--review", IN_A_YEAR,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert f"dpia: DPIA (D-1), review {IN_A_YEAR}\n1 listed\n" in run(*of, "list", "org-1").output
    assert run(*of, "end", made.output.split()[1]).output == "ended\n"
    assert run(*of, "end", made.output.split()[1]).exit_code == 1
    assert run(*of, "list", "org-1").output == "0 listed\n"
    end = ("organisation", "end", "org-1", "--why", "It joins another.")
    assert run(*end).exit_code == 1  # nobody said yes
    assert run(*end, "--yes").output == "1 staff, 1 roles and 1 teams ended.\n3 consents ended.\n"
    assert run(*end, "--yes").output == "0 staff, 0 roles and 0 teams ended.\n0 consents ended.\n"
    opened = committed.open()
    with opened.sessions() as session:
        assert session.scalar(sa.select(Consent.id).where(Consent.withdrawn_at.is_(None))) is None
    opened.engine.dispose()
    for words in (
        ("alter", "org-9"),
        ("agreement", "list", "org-9"),
        ("end", "org-9", "--why", "x", "--yes"),
    ):
        assert "no organisation" in run("organisation", *words).output


def test_the_registers_settings_are_shown_and_set(run: Run, committed: Database) -> None:
    ground(committed)
    settings = ("register", "settings", "org-1")
    assert "for example 1234567/26" in run(*settings).output
    url = "https://evidence.police.example/{reference}?r={request}"
    made = run(*settings, "--portal-name", "Axon", "--portal-url", url, "--case-pattern", "^CAD[0-9]+$",
               "--case-example", "CAD12")  # fmt: skip
    assert made.exit_code == 0, made.output
    assert (
        run(*settings).output
        == f"case references: ^CAD[0-9]+$, for example CAD12\nevidence portal: Axon, {url}\n"
    )
    for wrong in (("--portal-name", "Axon"), ("--portal-name", "Axon", "--portal-url", "http://x.example"),
                  ("--case-pattern", "^([0-9]$")):  # fmt: skip
        refused = run(*settings, *wrong)
        assert refused.exit_code == 1
        assert len(refused.output.splitlines()) == 1
    assert "evidence portal: none" in run(*settings, "--portal-name", "none").output
