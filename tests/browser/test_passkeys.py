"""A passkey in a real browser, by Chromium's own authenticator: made, used, stepped up with; and the codes of an app."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyotp
import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser

from app.access import FRESH
from app.cli.stack import Stack, free_port
from app.db import utc_now
from app.models.staff import Staff, WebSession
from app.registry import Registry
from app.services import factors
from tests.browser import axe
from tests.browser.screen import Screen, window
from tests.browser.serving import environ
from tests.conftest import Database
from tests.entering import PASSWORD, invite
from tests.factories import Makes

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

AUTHENTICATOR = {
    "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasResidentKey": True,
    "hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


@dataclass
class Station:
    """A site by a name (browsers give no passkeys to an IP address), and somebody who was invited to it."""

    site: str
    registry: Registry
    invitation: str
    address: str

    def time_goes_by(self) -> None:
        """Until a factor must be shown again."""
        with self.registry.sessions.begin() as session:
            session.execute(sa.update(WebSession).values(stepped_up_at=utc_now() - FRESH))

    def have(self) -> factors.Factors:
        with self.registry.sessions() as session:
            found = session.scalars(sa.select(Staff)).one()
            return factors.of(session, found.id)


@pytest.fixture
def station(browser: Browser, committed: Database, tmp_path: Path) -> Iterator[Station]:
    port, address = free_port(), "ruth.adeyemi@police.example"
    site = f"http://localhost:{port}"
    stack = Stack(tmp_path, environ(committed, port, PUBLIC_URL=site))
    registry = committed.open(PUBLIC_URL=site)
    try:
        with registry.sessions.begin() as session:
            force = Makes(session).organisation()
            token = invite(
                session, slug=force.slug, team=None, address=address, name="PC Ruth Adeyemi", site=site
            )
        stack.site(port)
        yield Station(site, registry, f"/staff/invitation/{token}", address)
    finally:
        registry.engine.dispose()
        stack.stop()


@contextmanager
def phone(browser: Browser, station: Station, size: tuple[int, int]) -> Iterator[Screen]:
    """A window with a fingerprint reader."""
    with window(browser, station.site, size) as screen:
        tools = screen.page.context.new_cdp_session(screen.page)
        tools.send("WebAuthn.enable")
        tools.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        yield screen


def choose_password(screen: Screen, station: Station) -> None:
    screen.go(station.invitation)
    screen.type("Choose a password", PASSWORD)
    screen.press("Continue")


def sign_in(screen: Screen, station: Station) -> None:
    screen.go("/staff/sign-in")
    screen.type("E-mail address", station.address)
    screen.type("Password", PASSWORD)
    screen.press("Continue")
    assert screen.path == "/staff/sign-in/code"


def passes(screen: Screen) -> None:
    assert axe.violations(screen.page) == []
    screen.check()


def test_a_passkey_is_made_by_invitation_used_at_sign_in_and_for_a_step_up(
    browser: Browser, station: Station, size: tuple[int, int]
) -> None:
    with phone(browser, station, size) as screen:
        choose_password(screen, station)
        passes(screen)
        screen.press("Make a passkey")
        assert screen.path == "/staff/account/recovery-codes?first=1"
        assert station.have() == factors.Factors(app=False, passkeys=1, codes=0)
        passes(screen)
        screen.press("Show me ten codes")
        passes(screen)
        codes = re.findall(r"\b[0-9a-z]{5}-[0-9a-z]{5}\b", screen.words)
        assert len(codes) == 10
        screen.press("I have kept them")
        assert screen.path == "/staff"
        screen.go("/staff/account")
        passes(screen)
        screen.press("Sign out")

        sign_in(screen, station)
        passes(screen)
        screen.press("Use your passkey")
        assert screen.path == "/staff"

        station.time_goes_by()
        screen.go("/staff/account/passkeys/new")
        assert screen.heading == "Show once more that it is you"
        passes(screen)
        screen.press("Use your passkey")
        assert screen.path == "/staff/account/passkeys/new"
        passes(screen)
        # The same reader does not hold two for one account: the browser says no, and the page says so.
        screen.type("What do you call it?", "Second key")
        screen.page.get_by_role("button", name="Make the passkey").click()
        problem = screen.page.locator("[data-passkey-problem]")
        problem.filter(has_text="That did not work").wait_for()
        passes(screen)
        assert station.have().passkeys == 1

        screen.go("/staff/account")
        screen.press("Sign out")
        sign_in(screen, station)
        screen.page.get_by_text("use a recovery code").click()
        screen.type("Recovery code", codes[4].upper())
        screen.press("Sign in")
        assert screen.path == "/staff"
        assert station.have().codes == 9


def test_an_app_is_connected_by_invitation_and_a_passkey_added_later_from_another_device(
    browser: Browser, station: Station, size: tuple[int, int]
) -> None:
    with phone(browser, station, size) as screen:
        choose_password(screen, station)
        secret = pyotp.TOTP(re.sub(r"\s", "", screen.page.locator(".wl-key").inner_text()))
        used = secret.now()
        screen.type("Code from your app", used)
        screen.press("Finish")
        screen.press("Not now")
        screen.go("/staff/account/passkeys/new")
        screen.type("What do you call it?", "Work phone")
        screen.press("Make the passkey")
        assert screen.path == "/staff/account?done=passkey-added"
        assert "Work phone" in screen.words
        passes(screen)
        screen.press("Sign out")
        # Both ways stand on one page; the code of enrolment is used up, the one after it is good already.
        sign_in(screen, station)
        screen.type("Code from your app", used)
        screen.press("Sign in")
        assert "is not right" in screen.words
        passes(screen)
        screen.type("Code from your app", after(secret, used))
        screen.press("Sign in")
        assert screen.path == "/staff"
        screen.go("/staff/account")
        screen.press("Sign out")
        sign_in(screen, station)
        screen.press("Use your passkey")
        assert screen.path == "/staff"
        # What was typed before the step-up is there after it.
        screen.go("/staff/account/passkeys/new")
        screen.type("What do you call it?", "A third name")
        station.time_goes_by()
        with window(browser, station.site, size, scripts=False) as plain:
            plain.page.context.add_cookies(screen.page.context.cookies())
            plain.go("/staff/step-up?back=/staff/account")
            assert "needs JavaScript" in plain.words
            plain.check()


def test_without_scripts_an_app_serves_for_everything(
    browser: Browser, station: Station, size: tuple[int, int]
) -> None:
    with window(browser, station.site, size, scripts=False) as screen:
        choose_password(screen, station)
        assert screen.page.get_by_role("button", name="Make a passkey").count() == 0
        secret = pyotp.TOTP(re.sub(r"\s", "", screen.page.locator(".wl-key").inner_text()))
        used = secret.now()
        screen.type("Code from your app", used)
        screen.press("Finish")
        screen.go("/staff/account/passkeys/new")
        screen.type("What do you call it?", "Key <with> no script")
        station.time_goes_by()
        screen.press("Continue")
        assert screen.heading == "Show once more that it is you"
        assert "What you filled in is kept" in screen.words
        screen.type("Code from your app", after(secret, used))
        screen.press("Continue")
        assert screen.heading == "Thank you"
        screen.press("Go on")
        assert screen.path == "/staff/account/passkeys/new"
        assert screen.page.get_by_label("What do you call it?").input_value() == "Key <with> no script"


def after(secret: pyotp.TOTP, used: str) -> str:
    """A code serves once: the one after it is good already."""
    now = int(time.time())
    step = next(n for n in range(-4, 2) if secret.at(now + 30 * n) == used)
    return secret.at(now + 30 * (step + 1))
