"""Make the data beside this file from the publishers' files: ``python -m tests.data.boundary_changes.make --from FOLDER``.

Wards of London as they were in 2014 and 2018, how those of 2018 overlap those of 2022, and the ward of 2014 of each
postcode that is bundled with the program. Equal sources make equal bytes. See NOTICE for whose data these are.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import shape

from geo import boundary_file, columns, releases
from geo.grid import to_grid_arrays

HERE = Path(__file__).parent


def _projected(corners: np.ndarray) -> np.ndarray:
    return np.column_stack(to_grid_arrays(corners[:, 1], corners[:, 0]))


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def _wards(source: Path, year: int) -> None:
    features = json.loads((source / "boundaries" / f"london_wards_{year}.geojson").read_text())["features"]
    # To two metres: enough to say on which side of a street a postcode lies, at a third of the size.
    whole = [shapely.transform(shape(one["geometry"]), _projected) for one in features]
    simple = shapely.coverage_simplify(np.array(whole, dtype=object), 2.0)
    codes = [one["properties"]["ward_code"] for one in features]
    (HERE / f"wards_{year}.json.gz").write_bytes(boundary_file.encode(dict(zip(codes, simple, strict=True))))
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("ward_code", "ward_name", "borough_code"))
    writer.writerows(
        sorted(
            (p["ward_code"], p["ward_name"], p["borough_code"])
            for p in (one["properties"] for one in features)
        )
    )
    (HERE / f"wards_{year}.csv.gz").write_bytes(_packed(lines.getvalue()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, required=True)
    source = parser.parse_args().source
    for year in (2014, 2018):
        _wards(source, year)
    overlap = (source / "boundaries" / "ward_2018_to_2022_overlap.csv").read_text()
    kept = ["old,new,share"]
    kept += [
        f"{row['ward_2018']},{row['ward_2022']},{row['share_of_2018_area']}"
        for row in csv.DictReader(io.StringIO(overlap))
        if float(row["share_of_2018_area"]) >= 0.005
    ]
    (HERE / "overlap_2018_2022.csv.gz").write_bytes(_packed("\n".join(kept) + "\n"))
    with gzip.open(
        source / "postcodes" / "london_postcodes_ward_2014_vs_2025.csv.gz", "rt", newline=""
    ) as lines:
        then = {row["postcode"]: row["ward_2014"] for row in csv.DictReader(lines)}
    live = releases.live_postcodes().postcode
    table = columns.encode({}, {}, {"ward_2014": [then.get(code, "") for code in live]})
    (HERE / "ward_2014.columns.gz").write_bytes(table)


if __name__ == "__main__":
    main()
