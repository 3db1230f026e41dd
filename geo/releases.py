"""The bundled London release: police areas, boroughs, wards, live and terminated postcodes.

Areas are small and come as dataclasses. Postcodes come as columns (`Postcodes`), because a column is the
fastest thing Python can load: all live ones in some 0.2 s. For PostgreSQL use `copy_text`: the text format of
COPY, made in blocks by one C-level `map` in some 0.1 s, leaves the driver no work per row.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path

from geo import columns
from geo.area_codes import AreaKind
from geo.columns import BundleError
from geo.grid import Point

DATA = Path(__file__).parent / "data"
_ROWS_PER_BLOCK = 20_000

# In this order stand the values of a row of postcodes.
POSTCODE_COLUMNS = ("postcode", "easting", "northing", "ward_code", "borough_code", "quality")

PostcodeRow = tuple[str, int, int, str, str, str]


@dataclass(frozen=True, slots=True)
class Release:
    """What was bundled: `id` stands beside everything loaded from it, `date` is its month's first day."""

    id: str
    name: str
    date: date
    boundaries: str
    wards: int
    boroughs: int
    bcus: int
    forces: int
    live_postcodes: int
    terminated_postcodes: int


@dataclass(frozen=True, slots=True)
class Area:
    """A force, BCU, borough or ward.

    `parent_code` is None for a force. `former_name` is a ward's name of 2022 where it has another since.
    `point` (grid metres) is inside the area and known for wards only.
    """

    code: str
    kind: AreaKind
    name: str
    parent_code: str | None
    former_name: str | None = None
    point: Point | None = None


@dataclass(frozen=True, slots=True)
class Postcodes:
    """Columns of equal length, sorted by postcode in normal form; grid metres; GSS codes.

    `quality` is Code-Point Open's positional quality indicator ("10" best … "60"), "" where there is none.
    """

    postcode: list[str]
    easting: list[int]
    northing: list[int]
    ward_code: list[str]
    borough_code: list[str]
    quality: list[str]

    def __len__(self) -> int:
        return len(self.postcode)

    def rows(self) -> Iterator[PostcodeRow]:
        """Tuples in the order of POSTCODE_COLUMNS."""
        return zip(
            self.postcode,
            self.easting,
            self.northing,
            self.ward_code,
            self.borough_code,
            self.quality,
            strict=True,
        )

    def copy_text(self, template: str) -> Iterator[bytes]:
        r"""Blocks of COPY text, one line a row, made from a template that names columns in braces.

        For example `"{postcode}\t({easting},{northing})\t{ward_code}\tcpo-2025-10\n"`. No value needs
        escaping. Raises KeyError for a name that is not in POSTCODE_COLUMNS.
        """
        numbered = template.format(**{name: f"{{{index}}}" for index, name in enumerate(POSTCODE_COLUMNS)})
        lines = map(
            numbered.format,
            self.postcode,
            self.easting,
            self.northing,
            self.ward_code,
            self.borough_code,
            self.quality,
        )
        while block := "".join(islice(lines, _ROWS_PER_BLOCK)):
            yield block.encode("ascii")


def release() -> Release:
    """The bundled release. Raises BundleError if its description cannot be read."""
    try:
        described = json.loads((DATA / "release.json").read_text(encoding="utf-8"))
        return Release(**{**described, "date": date.fromisoformat(described["date"])})
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BundleError("the description of the data bundle cannot be read") from error


def areas() -> tuple[Area, ...]:
    """All areas, every parent before its children: forces, BCUs, boroughs, wards."""
    try:
        with (DATA / "areas.csv").open(encoding="utf-8", newline="") as lines:
            return tuple(_area(row) for row in csv.DictReader(lines))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BundleError("the areas of the data bundle cannot be read") from error


def forces() -> tuple[Area, ...]:
    """The Metropolitan Police and the City of London Police."""
    return _of_kind(AreaKind.FORCE)


def bcus() -> tuple[Area, ...]:
    """The 12 Basic Command Units of the Metropolitan Police; the operator is to verify names and letters."""
    return _of_kind(AreaKind.BCU)


def boroughs() -> tuple[Area, ...]:
    """The 32 boroughs, whose parents are BCUs, and the City of London, whose parent is its force."""
    return _of_kind(AreaKind.BOROUGH)


def wards() -> tuple[Area, ...]:
    """The 704 wards in force, under their names of December 2025."""
    return _of_kind(AreaKind.WARD)


def live_postcodes() -> Postcodes:
    """Every live London postcode. Read anew at each call, for a process seldom needs it twice."""
    return _postcodes("live.columns.gz")


def terminated_postcodes() -> Postcodes:
    """Every London postcode known to have ended, and where it was; `quality` is mostly ""."""
    return _postcodes("terminated.columns.gz")


def _of_kind(kind: AreaKind) -> tuple[Area, ...]:
    return tuple(area for area in areas() if area.kind is kind)


def _area(row: dict[str, str]) -> Area:
    point = Point(float(row["easting"]), float(row["northing"])) if row["easting"] else None
    return Area(
        code=row["code"],
        kind=AreaKind(row["kind"]),
        name=row["name"],
        parent_code=row["parent_code"] or None,
        former_name=row["former_name"] or None,
        point=point,
    )


def _postcodes(name: str) -> Postcodes:
    try:
        packed = (DATA / name).read_bytes()
    except OSError as error:
        raise BundleError("the postcodes of the data bundle cannot be read") from error
    texts, numbers = columns.decode(packed)
    borough_of = {ward.code: ward.parent_code or "" for ward in wards()}
    try:
        return Postcodes(
            postcode=texts["postcode"],
            easting=numbers["easting"],
            northing=numbers["northing"],
            ward_code=texts["ward_code"],
            borough_code=list(map(borough_of.__getitem__, texts["ward_code"])),
            quality=texts["quality"],
        )
    except KeyError as error:
        raise BundleError("the postcodes of the data bundle do not fit its wards") from error
