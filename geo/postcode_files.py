"""Postcode products as their publishers ship them: Code-Point Open, ONSPD and NSPL; a CSV file or the whole zip.

Read as a stream in bounded memory. Code-Point Open has no header, the others name their columns anew with every
vintage, so columns are found by alias. Only London comes out. A line that cannot be read is told by file and number.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from geo import postcode
from geo.grid import Point, in_london_box
from geo.postcode import PostcodeError

LONDON = "E09"
MOST_FAULTS = 50
# Of one line, and of all that a zip may unpack to: what is longer is no such product.
MAX_LINE = 20_000
MAX_UNPACKED = 8_000_000_000

Progress = Callable[[int], None]

_ALIASES = {
    "postcode": re.compile(r"pcds?[78]?"),
    "ended": re.compile(r"doterm"),
    "easting": re.compile(r"(os)?east1m|eastings?|ea"),
    "northing": re.compile(r"(os)?n(o)?rth1m|northings?|no"),
    "quality": re.compile(r"(os)?gr(i)?dind|positional_quality_indicator|pq"),
    "borough": re.compile(r"(os)?laua|lad\d\dcd|admin_district_code|dc"),
    "ward": re.compile(r"(os)?ward|wd\d\dcd|admin_ward_code|wc"),
}
_NEEDED = ("postcode", "easting", "northing", "borough", "ward")
# Code-Point Open's ten columns, in their order.
_CODE_POINT = {"postcode": 0, "quality": 1, "easting": 2, "northing": 3, "borough": 8, "ward": 9}
_CODE_POINT_WIDTH = 10
_NOWHERE = {"code-point": {"90"}, "ons": {"9"}}
_MONTH = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])")
_WARD = re.compile(r"E05\d{6}")
_NAMES = {"code": re.compile(r"wd\d\dcd|ward_code"), "name": re.compile(r"wd\d\dnm|ward_name")}


class PostcodeFileError(ValueError):
    """A file that is none of these products, with a `message` for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Row(NamedTuple):
    """A London postcode in normal form, where it is in grid metres, in which ward, and whether it is in use."""

    postcode: str
    easting: int
    northing: int
    ward_code: str
    borough_code: str
    quality: int
    live: bool


class Fault(NamedTuple):
    """A line that could not be read: never what stood in it."""

    file: str
    line: int
    reason: str


@dataclass(slots=True)
class Told:
    """What reading a file found besides its rows. ``faults`` holds the first `MOST_FAULTS` of ``faulty`` lines."""

    lines: int = 0
    london: int = 0
    nowhere: int = 0  # London's postcodes without a location
    faulty: int = 0
    faults: list[Fault] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # wards, where the zip brings a list of them

    def fault(self, file: str, line: int, reason: str) -> None:
        self.faulty += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(file, line, reason))


def size(path: Path) -> int:
    """How many bytes ``rows`` will report as read. Raises PostcodeFileError, or OSError."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with _zip(path) as archive:
        return sum(member.file_size for member in _tables(archive))


def rows(path: Path, told: Told, progress: Progress = lambda _: None) -> Iterator[Row]:
    """Every London postcode of a file; what could not be read is added to `told`.

    `progress` is told the bytes read since it was told last. Raises PostcodeFileError, or OSError.
    """
    if not zipfile.is_zipfile(path):
        with ExitStack() as stack:
            raw: IO[bytes] = stack.enter_context(path.open("rb"))
            plain: io.RawIOBase | gzip.GzipFile = _Counted(raw, progress)
            if path.suffix == ".gz":
                plain = stack.enter_context(gzip.GzipFile(fileobj=_Counted(raw, progress), mode="rb"))
            try:
                yield from _table(path.name, plain, told)
            except (EOFError, gzip.BadGzipFile) as error:
                raise PostcodeFileError(f"{path.name} is damaged.") from error
        return
    with _zip(path) as archive:
        for member in archive.infolist():
            if _is_names(member.filename):
                with archive.open(member) as listed:
                    told.names.update(_names(listed))
        for member in _tables(archive):
            with archive.open(member) as table:
                yield from _table(Path(member.filename).name, _Counted(table, progress), told)


class _Counted(io.RawIOBase):
    """A stream that says how much was read of it."""

    def __init__(self, raw: IO[bytes], progress: Progress) -> None:
        super().__init__()
        self._raw, self._progress = raw, progress

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        found = self._raw.read(len(buffer))
        buffer[: len(found)] = found
        self._progress(len(found))
        return len(found)


@contextmanager
def _zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED:
                raise PostcodeFileError(f"{path.name} would unpack to more than any such product.")
            yield archive
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
        raise PostcodeFileError(f"{path.name} is damaged.") from error


def _tables(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members with the postcodes: one whole table where there is one, else the tables by area."""
    found = [
        one
        for one in archive.infolist()
        if one.filename.lower().endswith(".csv") and "data/" in f"/{one.filename.lower()}"
    ]
    whole = [one for one in found if "multi_csv/" not in one.filename.lower()]
    if not (whole or found):
        raise PostcodeFileError("The zip holds no Data folder with CSV files.")
    return sorted(whole or found, key=lambda one: one.filename)


