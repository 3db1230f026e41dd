"""Hands that have no mouse: Tab, Enter, Space and the arrows, and eyes that look where the focus is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from playwright.sync_api import ElementHandle, Locator

from tests.browser.screen import Screen

MOST_STOPS = 150
_MARGIN = 6  # pixels around an element in which its focus may be drawn


@dataclass
class Keyboard:
    """Moves through the pages of a screen. Each stop must be seen: with the focus it looks different."""

    screen: Screen
    stops: int = 0

    def to(self, found: Locator) -> None:
        """Press Tab until this element has the focus."""
        target = found.first.element_handle()
        assert target is not None
        for _ in range(MOST_STOPS):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.screen.page.keyboard.press("Tab")
            self._look()
        raise AssertionError(f"no way to {found} with the Tab key")

    def type(self, label: str | re.Pattern[str], text: str) -> None:
        self.to(self.screen.page.get_by_label(label))
        self.screen.page.keyboard.press("ControlOrMeta+a")
        self.screen.page.keyboard.type(text)

    def tick(self, label: str) -> None:
        """Tick a box with Space."""
        box = self.screen.page.get_by_label(label, exact=True).first
        self.to(box)
        if not box.is_checked():
            self.screen.page.keyboard.press("Space")
        assert box.is_checked()

    def choose(self, label: str) -> None:
        """Choose one of several with Space and the arrows."""
        wanted = self.screen.page.get_by_label(label, exact=True).first
        name = wanted.get_attribute("name")
        group = self.screen.page.locator(f'input[type="radio"][name="{name}"]')
        chosen = group.and_(self.screen.page.locator(":checked"))
        self.to(chosen if chosen.count() else group)
        self.screen.page.keyboard.press("Space")
        for _ in range(group.count()):
            if wanted.is_checked():
                return
            self.screen.page.keyboard.press("ArrowDown")
        assert wanted.is_checked()

    def press(self, name: str | re.Pattern[str]) -> None:
        """Go to a button or a link of the page and press Enter; the next page is there when this returns."""
        here = self.screen.page.locator("main, body").first
        self.to(
            here.get_by_role("button", name=name, exact=True).or_(
                here.get_by_role("link", name=name, exact=True)
            )
        )
        with self.screen.page.expect_navigation():
            self.screen.page.keyboard.press("Enter")
        self.screen.check()

    def _look(self) -> None:
        page = self.screen.page
        focused = page.evaluate_handle("() => document.activeElement").as_element()
        assert focused is not None
        if focused.evaluate("element => element === document.body"):
            return  # past the last one: the browser's own controls come next
        self.stops += 1
        clip = self._around(focused)
        assert clip is not None, f"the focus is out of sight: {focused.evaluate('e => e.outerHTML')[:200]}"
        with_focus = page.screenshot(clip=clip, animations="disabled")
        focused.evaluate("element => element.blur()")
        without = page.screenshot(clip=clip, animations="disabled")
        focused.evaluate("element => element.focus({preventScroll: true, focusVisible: true})")
        assert with_focus != without, f"no focus to be seen: {focused.evaluate('e => e.outerHTML')[:200]}"

    def _around(self, element: ElementHandle) -> dict[str, float] | None:
        """The part of the window that the element fills, with a margin; None if it is not in the window."""
        box, size = element.bounding_box(), self.screen.page.viewport_size
        if box is None or size is None or not box["width"] or not box["height"]:
            return None
        left, top = max(0.0, box["x"] - _MARGIN), max(0.0, box["y"] - _MARGIN)
        right = min(float(size["width"]), box["x"] + box["width"] + _MARGIN)
        bottom = min(float(size["height"]), box["y"] + box["height"] + _MARGIN)
        if right - left < 1 or bottom - top < 1:
            return None
        return {"x": left, "y": top, "width": right - left, "height": bottom - top}
