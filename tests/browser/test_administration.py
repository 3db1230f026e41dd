"""Administrators at their desk and on a phone: somebody is invited, given a role, and let go; a team; an agreement."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from app.db import utc_now
from app.models.staff import Staff
from app.permissions import Role
from app.services import roles
from tests.browser.screen import Screen, window
from tests.browser.town import ACTOR, Town
from tests.populated import TEAM

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def chief(town: Town) -> Staff:
    """An officer who also administers the force."""
    made = town.officer("Insp Ada Chief")
    with town.registry.sessions.begin() as session:
        person = session.get_one(Staff, made.id)
        roles.grant(session, person, Role.FORCE_ADMINISTRATOR, by=None, actor=ACTOR, now=utc_now())
    return made


def last_day(screen: Screen, year: int) -> None:
    screen.type("Day", "31")
    screen.type("Month", "3")
    screen.type("Year", str(year))


def test_somebody_is_invited_given_a_role_and_let_go(
    browser: Browser, town: Town, size: tuple[int, int]
) -> None:
    address, year = town.email(), utc_now().year + 1
    with window(browser, town.site, size) as screen:
        screen.page.context.add_cookies([town.staff_cookie(chief(town))])
        screen.go("/staff/people")
        screen.press("Invite somebody")
        screen.press("Send the invitation")
        assert "Enter their name. Enter their e-mail address. Choose a role. Choose where." in screen.words
        screen.type("Full name", "PC Kim New")
        screen.type("E-mail address", address)
        screen.page.get_by_label("Role", exact=True).select_option(label="Officer")
        screen.page.get_by_label("Where they have this role").select_option(label=TEAM)
        screen.page.get_by_label("Team", exact=True).select_option(label=TEAM)
        last_day(screen, year)
        screen.press("Send the invitation")
        assert screen.heading == "PC Kim New"
        assert "The invitation is on its way" in screen.words
        assert f"Officer on {TEAM}" in screen.words
        assert f"until 31 March {year}" in screen.words
        assert town.arrived(address, "/staff/invitation/").link("/staff/invitation/")

        person = screen.path
        screen.press("Grant a role")
        screen.page.get_by_label("Role", exact=True).select_option(label="Register steward")
        screen.page.get_by_label("Where", exact=True).select_option(label="Hillingdon")
        screen.press("Grant this role")
        assert "Register steward on Hillingdon" in screen.words
        screen.press("Take it back Register steward on Hillingdon")
        assert screen.heading == "Take back a role of PC Kim New?"
        screen.press("Take it back")
        assert "The role is taken back" in screen.words

        screen.go("/staff/people")
        screen.page.get_by_text("Find somebody by e-mail address").click()
        screen.type("E-mail address", address)
        screen.press("Find")
        assert screen.path == person.partition("?")[0]
        screen.press("Let leave")
        screen.press("Let them leave")
        assert "They have left" in screen.words
        screen.go("/staff/people?state=left&role=&area=")
        assert "PC Kim New" in screen.words


def test_a_team_is_made_and_an_agreement_added(browser: Browser, town: Town, size: tuple[int, int]) -> None:
    year = utc_now().year + 1
    with window(browser, town.site, size) as screen:
        screen.page.context.add_cookies([town.staff_cookie(chief(town))])
        screen.go("/staff/teams")
        screen.press("Make a team")
        screen.type("Name", f"Town centre team {size[0]}")
        screen.page.locator("summary").get_by_text("Hillingdon").click()
        screen.choose("Uxbridge")
        screen.press("Save")
        assert "The team is made" in screen.words
        screen.type("Role", "PCSO")
        screen.type("Name (optional)", "Alex Morgan")
        screen.press("Add the entry")
        assert "only if its bearer agreed" in screen.words
        screen.choose("This person agreed that their name is shown to everybody")
        screen.press("Add the entry")
        assert "PCSO, Alex Morgan" in screen.words
        screen.press("Take off PCSO, Alex Morgan")
        assert "Nobody yet" in screen.words

        screen.go("/staff/organisation")
        screen.press("Add an agreement")
        screen.page.get_by_label("Kind").select_option(label="Data sharing agreement")
        screen.type("Title", f"Data sharing with Hillingdon {size[0]}")
        signed, review = (
            screen.page.get_by_role("group", name=name) for name in ("Signed on", "Next review")
        )
        for group, values in ((signed, ("6", "1", "2025")), (review, ("6", "1", str(year)))):
            for label, value in zip(("Day", "Month", "Year"), values, strict=True):
                group.get_by_label(label).fill(value)
        screen.press("Save")
        assert "The agreement is added" in screen.words
        assert f"next review on 6 January {year}" in screen.words
