"""``python -m app.web.assets``: what pages need of GOV.UK Frontend, from npm to our own folder.

Copied and changed on the way: no GOV.UK typeface, crown or crest, which only GOV.UK may use.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SOURCE = PROJECT / "node_modules" / "govuk-frontend" / "dist" / "govuk"
STATIC = Path(__file__).resolve().parent / "static"
VENDOR = STATIC / "vendor"
COPIED = ("govuk-frontend.min.css", "govuk-frontend.min.js")
FONT = "GDS Transport,arial,sans-serif"
CREST = "url(/assets/images/govuk-crest.svg)"


class AssetsError(RuntimeError):
    """GOV.UK Frontend is not there, or not the one that we know how to copy."""


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


def copy() -> list[Path]:
    """Copy the files; what was written."""
    if not SOURCE.is_dir():
        raise AssetsError("GOV.UK Frontend is not installed: run `make install`.")
    VENDOR.mkdir(parents=True, exist_ok=True)
    written = []
    for name in COPIED:
        text = re.sub(r"\n?(/\*|//)# sourceMappingURL=.*", "", (SOURCE / name).read_text(encoding="utf-8"))
        target = VENDOR / name
        target.write_text(without_govuk(text) if name.endswith(".css") else text, encoding="utf-8")
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
