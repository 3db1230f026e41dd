"""Residents answer an appeal by the link in the message and by text; the team reads, answers and closes."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from app.cli.stack import wait_until
from tests.browser.screen import PHONE, Screen, window
from tests.browser.town import Town

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
SAW = "Two people on one electric bicycle, near the station."


def reply_by_link(screen: Screen, link: str, reference: str) -> None:
    screen.go(link)
    assert "call 999" in screen.words
    assert reference in screen.words
    screen.press("Send")
    assert screen.page.title().startswith("Error: ")
    screen.type("What do you want to tell us?", SAW)
    screen.type("Your name (optional)", "Jo Bloggs")
    screen.press("Send")
    assert screen.heading == "Thank you"


def open_thread(screen: Screen, town: Town, words: str) -> None:
    """The officer's inbox, and the thread in it that begins with some words."""

    def there() -> bool:
        screen.go("/staff/inbox")
        return words in screen.words

    wait_until(there, what=f"{words!r} in the inbox")
    line = screen.page.locator(".wl-list > li").filter(has_text=words).first
    with screen.page.expect_navigation():
        line.get_by_role("link").click()
    screen.check()
    assert words in screen.words


def test_a_resident_answers_by_the_link_and_the_team_writes_back(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    address = town.email()
    town.resident(address)
    headline = f"Who saw the robbery? Case {address.partition('@')[0]}"
    reference = town.appeal(headline)
    link = town.arrived(address, headline).link("/r/")
    saw = f"{SAW} {address.partition('@')[0]}"
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.go(link)
        assert headline in screen.words
        reply_by_link(screen, link, reference)
        screen.go(link)
        screen.type("What do you want to tell us?", saw)
        screen.press("Send")

    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])
        open_thread(screen, town, saw)
        assert "Jo Bloggs" in screen.words
        screen.press("Send answer")
        assert screen.page.title().startswith("Error: ")
        screen.page.locator("textarea").fill("Thank you. At what time was that?")
        screen.press("Send answer")
        assert "At what time was that?" in screen.words
        screen.press("Close")
        assert "Closed" in screen.words
        screen.press("Open again")

    answer = town.arrived(address, "At what time was that?")
    with window(browser, town.site, PHONE, scripts=scripts) as screen:
        screen.go(answer.link("/r/"))
        screen.type("What do you want to tell us?", "At six, " + saw)
        screen.press("Send")
        assert screen.heading == "Thank you"


def test_a_resident_answers_by_text_and_the_team_writes_back(browser: Browser, town: Town) -> None:
    phone = town.phone()
    town.resident(phone)
    reference = town.appeal("Who saw the robbery? Answer by text")
    appeal = town.arrived(phone, reference)
    said = f"It was at six, near the station. {phone}"
    town.texts(phone, appeal.sender, said)
    with window(browser, town.site, PHONE) as screen:
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])
        open_thread(screen, town, said)
        assert reference in screen.words
        assert "by text" in screen.words
        screen.page.locator("textarea").fill("Thank you, that helps.")
        screen.press("Send answer")
        answer = town.arrived(phone, "Thank you, that helps.")
        assert answer.sender == appeal.sender
        screen.press("Close")
        screen.go("/staff/inbox?state=closed")
        assert said[:40] in screen.words or re.search("Thank you, that helps", screen.words)


def test_a_link_that_was_changed_opens_nothing(browser: Browser, town: Town) -> None:
    with window(browser, town.site, PHONE) as screen:
        screen.page.goto(f"{town.site}/r/1.{'0' * 48}.{'0' * 10}.{'0' * 32}")
        assert "does not work" in screen.words
        assert "999" in screen.words
        assert not screen.complaints
