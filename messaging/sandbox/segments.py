"""How many segments a text message takes, judged apart from the code that sends.

Source: 3GPP TS 23.038 (GSM 7-bit default alphabet and its extension table).
"""

from __future__ import annotations

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€\f")
_GSM = _BASIC | _EXTENDED


def segments(body: str) -> int:
    """Segments that a carrier would bill; an empty text counts as one.

    GSM-7: 160 septets in one, else 153 each; anything else UCS-2: 70 code units, else 67 each.
    A two-unit character is never split between segments.
    """
    if _GSM.issuperset(body):
        costs = [2 if c in _EXTENDED else 1 for c in body] if not _BASIC.issuperset(body) else None
        return _count(len(body), costs, 160, 153)
    return _count(len(body), [2 if ord(c) > 0xFFFF else 1 for c in body], 70, 67)


def _count(length: int, costs: list[int] | None, single: int, part: int) -> int:
    if (sum(costs) if costs else length) <= single:
        return 1
    if costs is None:
        return -(-length // part)
    count, used = 1, 0
    for cost in costs:
        if used + cost > part:
            count, used = count + 1, 0
        used += cost
    return count
