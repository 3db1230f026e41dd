"""What a browser says it is, in plain words: few enough to be one of a list, and never what it sent itself."""

from __future__ import annotations

_BROWSERS = (
    (("Edg/", "EdgA/", "EdgiOS/"), "Edge"),
    (("OPR/", "OPT/"), "Opera"),
    (("SamsungBrowser/",), "Samsung Internet"),
    (("Firefox/", "FxiOS/"), "Firefox"),
    (("Chrome/", "CriOS/", "Chromium/"), "Chrome"),
    (("Safari/",), "Safari"),
)
_SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "a Mac"),
    ("Linux", "Linux"),
)
UNKNOWN = "a browser that we do not know"


def words(agent: str) -> str:
    """“Chrome on Android”. Versions do not count: a browser that was brought up to date is the same."""
    browser = next((name for marks, name in _BROWSERS if any(mark in agent for mark in marks)), None)
    system = next((name for mark, name in _SYSTEMS if mark in agent), None)
    if browser is None and system is None:
        return UNKNOWN
    return f"{browser or 'A browser'} on {system}" if system else str(browser)
