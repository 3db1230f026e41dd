"""Somebody follows an old link to a ward that was divided, and finds where they live now."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser

from app.models.areas import Area, AreaSuccessor
from tests.browser import axe
from tests.browser.screen import window
from tests.browser.town import POSTCODE, Town

pytestmark = pytest.mark.browser
OLD = "E05999001"


@pytest.fixture
def divided(town: Town) -> Town:
    """The town's ward, and another one, are what became of an old one."""
    with town.registry.sessions.begin() as session:
        if session.scalar(sa.select(Area.id).where(Area.code == OLD)) is None:
            ward = session.scalars(sa.select(Area).where(Area.code == town.ward)).one()
            beside = session.scalars(
                sa.select(Area)
                .where(Area.parent_id == ward.parent_id, Area.kind == "ward", Area.id != ward.id)
                .limit(1)
            ).one()
            old = Area(
                code=OLD, kind="ward", name="Old Town", parent_id=ward.parent_id,
                valid_from=date(2014, 5, 22), valid_to=date(2022, 5, 5),
            )  # fmt: skip
            session.add(old)
            session.flush()
            session.add_all(
                AreaSuccessor(area_id=old.id, successor_id=one.id, share=share)
                for one, share in ((ward, 0.7), (beside, 0.3))
            )
    return town


def test_an_old_address_asks_which_ward_and_leads_there(
    divided: Town, browser: Browser, size: tuple[int, int], scripts: bool
) -> None:
    with window(browser, divided.site, size, scripts=scripts) as screen:
        screen.go(f"/ward/{OLD}")
        assert screen.heading == "Old Town is now several wards"
        assert not scripts or axe.violations(screen.page) == []
        with screen.page.expect_navigation():
            screen.page.locator("main li a").first.click()
        assert screen.path == f"/ward/{divided.ward}"
        screen.go(f"/ward/{OLD}")
        screen.type("Postcode", POSTCODE)
        screen.press("Find your ward")
        assert screen.heading.startswith(POSTCODE) or POSTCODE in screen.words
        screen.check()
