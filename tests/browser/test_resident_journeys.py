"""A resident: from a postcode to the last word, with and without scripts, at a desk and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.keyboard import Keyboard
from tests.browser.screen import PHONE, Screen, window
from tests.browser.town import ELSEWHERE, OTHER_WARD, POSTCODE, WARD, Town

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
CRIME, ADVICE = "Crime near you, and requests for help", "Advice to prevent crime"


def to_the_contact_page(screen: Screen) -> None:
    """Postcode, ward and topics: nothing personal is asked on the way, and nothing is kept."""
    screen.go("/")
    screen.type("Postcode", POSTCODE)
    screen.press("Find your ward")
    assert f"{WARD} ward" in screen.heading
    screen.press("Get alerts for this ward")
    assert screen.heading == "What do you want to hear about?"
    screen.press("Continue")
    assert screen.page.title().startswith("Error: ")
    assert "Choose at least one topic." in screen.words
    screen.choose(CRIME, ADVICE)
    screen.press("Continue")
    assert screen.heading == "Where should we send your alerts?"
    assert "Demo Police" in screen.words
    assert screen.page.context.cookies() == []


def enter_code(screen: Screen, code: str, wrong: bool = False) -> None:
    if wrong:
        screen.type("Code", f"{(int(code) + 1) % 1_000_000:06d}")
        screen.press("Confirm")
        assert "That is not the code." in screen.words
    # As people type it.
    screen.type("Code", f"{code[:3]} {code[3:]}")
    screen.press("Confirm")


def open_own_page(screen: Screen, town: Town, address: str, besides: str) -> None:
    """By a code: an e-mail address gets a link as well."""
    screen.go("/")
    screen.press("Change what you get, move or stop")
    screen.type("Your e-mail address or mobile number", address)
    screen.press("Send me a code")
    screen.type("Code", town.code(address, besides))
    screen.press("Open my page")
    assert screen.heading == "Your alerts"


def topics(screen: Screen) -> set[str]:
    """What is ticked on one's own page."""
    boxes = screen.page.get_by_role("checkbox", checked=True).all()
    return {box.evaluate("box => box.labels[0].textContent.trim()") for box in boxes}


def leave(screen: Screen) -> None:
    screen.press("Leave everything")
    screen.press("Leave everything")
    assert screen.heading.startswith("You have left")
    assert screen.page.context.cookies() == []
    screen.go("/my")
    assert screen.path == "/manage"


