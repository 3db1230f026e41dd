"""The browser that tests look through: Debian's Chromium, found on this machine and never fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ADVICE = "No Chromium: apt-get install chromium, or set CHROMIUM to the path of one"
# It asks nobody but the site that it is sent to.
QUIET = (
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)


def find() -> str | None:
    """The path of a browser: what ``CHROMIUM`` names, else the first of NAMES that is installed."""
    named = os.environ.get("CHROMIUM", "")
    if named:
        return shutil.which(named)
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """A running browser. As root its own sandbox cannot be had, so it is off; it sees our pages alone."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, chromium_sandbox=False, args=list(QUIET), env=_environ()
        )
        try:
            yield browser
        finally:
            browser.close()


def _environ() -> dict[str, str]:
    """Without proxies: everything that is asked for is on this machine."""
    return {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
