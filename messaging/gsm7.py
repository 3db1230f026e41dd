"""How many segments a text message takes (3GPP TS 23.038, formerly GSM 03.38).

All characters in the GSM alphabet: 160 septets in one segment, 153 in each of several; those
of the extension table take two and are never cut apart. Otherwise UCS-2: 70 code units, or 67,
and a surrogate pair is never cut apart.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")


class Segments(NamedTuple):
    """``characters`` counts septets (GSM-7) or UTF-16 code units (UCS-2), as phones do."""

    encoding: Literal["GSM-7", "UCS-2"]
    characters: int
    segments: int
    not_gsm: tuple[str, ...]  # the characters that force UCS-2, each once, in order of appearance


def segments(text: str) -> Segments:
    """Encoding, length and number of segments of ``text``; an empty text takes one."""
    not_gsm = tuple(dict.fromkeys(c for c in text if c not in BASIC and c not in EXTENSION))
    if not_gsm:
        sizes = [2 if ord(c) > 0xFFFF else 1 for c in text]
        return Segments("UCS-2", sum(sizes), _pack(sizes, 70, 67), not_gsm)
    sizes = [2 if c in EXTENSION else 1 for c in text]
    return Segments("GSM-7", sum(sizes), _pack(sizes, 160, 153), ())


def _pack(sizes: list[int], single: int, part: int) -> int:
    if sum(sizes) <= single:
        return 1
    count, used = 1, 0
    for size in sizes:
        if used + size > part:
            count, used = count + 1, 0
        used += size
    return count
