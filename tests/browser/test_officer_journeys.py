"""An officer: from the invitation to the last receipt, and the stop of another alert."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyotp
import pytest
from playwright.sync_api import Browser

from app.cli.stack import wait_until
from tests.browser.keyboard import Keyboard
from tests.browser.screen import PHONE, WIDE, Screen, window
from tests.browser.town import Town
from tests.entering import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]


def secret_on(screen: Screen) -> pyotp.TOTP:
    """The key that the page shows, as an authenticator takes it."""
    key = re.sub(r"\s", "", screen.page.locator(".wl-key").inner_text())
    return pyotp.TOTP(key)


def next_code(codes: pyotp.TOTP, used: str) -> str:
    """A code serves once: the one after it is good already."""
    now = int(time.time())
    step = next(n for n in range(-4, 2) if codes.at(now + 30 * n) == used)
    return codes.at(now + 30 * (step + 1))


def enrol(screen: Screen, town: Town, name: str) -> tuple[str, pyotp.TOTP, str]:
    """Follow the invitation: (e-mail address, authenticator, the code that was used)."""
    address, link = town.invitation(name)
    screen.go(link)
    assert name in screen.words
    screen.type("Choose a password", "police123456")
    screen.press("Continue")
    assert screen.page.title().startswith("Error: ")
    assert "easy to guess" in screen.words
    screen.type("Choose a password", PASSWORD)
    screen.press("Continue")
    codes = secret_on(screen)
    used = codes.now()
    screen.type("Code from your app", used)
    screen.press("Finish")
    assert screen.path == "/staff/account/recovery-codes?first=1"
    screen.press("Not now")
    assert screen.path == "/staff"
    return address, codes, used


def test_an_officer_accepts_the_invitation_signs_out_and_signs_in(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, town.site, size, scripts=scripts) as screen:
        address, codes, used = enrol(screen, town, "PC Ruth Adeyemi")
        screen.go("/staff/account")
        assert address in screen.words
        screen.press("Sign out")
        screen.go("/staff")
        assert screen.path == "/staff/sign-in"
        screen.type("E-mail address", address)
        screen.type("Password", "not " + PASSWORD)
        screen.press("Continue")
        assert "is not right" in screen.words
        screen.type("Password", PASSWORD)
        screen.press("Continue")
        assert screen.path == "/staff/sign-in/code"
        screen.type("Code from your app", used)
        screen.press("Sign in")
        assert "is not right" in screen.words
        screen.type("Code from your app", next_code(codes, used))
        screen.press("Sign in")
        assert screen.path == "/staff"


HEADLINE, BODY = (
    "Did you see this? Robbery at a bus stop",
    "On Tuesday at about 6 pm a woman was robbed of her phone.",
)
TEXT = "Robbery at a bus stop, Tuesday 6pm. Two people on an e-bike."


def write(screen: Screen, headline: str = HEADLINE, kind: str = "Appeal") -> None:
    """Fill in the form of an alert, as far as people who live in the ward should read it."""
    screen.choose(kind, "Routine")
    screen.type("Headline", headline)
    screen.type("What happened", BODY)
    screen.type("What people should do (optional)", "If you saw something, tell us.")
    screen.type("How to tell you (optional)", "Call 101 and say CAD 1234.")
    screen.type("Text message (optional)", TEXT)
    screen.choose("Uxbridge", "Incidents and appeals", "E-mail", "Text message")


def watch_until_over(screen: Screen) -> None:
    """Wait for the last receipt: the page renews itself, or the officer presses the link."""

    def over() -> bool:
        if not screen.scripts:
            screen.press("Refresh the figures")
        words = screen.page.locator("#figures").inner_text()
        silent = re.findall(r"([0-9]+)\s+taken, no report yet", words)
        return "Everything has left" in words and set(silent) == {"0"}

    deadline = time.monotonic() + 60
    while not over():
        assert time.monotonic() < deadline, screen.words
        screen.page.wait_for_timeout(300)


@contextmanager
def nothing_leaves(town: Town) -> Iterator[None]:
    """The worker of routine alerts stands still, so that there is time to stop one."""
    (worker,) = (child for child in town.stack.children if child.name == "bulk")
    worker.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.process.send_signal(signal.SIGCONT)


def test_an_officer_writes_an_appeal_sends_it_once_and_follows_it_to_the_last_receipt(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])
        screen.go("/staff")
        screen.press("Write an alert")
        screen.press("Save and look at it")
        assert screen.page.title().startswith("Error: ")
        assert "Enter the headline." in screen.words
        write(screen)
        count = screen.page.locator("#sms-count")
        if scripts:
            screen.page.wait_for_function(
                "() => /segment/.test(document.getElementById('sms-count').textContent)"
            )
        else:
            screen.press("Count the text again")
        assert "segment" in count.inner_text()
        screen.press("Save and look at it")
        assert screen.heading == "Check the alert before you send it"
        reference = re.search(r"WL-[0-9A-Z]{7}", screen.words)
        assert reference is not None
        for carried in (HEADLINE, BODY, TEXT, "Uxbridge", "segment"):
            assert carried in screen.words, carried
        screen.press(re.compile("^Send now to "))
        progress = screen.path
        assert HEADLINE in screen.words
        watch_until_over(screen)
        figures = screen.page.locator("#figures").inner_text()
        recipients = [int(n) for n in re.findall(r" of ([0-9]+) (?:e-mail addresses|phones) done", figures)]
        delivered = [int(n) for n in re.findall(r"([0-9]+)\s+delivered", figures)]
        assert recipients
        assert recipients == delivered
        # Back to the preview: what was sent has its progress instead, and no button that sends.
        screen.page.go_back()
        assert screen.path == progress
        screen.press("The alert’s public page")
        assert screen.heading == HEADLINE
        assert reference[0] in screen.words


def test_a_double_click_sends_once(browser: Browser, town: Town) -> None:
    with window(browser, town.site, PHONE, scripts=False) as screen:
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])
        screen.go("/staff/alerts/new")
        write(screen, "Sent once, however often the button is pressed")
        screen.press("Save and look at it")
        button = screen.page.get_by_role("button", name=re.compile("^Send now to "))
        accepted = town.sandbox.gauge()["accepted"]["email"]
        with screen.page.expect_navigation():
            button.dblclick(no_wait_after=True)
        screen.page.wait_for_url("**/staff/dispatches/**")
        progress = screen.path.partition("?")[0]
        watch_until_over(screen)
        sent = town.sandbox.gauge()["accepted"]["email"] - accepted
        screen.go(progress)
        found = re.search(r" of ([0-9]+) e-mail addresses done", screen.page.locator("#figures").inner_text())
        assert found is not None
        assert sent == int(found[1])


def test_an_officer_stops_an_alert_that_has_not_left(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, town.site, size, scripts=scripts) as screen, nothing_leaves(town):
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])
        screen.go("/staff/alerts/new")
        write(screen, "Road closed on Sunday", kind="Advice")
        screen.press("Save and look at it")
        screen.press(re.compile("^Send now to "))
        assert "It is being sent" in screen.words
        screen.press("Stop it")
        screen.press("Stop the alert")
        assert "Say why you stop it." in screen.words
        screen.type("Why do you stop it?", "The road is open again.")
        screen.press("Stop the alert")
        assert "Stop it" not in screen.words
        progress = screen.path

    with window(browser, town.site, size) as screen:
        screen.page.context.add_cookies([town.staff_cookie(town.officer())])

        def stopped() -> bool:
            screen.go(progress)
            return "It was stopped" in screen.words

        wait_until(stopped, what="the stop")
        assert re.search(r"\b0 delivered", screen.words)


def test_an_officer_needs_no_mouse(browser: Browser, town: Town) -> None:
    address, link = town.invitation("PC Ruth Adeyemi")
    with window(browser, town.site, WIDE) as screen:
        keys = Keyboard(screen)
        screen.go(link)
        keys.type("Choose a password", PASSWORD)
        keys.press("Continue")
        keys.type("Code from your app", secret_on(screen).now())
        keys.press("Finish")
        keys.press("Not now")
        keys.press("Write an alert")
        keys.choose("Appeal")
        keys.choose("Routine")
        keys.type("Headline", HEADLINE)
        keys.type("What happened", BODY)
        keys.tick("Uxbridge")
        keys.choose("Incidents and appeals")
        keys.tick("E-mail")
        keys.press("Save and look at it")
        assert HEADLINE in screen.words
        keys.press(re.compile("^Send now to "))
        watch_until_over(screen)
        keys.press("Your account")
        assert address in screen.words
        keys.press("Sign out")
        assert screen.path == "/staff/sign-in"
        assert keys.stops > 40
