"""Builds geo/data from the publishers' files: `python -m geo.bundle --from ../shared/data [--to geo/data]`.

Run it when a new release is to be shipped with the program, then commit geo/data. Reads, below --from:

- `lookups/wards.csv`: wards, their two names, borough, BCU, force and a representative point;
- `police/bcu_boroughs.csv`: BCUs and their boroughs;
- `boundaries/london_wards_2022.geojson`: ward polygons in WGS84 degrees;
- `postcodes/london_postcodes_live_2025-10.csv.gz`: Code-Point Open's live postcodes in grid metres;
- `postcodes/london_postcodes_terminated_2024-01_to_2025-10.csv.gz`: terminated ones in grid metres;
- `postcodes/london_postcodes_terminated_nspl_2025-05.csv.gz`: terminated ones in WGS84 degrees, used where
  the other two files do not have the postcode.

Refuses sources that do not fit together and then writes nothing. Equal sources make equal bytes.
"""

import argparse
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

from geo import area_codes, boundary_file, columns, postcode
from geo.area_codes import AreaKind
from geo.boundaries import TIDAL_WATER, WardIndex
from geo.columns import BundleError
from geo.grid import Point, to_grid_arrays
from geo.postcode import PostcodeError
from geo.releases import DATA

Row = dict[str, str]

RELEASE = {
    "id": "cpo-2025-10",
    "name": "OS Code-Point Open 2025.4 (October 2025)",
    "date": "2025-10-01",
    "boundaries": "Electoral wards in force from May 2022 (ONS, generalised to 20 m)",
}
_FORCE_NAMES = {"metropolitan": "Metropolitan Police", "city-of-london": "City of London Police"}
_WARD_FIELDS = {"ward_code", "ward_name_2022", "ward_name_2025_12", "borough_code", "easting", "northing"}
_POLICE_FIELDS = {"bcu_code", "bcu_name", "borough_code", "borough_name", "force"}
_GRID_FIELDS = {"postcode", "easting", "northing", "pqi", "borough_code", "ward_code"}
_DEGREE_FIELDS = {"postcode", "lat", "lon", "borough_code", "ward_code"}
_AREA_FIELDS = ("code", "kind", "name", "parent_code", "former_name", "easting", "northing")

# Gaps between wards up to twice as wide are closed to find the river; the Thames at Erith is some 700 m wide.
_CLOSING_METRES = 500.0
# The river has 20 km²; the largest other gap, a notch in London's edge, 0.6.
_LEAST_RIVER_SQUARE_METRES = 5_000_000.0
_RIVER_SIMPLIFIED_METRES = 5.0


def build(source: Path) -> dict[str, bytes]:
    """The contents of every file of the bundle by name. Raises ValueError (mostly BundleError) or OSError."""
    ward_rows = sorted(
        _read(source / "lookups" / "wards.csv", _WARD_FIELDS), key=lambda row: row["ward_code"]
    )
    area_rows = _areas(ward_rows, _read(source / "police" / "bcu_boroughs.csv", _POLICE_FIELDS))
    borough_of = {row["ward_code"]: row["borough_code"] for row in ward_rows}
    shapes = _shapes(source / "boundaries" / "london_wards_2022.geojson")
    _check_shapes(shapes, ward_rows)

    postcodes = source / "postcodes"
    live = _read(postcodes / "london_postcodes_live_2025-10.csv.gz", _GRID_FIELDS)
    ended = _ended(
        _read(postcodes / "london_postcodes_terminated_2024-01_to_2025-10.csv.gz", _GRID_FIELDS),
        _read(postcodes / "london_postcodes_terminated_nspl_2025-05.csv.gz", _DEGREE_FIELDS),
        {row["postcode"] for row in live},
    )
    unused = borough_of.keys() - {row["ward_code"] for row in live}
    if unused:
        raise BundleError(f"wards without a live postcode: {', '.join(sorted(unused))}")

    kinds = [row["kind"] for row in area_rows]
    described = {
        **RELEASE,
        "wards": kinds.count(AreaKind.WARD),
        "boroughs": kinds.count(AreaKind.BOROUGH),
        "bcus": kinds.count(AreaKind.BCU),
        "forces": kinds.count(AreaKind.FORCE),
        "live_postcodes": len(live),
        "terminated_postcodes": len(ended),
    }
    return {
        "release.json": (json.dumps(described, indent=2) + "\n").encode("utf-8"),
        "areas.csv": _csv(area_rows),
        "boundaries.json.gz": boundary_file.encode({**shapes, **_river(shapes.values())}),
        "live.columns.gz": _table(live, borough_of),
        "terminated.columns.gz": _table(ended, borough_of),
    }