def _is_names(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(".csv") and "documents/" in lower and "ward" in lower


def _names(table: IO[bytes]) -> Iterator[tuple[str, str]]:
    lines = csv.reader(io.TextIOWrapper(table, "utf-8-sig", errors="replace", newline=""))
    yield from names_in(lines)


def names_in(lines: Iterator[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Ward codes of England and their names, from rows whose first is the header. Nothing of another table."""
    places = _places(next(lines, ()), _NAMES)
    if len(places) < len(_NAMES):
        return
    for line in lines:
        if len(line) > max(places.values()) and _WARD.fullmatch(line[places["code"]]):
            yield line[places["code"]], line[places["name"]].strip()


def _places(header: Sequence[str], aliases: Mapping[str, re.Pattern[str]]) -> dict[str, int]:
    """Where each column stands. The last alias that fits wins: of pcd, pcd2 and pcds the one with a space."""
    found: dict[str, int] = {}
    for place, name in enumerate(header):
        plain = name.strip().lower()
        for column, alias in aliases.items():
            if alias.fullmatch(plain):
                found[column] = place
    return found


def _table(name: str, raw: io.RawIOBase | gzip.GzipFile, told: Told) -> Iterator[Row]:
    text = io.TextIOWrapper(io.BufferedReader(raw, 1 << 20), "utf-8-sig", errors="replace", newline="")
    lines = enumerate(_bounded(text, name), 1)
    first = next(lines, None)
    if first is None:
        raise PostcodeFileError(f"{name} is empty.")
    header = _split(first[1])
    places = _places(header, _ALIASES)
    if all(column in places for column in _NEEDED):
        width, product = len(header), "ons"
    elif len(header) == _CODE_POINT_WIDTH and _reads_as_postcode(header[0]):
        places, width, product = dict(_CODE_POINT), _CODE_POINT_WIDTH, "code-point"
        yield from _row(name, 1, header, places, width, product, told)
    else:
        missing = ", ".join(column for column in _NEEDED if column not in places)
        raise PostcodeFileError(
            f"{name} is neither Code-Point Open nor an ONSPD or NSPL: no column was found for {missing}."
        )
    for number, line in lines:
        if line.strip():
            yield from _row(name, number, _split(line), places, width, product, told)


def _bounded(text: io.TextIOWrapper, name: str) -> Iterator[str]:
    while line := text.readline(MAX_LINE):
        if len(line) >= MAX_LINE:
            raise PostcodeFileError(f"{name} holds a line that is too long to be one of a table.")
        yield line


def _split(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _reads_as_postcode(text: str) -> bool:
    try:
        postcode.parse(text)
    except PostcodeError:
        return False
    return True


def _row(
    file: str, number: int, line: list[str], places: Mapping[str, int], width: int, product: str, told: Told
) -> Iterator[Row]:
    told.lines += 1
    if len(line) != width:
        told.fault(file, number, f"has {len(line)} columns instead of {width}")
        return
    borough = line[places["borough"]].strip()
    if not borough.startswith(LONDON):
        return
    told.london += 1
    quality = line[places["quality"]].strip() if "quality" in places else ""
    ended = line[places["ended"]].strip() if "ended" in places else ""
    easting, northing = line[places["easting"]].strip(), line[places["northing"]].strip()
    if quality in _NOWHERE[product] or not easting or not northing:
        told.nowhere += 1
        return
    try:
        found = Row(
            postcode.parse(line[places["postcode"]]),
            int(easting),
            int(northing),
            line[places["ward"]].strip(),
            borough,
            int(quality or 0),
            not ended,
        )
    except PostcodeError:
        told.fault(file, number, "has no postcode")
    except ValueError:
        told.fault(file, number, "has no whole number where one must be")
    else:
        fault = _wrong(found, ended)
        if fault:
            told.fault(file, number, fault)
        else:
            yield found


def _wrong(found: Row, ended: str) -> str | None:
    if not in_london_box(Point(found.easting, found.northing)):
        return "lies outside London by its coordinates"
    if not _WARD.fullmatch(found.ward_code):
        return "has no ward code"
    if not 0 <= found.quality <= 99:
        return "has a quality that is none"
    if ended and not _MONTH.fullmatch(ended):
        return "has an end that is no month"
    return None
