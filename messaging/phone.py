"""Mobile numbers: what people type, checked and brought to E.164.

Only numbers that can receive a text message as ordinary mobiles do. Each refusal has a code
and a reason in plain English. Facts from Ofcom's numbering plan: 070 is personal numbering,
076 is pagers (but 07624, which is the Isle of Man's mobiles), and 07700 900000 to 900999 is
kept for drama, so it never reaches anybody.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType

FORM_VERSION = 1
"""Version of the normal form before the digest: E.164."""

_CROWN = {"JE": "Jersey", "GG": "Guernsey", "IM": "the Isle of Man"}
_DRAMA = re.compile(r"\+447700900\d{3}")
_PAGER = re.compile(r"\+4476(?!24)")
_PERSONAL = re.compile(r"\+4470")
_SHAPE = re.compile(r"\+?[0-9 ().\-/]{3,40}")
_LANDLINES = frozenset({PhoneNumberType.FIXED_LINE})
_MOBILES = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})
_DASHES = re.compile(r"[‐‑‒–—―−]")

_MESSAGES = {
    "malformed": "This is not a complete phone number. Enter a UK mobile number, like 07700 900123.",
    "personal-number": "Numbers that start 070 are personal numbers. Text messages may not reach them. "
    "Enter a mobile number.",
    "pager": "Numbers that start 076 are pagers. They cannot receive our text messages. "
    "Enter a mobile number.",
    "fictional": "Numbers from 07700 900000 to 07700 900999 are kept for drama. They do not reach anybody.",
}


class PhoneError(ValueError):
    """``code``: malformed, not-a-mobile, personal-number, pager, crown-dependency, foreign, fictional."""

    def __init__(self, code: str, message: str | None = None) -> None:
        self.code = code
        self.message = message if message is not None else _MESSAGES[code]
        super().__init__(self.message)


def parse_mobile(text: str, regions: Collection[str] = ("GB",), allow_fictional: bool = False) -> str:
    """The number in E.164 if it is a mobile of one of ``regions`` (ISO 3166 codes); else PhoneError.

    A number without a country code is read as a British one. ``allow_fictional`` lets the drama
    range through: for examples on the sandbox only.
    """
    tidy = _tidy(text)
    if not _SHAPE.fullmatch(tidy):
        raise PhoneError("malformed")
    try:
        number = phonenumbers.parse(tidy, "GB")
    except NumberParseException:
        raise PhoneError("malformed") from None
    e164: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # These three are told apart first: the library knows the drama range as no number at all.
    if _DRAMA.fullmatch(e164):
        if allow_fictional and "GB" in regions:
            return e164
        raise PhoneError("fictional")
    if number.country_code == 44 and len(e164) == 13:
        if _PERSONAL.match(e164):
            raise PhoneError("personal-number")
        if _PAGER.match(e164):
            raise PhoneError("pager")
    if not phonenumbers.is_valid_number(number):
        raise PhoneError("malformed")
    _check_region(phonenumbers.region_code_for_number(number), regions)
    kind = phonenumbers.number_type(number)
    if kind in _LANDLINES:
        raise PhoneError(
            "not-a-mobile", "This is a landline. It cannot receive text messages. Enter a mobile number."
        )
    if kind not in _MOBILES:
        raise PhoneError("not-a-mobile", "This is not a mobile number. It cannot receive text messages.")
    return e164


def is_fictional(e164: str) -> bool:
    """Whether a number is one of the drama range."""
    return _DRAMA.fullmatch(e164) is not None


def _tidy(text: str) -> str:
    """Digits of any script to ASCII, any dash to a hyphen, invisible characters away."""
    out = []
    for char in _DASHES.sub("-", unicodedata.normalize("NFKC", text[:200])):
        if char.isdecimal():
            out.append(str(unicodedata.decimal(char)))
        elif char.isspace():
            out.append(" ")
        elif unicodedata.category(char) not in ("Cf", "Cc"):
            out.append(char)
    return "".join(out).strip()


def _check_region(region: str | None, regions: Collection[str]) -> None:
    if region in regions:
        return
    if region in _CROWN:
        raise PhoneError(
            "crown-dependency",
            f"This is a number from {_CROWN[region]}, which we do not send text messages to. "
            "Enter a UK mobile number.",
        )
    raise PhoneError(
        "foreign",
        "This number is from a country that we do not send text messages to. Enter a UK mobile number.",
    )
