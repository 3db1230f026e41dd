"""Steward, auditor and supervisor in a browser: a finding, a review, a withholding, at a desk and on a phone; axe clean."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser

from app.db import utc_now
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from tests.browser import axe
from tests.browser.screen import Screen, window
from tests.browser.town import Town
from tests.factories import Makes
from tests.watching import Watched, watched

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@dataclass
class Force:
    """An organisation of its own, with searches that wait to be looked at."""

    seen: Watched
    steward: Staff
    auditor: Staff
    supervisor: Staff


@pytest.fixture
def force(town: Town) -> Force:
    with town.registry.sessions.begin() as session:
        makes = Makes(session, itertools.count(90_000 + 50 * next(town.numbers)))
        police = makes.organisation("British Transport Police")
        police.competent_authority = True
        session.flush()
        seen = watched(makes, town.registry, police.id, town.borough, utc_now())
        roles = (Role.STEWARD, Role.AUDITOR, Role.SUPERVISOR)
        steward, auditor, supervisor = (_person(makes, police, role) for role in roles)
        return Force(seen, steward, auditor, supervisor)


def _person(makes: Makes, police: Organisation, role: Role) -> Staff:
    made = makes.officer(police, role=None)
    makes.role(made, role)
    return made


def clean(screen: Screen) -> None:
    """axe is a script itself: it looks where scripts run, and the words are the same."""
    if screen.scripts:
        assert axe.violations(screen.page) == [], screen.path


def test_a_steward_reads_a_finding_and_closes_it(
    browser: Browser, town: Town, force: Force, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(force.steward)])
        screen.go("/staff/register/findings")
        assert "DC Lee Searcher, 3 searches" in screen.words
        screen.page.get_by_text("What counts as unusual").click()
        assert "The same place, for one case after another" in screen.words
        clean(screen)
        screen.press("Many searches in a day", exact=False)
        assert "A burglary was seen by the neighbours." in screen.words
        clean(screen)
        screen.press("Close the finding")
        assert "Choose what it was. Say what you found out." in screen.words
        clean(screen)
        screen.choose("Explained: it was proper, or somebody has been advised")
        screen.type("What you found out", "They work on a series of burglaries.")
        screen.press("Close the finding")
        assert "State Explained" in screen.words
        screen.go("/staff/register/findings?state=closed")
        assert "Explained on" in screen.words
        clean(screen)


def test_an_auditor_reviews_a_search(
    browser: Browser, town: Town, force: Force, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(force.auditor)])
        screen.go("/staff/register/reviews")
        assert "Nothing waits for you." in screen.words
        screen.press("All open")
        assert "Late" in screen.words
        clean(screen)
        screen.go(f"/staff/register/reviews/{force.seen.reviews[0]}")
        assert "Around a spot" in screen.words
        assert screen.page.locator("svg.wl-ground").is_visible()
        inside = screen.page.locator("svg .wl-ground__dot--inside").count()
        assert inside > 3
        screen.page.locator("details summary").first.click()
        assert screen.page.locator("details li").count() == inside  # the map and the list agree
        clean(screen)
        screen.choose("Needs an explanation")
        screen.press("Give this verdict")
        assert "Say why." in screen.words
        screen.type("Note (needed unless it was proper)", "Why this street?")
        screen.press("Give this verdict")
        assert "Needs an explanation" in screen.words and "Why this street?" in screen.words
        clean(screen)
        for review in force.seen.reviews[1:]:
            screen.go(f"/staff/register/reviews/{review}")
            clean(screen)


def test_a_supervisor_withholds_a_search_and_anybody_reads_the_figures(
    browser: Browser, town: Town, force: Force, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(force.supervisor)])
        screen.go("/staff/register/withholding")
        clean(screen)
        screen.type("Case reference", force.seen.case)
        screen.press("Find its searches")
        assert screen.heading.endswith(f"Searches of {force.seen.case}")
        clean(screen)
        screen.press("Withhold it", exact=False)
        screen.press("Withhold it from owners")
        assert "Enter a day" in screen.words and "Say why." in screen.words
        clean(screen)
        for label, value in (("Day", "1"), ("Month", "2"), ("Year", str(utc_now().year + 1))):
            screen.page.get_by_label(label, exact=True).fill(value)
        screen.type("Reason", "A suspect lives in the street.")
        screen.press("Withhold it from owners")
        assert "Owners learn of it after that day." in screen.words
        screen.go("/staff/account/home")
        clean(screen)
        screen.type("Home postcode", "UB8 1UW")
        screen.press("Keep the ward")
        assert "Now: Uxbridge" in screen.words
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.go("/register/figures")
        assert "Hillingdon" in screen.words and "fewer than 5" in screen.words
        clean(screen)


def test_the_pages_serve_by_keyboard_alone(browser: Browser, town: Town, force: Force) -> None:
    with window(browser, town.site) as screen:
        screen.page.context.add_cookies([town.staff_cookie(force.steward)])
        screen.go(f"/staff/register/findings/{force.seen.findings[0]}")
        screen.page.get_by_label("Explained: it was proper, or somebody has been advised").focus()
        screen.page.keyboard.press("Space")
        screen.page.keyboard.press("Tab")
        screen.page.keyboard.type("By keyboard.")
        screen.page.keyboard.press("Tab")
        with screen.page.expect_navigation():
            screen.page.keyboard.press("Enter")
        assert "By keyboard." in screen.words
