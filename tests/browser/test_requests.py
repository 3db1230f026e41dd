"""An investigator asks, an owner answers on a phone, the board shows who, and the schedule is printed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from uuid import UUID

import pytest
from playwright.sync_api import Browser

from app.cli.stack import wait_until
from app.db import utc_now
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from tests import register_rows
from tests.browser import axe
from tests.browser.keyboard import Keyboard
from tests.browser.screen import PHONE, Screen, window
from tests.browser.town import Town
from tests.factories import Makes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
LOOK_FOR = "A person in a red coat on a black bicycle."


@dataclass
class Case:
    """A search of somebody's, with one owner in its reach."""

    investigator: Staff
    search: UUID
    id: UUID
    reference: str
    address: str


def case(town: Town, name: str) -> Case:
    number, address, now = 80_000 + next(town.numbers), town.email(), utc_now()
    contact = town.resident(address)
    with town.registry.sessions.begin() as session:
        makes = Makes(session, itertools.count(number))
        force = session.get_one(Organisation, town.organisation)
        force.competent_authority = True
        staff = makes.officer(force, role=None)
        makes.role(staff, Role.INVESTIGATOR)
        id, search = register_rows.search(session, force.id, staff.id, number=number, now=now)
        register_rows.owner(session, force.id, contact, name=name, now=now)
        return Case(staff, search, id, f"CAD-{number}/26", address)


def passes(screen: Screen) -> None:
    screen.check()
    assert not axe.violations(screen.page)


def test_an_owner_is_asked_answers_on_a_phone_and_is_shown(
    browser: Browser, town: Town, size: tuple[int, int], scripts: bool
) -> None:
    name = f"Ann Owner {size[0]} {scripts}"
    found = case(town, name)
    cookie = town.staff_cookie(found.investigator)
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([cookie])
        screen.go(f"/staff/register/searches/{found.search}/request")
        assert found.reference in screen.words
        screen.type("What should they look for?", "John Smith in a red coat on a bicycle.")
        screen.press("Ask the owners")
        assert screen.page.title().startswith("Error: ")
        assert "Take out “John Smith”" in screen.words
        screen.type("What should they look for?", LOOK_FOR)
        screen.press("Ask the owners")
        assert "on its way" in screen.words
        assert name not in screen.words

    message = town.arrived(found.address, "A question about your camera")
    assert "red coat" not in message.text
    assert found.reference not in message.text
    with window(browser, town.site, PHONE, scripts=scripts) as screen:
        screen.go(message.link("/c/"))
        assert LOOK_FOR in screen.words
        if scripts:
            passes(screen)
        screen.press("Send answer")
        assert screen.page.title().startswith("Error: ")
        screen.choose("I have it")
        screen.type("Is there anything they should know? (optional)", "It shows a face.")
        screen.press("Send answer")
        assert screen.heading.startswith("Thank you")
        assert "Keep the footage meanwhile" in screen.words
        if scripts:
            passes(screen)

    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([cookie])
        screen.go("/staff/register/cases")
        screen.press(found.reference)
        assert name in screen.words
        assert "It shows a face." in screen.words
        assert "fewer than 3 owners" in screen.words
        if scripts:
            passes(screen)
        screen.choose("A page to print or save as PDF")
        screen.press("Make the schedule")
        assert screen.heading == f"Schedule of cameras, case {found.reference}"
        if scripts:
            passes(screen)
        screen.page.emulate_media(media="print")
        assert not screen.page.locator(".wl-nav").first.is_visible()
        assert screen.page.locator(".wl-mark").first.is_visible()


def test_hands_without_a_mouse_ask_answer_and_close(browser: Browser, town: Town) -> None:
    found = case(town, "Ann Keyboard")
    with window(browser, town.site) as screen:
        screen.page.context.add_cookies([town.staff_cookie(found.investigator)])
        keys = Keyboard(screen)
        screen.go(f"/staff/register/searches/{found.search}/request")
        keys.type("What should they look for?", LOOK_FOR)
        keys.choose("3 days")
        keys.to(screen.page.get_by_role("button", name="Ask the owners"))
        with screen.page.expect_navigation():
            screen.page.keyboard.press("Enter")
        assert "on its way" in screen.words
        link = town.arrived(found.address, "A question about your camera").link("/c/")
        screen.go(link)
        keys.choose("I looked, and it is not there")
        keys.to(screen.page.get_by_role("button", name="Send answer"))
        with screen.page.expect_navigation():
            screen.page.keyboard.press("Enter")
        assert screen.heading.startswith("Thank you")

        def sent() -> bool:
            screen.go(f"/staff/register/cases/{found.id}")
            return "fewer than 3 owners" in screen.words

        wait_until(sent, what="the band of who was asked")
        assert "Ann Keyboard" not in screen.words
        screen.press("Close request", exact=False)
        keys.type("Why is it closed?", "Found by other means.")
        keys.type("What may owners know of the outcome? (optional)", "Somebody was found.")
        keys.to(screen.page.get_by_role("button", name="Close the request"))
        with screen.page.expect_navigation():
            screen.page.keyboard.press("Enter")
        assert "The question is closed" in screen.words
        screen.go(link)
        assert screen.heading == "This question is closed"
        assert "Somebody was found." in screen.words
