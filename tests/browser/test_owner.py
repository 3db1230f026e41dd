"""An owner of a camera: from opting in to leaving, at a desk and on a phone, with scripts and without, and by keyboard
alone; and an officer at their door.
"""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from app.audit import record as audit
from app.services.register import cells
from config.fields import Part
from tests.browser import axe
from tests.browser.keyboard import Keyboard
from tests.browser.screen import PHONE, Screen, window
from tests.browser.town import POSTCODE, Town
from tests.conftest import Database
from tests.owning import agree

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.fixture(name="street")
def _street(town: Town, town_database: Database) -> Town:
    """The town with a register, and cells for its cameras."""
    worker = town_database.open(Part.WORKER)
    with worker.sessions.begin() as session:
        cells.build(session, actor=audit.SYSTEM)
    worker.engine.dispose()
    with town.registry.sessions.begin() as session:
        agree(session)
    return town


def seen(screen: Screen) -> None:
    """Nothing that axe objects to."""
    found = axe.violations(screen.page) if screen.scripts else []
    assert not found, "\n".join([screen.page.url, *found])


def describe(screen: Screen, send: str = "Continue") -> None:
    """A doorbell that looks west, its pin 10 metres north of the middle."""
    screen.press("North")
    assert f"The pin is 10 metres north of the middle of {POSTCODE}." in screen.words
    screen.press(send)
    assert screen.page.title().startswith("Error: ")
    assert "Choose which way the camera looks." in screen.words
    assert "10 metres north" in screen.words, "nothing is lost by a mistake"
    seen(screen)
    screen.page.get_by_label("Which way does it look?").select_option("West")
    screen.press("Draw it on the plan")
    assert screen.page.locator("svg polygon").count() == 1
    screen.choose("The street or pavement too", "It records in the dark")
    screen.type("A name for this camera (optional)", "Front door")


def opt_in(screen: Screen, town: Town, email: str) -> None:
    screen.go("/cameras")
    seen(screen)
    screen.press("What this means for you")
    seen(screen)
    screen.press("Put your camera on the register")
    screen.press("Continue")
    assert "Choose what kind of camera it is." in screen.words
    seen(screen)
    screen.choose("Video doorbell")
    screen.type("Postcode of the camera", POSTCODE)
    screen.press("Continue")
    assert screen.heading == "Tell us about the camera"
    seen(screen)
    describe(screen)
    screen.press("Continue")
    assert screen.heading == "Who owns the camera?"
    screen.press("Agree and continue")
    assert "Enter your name." in screen.words
    seen(screen)
    screen.type("Your name", "Kim Example")
    screen.type("E-mail address", email)
    screen.press("Agree and continue")
    assert screen.heading == "Enter your code"
    assert screen.page.context.cookies() == []
    seen(screen)
    screen.type("Code", town.code(email))
    screen.press("Confirm")
    assert screen.heading == "Your cameras"


def test_an_owner_from_opting_in_to_leaving(
    browser: Browser, street: Town, size: tuple[int, int], scripts: bool
) -> None:
    email = street.email()
    with window(browser, street.site, size, scripts=scripts) as screen:
        opt_in(screen, street, email)
        assert "Your camera is on the register." in screen.words
        assert "West (270°), 150° wide, 10 metres far" in screen.words
        seen(screen)

        screen.press("Change Front door")
        assert screen.heading == "Change Front door"
        screen.type("For how many days does it keep footage?", "5")
        screen.press("Save")
        assert "5 days" in screen.words
        screen.press("Add a camera")
        screen.choose("Dash cam")
        screen.type("Postcode of the camera", POSTCODE)
        screen.press("Continue")
        screen.page.get_by_label("Which way does it look?").select_option("South")
        screen.choose("The street or pavement too")
        screen.press("Add")
        assert f"Dash cam, {POSTCODE}" in screen.words
        screen.press("Pause Front door")
        screen.press(re.compile("^Delete Dash cam"), exact=False)
        screen.press("Resume Front door")
        screen.press("Pause all")
        screen.press("Pause")
        assert "None of these cameras is in any search." in screen.words
        seen(screen)
        screen.press("Resume")
        assert "Your cameras are in searches again." in screen.words
        screen.press("Change how to reach you")
        screen.choose("At weekends")
        screen.press("Save")
        assert "At weekends" in screen.words
        screen.press("I still have these")
        screen.press("Leave the register")
        assert screen.heading == "You have left the register"
        seen(screen)
        screen.go("/cameras/mine")
        assert screen.path == "/manage?to=cameras"


def test_by_keyboard_alone(browser: Browser, street: Town) -> None:
    email = street.email()
    with window(browser, street.site) as screen:
        keys = Keyboard(screen)
        screen.go("/cameras")
        keys.press("Start now")
        keys.choose("Fixed camera")
        keys.type("Postcode of the camera", POSTCODE)
        keys.press("Continue")
        keys.press("East")
        assert "10 metres east" in screen.words
        keys.to(screen.page.get_by_label("Which way does it look?"))
        screen.page.keyboard.type("south-e")
        keys.choose("Only my own land")
        keys.press("Continue")
        assert screen.heading == "Who owns the camera?"
        keys.type("Your name", "Kim Example")
        keys.type("E-mail address", email)
        keys.press("Agree and continue")
        keys.type("Code", street.code(email))
        keys.press("Confirm")
        assert "South-east (135°)" in screen.words
        keys.press("Pause all")
        keys.press("Pause")
        keys.press("Leave the register")
        assert screen.heading == "You have left the register"
        assert keys.stops > 40


def test_enter_in_a_field_goes_on_and_moves_no_pin(browser: Browser, street: Town) -> None:
    """The buttons that move the pin stand first in the form: Enter must not press one of them."""
    with window(browser, street.site) as screen:
        screen.go(f"/cameras/new/camera?kind=ptz&postcode={POSTCODE}")
        screen.choose("Only my own land")
        with screen.page.expect_navigation():
            screen.page.get_by_label("A name for this camera (optional)").press("Enter")
        assert screen.heading == "Who owns the camera?"


def test_an_officer_at_the_door_and_the_owner_on_their_phone(
    browser: Browser, street: Town, size: tuple[int, int]
) -> None:
    mobile = street.phone()
    with window(browser, street.site, size) as screen:
        screen.page.context.add_cookies([street.staff_cookie(street.officer())])
        screen.go("/staff/cameras/door")
        seen(screen)
        screen.choose("Video doorbell")
        screen.type("Postcode of the camera", POSTCODE)
        screen.press("Continue")
        describe(screen, "Send the code")
        screen.type("Name of the owner", "Kim Example")
        screen.type("Mobile number", mobile)
        seen(screen)
        screen.press("Send the code")
        assert screen.heading == "Waiting for the owner"
        seen(screen)
        link = street.arrived(mobile, "/confirm/").link("/confirm/")
        with window(browser, street.site, PHONE) as phone:
            phone.go(link)
            assert phone.heading == "Put your camera on the register"
            seen(phone)
            phone.press("Agree and confirm")
            assert phone.heading == "Your cameras"
            assert "Front door" in phone.words
        screen.press("look again here")
        assert screen.heading == "The camera is on the register"
        seen(screen)
