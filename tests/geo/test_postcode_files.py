"""Postcode products in their publishers' layouts: columns by alias, London alone, faults by line."""

from __future__ import annotations

import gzip
import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo import change_tables, postcode_files
from geo.postcode_files import Fault, PostcodeFileError, Row, Told

NSPL_2025 = (
    "pcd7,pcd8,pcds,dointr,doterm,usrtypind,east1m,north1m,gridind,oa21cd,cty25cd,ced25cd,lad25cd,wd25cd,nhser24cd,"
    "ctry25cd,rgn25cd,pcon24cd,ttwa15cd,itl25cd,npark16cd,lsoa21cd,msoa21cd,wz11cd,sicbl24cd,bua24cd,ruc21ind,oac11ind,"
    "lat,long,lep21cd1,lep21cd2,pfa23cd,imd20ind,icb23cd"
)
NSPL_2024 = (
    "pcd,pcd2,pcds,dointr,doterm,usertype,oseast1m,osnrth1m,osgrdind,oa21,cty,ced,laua,ward,nhser,ctry,rgn,pcon,ttwa,itl,"
    "npark,lsoa21,msoa21,wz11,sicbl,bua22,ru11ind,oac11,lat,long,lep1,lep2,pfa,imd,icb"
)
ONSPD_2023 = (
    "pcd,pcd2,pcds,dointr,doterm,oscty,ced,oslaua,osward,parish,usertype,oseast1m,osnrth1m,osgrdind,oshlthau,nhser,ctry,"
    "rgn,streg,pcon,eer,teclec,ttwa,pct,itl,statsward,oa01,casward,park,lsoa01,msoa01,ur01ind,oac01,oa11,lsoa11,msoa11,"
    "wz11,sicbl,bua11,buasd11,ru11ind,oac11,lat,long,lep1,lep2,pfa,imd,calncv,icb,oa21,lsoa21,msoa21"
)
CODE_POINT = '"{pcds}",10,{east},{north},"E92000001","E19000003","E18000007","","{lad}","{ward}"\r\n'
EXPECTED = [
    Row("SW1A 1AA", 529_090, 179_645, "E05013806", "E09000033", 10, True),
    Row("E1 6AA", 533_500, 181_900, "E05009336", "E09000030", 10, True),
]


def ons(header: str, *rows: dict[str, str]) -> str:
    """A table with this header; each row's columns by what they mean."""
    names = header.split(",")
    aliases = {
        "pcds": ("pcds",),
        "doterm": ("doterm",),
        "east": ("oseast1m", "east1m"),
        "north": ("osnrth1m", "north1m"),
        "grid": ("osgrdind", "gridind"),
        "lad": ("laua", "oslaua", "lad25cd"),
        "ward": ("ward", "osward", "wd25cd"),
        "pcd": ("pcd", "pcd7"),
    }
    lines = [header]
    for row in rows:
        cells = dict.fromkeys(names, "")
        for meaning, value in row.items():
            cells[next(name for name in aliases[meaning] if name in cells)] = value
        lines.append(",".join(f'"{cell}"' for cell in cells.values()))
    return "\r\n".join(lines) + "\r\n"


def given_rows(*, live: str = "") -> list[dict[str, str]]:
    return [
        {
            "pcds": row.postcode, "pcd": row.postcode.replace(" ", "").ljust(7), "east": str(row.easting),
            "north": str(row.northing), "grid": "10", "lad": row.borough_code, "ward": row.ward_code, "doterm": live,
        }
        for row in EXPECTED
    ]  # fmt: skip


def read(path: Path) -> tuple[list[Row], Told]:
    told = Told()
    return list(postcode_files.rows(path, told)), told


