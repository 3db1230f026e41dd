"""Residents' pages are light: an old phone on a slow line opens them all, and asks no other host."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from app.factory import create_app
from app.web.guards import Guard
from tests.browser.screen import PHONE, window
from tests.browser.test_axe import NO_PAGES, cookies, guard_at
from tests.browser.town import Town

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
MOST_BYTES, MOST_REQUESTS = 100_000, 10


@pytest.mark.long
def test_a_residents_page_takes_100_kilobytes_and_10_requests_at_most(browser: Browser, town: Town) -> None:
    app, filled = create_app(town.registry), town.filled()
    heavy, visited = [], 0
    for endpoint, paths in filled.paths.items():
        guard = guard_at(app, endpoint)
        if guard is Guard.STAFF or endpoint in NO_PAGES:
            continue
        for path in paths:
            with window(browser, town.site, PHONE) as screen:
                screen.page.context.add_cookies(cookies(town, filled, guard, endpoint))
                devtools = screen.page.context.new_cdp_session(screen.page)
                loaded: list[float] = []
                devtools.on("Network.loadingFinished", lambda e, to=loaded: to.append(e["encodedDataLength"]))
                devtools.send("Network.enable")
                devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})
                screen.page.goto(town.site + path, wait_until="networkidle")
                assert not screen.complaints, screen.complaints
                requests = [one for one in screen.requests if not one.startswith("data:")]
                assert len(loaded) >= len(requests) - 1
                total = sum(loaded)
                print(f"{endpoint}: {total / 1000:.0f} kB, {len(requests)} requests")
                if total > MOST_BYTES or len(requests) > MOST_REQUESTS:
                    heavy.append((path, total, len(requests)))
                visited += 1
    assert not heavy
    assert visited >= 25
