"""The buttons of a sending that a colleague pauses meanwhile: the script shows those of the moment."""

from __future__ import annotations

from uuid import UUID

import pytest
from playwright.sync_api import Browser

from app.services import pausing
from tests.browser.screen import window
from tests.browser.town import Town
from tests.factories import ACTOR

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_the_buttons_follow_what_a_colleague_does(
    browser: Browser, town: Town, size: tuple[int, int]
) -> None:
    filled = town.filled()
    path = filled.paths["progress.dispatch"][-2]  # it begins tomorrow
    sent = UUID(path.rpartition("/")[2])
    with window(browser, town.site, size) as screen:
        screen.page.context.add_cookies([town.staff_cookie(filled.staff(town.registry))])
        screen.page.goto(town.site + path)
        pause, go_on, stop = (
            screen.page.get_by_role("button", name=name) for name in ("Pause it", "Let it go on", "Stop it")
        )
        assert pause.is_visible()
        for act, shown, hidden in ((pausing.pause, go_on, pause), (pausing.resume, pause, go_on)):
            with town.registry.sessions.begin() as session:
                act(session, sent, actor=ACTOR, why="Another look")
            shown.wait_for()
            assert not hidden.is_visible()
            assert stop.count() == 1
