"""The bundle's boundary format: to the decimetre and back, with holes and parts."""

import gzip

import pytest
import shapely

from geo.boundary_file import decode, encode
from geo.columns import BundleError

_HOLED = shapely.Polygon(
    [(0, 0), (100.04, 0), (100.04, 100), (0, 100)], [[(10, 10), (10, 20), (20, 20), (20, 10)]]
)
_PARTED = shapely.MultiPolygon([shapely.box(200, 0, 300, 50), shapely.box(400, 0, 500, 50)])


def test_shapes_come_back_to_the_decimetre_with_holes_and_parts() -> None:
    shapes = decode(encode({"B": _PARTED, "A": _HOLED}))
    assert list(shapes) == ["A", "B"]
    assert shapes["B"].equals(_PARTED)
    assert len(shapes["A"].interiors) == 1
    assert shapes["A"].area == pytest.approx(100.0 * 100 - 100)


def test_the_order_of_shapes_does_not_change_the_bytes() -> None:
    assert encode({"A": _HOLED, "B": _PARTED}) == encode({"B": _PARTED, "A": _HOLED})


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no",
        encode({"A": _HOLED})[:-9],
        gzip.compress(b"[]", mtime=0),
        gzip.compress(b"{}", mtime=0),
        gzip.compress(b'{"format": 2, "shapes": {}}', mtime=0),
        gzip.compress(b'{"format": 1, "shapes": {"A": [[[1, 2, 3]]]}}', mtime=0),
        gzip.compress(b'{"format": 1, "shapes": {"A": [[]]}}', mtime=0),
        gzip.compress(b'{"format": 1, "shapes": {"A": [[[0, 0, 1, 1]]]}}', mtime=0),
        gzip.compress(b'{"format": 1, "shapes": []}', mtime=0),
    ],
)
def test_a_damaged_boundary_file_is_an_error_with_words(damaged: bytes) -> None:
    with pytest.raises(BundleError, match="data bundle"):
        decode(damaged)
