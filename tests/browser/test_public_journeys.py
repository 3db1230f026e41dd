"""What everybody may read: alerts, lists, feeds, whether a message is genuine, and the statements."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser

from tests.browser.screen import PHONE, window
from tests.browser.town import ELSEWHERE, OTHER_WARD, POSTCODE, WARD, Town

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_a_reader_finds_an_alert_of_the_ward_its_list_and_its_feed(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    headline = f"Read by everybody, number {next(town.numbers)}"
    reference = town.appeal(headline)
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.go("/")
        screen.type("Postcode", "nonsense")
        screen.press("Find your ward")
        assert screen.page.title().startswith("Error: ")
        screen.type("Postcode", POSTCODE.lower().replace(" ", ""))
        screen.press("Find your ward")
        assert f"{WARD} ward" in screen.heading
        for known in ("Alex Morgan", "Sergeant", "101", "uxbridge@"):
            assert known in screen.words
        assert headline in screen.words
        screen.press(headline)
        assert screen.heading == headline
        assert reference in screen.words
        assert "call 999" in screen.words
        screen.press(f"{WARD} ward")
        screen.press(f"All alerts for {WARD}")
        assert headline in screen.words
        feed = screen.page.request.get(f"{town.site}/ward/{town.ward}/feed.atom")
        assert feed.headers["content-type"].startswith("application/atom+xml")
        root = ElementTree.fromstring(feed.text())
        titles = [e.text for e in root.iter("{http://www.w3.org/2005/Atom}title")]
        assert headline in titles
        screen.go("/boroughs")
        screen.press("Hillingdon")
        assert headline in screen.words
        screen.press(WARD)
        assert f"{WARD} ward" in screen.heading


def test_a_resident_asks_whether_a_message_is_genuine(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    headline = f"Is this message genuine, number {next(town.numbers)}"
    reference = town.appeal(headline)
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.go("/genuine")
        screen.press("Check")
        assert screen.page.title().startswith("Error: ")
        screen.type("Reference", "WL-BCDFGHJ")
        screen.press("Check")
        assert screen.heading == "No message with this reference"
        screen.page.locator("#reference").fill(reference.lower().replace("-", " "))
        screen.press("Check")
        assert screen.heading == "Yes, this message is ours"
        screen.press(headline)
        assert screen.heading == headline


def test_the_statements_can_be_reached_from_every_page(browser: Browser, town: Town) -> None:
    with window(browser, town.site, PHONE) as screen:
        for name in ("Accessibility", "Privacy", "Cookies", "Boroughs", "Officers: sign in"):
            screen.go("/")
            screen.press(name, within=screen.page.locator("footer"))
            assert screen.path != "/"
            assert len(screen.words) > 100
        # Nothing is kept of somebody who only reads.
        assert screen.page.context.cookies() == []


def test_a_ward_elsewhere_in_london_has_a_page_as_well(browser: Browser, town: Town) -> None:
    with window(browser, town.site, PHONE) as screen:
        screen.go("/")
        screen.type("Postcode", ELSEWHERE)
        screen.press("Find your ward")
        assert OTHER_WARD in screen.heading
        screen.go("/no-such-page")
        assert screen.heading == "Page not found"
