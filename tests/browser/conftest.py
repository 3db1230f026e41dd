"""A browser, and windows of both sizes. Where there is no browser the tests are skipped by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser import chromium
from tests.browser.screen import SIZES
from tests.browser.town import Town, town
from tests.conftest import Database


# Of a module, not of the run: while it is open no test of this process may run an event loop.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        pytest.skip(chromium.ADVICE)
    with chromium.launched(path) as running:
        yield running


@pytest.fixture(scope="session")
def opened_town(town_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One town for all browser tests of this process: they add to it, and take nothing away."""
    with town(town_database, tmp_path_factory.mktemp("town")) as opened:
        yield opened


# The browser first: without one no town is built.
@pytest.fixture(name="town")
def _town(browser: Browser, request: pytest.FixtureRequest) -> Town:
    found: Town = request.getfixturevalue("opened_town")
    return found


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys())
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Each size of window: a desk's and a phone's."""
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def scripts(request: pytest.FixtureRequest) -> bool:
    found: bool = request.param
    return found
