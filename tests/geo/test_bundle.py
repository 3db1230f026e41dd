"""Building the bundle from small sources: the same bytes twice, terminated minus live, refusals."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geo import boundary_file, bundle, columns
from geo.columns import BundleError
from geo.grid import Point, to_degrees

_WARDS = {"E05000001": 530_000, "E05000002": 531_000}
_LIVE_HEADER = "postcode,easting,northing,lat,lon,pqi,borough_code,ward_code"
_ENDED_HEADER = "postcode,easting,northing,pqi,borough_code,ward_code"
_UNDATED_HEADER = "postcode,lat,lon,borough_code,ward_code"


def _square(west: int) -> list[list[float]]:
    corners = [
        (west, 180_000),
        (west + 1000, 180_000),
        (west + 1000, 181_000),
        (west, 181_000),
        (west, 180_000),
    ]
    degrees = [to_degrees(Point(*corner)) for corner in corners]
    return [[place.longitude, place.latitude] for place in degrees]


def _feature(code: str, west: int) -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"ward_code": code},
        "geometry": {"type": "Polygon", "coordinates": [_square(west)]},
    }


def _packed(header: str, *rows: str) -> bytes:
    return gzip.compress("\n".join([header, *rows, ""]).encode())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two wards, two boroughs, two live postcodes, terminated ones in both files; a path with a space."""
    root = tmp_path / "with a space"
    for folder in ("lookups", "police", "boundaries", "postcodes"):
        (root / folder).mkdir(parents=True)
    (root / "lookups" / "wards.csv").write_text(
        "ward_code,ward_name_2022,ward_name_2025_12,borough_code,easting,northing\n"
        "E05000002,Old Name,New Name,E09000002,531500,180500\n"
        "E05000001,King’s Cross,King’s Cross,E09000001,530500,180500\n",
        encoding="utf-8",
    )
    (root / "police" / "bcu_boroughs.csv").write_text(
        "bcu_code,bcu_name,borough_code,borough_name,force\n"
        "CE,Central East,E09000002,Hackney,metropolitan\n"
        ",,E09000001,City of London,city-of-london\n",
        encoding="utf-8",
    )
    features = [_feature(code, west) for code, west in _WARDS.items()]
    (root / "boundaries" / "london_wards_2022.geojson").write_text(json.dumps({"features": features}))
    place = to_degrees(Point(530_600, 180_600))
    undated = [f"E1 {n}AA,{place.latitude:.7f},{place.longitude:.7f},E09000001,E05000001" for n in (1, 3, 4)]
    (root / "postcodes" / "london_postcodes_live_2025-10.csv.gz").write_bytes(
        _packed(
            _LIVE_HEADER,
            "E1 2AA,531100,180100,0,0,50,E09000002,E05000002",
            "E1 1AA,530100,180100,0,0,10,E09000001,E05000001",
        )
    )
    (root / "postcodes" / "london_postcodes_terminated_2024-01_to_2025-10.csv.gz").write_bytes(
        _packed(_ENDED_HEADER, "E1 3AA,531200,180200,10,E09000002,E05000002")
    )
    (root / "postcodes" / "london_postcodes_terminated_nspl_2025-05.csv.gz").write_bytes(
        _packed(_UNDATED_HEADER, *undated)
    )
    return root


def test_equal_sources_give_equal_bytes_and_gzip_headers_without_time(source: Path) -> None:
    first, second = bundle.build(source), bundle.build(source)
    assert first == second
    assert [content[4:8] for name, content in first.items() if name.endswith(".gz")] == [b"\0\0\0\0"] * 3


