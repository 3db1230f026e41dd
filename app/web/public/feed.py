"""An Atom feed (RFC 4287) of public alerts: plain text and links, nobody's data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import NamedTuple
from xml.etree import ElementTree as ET

from app.services.areas import IN_FORCE_SINCE
from app.services.published import Listed

ATOM = "http://www.w3.org/2005/Atom"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
# Of a feed that has no entries yet: as old as the wards are.
NOTHING_YET = datetime.combine(IN_FORCE_SINCE, time(), UTC)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Entry(NamedTuple):
    """An alert, the address of its page, and its first words."""

    alert: Listed
    address: str
    summary: str


def atom(*, title: str, own: str, page: str, entries: Sequence[Entry]) -> bytes:
    """The feed as UTF-8. ``own``, ``page``: its address and its page's; ``entries``: the newest first."""
    root = ET.Element("feed", {"xmlns": ATOM, XML_LANG: "en"})
    _add(root, "id", own)
    _add(root, "title", title)
    _add(root, "updated", _time(entries[0].alert.sent_at if entries else NOTHING_YET))
    ET.SubElement(root, "link", {"rel": "self", "type": "application/atom+xml", "href": own})
    ET.SubElement(root, "link", {"rel": "alternate", "type": "text/html", "href": page})
    _add(root, "generator", "Wardlink")
    for one, address, summary in entries:
        entry = ET.SubElement(root, "entry", {XML_LANG: one.language})
        _add(entry, "id", f"urn:uuid:{one.id}")
        _add(entry, "title", one.headline)
        _add(entry, "published", _time(one.sent_at))
        _add(entry, "updated", _time(one.sent_at))
        _add(ET.SubElement(entry, "author"), "name", one.organisation)
        ET.SubElement(entry, "link", {"rel": "alternate", "type": "text/html", "href": address})
        for term in (one.kind, one.urgency):
            ET.SubElement(entry, "category", {"term": term})
        _add(entry, "summary", summary)
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return made


def _add(parent: ET.Element, tag: str, text: str) -> None:
    # An officer may paste control characters, which no XML can hold.
    ET.SubElement(parent, tag).text = _NOT_XML.sub("", text)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
