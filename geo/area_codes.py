"""Codes of areas: official GSS codes for wards and boroughs, our own for police forces and BCUs.

GSS codes are the Office for National Statistics' nine characters: E05 is an electoral ward, E09 a London
borough (or the City). Our own are `BCU:` with the Metropolitan Police's two letters and `FORCE:` with the
identifier that data.police.uk uses. Areas that somebody drew (a team's patch, a town centre, a station, any other
shape) have a word of ours and a name in lower case, such as `PATCH:uxbridge-north`.
"""

import re
from enum import StrEnum


class AreaKind(StrEnum):
    """What an area is, from the widest to the smallest; then those that are drawn."""

    FORCE = "force"
    BCU = "bcu"
    BOROUGH = "borough"
    WARD = "ward"
    PATCH = "patch"
    TOWN_CENTRE = "town-centre"
    STATION = "station"
    SHAPE = "shape"


# What lies within the next: a ward in a borough, a borough in a BCU or a force.
OFFICIAL = (AreaKind.FORCE, AreaKind.BCU, AreaKind.BOROUGH, AreaKind.WARD)
# What has an outline of its own, and overlaps the others as it likes.
DRAWN = (AreaKind.PATCH, AreaKind.TOWN_CENTRE, AreaKind.STATION, AreaKind.SHAPE)


class AreaCodeError(ValueError):
    """A text that is no area code, with a `message` for people."""

    def __init__(self) -> None:
        self.message = (
            "That is not the code of an area. A ward's looks like E05013991, a borough's like E09000006."
        )
        super().__init__(self.message)


_SHAPES = {
    AreaKind.FORCE: re.compile(r"FORCE:[a-z]+(?:-[a-z]+)*"),
    AreaKind.BCU: re.compile(r"BCU:[A-Z]{2}"),
    AreaKind.BOROUGH: re.compile(r"E09[0-9]{6}"),
    AreaKind.WARD: re.compile(r"E05[0-9]{6}"),
    # No longer than the record's column for a code.
    AreaKind.PATCH: re.compile(r"PATCH:(?=.{1,14}\Z)[a-z0-9]+(?:-[a-z0-9]+)*"),
    AreaKind.TOWN_CENTRE: re.compile(r"TOWN:(?=.{1,15}\Z)[a-z0-9]+(?:-[a-z0-9]+)*"),
    AreaKind.STATION: re.compile(r"STATION:(?=.{1,12}\Z)[a-z0-9]+(?:-[a-z0-9]+)*"),
    AreaKind.SHAPE: re.compile(r"SHAPE:(?=.{1,14}\Z)[a-z0-9]+(?:-[a-z0-9]+)*"),
}
# Our longest code is a force's; a bound before any matching.
MAX_CODE_CHARACTERS = 40


def kind_of(code: str) -> AreaKind:
    """The kind of area that a code, exactly as written, stands for. Raises AreaCodeError if it is none."""
    if len(code) <= MAX_CODE_CHARACTERS:
        for kind, shape in _SHAPES.items():
            if shape.fullmatch(code):
                return kind
    raise AreaCodeError


def bcu_code(letters: str) -> str:
    """Our code of a Basic Command Unit from its two letters: "CE" → "BCU:CE". Raises AreaCodeError."""
    return _checked(f"BCU:{letters}", AreaKind.BCU)


def force_code(identifier: str) -> str:
    """Our code of a police force from data.police.uk's identifier: "metropolitan" → "FORCE:metropolitan".

    Raises AreaCodeError.
    """
    return _checked(f"FORCE:{identifier}", AreaKind.FORCE)


def _checked(code: str, kind: AreaKind) -> str:
    if kind_of(code) is not kind:
        raise AreaCodeError
    return code
