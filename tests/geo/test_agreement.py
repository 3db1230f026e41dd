"""The official table against the boundaries, over every live postcode."""

import shapely

from geo import boundaries, releases
from geo.agreement import Disagreement, disagreements
from geo.boundaries import WardIndex
from geo.releases import Postcodes


def test_table_and_boundaries_agree_on_at_least_998_of_1000_postcodes() -> None:
    listed = disagreements()
    assert 0 < len(listed) <= 0.002 * 180_792
    assert [one.postcode for one in listed] == sorted({one.postcode for one in listed})
    assert all(one.table_ward != one.boundary_ward for one in listed)
    assert max(one.metres for one in listed) < 65


def test_no_live_postcode_is_outside_every_ward() -> None:
    live = releases.live_postcodes()
    assert None not in boundaries.london().wards_at(live.easting, live.northing)


def test_a_disagreement_names_both_wards_and_the_distance() -> None:
    index = WardIndex(
        {"E05000001": shapely.box(0, 0, 1000, 1000), "E05000002": shapely.box(1000, 0, 2000, 1000)}
    )
    table = Postcodes(
        postcode=["SE5 0AA", "SE5 0AB", "SE5 0AD"],
        easting=[500, 1012, 5000],
        northing=[500, 500, 500],
        ward_code=["E05000001", "E05000001", "E05000002"],
        borough_code=["E09000001"] * 3,
        quality=["10"] * 3,
    )
    assert disagreements(table, index) == [
        Disagreement("SE5 0AB", "E05000001", "E05000002", 12.0),
        Disagreement("SE5 0AD", "E05000002", None, 3000.0),
    ]


def test_an_empty_table_has_no_disagreement() -> None:
    assert disagreements(Postcodes([], [], [], [], [], [])) == []
