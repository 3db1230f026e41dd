"""Misuse in a browser: an officer reports it from any page, and an auditor outside the team reads and closes it."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import Browser

from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from tests.browser.screen import window
from tests.browser.town import Town
from tests.factories import Makes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def auditor(town: Town) -> Staff:
    """Somebody in no team who reads reports."""
    with town.registry.sessions.begin() as session:
        makes = Makes(session, itertools.count(70_000 + next(town.numbers)))
        made = makes.officer(session.get_one(Organisation, town.organisation), role=None)
        made.name = "Ann Auditor"
        makes.role(made, Role.AUDITOR)
        return made


def test_an_officer_reports_and_an_auditor_reads_and_closes(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    reader, what = auditor(town), f"He looked up his neighbour, {size[0]} {scripts}."
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])
        screen.go("/staff/alerts/new")
        screen.press("Report misuse")
        assert screen.heading == "Report misuse"
        screen.press("Send report")
        assert "There is a problem" in screen.words
        assert screen.page.title().startswith("Error: ")
        screen.type("What happened", what)
        screen.type("When it happened", "On Monday")
        screen.choose("Do not say that it was me")
        assert "Reports that you may read" not in screen.words
        screen.press("Send report")
        assert screen.heading == "Report sent"
    message = town.arrived(reader.email, "A report of misuse waits for you")
    assert "neighbour" not in message.text
    (link,) = {word for word in message.text.split() if "/staff/misuse/" in word}
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(reader)])
        screen.go("/staff/misuse")
        assert screen.heading.endswith("Open reports")
        screen.go(link)
        assert screen.heading == "Report of misuse"
        assert what in screen.words
        assert "Reported by Not said" in screen.words
        screen.press("Close the report")
        assert "There is a problem" in screen.words
        screen.type("What was done", "They were spoken to.")
        screen.press("Close the report")
        assert "They were spoken to." in screen.words
        screen.press("Reports of misuse")
        assert screen.heading.endswith("Closed reports")
