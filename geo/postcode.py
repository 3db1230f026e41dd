"""The normal form of a UK postcode, and the reasons why a text is not one we can use.

`parse` judges form alone. Whether a postcode is live, terminated or outside London is known only to whoever
holds the release's table; that caller raises `terminated()` or `not_london()`, so that every edge of the
service says the same words. No message repeats what was typed: a postcode is personal data, and the text may
be hostile.
"""

import re
import unicodedata
from typing import Literal

PostcodeErrorCode = Literal["malformed", "outward-only", "not-london", "terminated"]

# Longer than any postcode with generous spacing; a bound before Unicode folding, which can lengthen a text.
MAX_TYPED_CHARACTERS = 40

# The six shapes of an outward code, and the historic GIR. The first two letters are the ones in use; the
# third may be any, for terminated codes (W1M, W1V, W1X) broke the rule that today's keep.
_OUTWARD = (
    r"(?:GIR"
    r"|[A-PR-UWYZ][0-9][0-9]?"
    r"|[A-PR-UWYZ][A-HK-Y][0-9][0-9]?"
    r"|[A-PR-UWYZ][0-9][A-Z]"
    r"|[A-PR-UWYZ][A-HK-Y][0-9][A-Z])"
)
# C, I, K, M, O and V never stand in an inward code: they are too easily misread.
_INWARD_LETTER = "[ABD-HJLNP-UW-Z]"
_FULL = re.compile(rf"({_OUTWARD})([0-9]{_INWARD_LETTER}{{2}})")
_BEGINNING = re.compile(rf"{_OUTWARD}(?:[0-9]{_INWARD_LETTER}?)?")
_FOLDED_AWAY = frozenset(".,;:'\"`()_‘’“”\u200b\u200c\u200d\u2060\ufeff\u00ad")


class PostcodeError(ValueError):
    """A text that cannot be used as a postcode: a stable `code` for programs, a `message` for people."""

    def __init__(self, code: PostcodeErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: PostcodeErrorCode = code
        self.message = message


def parse(text: str) -> str:
    """The normal form of `text`: upper case with one space before the last three characters ("SW1A 1AA").

    Case, spaces, dashes, quotation marks, full stops and full-width letters are folded; nothing is repaired,
    so a letter O typed for a zero stays an error. Raises PostcodeError (`malformed` or `outward-only`), and
    nothing else, for every other value.
    """
    folded = _fold(text)
    match = _FULL.fullmatch(folded)
    if match is not None:
        return f"{match[1]} {match[2]}"
    if _BEGINNING.fullmatch(folded):
        raise PostcodeError(
            "outward-only",
            "That is only the first part of a postcode, and it covers more than one neighbourhood. "
            "Please give the full postcode, for example SW1A 1AA.",
        )
    raise _malformed()


def compact(text: str) -> str:
    """The normal form without its space ("SW1A1AA"). Raises PostcodeError as `parse` does."""
    return parse(text).replace(" ", "")


def not_london() -> PostcodeError:
    """The error for a well-formed postcode that the release does not know, live or terminated."""
    return PostcodeError(
        "not-london",
        "We do not know this postcode in London. Please check it; "
        "Wardlink serves the 32 London boroughs and the City of London.",
    )


def terminated() -> PostcodeError:
    """The error for a London postcode that is no longer in use."""
    return PostcodeError(
        "terminated",
        "This London postcode is no longer in use. Please give the postcode that has replaced it.",
    )


def _fold(text: object) -> str:
    if not isinstance(text, str):
        raise _malformed()
    stripped = text.strip()
    if not stripped:
        raise PostcodeError("malformed", "Please give a postcode, for example SW1A 1AA.")
    if len(stripped) > MAX_TYPED_CHARACTERS:
        raise _malformed()
    folded = "".join(
        character for character in unicodedata.normalize("NFKC", stripped) if not _is_filler(character)
    )
    # Before upper(): it would turn some foreign letters into ASCII ones.
    if not folded.isascii():
        raise _malformed()
    return folded.upper()


def _is_filler(character: str) -> bool:
    return character in _FOLDED_AWAY or character.isspace() or unicodedata.category(character) == "Pd"


def _malformed() -> PostcodeError:
    return PostcodeError(
        "malformed",
        "That is not a postcode. Please check it, for example for a letter O in place of a zero. "
        "A full postcode looks like SW1A 1AA.",
    )
