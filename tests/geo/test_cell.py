"""Cells: five live postcodes in each, no gap, no overlap, and the same every time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geo import releases
from geo.cell import LEAST, LINE, NARROWEST, Cell, cells
from geo.grid import LONDON_EAST, LONDON_NORTH, LONDON_SOUTH, LONDON_WEST

Spots = list[tuple[int, int]]
# Close together, so that many share a line or a spot.
spots = st.lists(
    st.tuples(st.integers(530_000, 530_900), st.integers(180_000, 180_900)), min_size=0, max_size=120
)


def made(of: Spots, least: int = LEAST) -> list[Cell]:
    return cells([e for e, _ in of], [n for _, n in of], least)


def holders(
    found: list[Cell], eastings: NDArray[np.int64], northings: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each position how many cells hold it (half open), by a sweep in blocks."""
    box = np.array(found)
    held = np.zeros(len(eastings), dtype=np.int64)
    for part in np.array_split(np.arange(len(box)), max(1, len(box) // 500)):
        west, south, east, north = box[part, :4].T
        held += (
            (eastings[:, None] >= west)
            & (eastings[:, None] < east)
            & (northings[:, None] >= south)
            & (northings[:, None] < north)
        ).sum(axis=1)
    return held


def covered(found: list[Cell]) -> tuple[int, int, int, int]:
    return (
        min(c.west for c in found),
        min(c.south for c in found),
        max(c.east for c in found),
        max(c.north for c in found),
    )


def check(found: list[Cell], of: Spots, least: int) -> None:
    """A partition of one rectangle, with the right postcodes in each, and enough of them."""
    west, south, east, north = covered(found)
    assert west <= LONDON_WEST and east >= LONDON_EAST and south <= LONDON_SOUTH and north >= LONDON_NORTH
    assert sum((c.east - c.west) * (c.north - c.south) for c in found) == (east - west) * (north - south)
    for one in found:
        inside = [(e, n) for e, n in of if one.west <= e < one.east and one.south <= n < one.north]
        assert one.postcodes == len(inside)
        assert len(set(inside)) >= least
        assert all(edge % LINE == 0 for edge in one[:4])
        assert min(one.east - one.west, one.north - one.south) >= NARROWEST
    # The areas add up to the whole and every postcode is in one: an overlap would leave a gap.
    assert sum(c.postcodes for c in found) == len(of)


@settings(max_examples=60)
@given(of=spots, least=st.sampled_from([1, 2, 5]))
def test_every_cell_holds_enough_and_together_they_are_the_whole(of: Spots, least: int) -> None:
    found = made(of, least)
    if len(set(of)) < least or not of:
        assert found == []
    else:
        check(found, of, least)
        at = np.random.default_rng(1).integers([529_900, 179_900], [531_000, 181_000], (300, 2))
        edges = np.array([(c.west, c.south) for c in found])
        every = np.concatenate([at, edges])
        assert (holders(found, every[:, 0], every[:, 1]) == 1).all()


@given(of=spots, seed=st.randoms(use_true_random=False))
def test_the_same_postcodes_give_the_same_cells_in_any_order(of: Spots, seed: object) -> None:
    shuffled = list(of)
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert made(of) == made(shuffled)


def test_postcodes_of_one_spot_count_once() -> None:
    office = [(530_000, 180_000)] * 40
    assert made(office) == []
    houses = [(530_500 + 100 * n, 180_500) for n in range(5)]
    both = made([*office, *houses])
    assert [one.postcodes for one in both] == [45], "forty at one spot are no cell of their own"


def test_ten_far_apart_are_two_cells_cut_between_them() -> None:
    west = [(530_000, 180_000 + 60 * n) for n in range(5)]
    east = [(550_000, 180_000 + 60 * n) for n in range(5)]
    left, right = made([*west, *east])
    assert (left.postcodes, right.postcodes) == (5, 5)
    assert left.east == right.west == 540_000


def test_a_postcode_beyond_london_is_in_a_cell_too() -> None:
    far = [(400_000 + 300 * n, 300_000) for n in range(6)]
    check(made(far), far, LEAST)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_coordinate_that_is_no_number_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="no number"):
        cells([wrong] * 6, [1.0] * 6)


# -- the whole of London
@pytest.fixture(scope="module")
def london() -> Iterator[tuple[list[Cell], NDArray[np.int64], NDArray[np.int64]]]:
    table = releases.live_postcodes()
    yield cells(table.easting, table.northing), np.array(table.easting), np.array(table.northing)


def test_every_cell_of_london_holds_five_live_postcodes(
    london: tuple[list[Cell], NDArray[np.int64], NDArray[np.int64]],
) -> None:
    found, eastings, northings = london
    box = np.array(found)
    assert len(found) > 25_000, "or search would say little"
    # Counted anew, one cell of each row of a sorted table at a time.
    order = np.argsort(eastings, kind="stable")
    sorted_e, sorted_n = eastings[order], northings[order]
    begin, end = np.searchsorted(sorted_e, box[:, 0]), np.searchsorted(sorted_e, box[:, 2])
    for (_, south, _, north, postcodes), low, high in zip(found, begin, end, strict=True):
        strip = sorted_n[low:high]
        inside = (strip >= south) & (strip < north)
        assert postcodes == inside.sum() >= 5
    assert box[:, 4].sum() == len(eastings) == releases.release().live_postcodes
    west, south, east, north = covered(found)
    sides = box[:, 2:4] - box[:, 0:2]
    assert sides.min() >= NARROWEST
    assert (sides[:, 0] * sides[:, 1]).sum() == (east - west) * (north - south)
    some = slice(0, None, 600)
    assert (holders(found, eastings[some], northings[some]) == 1).all()
