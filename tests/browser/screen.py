"""A window of a browser that notes whatever a page of ours should not do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, Response

WIDE, PHONE = (1280, 900), (375, 812)
SIZES = {"1280": WIDE, "375": PHONE}
PATIENCE = 15_000  # milliseconds for a page or an element to appear
_SPILLS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Screen:
    """One window. ``complaints``: errors of scripts, broken policies, failures and calls to other hosts."""

    page: Page
    site: str
    scripts: bool = True
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._request)
        self.page.on("response", self._response)

    # -- what it notes
    def _console(self, message: ConsoleMessage) -> None:
        # A form with mistakes is answered with 400; the browser notes that as an error of its own.
        refused = re.search(r"^Failed to load resource: .* status of 4[0-9][0-9]", message.text)
        if message.type in {"error", "warning"} and not refused:
            self.complaints.append(f"console at {self.page.url}: {message.text}")

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        found = urlsplit(request.url)
        if found.scheme != "data" and f"{found.scheme}://{found.netloc}" != self.site:
            self.complaints.append(f"request to another host: {request.url}")

    def _response(self, response: Response) -> None:
        part = response.request.resource_type != "document"
        if response.status >= 500 or (part and response.status >= 400):
            self.complaints.append(f"{response.status} for {response.url}")

    def check(self) -> None:
        """Nothing was noted, and nothing stands out at the right-hand side."""
        assert not self.complaints, "\n".join(self.complaints)
        over = self.page.evaluate(_SPILLS)
        assert over <= 0, f"{self.page.url} is {over} px wider than a window of {self.page.viewport_size}"

    # -- what one does
    def go(self, address: str) -> None:
        """Open a page, by its path or by a whole address such as a message holds."""
        self.page.goto(address if "://" in address else self.site + address)
        self.check()

    def press(
        self, name: str | re.Pattern[str], *, exact: bool = True, within: Locator | None = None
    ) -> None:
        """Press the button or follow the link of this name, and wait for the page that follows."""
        here = within or self.page.locator("main, body").first
        found = here.get_by_role("button", name=name, exact=exact).or_(
            here.get_by_role("link", name=name, exact=exact)
        )
        with self.page.expect_navigation():
            found.first.click()
        self.check()

    def type(self, label: str | re.Pattern[str], text: str) -> None:
        self.page.get_by_label(label).first.fill(text)

    def choose(self, *labels: str) -> None:
        for label in labels:
            self.page.get_by_label(label, exact=True).first.check()

    # -- what one reads
    @property
    def heading(self) -> str:
        return self.page.locator("h1").first.inner_text()

    @property
    def words(self) -> str:
        return " ".join(self.page.locator("main").inner_text().split())

    @property
    def path(self) -> str:
        found = urlsplit(self.page.url)
        return found.path + (f"?{found.query}" if found.query else "")


@contextmanager
def window(
    browser: Browser, site: str, size: tuple[int, int] = WIDE, *, scripts: bool = True
) -> Iterator[Screen]:
    """A fresh window, with nothing kept from others."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        java_script_enabled=scripts,
        locale="en-GB",
        timezone_id="Europe/London",
        reduced_motion="reduce",
        device_scale_factor=1,
    )
    try:
        yield Screen(context.new_page(), site, scripts)
    finally:
        context.close()
