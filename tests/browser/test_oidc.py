"""An officer signs in at their organisation, in a real browser, at a real provider, and signs out of both."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from app.cli.demo import story
from app.permissions import Role
from app.services.oidc import mapping, providers
from app.services.roles import Place
from tests.browser import axe
from tests.browser.screen import Screen, window
from tests.browser.town import ACTOR, Town
from tests.oidc.provider import CLIENT, SECRET, RealProvider, running, user

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

DOMAIN = "organisation.example"


@pytest.fixture(scope="module")
def provider(opened_town: Town) -> Iterator[RealProvider]:
    town, slug = opened_town, story.SLUG
    back, out = f"{town.site}/staff/sign-in/{slug}/back", f"{town.site}/hooks/identity/{slug}"
    with running([back], logout=out, after=f"{town.site}/staff/sign-in") as made:
        with town.registry.sessions.begin() as session:
            providers.put(
                session, slug, issuer=made.issuer, client_id=CLIENT, client_secret=SECRET, domains=[DOMAIN],
                sandbox=True, actor=ACTOR,
            )  # fmt: skip
            place = Place(team_id=town.team)
            mapping.map_group(session, slug, "officers", Role.OFFICER, place, actor=ACTOR)
        made.control(
            users={
                "ruth": user(f"ruth@{DOMAIN}", "officers"),
                "weak": user(f"weak@{DOMAIN}", "officers", amr=["pwd"]),
            }
        )
        yield made


def there_and_back(screen: Screen, provider: RealProvider, name: str) -> None:
    """From our page, by itself, to the provider's; be somebody there, and come back."""
    screen.page.get_by_role("button", name="Continue").click()
    who = screen.page.get_by_label("Who are you?")
    who.fill(name)
    assert screen.page.url.startswith(f"{provider.issuer}/login/")
    screen.page.get_by_role("button", name="Sign in").click()
    screen.page.wait_for_url(f"{screen.site}/**")
    mine(screen, provider)


def mine(screen: Screen, provider: RealProvider) -> None:
    """Pages of the provider's own, and their requests, are no fault of ours; all else is."""
    screen.complaints[:] = [one for one in screen.complaints if provider.issuer not in one]
    screen.check()
    if screen.scripts:  # axe is one
        assert axe.violations(screen.page) == []


def test_an_officer_signs_in_at_their_organisation_and_out_of_both(
    browser: Browser, town: Town, provider: RealProvider, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, town.site, size, scripts=scripts) as screen:
        screen.go("/staff/sign-in")
        screen.press("Sign in with your organisation")
        screen.type("Your work e-mail address", f"anybody@{DOMAIN}")
        screen.press("Continue")
        assert screen.path == f"/staff/sign-in/{story.SLUG}"
        there_and_back(screen, provider, "weak")
        assert screen.heading == "You were not signed in"
        assert "second factor" in screen.words
        screen.page.context.clear_cookies(name=re.compile("^_"))  # the provider's own
        screen.press("Try again")
        there_and_back(screen, provider, "ruth")
        assert screen.path == "/staff"
        screen.go("/staff/account")
        assert f"ruth@{DOMAIN}" in screen.words
        screen.press("Sign out")
        assert screen.heading == "You have signed out"
        screen.page.get_by_role("button", name=re.compile("^Sign out of ")).click()
        screen.page.get_by_role("button", name=re.compile("Yes")).click()
        expect(screen.page).to_have_url(f"{town.site}/staff/sign-in")
        mine(screen, provider)
        screen.go("/staff")
        assert screen.path == "/staff/sign-in"
