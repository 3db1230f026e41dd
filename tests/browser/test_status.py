"""The status page in a browser: it brings newer figures by itself, and by a link where there are no scripts."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from app.services import alarms
from tests.browser.screen import window
from tests.browser.town import Town

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

PATIENCE = 30_000  # milliseconds; the page asks every ten seconds


def test_an_alarm_appears_on_a_page_that_lies_open_and_leads_to_what_to_do(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    officer = town.officer()
    code, about = "provider-down", f"provider:sms-of-{size[0]}-{scripts}"
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(officer)])
        screen.go("/staff/account")
        screen.press("How the service stands")
        assert screen.heading == "How the service stands"
        assert about not in screen.words
        with town.registry.sessions.begin() as session:
            alarms.raise_(session, code, about, failed_percent=80)
        if scripts:
            screen.page.get_by_text(about).first.wait_for(timeout=PATIENCE)
        else:
            screen.press("Refresh the figures")
        assert about in screen.words
        screen.press(f"What to do about {code}, {about}")
        assert screen.path == f"/status/alarms/{code}"
        assert "Look at the provider’s own status page" in screen.words.replace("'", "’")
        with town.registry.sessions.begin() as session:
            alarms.clear(session, code, about, calm=alarms.CALM * 0)
