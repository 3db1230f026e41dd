"""An auditor in a browser: says why, searches, reads an entry in plain English, and takes an export away."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app.permissions import Role
from tests.browser.screen import window
from tests.browser.town import Town
from tests.factories import Makes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_an_auditor_searches_reads_and_exports(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool, tmp_path: Path
) -> None:
    officer = town.officer()
    with town.registry.sessions.begin() as session:
        Makes(session).role(officer, Role.AUDITOR)
    address = town.email()
    town.resident(address)
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(officer)])
        screen.go("/staff/record")
        assert screen.heading == "Search the record"
        screen.press("Search")
        assert "There is a problem" in screen.words and "Say why you look." in screen.words
        screen.type("Why do you look?", "A complaint, number 4711")
        screen.type("A resident’s e-mail address or mobile number", address)
        screen.page.get_by_label("What happened").select_option(label="A subscription began")
        screen.press("Search")
        assert screen.heading == "What the record says"
        assert "A complaint, number 4711" in screen.words and address not in screen.words + screen.page.url
        found = screen.page.get_by_role("link", name="A subscription began")
        with screen.page.expect_navigation():
            found.first.click()
        screen.check()
        assert screen.heading == "A subscription began"
        assert "The operator, by a command on the server" in screen.words
        assert "Collection: personal data came in" in screen.words
        screen.press("Back to what was found")
        screen.choose("CSV, for a spreadsheet")
        with screen.page.expect_download() as download:
            screen.page.get_by_role("button", name="Export").click()
        download.value.save_as(tmp_path / "record.csv")
        assert "subscription:add" in (tmp_path / "record.csv").read_text()
        screen.go("/staff/record/heads")
        assert screen.heading == "Signed heads"
        screen.check()
