"""Shapes that somebody draws: what is read, and what is refused in plain English."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo import shape
from geo.shape import ShapeError

SQUARE = [[530_000, 180_000], [530_100, 180_000], [530_100, 180_100], [530_000, 180_100], [530_000, 180_000]]
HOLE = [[530_020, 180_020], [530_040, 180_020], [530_040, 180_040], [530_020, 180_040], [530_020, 180_020]]
BOW_TIE = [[530_000, 180_000], [530_100, 180_100], [530_100, 180_000], [530_000, 180_100], [530_000, 180_000]]


def polygon(*rings: Any) -> str:
    return json.dumps({"type": "Polygon", "coordinates": list(rings)})


def test_a_polygon_with_a_hole_becomes_a_part_and_what_is_cut_out_of_it() -> None:
    found = shape.read(polygon(SQUARE, HOLE), grid=True)
    assert (len(found.parts), len(found.holes)) == (1, 1)
    assert set(found.parts[0]) == {tuple(map(float, corner)) for corner in SQUARE}
    assert len(found.holes[0]) == 4


def test_degrees_are_put_on_the_grid() -> None:
    ring = [[-0.1, 51.5], [-0.09, 51.5], [-0.09, 51.51], [-0.1, 51.51], [-0.1, 51.5]]
    (part,) = shape.read(polygon(ring)).parts
    assert all(531_000 < x < 534_000 and 179_000 < y < 182_000 for x, y in part)


def test_features_and_collections_are_read_and_parts_that_meet_are_joined() -> None:
    beside = [[x + 100, y] for x, y in SQUARE]
    far = [[x + 500, y] for x, y in SQUARE]
    features = [
        {"type": "Feature", "properties": {}, "geometry": json.loads(polygon(ring))}
        for ring in (SQUARE, beside, far)
    ]
    whole = shape.read(json.dumps({"type": "FeatureCollection", "features": features}), grid=True)
    assert len(whole.parts) == 2
    assert len(shape.read(json.dumps(features[0]), grid=True).parts) == 1
    several = json.dumps({"type": "MultiPolygon", "coordinates": [[SQUARE], [far]]})
    assert len(shape.read(several, grid=True).parts) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not GeoJSON"),
        ("[]", "not GeoJSON"),
        ("[" * 100_000, "not GeoJSON"),
        ('{"type": "Point", "coordinates": [0, 0]}', "polygons"),
        ('{"type": "FeatureCollection", "features": []}', "no shape"),
        ('{"type": "FeatureCollection", "features": 5}', "not GeoJSON"),
        ('{"type": "Feature", "geometry": null}', "polygons"),
        ('{"type": "Polygon", "coordinates": []}', "no outline"),
        ('{"type": "MultiPolygon", "coordinates": []}', "no shape"),
        (polygon(BOW_TIE), "crosses"),
        (polygon(SQUARE[:3]), "positions"),
        (polygon([*SQUARE[:4], [530_001, 180_001]]), "where it begins"),
        (polygon([[x, "180000"] for x, _ in SQUARE]), "pair of numbers"),
        (polygon([[x, True] for x, _ in SQUARE]), "pair of numbers"),
        (polygon([[x, 1e308] for x, _ in SQUARE]), "pair of numbers"),
        (polygon([[x, math.nan] for x, _ in SQUARE]), "pair of numbers"),
        (polygon([[x - 900_000, y] for x, y in SQUARE]), "outside Great Britain"),
        (polygon([[x / 100 + 524_000, y / 100 + 178_000] for x, y in SQUARE]), "smaller than"),
    ],
)
def test_what_is_no_shape_is_refused_in_plain_english(text: str, said: str) -> None:
    with pytest.raises(ShapeError) as refused:
        shape.read(text, grid=True)
    assert said in refused.value.message


def test_grid_metres_taken_for_degrees_are_noticed() -> None:
    with pytest.raises(ShapeError, match="degrees"):
        shape.read(polygon(SQUARE))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["type", "coordinates", "features", "geometry", "properties"]), inner
            )
        ),
    ),
    st.sampled_from(["Polygon", "MultiPolygon", "Feature", "FeatureCollection"]),
)
def test_anything_else_is_refused_and_never_breaks(value: Any, kind: str) -> None:
    document = {"type": kind, "coordinates": value, "geometry": value, "features": value}
    for read in (shape.read, shape.read_wards):
        with pytest.raises(ShapeError):
            read(json.dumps(document), grid=True)


def test_boundaries_of_wards_are_read_by_aliases_of_their_columns() -> None:
    def feature(**properties: str) -> dict[str, Any]:
        return {"type": "Feature", "properties": properties, "geometry": json.loads(polygon(SQUARE))}

    official = feature(WD26CD="E05000001", WD26NM="One", LAD26CD="E09000001")
    ours = feature(ward_code="E05000002", ward_name="Two", borough_code="E09000001")
    found = shape.read_wards(
        json.dumps({"type": "FeatureCollection", "features": [official, ours]}), grid=True
    )
    assert {code: known["name"] for code, (_, known) in found.items()} == {
        "E05000001": "One",
        "E05000002": "Two",
    }
    for wrong in ([ours, ours], [feature(name="x")], []):
        with pytest.raises(ShapeError):
            shape.read_wards(json.dumps({"type": "FeatureCollection", "features": wrong}), grid=True)