def main(arguments: list[str] | None = None) -> int:
    """Build and write the bundle; 0, or 1 with a plain message when the sources are missing or do not fit."""
    parser = argparse.ArgumentParser(
        prog="python -m geo.bundle", description="Build the bundled London data."
    )
    parser.add_argument(
        "--from", dest="source", type=Path, required=True, help="folder of the publishers' files"
    )
    parser.add_argument(
        "--to", dest="target", type=Path, default=DATA, help="where to write (default: geo/data)"
    )
    options = parser.parse_args(arguments)
    try:
        files = build(options.source)
        options.target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (options.target / name).write_bytes(content)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"The data bundle was not built: {error}\n")
        return 1
    for name, content in files.items():
        sys.stdout.write(f"{name}: {len(content):,} bytes\n")
    return 0


def _read(path: Path, fields: Set[str]) -> list[Row]:
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (EOFError, UnicodeDecodeError, gzip.BadGzipFile, zlib.error) as error:
        raise BundleError(f"{path.name} is damaged") from error
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    missing = sorted(fields - rows[0].keys()) if rows else ["any row"]
    if missing:
        raise BundleError(f"{path.name} lacks {', '.join(missing)}")
    return rows


def _areas(ward_rows: list[Row], police_rows: list[Row]) -> list[Row]:
    """Every area as a row of areas.csv, parents before children."""
    forces: dict[str, Row] = {}
    bcus: dict[str, Row] = {}
    boroughs: dict[str, Row] = {}
    for row in sorted(police_rows, key=lambda row: row["borough_code"]):
        if row["force"] not in _FORCE_NAMES:
            raise BundleError(f"no name is known for the force {row['force']}")
        force = area_codes.force_code(row["force"])
        forces[force] = _area(force, AreaKind.FORCE, _FORCE_NAMES[row["force"]], "")
        parent = force
        if row["bcu_code"]:
            parent = area_codes.bcu_code(row["bcu_code"])
            bcus[parent] = _area(parent, AreaKind.BCU, row["bcu_name"], force)
        boroughs[row["borough_code"]] = _area(
            row["borough_code"], AreaKind.BOROUGH, row["borough_name"], parent
        )
    wards = {row["ward_code"]: _ward(row) for row in ward_rows}
    if len(wards) != len(ward_rows) or len(boroughs) != len(police_rows):
        raise BundleError("a ward or a borough stands twice in its table")
    if {ward["parent_code"] for ward in wards.values()} != boroughs.keys():
        raise BundleError("the boroughs of the wards are not the boroughs of the police table")
    ordered = [row for group in (forces, bcus, boroughs, wards) for _, row in sorted(group.items())]
    for row in ordered:
        if area_codes.kind_of(row["code"]) != row["kind"]:
            raise BundleError(f"{row['code']} is not the code of a {row['kind']}")
    return ordered


def _area(code: str, kind: AreaKind, name: str, parent: str) -> Row:
    return {
        **dict.fromkeys(_AREA_FIELDS, ""),
        "code": code,
        "kind": kind,
        "name": name,
        "parent_code": parent,
    }


