"""axe-core on a page: every rule of WCAG 2.0 to 2.2 at A and AA and of good practice, none switched off."""

from __future__ import annotations

from functools import cache
from typing import Any

from playwright.sync_api import Page

from config.fields import PROJECT

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_RUN = "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})"


@cache
def _axe() -> str:
    return (PROJECT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    """What axe finds on the page as it stands, a line each: rule, what is wrong, where, the element."""
    # Not loaded by the page but put in by the browser, so the page's own policy does not stop it.
    page.evaluate(_axe())
    found: dict[str, Any] = page.evaluate(_RUN, TAGS)
    assert found["testEngine"]["name"] == "axe-core"
    return [
        f"{one['id']}: {one['help']} | {' '.join(map(str, node['target']))} | {node['html'][:300]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
