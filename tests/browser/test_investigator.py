"""An investigator searches and asks, a supervisor lifts a cap: with and without scripts, by a finger and by keys alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser

from app.audit import record as audit
from app.db import new_id, utc_now
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from app.roles import libpq
from app.services.register import cells
from app.web.frame import LONDON
from config.fields import Part
from tests.browser import axe
from tests.browser.keyboard import Keyboard
from tests.browser.screen import Screen, window
from tests.browser.town import POSTCODE, Town
from tests.conftest import Database
from tests.factories import Makes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

REASON = "Robbery on the corner on Tuesday evening"
NEARBY = 7  # cells with cameras


@dataclass
class Register:
    town: Town
    investigator: Staff
    supervisor: Staff


@pytest.fixture
def register(town: Town, town_database: Database) -> Iterator[Register]:
    """Cells of London, cameras in those round a postcode, and people of a competent authority."""
    worker = town_database.open(Part.WORKER)
    with worker.sessions.begin() as session:
        cells.build(session, actor=audit.SYSTEM)
    worker.engine.dispose()
    officers = town.officer("DC Ada Lane"), town.officer("DI Sam Okafor")
    with town.registry.sessions.begin() as session:
        makes = Makes(session)
        session.get_one(Organisation, town.organisation).competent_authority = True
        session.flush()
        for officer, role in zip(officers, (Role.INVESTIGATOR, Role.SUPERVISOR), strict=True):
            makes.role(session.get_one(Staff, officer.id), role)
        contact = makes.contact(town.email()).id
    with psycopg.connect(libpq(town_database.admin), autocommit=True) as admin:
        _cameras(admin, town, contact)
        yield Register(town, *officers)
        admin.execute("DELETE FROM camera_owners WHERE contact_id = %s", (contact,))


def _cameras(admin: psycopg.Connection[Any], town: Town, contact: int) -> None:
    owner = new_id()
    admin.execute(
        "INSERT INTO camera_owners (id, controller_id, contact_id, name_enc, state, confirmed_at) "
        "VALUES (%s, %s, %s, 'x', 'active', now())",
        (owner, town.organisation, contact),
    )
    admin.execute(
        "INSERT INTO cameras (id, owner_id, kind, postcode, at, bearing, field, reach, sector, days_kept, cell_id, "
        "ward_code, live, night) "
        "SELECT gen_random_uuid(), %s, 'doorbell', %s, center(k.outline), 0, 360, 50, polygon(k.outline), "
        "1 + k.n %% 9, k.id, 'x', true, true FROM (SELECT c.*, row_number() OVER (ORDER BY c.outline <-> p.at) AS n "
        "FROM register_cells c, postcodes p WHERE p.postcode = %s ORDER BY c.outline <-> p.at LIMIT %s) k, "
        "generate_series(1, k.n)",
        (owner, POSTCODE, POSTCODE, NEARBY),
    )


def evening() -> tuple[str, str]:
    until = utc_now().astimezone(LONDON) - timedelta(hours=2)
    return _typed(until - timedelta(hours=2)), _typed(until)


def _typed(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M}"


def fill(screen: Screen, reference: str) -> None:
    since, until = evening()
    screen.type("Case reference", reference)
    screen.choose("To investigate a crime")
    screen.type("Why is this search necessary?", REASON)
    screen.choose("Within a distance of a place")
    screen.type("Where?", POSTCODE)
    screen.type("How far?", "200")
    screen.type("From", since)
    screen.page.get_by_label("To", exact=True).fill(until)


def test_an_investigator_searches_and_goes_on_to_ask(
    browser: Browser, register: Register, size: tuple[int, int], scripts: bool
) -> None:
    town = register.town
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(register.investigator)])
        screen.go("/staff/register/search")
        assert screen.heading == "Search cameras"
        assert screen.page.locator("#map").is_visible() is scripts
        screen.press("Search")
        assert "There is a problem" in screen.words and "Enter the case reference." in screen.words
        assert not axe.violations(screen.page) if scripts else True
        fill(screen, "0100001/26")
        screen.press("Search")
        assert "cameras may have seen it" in screen.heading
        listed = screen.page.locator(".wl-cells > li")
        assert listed.count() >= NEARBY - 1
        assert "Fewer than 3 cameras. First footage goes in:" in screen.words
        if scripts:
            map_and_list_agree(screen)
            assert not axe.violations(screen.page)
        else:
            assert not screen.page.locator("#map").is_visible()
        screen.choose("Ask in part 1")
        screen.press("Ask the owners")
        assert "Ask the owners" in screen.heading and "Owners in 1 part of the map" in screen.words
        screen.go("/staff/register/searches")
        assert "0100001/26" in screen.words
        screen.page.locator(".wl-list a").first.click()
        screen.page.wait_for_url(re.compile("/searches/[0-9a-f-]{36}$"))
        assert screen.heading == "A search of yours" and REASON in screen.words
        screen.check()


def map_and_list_agree(screen: Screen) -> None:
    """The same parts with the same numbers, and each outline lies where its part of the list says."""
    screen.page.locator("path.wl-part").first.wait_for()
    listed = screen.page.locator(".wl-cells > li")
    numbers = [one.split(".")[0] for one in screen.page.locator(".wl-cells h2").all_inner_texts()]
    drawn = screen.page.locator(".wl-number").all_inner_texts()
    assert drawn == numbers
    assert screen.page.locator("path.wl-part").count() == listed.count()
    wards = screen.page.locator("#map path:not(.wl-part)")
    wards.first.wait_for(state="attached")
    # What is pointed at in the list stands out on the map.
    first = screen.page.locator("path.wl-part").first
    before = first.get_attribute("stroke-width")
    listed.first.hover()
    assert (
        "6" in [one.get_attribute("stroke-width") for one in screen.page.locator("path.wl-part").all()]
        and before != "6"
    )


def test_places_are_added_on_the_map(browser: Browser, register: Register, size: tuple[int, int]) -> None:
    town = register.town
    with window(browser, town.site, size) as screen:
        screen.page.context.add_cookies([town.staff_cookie(register.investigator)])
        screen.go("/staff/register/search")
        screen.choose("Inside an area")
        area = screen.page.locator("#map")
        area.scroll_into_view_if_needed()
        for x, y in ((80, 90), (200, 90), (200, 200)):
            area.click(position={"x": x, "y": y})
        typed = screen.page.get_by_label("Where?").input_value().split("\n")
        assert len(typed) == 3 and all(re.fullmatch(r"51\.\d{6}, -?0\.\d{6}", one) for one in typed)
        assert screen.page.locator("#map path[d*='z']").count() >= 1
        screen.page.get_by_role("button", name="Remove the last place").click()
        assert len(screen.page.get_by_label("Where?").input_value().split("\n")) == 2
        screen.check()
        assert not axe.violations(screen.page)


def test_an_investigator_needs_no_mouse(browser: Browser, register: Register, size: tuple[int, int]) -> None:
    town = register.town
    with window(browser, town.site, size) as screen:
        screen.page.context.add_cookies([town.staff_cookie(register.investigator)])
        screen.go("/staff/register/search")
        keys = Keyboard(screen)
        keys.type("Case reference", "0100002/26")
        keys.choose("To investigate a crime")
        keys.type("Why is this search necessary?", REASON)
        keys.choose("Within a distance of a place")
        keys.to(screen.page.locator("#map"))
        screen.page.keyboard.press("ArrowRight")
        keys.to(screen.page.get_by_role("button", name="Add the middle of the map"))
        screen.page.keyboard.press("Enter")
        assert re.fullmatch(r"51\.\d{6}, -?0\.\d{6}", screen.page.get_by_label("Where?").input_value())
        keys.type("How far?", "200")
        for label, value in zip(("From", "To"), evening(), strict=True):
            box = screen.page.get_by_label(label, exact=True)
            if not box.evaluate("element => element === document.activeElement"):
                keys.to(box)
            type_moment(screen, label, value)
        keys.press("Search")
        assert "may have seen it" in screen.heading


def type_moment(screen: Screen, label: str, value: str) -> None:
    """Into the browser's own control, whose order of day and month is that of its language."""
    at, box = datetime.fromisoformat(value), screen.page.get_by_label(label, exact=True)
    for day, time in (("%d%m%Y", "%H%M"), ("%m%d%Y", "%I%M%p")):
        screen.page.keyboard.type(at.strftime(day))
        screen.page.keyboard.press("ArrowRight")  # a year may have more than four digits
        screen.page.keyboard.type(at.strftime(time))
        if box.input_value() == value:
            # Each part of it is a stop, and all are this one element: on to the next.
            while box.evaluate("element => element === document.activeElement"):
                screen.page.keyboard.press("Tab")
            return
        for _ in range(8):
            screen.page.keyboard.press("ArrowLeft")
    raise AssertionError(f"{value} cannot be typed: {box.input_value()}")


def test_a_supervisor_lifts_a_cap(
    browser: Browser, register: Register, size: tuple[int, int], scripts: bool
) -> None:
    town = register.town
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.page.context.add_cookies([town.staff_cookie(register.supervisor)])
        screen.go("/staff/register/lifts")
        screen.press("Lift it once")
        assert "Enter the case reference." in screen.words
        screen.page.get_by_label("Investigator").select_option(label="DC Ada Lane", index=None)
        screen.type("Case reference", "0100003/26")
        screen.choose("An area larger than 1.3 square kilometres")
        screen.type("Why is it necessary?", "Long pursuit through two wards")
        screen.press("Lift it once")
        assert "The cap is lifted, once" in screen.words and "Long pursuit through two wards" in screen.words
        if scripts:
            assert not axe.violations(screen.page)