def _ward(row: Row) -> Row:
    former = row["ward_name_2022"] if row["ward_name_2022"] != row["ward_name_2025_12"] else ""
    area = _area(row["ward_code"], AreaKind.WARD, row["ward_name_2025_12"], row["borough_code"])
    return {**area, "former_name": former, "easting": row["easting"], "northing": row["northing"]}


def _csv(rows: list[Row]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _AREA_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _shapes(path: Path) -> dict[str, Any]:
    import numpy as np
    import shapely
    from shapely.geometry import shape

    def projected(corners: Any) -> Any:
        return np.column_stack(to_grid_arrays(corners[:, 1], corners[:, 0]))

    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    shapes = {
        feature["properties"]["ward_code"]: shapely.transform(shape(feature["geometry"]), projected)
        for feature in features
    }
    if len(shapes) != len(features):
        raise BundleError("a ward has two boundaries")
    return shapes


def _check_shapes(shapes: Mapping[str, Any], ward_rows: list[Row]) -> None:
    if shapes.keys() != {row["ward_code"] for row in ward_rows}:
        raise BundleError("the boundaries and the table of wards do not hold the same wards")
    shipped = boundary_file.decode(boundary_file.encode(shapes))
    index = WardIndex(shipped)
    for row in ward_rows:
        code = row["ward_code"]
        if not shipped[code].is_valid:
            raise BundleError(f"the boundary of {code} crosses itself")
        if index.ward_at(Point(float(row["easting"]), float(row["northing"]))) != code:
            raise BundleError(f"the representative point of {code} is not inside its boundary")


def _river(shapes: Iterable[Any]) -> dict[str, Any]:
    """The tidal Thames: the one great gap between wards. Empty where there is none."""
    import shapely

    land = shapely.union_all(list(shapes))
    gaps = land.buffer(_CLOSING_METRES).buffer(-_CLOSING_METRES).difference(land)
    widest = max(getattr(gaps, "geoms", [gaps]), key=lambda gap: gap.area)
    if widest.area < _LEAST_RIVER_SQUARE_METRES:
        return {}
    # Widened by as much as simplifying may cut off; where it then covers land, that ward is found first.
    return {TIDAL_WATER: widest.buffer(_RIVER_SIMPLIFIED_METRES).simplify(_RIVER_SIMPLIFIED_METRES)}


def _ended(dated: list[Row], undated: list[Row], live: set[str]) -> list[Row]:
    """Terminated postcodes in grid metres, none of them live; the dated file, already on the grid, wins."""
    eastings, northings = to_grid_arrays(
        [float(row["lat"]) for row in undated], [float(row["lon"]) for row in undated]
    )
    ended: dict[str, Row] = {}
    for row, easting, northing in zip(undated, eastings.round(), northings.round(), strict=True):
        if easting != easting:
            raise BundleError("a terminated postcode has no place")
        ended[row["postcode"]] = {
            **row,
            "easting": str(int(easting)),
            "northing": str(int(northing)),
            "pqi": "",
        }
    ended.update((row["postcode"], row) for row in dated)
    return [row for code, row in ended.items() if code not in live]


def _table(rows: list[Row], borough_of: Mapping[str, str]) -> bytes:
    rows = sorted(rows, key=lambda row: row["postcode"])
    if len({row["postcode"] for row in rows}) != len(rows):
        raise BundleError("a postcode stands twice in its table")
    for row in rows:
        if borough_of.get(row["ward_code"]) != row["borough_code"]:
            raise BundleError("a postcode has a ward that is unknown or in another borough")
        if not _is_normal(row["postcode"]):
            raise BundleError("a postcode is not in normal form")
    return columns.encode(
        texts={"postcode": [row["postcode"] for row in rows]},
        deltas={name: [int(row[name]) for row in rows] for name in ("easting", "northing")},
        coded={"ward_code": [row["ward_code"] for row in rows], "quality": [row["pqi"] for row in rows]},
    )


def _is_normal(text: str) -> bool:
    try:
        return postcode.parse(text) == text
    except PostcodeError:
        return False


if __name__ == "__main__":
    sys.exit(main())
