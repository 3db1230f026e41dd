"""The bundled release: counts, uniqueness, families of areas, and text that COPY can take."""

from datetime import date

import pytest

from geo import boundaries, postcode, releases
from geo.area_codes import AreaKind, kind_of
from geo.releases import Postcodes


@pytest.fixture(scope="module")
def live() -> Postcodes:
    return releases.live_postcodes()


@pytest.fixture(scope="module")
def terminated() -> Postcodes:
    return releases.terminated_postcodes()


def test_the_release_describes_what_is_in_it(live: Postcodes, terminated: Postcodes) -> None:
    release = releases.release()
    assert (release.id, release.date) == ("cpo-2025-10", date(2025, 10, 1))
    assert release.wards == len(releases.wards()) == 704
    assert release.boroughs == len(releases.boroughs()) == 33
    assert release.bcus == len(releases.bcus()) == 12
    assert release.forces == len(releases.forces()) == 2
    assert release.live_postcodes == len(live) == 180_792
    assert release.terminated_postcodes == len(terminated) == 151_091


def test_every_area_has_a_code_of_its_kind_and_a_parent_that_comes_before_it() -> None:
    parents = {
        AreaKind.FORCE: {None},
        AreaKind.BCU: {AreaKind.FORCE},
        AreaKind.BOROUGH: {AreaKind.BCU, AreaKind.FORCE},
        AreaKind.WARD: {AreaKind.BOROUGH},
    }
    seen: set[str] = set()
    for area in releases.areas():
        assert kind_of(area.code) is area.kind
        assert area.name.strip() == area.name != ""
        assert (kind_of(area.parent_code) if area.parent_code else None) in parents[area.kind]
        assert area.parent_code is None or area.parent_code in seen
        assert area.code not in seen
        seen.add(area.code)


def test_only_the_city_of_london_hangs_directly_on_its_force() -> None:
    direct = [
        borough for borough in releases.boroughs() if kind_of(borough.parent_code or "") is AreaKind.FORCE
    ]
    assert [(borough.name, borough.parent_code) for borough in direct] == [
        ("City of London", "FORCE:city-of-london")
    ]
    assert sum(ward.parent_code == direct[0].code for ward in releases.wards()) == 25


def test_two_wards_keep_their_former_name() -> None:
    renamed = {ward.code for ward in releases.wards() if ward.former_name is not None}
    assert renamed == {"E05009317", "E05009331"}
    assert all(ward.former_name != ward.name for ward in releases.wards())


def test_each_wards_point_is_inside_its_boundary() -> None:
    index = boundaries.london()
    for ward in releases.wards():
        assert ward.point is not None
        assert index.ward_at(ward.point) == ward.code


def test_live_postcodes_are_unique_sorted_and_cover_every_ward(live: Postcodes) -> None:
    assert live.postcode == sorted(set(live.postcode))
    assert set(live.ward_code) == {ward.code for ward in releases.wards()}


def test_each_postcodes_borough_is_its_wards(live: Postcodes, terminated: Postcodes) -> None:
    borough_of = {ward.code: ward.parent_code for ward in releases.wards()}
    for table in (live, terminated):
        assert [borough_of[ward] for ward in table.ward_code] == table.borough_code


def test_every_bundled_postcode_is_its_own_normal_form(live: Postcodes, terminated: Postcodes) -> None:
    for table in (live, terminated):
        assert all(postcode.parse(code) == code for code in table.postcode)


def test_no_terminated_postcode_is_live_and_all_lie_in_london(live: Postcodes, terminated: Postcodes) -> None:
    assert terminated.postcode == sorted(set(terminated.postcode))
    assert not set(live.postcode) & set(terminated.postcode)
    assert 503_000 < min(terminated.easting) < max(terminated.easting) < 562_000
    assert 155_000 < min(terminated.northing) < max(terminated.northing) < 201_000


def test_a_row_is_the_official_one(live: Postcodes) -> None:
    # The first rows of Code-Point Open 2025.4's br.csv and a terminated postcode of the same street.
    assert next(live.rows()) == ("BR1 1AA", 540291, 168873, "E05013991", "E09000006", "10")
    assert set(live.quality) == {"10", "30", "50"}


def test_copy_text_holds_every_row_once_in_order(live: Postcodes) -> None:
    template = "{postcode}\t({easting},{northing})\t{ward_code}\t{borough_code}\t{quality}\tcpo-2025-10\n"
    blocks = list(live.copy_text(template))
    assert len(blocks) > 1
    lines = b"".join(blocks).decode().splitlines()
    assert lines[0] == "BR1 1AA\t(540291,168873)\tE05013991\tE09000006\t10\tcpo-2025-10"
    assert len(lines) == 180_792
    assert [line.partition("\t")[0] for line in lines] == live.postcode


def test_copy_text_refuses_an_unknown_column(live: Postcodes) -> None:
    with pytest.raises(KeyError):
        next(live.copy_text("{nonsense}\n"))