def test_the_files_hold_what_the_sources_say(source: Path) -> None:
    files = bundle.build(source)
    areas = list(csv.DictReader(io.StringIO(files["areas.csv"].decode("utf-8"))))
    assert [(row["code"], row["parent_code"], row["former_name"]) for row in areas] == [
        ("FORCE:city-of-london", "", ""),
        ("FORCE:metropolitan", "", ""),
        ("BCU:CE", "FORCE:metropolitan", ""),
        ("E09000001", "FORCE:city-of-london", ""),
        ("E09000002", "BCU:CE", ""),
        ("E05000001", "E09000001", ""),
        ("E05000002", "E09000002", "Old Name"),
    ]
    texts, numbers = columns.decode(files["live.columns.gz"])
    assert texts["postcode"] == ["E1 1AA", "E1 2AA"]
    assert numbers["easting"] == [530_100, 531_100]
    assert boundary_file.decode(files["boundaries.json.gz"])["E05000001"].area == pytest.approx(1e6, rel=1e-3)
    assert json.loads(files["release.json"])["terminated_postcodes"] == 2


def test_terminated_postcodes_leave_out_live_ones_and_prefer_the_file_on_the_grid(source: Path) -> None:
    texts, numbers = columns.decode(bundle.build(source)["terminated.columns.gz"])
    assert texts["postcode"] == ["E1 3AA", "E1 4AA"]
    assert numbers["easting"] == [531_200, 530_600]
    assert numbers["northing"] == [180_200, 180_600]
    assert texts["ward_code"] == ["E05000002", "E05000001"]


def test_the_command_writes_every_file_and_says_how_large(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new folder" / "data"
    assert bundle.main(["--from", str(source), "--to", str(target)]) == 0
    assert {path.name: path.read_bytes() for path in target.iterdir()} == bundle.build(source)
    assert "live.columns.gz" in capsys.readouterr().out


def test_a_missing_source_is_said_plainly_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.main(["--from", str(tmp_path / "nowhere"), "--to", str(tmp_path / "data")]) == 1
    assert "The data bundle was not built" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def _edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / name
        unpacked = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
        assert old.encode() in unpacked
        changed = unpacked.replace(old.encode(), new.encode(), 1)
        path.write_bytes(gzip.compress(changed) if name.endswith(".gz") else changed)

    return edit


_LIVE = "postcodes/london_postcodes_live_2025-10.csv.gz"
_UNDATED = "postcodes/london_postcodes_terminated_nspl_2025-05.csv.gz"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_edited(_LIVE, "E1 2AA", "E1 1AA"), "stands twice"),
        (_edited(_LIVE, "E1 2AA", "E12AA"), "normal form"),
        (_edited(_LIVE, "E1 2AA", "ELEVEN"), "normal form"),
        (_edited(_LIVE, "E05000002", "E05000009"), "without a live postcode"),
        (_edited(_LIVE, "E09000002", "E09000001"), "in another borough"),
        (_edited(_UNDATED, ",5", ",9"), "has no place"),
        (_edited("lookups/wards.csv", "E05000002", "E05000001"), "stands twice"),
        (_edited("lookups/wards.csv", "E09000002", "E09000003"), "not the boroughs"),
        (_edited("lookups/wards.csv", "531500", "530500"), "not inside its boundary"),
        (_edited("police/bcu_boroughs.csv", "CE,", "C3,"), "not the code of an area"),
        (_edited("police/bcu_boroughs.csv", "metropolitan", "elsewhere"), "elsewhere"),
        (_edited("boundaries/london_wards_2022.geojson", "E05000002", "E05000003"), "the same wards"),
        (_edited("boundaries/london_wards_2022.geojson", "E05000002", "E05000001"), "two boundaries"),
        (_edited("lookups/wards.csv", "ward_code", "wd"), "ward_code"),
    ],
)
def test_sources_that_do_not_fit_together_are_refused(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[Path], None],
    reason: str,
) -> None:
    edit(source)
    assert bundle.main(["--from", str(source), "--to", str(tmp_path / "data")]) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_sources_can_be_refused_by_a_caller_of_build(source: Path) -> None:
    _edited(_LIVE, "E1 2AA", "E1 1AA")(source)
    with pytest.raises(BundleError):
        bundle.build(source)
