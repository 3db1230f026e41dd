"""``python -m app.web.assets``: what pages need of GOV.UK Frontend and Leaflet, from npm to our own folder.

Copied and changed on the way: no GOV.UK typeface, crown or crest, which only GOV.UK may use; no pictures of Leaflet's.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SOURCE = PROJECT / "node_modules" / "govuk-frontend" / "dist" / "govuk"
STATIC = Path(__file__).resolve().parent / "static"
VENDOR = STATIC / "vendor"
MAPS = PROJECT / "node_modules" / "leaflet" / "dist"
COPIED = ("govuk-frontend.min.css", "govuk-frontend.min.js", "leaflet.css", "leaflet.js")
FONT = "GDS Transport,arial,sans-serif"
CREST = "url(/assets/images/govuk-crest.svg)"


class AssetsError(RuntimeError):
    """GOV.UK Frontend or Leaflet is not there, or not the one that we know how to copy."""


def without_govuk(css: str) -> str:
    """The style sheet without what is GOV.UK's own. AssetsError when it is not as it was."""
    changed = re.sub(r"@font-face\{[^}]*\}", "", css)
    for old, new in ((FONT, "var(--wl-font)"), (CREST, "none")):
        if old not in changed:
            raise AssetsError(f"GOV.UK Frontend's style sheet has changed: there is no {old} in it.")
        changed = changed.replace(old, new)
    if "/assets/" in changed:
        raise AssetsError("GOV.UK Frontend's style sheet asks for a file that is not copied.")
    return changed


def without_pictures(css: str) -> str:
    """Leaflet's style sheet without the files that it would ask for: markers are drawn here."""
    changed = re.sub(r"url\((?:images/[a-z0-9-]+\.png|#default#VML)\)", "none", css)
    if "url(" in changed:
        raise AssetsError("Leaflet's style sheet has changed: it asks for a file that is not copied.")
    return changed


def copy() -> list[Path]:
    """Copy the files; what was written."""
    if not SOURCE.is_dir() or not MAPS.is_dir():
        raise AssetsError("GOV.UK Frontend or Leaflet is not installed: run `make install`.")
    VENDOR.mkdir(parents=True, exist_ok=True)
    written = []
    for name in COPIED:
        found = (MAPS if name.startswith("leaflet") else SOURCE) / name
        text = re.sub(r"\n?(/\*|//)# sourceMappingURL=.*", "", found.read_text(encoding="utf-8"))
        if name.endswith(".css"):
            text = without_pictures(text) if name.startswith("leaflet") else without_govuk(text)
        target = VENDOR / name
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return written


def main() -> int:
    try:
        copy()
    except AssetsError as error:
        print(error, file=sys.stderr)  # noqa: T201  a command of make
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
