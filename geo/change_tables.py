"""Small tables that go with a change of areas, as CSV: names of wards, the ward of postcodes, shares of what ended."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from geo import postcode
from geo.postcode import PostcodeError
from geo.postcode_files import PostcodeFileError, names_in

MAX_BYTES = 50_000_000
_CODE = re.compile(r"[A-Za-z0-9:-]{1,20}")


def names(path: Path) -> dict[str, str]:
    """Names by ward code, from columns such as `WD26CD` and `WD26NM`. Raises PostcodeFileError, or OSError."""
    found = dict(names_in(line for _, line in _lines(path)))
    if not found:
        raise PostcodeFileError(f"{path.name} has no columns with codes and names of wards.")
    return found


def wards(path: Path) -> dict[str, str]:
    """New ward codes by postcode, from the columns `postcode` and `ward`. Raises PostcodeFileError, or OSError."""
    found: dict[str, str] = {}
    for number, (typed, ward) in _columns(path, ("postcode", "ward")):
        try:
            code = postcode.parse(typed)
        except PostcodeError:
            raise PostcodeFileError(f"{path.name}, line {number}: that is no postcode.") from None
        if code in found or not _CODE.fullmatch(ward):
            raise PostcodeFileError(
                f"{path.name}, line {number}: a postcode that stands twice, or no ward code."
            )
        found[code] = ward
    return found


def shares(path: Path) -> dict[str, dict[str, float]]:
    """How much of each old area goes to each new one, from `old`, `new` and `share` (0 to 1).

    Raises PostcodeFileError, or OSError.
    """
    found: dict[str, dict[str, float]] = {}
    for number, (old, new, share) in _columns(path, ("old", "new", "share")):
        try:
            part = float(share)
        except ValueError:
            part = -1.0
        if not 0 < part <= 1 or not _CODE.fullmatch(old) or not _CODE.fullmatch(new):
            raise PostcodeFileError(
                f"{path.name}, line {number}: needs two codes and a share between 0 and 1."
            )
        found.setdefault(old, {})[new] = part
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    if path.stat().st_size > MAX_BYTES:
        raise PostcodeFileError(f"{path.name} is too large.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            yield from enumerate(csv.reader(lines), 1)
    except (UnicodeDecodeError, csv.Error):
        raise PostcodeFileError(f"{path.name} is not a CSV file in UTF-8.") from None


def _columns(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    lines = _lines(path)
    header = [name.strip().lower() for name in next(lines, (1, []))[1]]
    if not set(wanted) <= set(header):
        raise PostcodeFileError(f"{path.name} needs the columns {', '.join(wanted)}.")
    places = [header.index(name) for name in wanted]
    for number, line in lines:
        if not any(cell.strip() for cell in line):
            continue
        if len(line) <= max(places):
            raise PostcodeFileError(f"{path.name}, line {number}: has too few columns.")
        yield number, [line[place].strip() for place in places]
