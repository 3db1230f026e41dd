"""Cells: rectangles of the ground that hold at least five live postcodes each, so that none of them is anybody.

The register's blind answers speak of cells. The ground is divided like a k-d tree: a rectangle is cut across its
longer side near the median of its postcodes, as long as both halves keep enough. Every position inside the whole
lies in exactly one cell: western and southern edges belong to it, eastern and northern ones to its neighbour.

Postcodes of one spot count once (a sorting office has dozens of its own, and a single neighbour), and no cell is
narrower than 50 m: a sliver between two streets would be somebody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from geo.grid import LONDON_EAST, LONDON_NORTH, LONDON_SOUTH, LONDON_WEST

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Numbers = NDArray[np.int64]

# The rule of the register.
LEAST = 5
# Metres: the lines along which the ground may be cut, and the narrowest that a cell may be.
LINE = 10
NARROWEST = 50
# What lies round London belongs to its outermost cells: kilometres are no matter there.
_MARGIN = 5_000


class Cell(NamedTuple):
    """A rectangle in whole grid metres, and how many live postcodes lie in it."""

    west: int
    south: int
    east: int
    north: int
    postcodes: int


def cells(eastings: ArrayLike, northings: ArrayLike, least: int = LEAST) -> list[Cell]:
    """The cells of these postcodes (grid metres, one pair each), from south-west to north-east.

    The same postcodes give the same cells, in whatever order they come. Fewer than `least` different spots give
    none. Raises ValueError for a coordinate that is no number.
    """
    import numpy as np

    given = np.stack([np.asarray(eastings, dtype=np.float64), np.asarray(northings, dtype=np.float64)])
    if not np.isfinite(given).all():
        raise ValueError("a coordinate of a postcode is no number")
    metres, postcodes = np.unique(given, axis=1, return_counts=True)
    if metres.shape[1] < least:
        return []
    # Numbers of lines instead of metres: between two different ones a cut is possible.
    spots = np.floor(metres / LINE).astype(np.int64)
    low = np.minimum([LONDON_WEST, LONDON_SOUTH], spots.min(axis=1) * LINE) - _MARGIN
    high = np.maximum([LONDON_EAST, LONDON_NORTH], (spots.max(axis=1) + 1) * LINE) + _MARGIN
    # A row per rectangle still to be cut: west, south, east, north in lines; for each spot the number of its row.
    boxes = np.concatenate([low // LINE, -(-high // LINE)])[None, :].astype(np.int64)
    owner = np.zeros(spots.shape[1], dtype=np.int64)
    found: list[Cell] = []
    while len(boxes):
        axis, line = _cuts(boxes, spots, owner, least)
        whole = line < 0
        held = np.bincount(owner, weights=postcodes, minlength=len(boxes)).astype(np.int64)
        found += [
            Cell(west * LINE, south * LINE, east * LINE, north * LINE, count)
            for (west, south, east, north), count in zip(
                boxes[whole].tolist(), held[whole].tolist(), strict=True
            )
        ]
        left = ~whole[owner]
        spots, owner, postcodes = spots[:, left], owner[left], postcodes[left]
        beyond = _along(spots, axis[owner]) >= line[owner]
        owner = 2 * (np.cumsum(~whole) - 1)[owner] + beyond
        boxes = _halves(boxes[~whole], axis[~whole], line[~whole])
    return sorted(found, key=lambda cell: (cell.south, cell.west))


def _along(spots: Numbers, axis: Numbers) -> Numbers:
    import numpy as np

    along: Numbers = np.where(axis == 0, spots[0], spots[1])
    return along


def _halves(boxes: Numbers, axis: Numbers, line: Numbers) -> Numbers:
    """Two rectangles for each, the lower one first."""
    import numpy as np

    row = np.arange(len(boxes))
    lower, upper = boxes.copy(), boxes.copy()
    lower[row, 2 + axis] = line
    upper[row, axis] = line
    return np.stack([lower, upper], axis=1).reshape(-1, 4)


def _cuts(boxes: Numbers, spots: Numbers, owner: Numbers, least: int) -> tuple[Numbers, Numbers]:
    """For each rectangle the axis to cut across and the line to cut along, −1 if it stays whole."""
    import numpy as np

    longer = (boxes[:, 3] - boxes[:, 1] > boxes[:, 2] - boxes[:, 0]).astype(np.int64)
    line = _lines(boxes, spots, owner, longer, least)
    whole = line < 0
    again = whole[owner]
    other = _lines(boxes, spots[:, again], owner[again], 1 - longer, least)
    return np.where(whole, 1 - longer, longer), np.where(whole, other, line)


def _lines(boxes: Numbers, spots: Numbers, owner: Numbers, axis: Numbers, least: int) -> Numbers:
    """For each rectangle the line across `axis` nearest to its median that leaves enough on both sides, or −1."""
    import numpy as np

    along = _along(spots, axis[owner])
    order = np.lexsort((along, owner))
    along, owner = along[order], owner[order]
    row = np.arange(len(boxes))
    narrowest = NARROWEST // LINE
    # The lines between a spot and the one before it, as far as neither half gets too narrow.
    first = np.maximum(np.roll(along, 1) + 1, (boxes[row, axis] + narrowest)[owner])
    last = np.minimum(along, (boxes[row, 2 + axis] - narrowest)[owner])
    size = np.bincount(owner, minlength=len(boxes))
    below = np.arange(len(owner)) - (np.cumsum(size) - size)[owner]
    possible = (below >= least) & (size[owner] - below >= least) & (first <= last)
    at = np.flatnonzero(possible)
    # The nearest to the median comes first within its rectangle, the lower one of two: the first of each is taken.
    best = at[np.lexsort((below[at], abs(2 * below[at] - size[owner[at]]), owner[at]))]
    chosen, where = np.unique(owner[best], return_index=True)
    line = np.full(len(boxes), -1, dtype=np.int64)
    line[chosen] = (first[best[where]] + last[best[where]]) // 2  # the middle of the gap
    return line
