"""Take the pictures of docs/pictures: ``make pictures``. Not a test; pytest runs it for its fixtures.

Pages are in the state that a resident or an officer meets, at a desk's width and at a phone's.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from app.cli.stack import wait_until
from app.permissions import Role
from config.fields import PROJECT
from tests.browser.png import smaller
from tests.browser.screen import SIZES, Screen, window
from tests.browser.town import POSTCODE, Town
from tests.factories import Makes

FOLDER = PROJECT / "docs" / "pictures"
LARGEST = 300_000  # bytes
CRIME = "Crime near you, and requests for help"


def take(browser: Browser, screen: Screen, name: str, width: str) -> None:
    """The whole page, as a PNG."""
    screen.check()
    FOLDER.mkdir(parents=True, exist_ok=True)
    path: Path = FOLDER / f"{name}-{width}.png"
    screen.page.evaluate("() => { document.activeElement.blur(); window.scrollTo(0, 0); }")
    taken = screen.page.screenshot(full_page=True, animations="disabled")
    with window(browser, screen.site) as blank:
        taken = smaller(blank.page, taken)
    assert len(taken) <= LARGEST, (path, len(taken))
    path.write_bytes(taken)


@pytest.mark.parametrize("width", SIZES)
def test_residents_pages(browser: Browser, town: Town, width: str) -> None:
    town.appeal("Did you see this? Robbery at a bus stop on Tuesday")
    with window(browser, town.site, SIZES[width]) as screen:
        screen.go("/")
        take(browser, screen, "home", width)
        screen.type("Postcode", POSTCODE)
        screen.press("Find your ward")
        take(browser, screen, "ward", width)
        screen.press("Get alerts for this ward")
        take(browser, screen, "sign-up-topics", width)
        screen.choose(CRIME)
        screen.press("Continue")
        take(browser, screen, "sign-up-contact", width)
        email, phone = town.email(), town.phone()
        screen.type("Your e-mail address", email)
        screen.type("Your mobile number", phone)
        screen.press("Agree and continue")
        take(browser, screen, "sign-up-check", width)
        code = town.code(email)
        screen.type("Code", code)
        screen.press("Confirm")
        screen.type("Code", town.code(phone))
        screen.press("Confirm")
        take(browser, screen, "signed-up", width)
        screen.go("/manage")
        screen.type("Your e-mail address or mobile number", email)
        screen.press("Send me a code")
        screen.type("Code", town.code(email, code))
        screen.press("Open my page")
        take(browser, screen, "own-page", width)
        screen.go("/genuine")
        take(browser, screen, "genuine", width)


@pytest.mark.parametrize("width", SIZES)
def test_officers_pages(browser: Browser, town: Town, width: str) -> None:
    with window(browser, town.site, SIZES[width]) as screen:
        address = town.email()
        town.resident(address)
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])
        screen.go("/staff/alerts/new")
        screen.choose("Appeal", "Routine")
        screen.type("Headline", "Did you see this? Burglary in Park Road on Monday")
        screen.type(
            "What happened",
            "On Monday between 2 and 4 pm somebody broke into a house in Park Road and took jewellery.\n\n"
            "We look for a man in a grey jacket with a **red rucksack**.",
        )
        screen.type(
            "What people should do (optional)", "If you have a camera that looks at Park Road, keep its film."
        )
        screen.type("How to tell you (optional)", "Call 101 and say CAD 1234.")
        screen.type(
            "Text message (optional)",
            "Burglary, Park Road, Monday 2 to 4pm. Man, grey jacket, red rucksack. Did you see him?",
        )
        screen.choose("Uxbridge", "Incidents and appeals", "E-mail", "Text message")
        screen.page.wait_for_function(
            "() => /segment/.test(document.getElementById('sms-count').textContent)"
        )
        take(browser, screen, "compose", width)
        screen.press("Save and look at it")
        take(browser, screen, "preview", width)
        screen.press(re.compile("^Send now to "))
        progress = screen.path

        def over() -> bool:
            screen.go(progress)
            return "Everything has left" in screen.words

        wait_until(over, what="the end of the sending")
        screen.page.wait_for_timeout(1_500)
        screen.go(progress)
        take(browser, screen, "progress", width)
        screen.press("The alert’s public page")
        take(browser, screen, "alert", width)
        screen.go("/staff")
        take(browser, screen, "alerts", width)

        message = town.arrived(address, "Park Road")
        with window(browser, town.site, SIZES[width]) as theirs:
            theirs.go(message.link("/r/"))
            take(browser, theirs, "reply", width)
            for name, words in (
                ("Jo Bloggs", "I saw a man with a red rucksack near the station at about four."),
                ("", "There was a grey van in Park Road that I had not seen before."),
            ):
                theirs.go(message.link("/r/"))
                theirs.type("What do you want to tell us?", words)
                theirs.type("Your name (optional)", name)
                theirs.press("Send")
        screen.go("/staff/inbox")
        take(browser, screen, "inbox", width)
        screen.page.locator(".wl-list a").first.click()
        screen.page.wait_for_url("**/staff/inbox/**")
        screen.page.locator("textarea").fill("Thank you. Which way did he go?")
        screen.press("Send answer")
        take(browser, screen, "thread", width)


@pytest.mark.parametrize("width", SIZES)
def test_the_way_in_for_officers(browser: Browser, town: Town, width: str) -> None:
    with window(browser, town.site, SIZES[width]) as screen:
        screen.go("/staff/sign-in")
        take(browser, screen, "sign-in", width)


@pytest.mark.parametrize("width", SIZES)
def test_administrators_and_auditors_pages(browser: Browser, town: Town, width: str) -> None:
    made = town.officer("Insp Ada Chief")
    with town.registry.sessions.begin() as session:
        for role in (Role.FORCE_ADMINISTRATOR, Role.AUDITOR):
            Makes(session).role(made, role)
    with window(browser, town.site, SIZES[width]) as screen:
        screen.page.context.add_cookies([town.staff_cookie(made)])
        screen.go("/staff/people")
        take(browser, screen, "people", width)
        screen.press("Insp Ada Chief")
        take(browser, screen, "person", width)
        screen.go("/staff/people/invite")
        take(browser, screen, "invite", width)
        screen.go("/staff/account")
        take(browser, screen, "account", width)
        screen.go("/staff/record")
        take(browser, screen, "record-search", width)
        screen.type("Why do you look?", "The sample of November")
        screen.press("Search")
        take(browser, screen, "record", width)