@pytest.mark.parametrize("header", [NSPL_2024, NSPL_2025, NSPL_2025.replace("25cd", "26cd"), ONSPD_2023])
def test_onspd_and_nspl_are_read_whatever_their_columns_are_called(header: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    elsewhere = {"pcds": "M1 1AE", "lad": "E08000003", "ward": "E05000001", "east": "1", "north": "1"}
    text = ons(header.replace("lad26cd", "lad25cd").replace("wd26cd", "wd25cd"), *given_rows(), elsewhere)
    if "lad26cd" in header:
        text = text.replace("lad25cd", "lad26cd", 1).replace("wd25cd", "wd26cd", 1)
    path.write_text(text, encoding="utf-8-sig")
    rows, told = read(path)
    assert rows == EXPECTED
    assert (told.lines, told.london, told.faulty) == (3, 2, 0)


def test_what_has_ended_and_what_has_no_location_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    nowhere = {**given_rows()[0], "grid": "9", "east": "", "north": ""}
    path.write_text(ons(NSPL_2025, given_rows(live="202406")[0], nowhere))
    rows, told = read(path)
    assert [row.live for row in rows] == [False]
    assert told.nowhere == 1


def test_code_point_open_has_no_header_and_pads_its_postcodes(tmp_path: Path) -> None:
    lines = [CODE_POINT.format(**row) for row in given_rows()]
    lines[1] = lines[1].replace("E1 6AA", "E1  6AA")
    none = lines[0].replace(",10,", ",90,")
    archive = tmp_path / "codepo_gb.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("Doc/Code-Point_Open_Column_Headers.csv", "PC,PQ,EA,NO,CY,RH,LH,CC,DC,WC\r\n")
        made.writestr("Data/CSV/sw.csv", lines[0] + none)
        made.writestr("Data/CSV/e.csv", lines[1])
    rows, told = read(archive)
    assert sorted(rows) == sorted(EXPECTED)
    assert told.nowhere == 1
    read_bytes: list[int] = []
    list(postcode_files.rows(archive, Told(), read_bytes.append))
    assert sum(read_bytes) == postcode_files.size(archive) > 0


def test_an_official_zip_brings_the_names_of_wards_and_its_whole_table_is_read_once(tmp_path: Path) -> None:
    table = ons(NSPL_2025, *given_rows())
    archive = tmp_path / "NSPL.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("Data/NSPL_AUG_2025_UK.csv", table)
        made.writestr("Data/multi_csv/NSPL_AUG_2025_UK_E.csv", table)
        made.writestr(
            "Documents/Ward names and codes UK as at 05_25.csv",
            "﻿WD25CD,WD25NM\r\nE05009336,Whitechapel\r\nW05000001,Not ours\r\n",
        )
    rows, told = read(archive)
    assert rows == EXPECTED
    assert told.names == {"E05009336": "Whitechapel"}


def test_lines_that_cannot_be_read_are_told_by_number_and_not_by_content(tmp_path: Path) -> None:
    good = given_rows()[0]
    wrong = [
        {**good, "pcds": "SECRET"},
        {**good, "east": "12.5"},
        {**good, "east": "1"},
        {**good, "ward": "X05"},
        {**good, "doterm": "2024"},
        {**good, "grid": "-1"},
    ]
    path = tmp_path / "table.csv"
    path.write_text(ons(NSPL_2025, good, *wrong) + "a,b\r\n" + '"broken\r\n')
    rows, told = read(path)
    assert len(rows) == 1
    assert [fault.line for fault in told.faults] == list(range(3, 11))
    assert "SECRET" not in repr(told)
    assert told.faults[0] == Fault("table.csv", 3, "has no postcode")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.csv", b"", "empty"),
        ("other.csv", b"a,b,c\r\n1,2,3\r\n", "neither"),
        ("long.csv", b"x" * 30_000, "too long"),
        ("bad.csv.gz", gzip.compress(b"pcds", mtime=0)[:10], "damaged"),
    ],
)
def test_a_file_of_another_kind_is_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PostcodeFileError, match=said):
        read(path)


def test_a_zip_without_tables_or_cut_short_is_refused(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("readme.csv", "nothing")
    path = tmp_path / "x.zip"
    path.write_bytes(packed.getvalue())
    with pytest.raises(PostcodeFileError, match="no Data folder"):
        read(path)


def test_a_long_file_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    block = ons(NSPL_2025, *given_rows() * 2_000)
    with path.open("w") as file:
        for _ in range(5):
            file.write(block)
            block = block.partition("\r\n")[2] or block
    tracemalloc.start()
    count = sum(1 for _ in postcode_files.rows(path, Told()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 15_000
    assert path.stat().st_size > 2_000_000
    assert peak < 4_000_000 + postcode_files.MOST_FAULTS * 1_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(body=st.binary(max_size=400), headed=st.booleans())
def test_any_bytes_after_a_header_are_rows_or_faults_and_nothing_else(
    body: bytes, headed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes((NSPL_2024.encode() + b"\n" if headed else b"") + body)
    told = Told()
    try:
        rows = list(postcode_files.rows(path, told))
    except PostcodeFileError:
        return
    assert len(rows) + told.faulty + told.nowhere <= told.lines


def test_small_tables_are_read_by_their_columns_and_wrong_lines_are_named(tmp_path: Path) -> None:
    def file(text: str) -> Path:
        path = tmp_path / "small.csv"
        path.write_text(text)
        return path

    assert change_tables.names(file("WD26CD,WD26NM\nE05000001,One\n")) == {"E05000001": "One"}
    assert change_tables.wards(file("postcode,ward\nsw1a1aa,E05000001\n\n")) == {"SW1A 1AA": "E05000001"}
    assert change_tables.shares(file("share,new,old\n0.5,E05000002,E05000001\n")) == {
        "E05000001": {"E05000002": 0.5}
    }
    for read_one, text in (
        (change_tables.names, "a,b\n1,2\n"),
        (change_tables.wards, "postcode,ward\nnonsense,E05000001\n"),
        (change_tables.wards, "postcode,ward\nE1 6AA,E05000001\nE16AA,E05000002\n"),
        (change_tables.wards, "postcode\nE1 6AA\n"),
        (change_tables.wards, "postcode,ward\nE1 6AA\n"),
        (change_tables.shares, "old,new,share\na,b,2\n"),
        (change_tables.shares, "old,new,share\na,b,nan\n"),
    ):
        with pytest.raises(PostcodeFileError):
            read_one(file(text))
    (tmp_path / "small.csv").write_bytes(b"\xff\xfe\x00postcode")
    with pytest.raises(PostcodeFileError):
        change_tables.wards(tmp_path / "small.csv")