def test_by_email_and_phone_from_the_postcode_to_the_last_word(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    email, phone = town.email(), town.phone()
    with window(browser, town.site, size, scripts=scripts) as screen:
        to_the_contact_page(screen)
        screen.press("Agree and continue")
        assert screen.page.title().startswith("Error: ")
        screen.type("Your e-mail address", "nobody")
        screen.type("Your mobile number", phone)
        screen.press("Agree and continue")
        assert screen.page.title().startswith("Error: ")
        screen.type("Your e-mail address", email)
        screen.type("Your first name (optional)", "Kim")
        screen.press("Agree and continue")
        assert screen.heading == "Enter your code"
        mailed = town.code(email)
        enter_code(screen, mailed, wrong=True)
        assert "Confirmed" in screen.words
        enter_code(screen, town.code(phone))
        assert screen.heading.startswith("You are signed up")
        assert CRIME in screen.words

        # What they signed up for arrives.
        reference = town.appeal(f"An appeal to {email.partition('@')[0]}")
        appeal = town.arrived(email, reference)
        town.arrived(phone, reference)

        # One's own page, by the fresh link of a message.
        screen.go(appeal.link("/m/"))
        screen.press("Send me a code")
        assert email not in screen.words
        fresh = town.arrived(email, "See or change").link("/confirm/")
        screen.go(fresh)
        screen.press("Open my page")
        assert screen.heading == "Your alerts"
        assert topics(screen) == {CRIME, ADVICE}

        screen.page.get_by_label(ADVICE, exact=True).uncheck()
        screen.press("Save topics")
        assert "Your topics are saved." in screen.words
        assert topics(screen) == {CRIME}

        screen.press("Move house from " + POSTCODE)
        screen.press("Move my alerts")
        assert screen.page.title().startswith("Error: ")
        screen.type("Your new postcode", ELSEWHERE)
        screen.press("Move my alerts")
        assert f"{ELSEWHERE}: {OTHER_WARD} ward" in screen.words
        assert POSTCODE not in screen.words
        assert topics(screen) == {CRIME}
        leave(screen)
        # The link served once.
        screen.go(fresh)
        assert screen.heading == "This link does not work"


def test_by_phone_alone(browser: Browser, town: Town, size: tuple[int, int], scripts: bool) -> None:
    phone = town.phone()
    with window(browser, town.site, size, scripts=scripts) as screen:
        to_the_contact_page(screen)
        screen.type("Your mobile number", phone)
        screen.press("Agree and continue")
        code = town.code(phone)
        enter_code(screen, code)
        assert screen.heading.startswith("You are signed up")
        reference = town.appeal(f"An appeal to {phone}")
        assert "STOP" in town.arrived(phone, reference).text
        open_own_page(screen, town, phone, besides=code)
        assert topics(screen) == {CRIME, ADVICE}
        leave(screen)


def test_by_email_alone_and_by_the_link(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    email = town.email()
    with window(browser, town.site, size, scripts=scripts) as screen:
        to_the_contact_page(screen)
        screen.type("Your e-mail address", email)
        screen.press("Agree and continue")
        message = town.arrived(email, "/confirm/")
        screen.go(message.link("/confirm/"))
        screen.press("Confirm")
        assert screen.heading.startswith("You are signed up")
        reference = town.appeal(f"An appeal to {email.partition('@')[0]}")
        appeal = town.arrived(email, reference)
        # The stop link of the message: one button, no sign-in.
        screen.go(appeal.link("/s/"))
        assert screen.heading == "Stop these messages"
        screen.press("Stop these messages")
        assert screen.heading.startswith("You have left")
    with window(browser, town.site, size, scripts=scripts) as screen:
        open_own_page(screen, town, email, besides=message.code)
        assert "No alerts come to this address now." in screen.words
        screen.press("Sign out")
        assert screen.page.context.cookies() == []


def test_somebody_whose_address_was_given_by_another_refuses(browser: Browser, town: Town) -> None:
    email = town.email()
    with window(browser, town.site, PHONE, scripts=False) as screen:
        to_the_contact_page(screen)
        screen.type("Your e-mail address", email)
        screen.press("Agree and continue")
        signup = screen.path
        message = town.arrived(email, "/not-me/")
        screen.go(message.link("/not-me/"))
        screen.press("I did not ask for this")
        assert screen.heading.startswith("Thank you")
        screen.go(signup)
        screen.type("Code", message.code)
        screen.press("Confirm")
        assert "signed up" not in screen.words


def test_whether_an_address_is_known_shows_nowhere(browser: Browser, town: Town) -> None:
    known = town.email()
    town.resident(known)
    pages = []
    for address in (known, town.email()):
        with window(browser, town.site, PHONE, scripts=False) as screen:
            screen.go("/manage")
            screen.type("Your e-mail address or mobile number", address)
            screen.press("Send me a code")
            pages.append(screen.words.replace(address[0], ""))
            screen.type("Code", "000000")
            screen.press("Open my page")
            pages.append(screen.words.replace(address[0], ""))
    assert pages[:2] == pages[2:]


def test_a_resident_needs_no_mouse(browser: Browser, town: Town) -> None:
    email = town.email()
    with window(browser, town.site, PHONE) as screen:
        keys = Keyboard(screen)
        screen.go("/")
        # The first stop leads past the header.
        screen.page.keyboard.press("Tab")
        assert screen.page.evaluate("document.activeElement.textContent").strip() == "Skip to main content"
        keys.type("Postcode", POSTCODE)
        screen.page.keyboard.press("Enter")
        screen.page.wait_for_url("**/postcode?**")
        keys.press("Get alerts for this ward")
        keys.tick(CRIME)
        keys.press("Continue")
        keys.type("Your e-mail address", email)
        keys.press("Agree and continue")
        code = town.code(email)
        keys.type("Code", code)
        keys.press("Confirm")
        assert screen.heading.startswith("You are signed up")
        keys.press("your own page")
        keys.type("Your e-mail address or mobile number", email)
        keys.press("Send me a code")
        keys.type("Code", town.code(email, code))
        keys.press("Open my page")
        keys.tick(ADVICE)
        keys.press("Save topics")
        assert topics(screen) == {CRIME, ADVICE}
        keys.press("Leave everything")
        keys.press("Leave everything")
        assert screen.heading.startswith("You have left")
        assert keys.stops > 40
