"""Every page of the site, filled, with its mistakes and with its thanks, at both sizes: nothing that axe objects to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Browser

from app.factory import create_app
from app.web.guards import Guard, guard_of
from tests.browser import axe
from tests.browser.screen import PHONE, WIDE, Screen, window
from tests.browser.town import Town
from tests.populated import Populated

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Answers that are no pages: style sheets, machines' questions, feeds, and the figures that a script asks for.
NO_PAGES = {
    "files.static", "health.live", "health.ready", "area.ward_feed", "area.borough_feed", "progress.figures",
    "metrics.metrics", "status.figures", "security.text", "figures.csv", "search.wards",
}  # fmt: skip
# endpoint → the button that is pressed while the form is still empty.
MISTAKES = {
    "ward.home": "Find your ward",
    "alerts.genuine": "Check",
    "subscribe.topics": "Continue",
    "subscribe.contact": "Agree and continue",
    "subscribe.check": "Confirm",
    "manage.ask": "Send me a code",
    "manage.check": "Open my page",
    "manage.move": "Move my alerts",
    "reply.reply": "Send",
    "sign_in.sign_in": "Continue",
    "sign_in.second": "Sign in",
    "invitation.accept": "Continue",
    "step_up.ask": "Continue",
    "account.password": "Change the password",
    "account.app": "Connect",
    "compose.new": "Save and look at it",
    "progress.stop": "Stop the alert",
    "progress.pause": "Pause the alert",
    "inbox.reply": "Send answer",
    "people.invite": "Send the invitation",
    "teams.new": "Save",
    "organisation.add": "Save",
    "requests.new": "Ask the owners",
    "requests.close": "Close the request",
    "board.case": "Make the schedule",
    "camera_answer.answer": "Send answer",
}


@pytest.fixture
def filled(town: Town) -> Populated:
    return town.filled()


def cookies(town: Town, filled: Populated, guard: Guard, endpoint: str) -> list[dict[str, object]]:
    """What a browser must hold for a page to show what it is for."""
    if endpoint == "sign_in.second":
        return [town.staff_cookie(filled.staff(town.registry), half=True)]
    if guard is Guard.STAFF:
        return [town.staff_cookie(filled.staff(town.registry))]
    return [town.resident_cookie(filled.contact_id)] if guard is Guard.RESIDENT else []


def guard_at(app: Flask, endpoint: str) -> Guard:
    guard = guard_of(app, endpoint)
    assert guard is not None
    return guard


def pages(app: Flask) -> set[str]:
    """The endpoints that a browser can open."""
    return {r.endpoint for r in app.url_map.iter_rules() if "GET" in (r.methods or set())} - NO_PAGES


def faults(screen: Screen) -> list[str]:
    found = axe.violations(screen.page)
    over = screen.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if over > 0:
        found.append(f"wider than the window by {over} px")
    return [f"{screen.path}: {one}" for one in [*found, *screen.complaints]]


def walk(
    browser: Browser, town: Town, filled: Populated, size: tuple[int, int]
) -> Iterator[tuple[str, Screen]]:
    """Each page in a fresh window."""
    app = create_app(town.registry)
    for endpoint, paths in filled.paths.items():
        if endpoint in NO_PAGES:
            continue
        for path in paths:
            with window(browser, town.site, size) as screen:
                screen.page.context.add_cookies(cookies(town, filled, guard_at(app, endpoint), endpoint))
                answer = screen.page.goto(town.site + path)
                assert answer is not None
                assert "text/html" in answer.headers["content-type"], path
                assert screen.path == path or path == "/postcode", (path, screen.path)
                yield endpoint, screen


def test_a_page_that_is_wrong_would_be_found(browser: Browser, town: Town) -> None:
    with window(browser, town.site) as screen:
        screen.page.set_content('<h1>A page</h1><img src="data:,"><p style="color:#eee">Pale</p><input>')
        found = {one.partition(":")[0] for one in axe.violations(screen.page)}
        assert {"image-alt", "color-contrast", "label", "html-has-lang"} <= found


# CI looks at phones alone: what differs at a desk's width is little, and the walk is long.
EACH_SIZE = pytest.mark.parametrize(
    "size", [pytest.param(WIDE, marks=pytest.mark.long), PHONE], ids=["1280", "375"], indirect=True
)


@EACH_SIZE
def test_every_page_passes(browser: Browser, town: Town, filled: Populated, size: tuple[int, int]) -> None:
    visited, found = set(), []
    for endpoint, screen in walk(browser, town, filled, size):
        visited.add(endpoint)
        found += faults(screen)
    assert visited == pages(create_app(town.registry))
    assert not found, "\n".join(found)


@EACH_SIZE
def test_every_form_passes_with_its_mistakes(
    browser: Browser, town: Town, filled: Populated, size: tuple[int, int]
) -> None:
    app, found = create_app(town.registry), []
    assert set(MISTAKES) <= pages(app)
    for endpoint, button in MISTAKES.items():
        with window(browser, town.site, size) as screen:
            screen.page.context.add_cookies(cookies(town, filled, guard_at(app, endpoint), endpoint))
            screen.page.goto(town.site + filled.paths[endpoint][0])
            for box in screen.page.locator("main input[type=checkbox]:checked").all():
                box.uncheck()
            with screen.page.expect_navigation():
                screen.page.get_by_role("button", name=button, exact=True).first.click()
            assert screen.page.title().startswith("Error: "), (endpoint, screen.words)
            # The summary has the focus, and each of its links leads to a field.
            summary = screen.page.locator(".govuk-error-summary")
            assert summary.evaluate("element => element === document.activeElement"), endpoint
            for link in summary.get_by_role("link").all():
                target = link.get_attribute("href")
                assert screen.page.locator(str(target)).count() == 1, (endpoint, target)
            found += faults(screen)
    assert not found, "\n".join(found)


def test_what_is_said_at_the_end_and_when_something_is_wrong_passes(
    browser: Browser, town: Town, filled: Populated, size: tuple[int, int]
) -> None:
    found = []
    reach = filled.paths

    def look(path: str, *buttons: str, text: str = "", signed_in: bool = False) -> None:
        with window(browser, town.site, size) as screen:
            if signed_in:
                screen.page.context.add_cookies([town.resident_cookie(filled.contact_id)])
            screen.page.goto(town.site + path)
            if text:
                screen.page.locator("textarea").fill(text)
            for button in buttons:
                with screen.page.expect_navigation():
                    screen.page.locator("main").get_by_role("button", name=button).first.click()
            found.extend(faults(screen))

    look("/no-such-page")
    look("/ward/E05999999")
    look("/alert/WL-BCDFGHJ")
    look("/confirm/x")
    look("/not-me/x")
    look("/m/x")
    look("/s/x")
    look("/r/x")
    look("/subscribe/check/x")
    look("/manage/check/x")
    look("/staff/invitation/x")
    look(reach["reply.reply"][0], "Send", text="I saw it.")
    look(reach["subscribe.confirm"][0], "Confirm")
    look(reach["subscribe.confirm"][0])
    look(reach["subscribe.check"][0])
    look(reach["subscribe.not_me"][0], "")
    look(reach["subscribe.not_me"][0])
    look(reach["leave.stop"][0], "Stop")
    assert not found, "\n".join(found)
