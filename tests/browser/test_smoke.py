"""The short run of `make test`: a real browser goes from the first page to a ward."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from app.cli.stack import Stack, free_port
from tests.browser import axe
from tests.browser.screen import PHONE, window
from tests.browser.serving import environ
from tests.conftest import Database


def test_a_resident_on_a_phone_finds_their_ward(browser: Browser, london: Database, tmp_path: Path) -> None:
    port = free_port()
    stack = Stack(tmp_path, environ(london, port))
    try:
        stack.site(port)
        with window(browser, f"http://127.0.0.1:{port}", PHONE) as screen:
            screen.go("/")
            assert not axe.violations(screen.page)
            screen.type("Postcode", "UB8 1UW")
            screen.press("Find your ward")
            assert "Uxbridge ward" in screen.heading
            assert not axe.violations(screen.page)
    finally:
        stack.stop()
