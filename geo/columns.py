"""The bundle's table format: one gzip-compressed text line per column, for speed of loading and small size.

Line 1 is `wardlink-columns 1 ROWS`; every further line is `NAME KIND VALUES`, values separated by commas:

- `text`: as they are (no comma, no line break);
- `delta`: whole numbers, each as its difference from the one before;
- `coded`: the distinct values, a `|`, then each row's place in that list.

A column is split and summed by the interpreter's own C loops, which is several times as fast as reading rows.
The gzip header carries no time and no file name, so that equal tables make equal bytes.
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

Column = Sequence[str] | Sequence[int]

_MAGIC = "wardlink-columns 1"


class BundleError(ValueError):
    """A bundle file that is damaged or of another version, or source data that do not fit together."""


def encode(
    texts: Mapping[str, Sequence[str]],
    deltas: Mapping[str, Sequence[int]],
    coded: Mapping[str, Sequence[str]],
) -> bytes:
    """One table as compressed bytes. Raises BundleError for unequal lengths or separators in a text."""
    every: dict[str, Column] = {**texts, **deltas, **coded}
    lengths = {len(column) for column in every.values()}
    if len(lengths) != 1:
        raise BundleError("the columns of a table differ in length")
    lines = [f"{_MAGIC} {lengths.pop()}"]
    lines += [f"{name} text {_joined(column)}" for name, column in texts.items()]
    for name, numbers in deltas.items():
        steps = [*numbers[:1], *(after - before for before, after in pairwise(numbers))]
        lines.append(f"{name} delta {','.join(map(str, steps))}")
    for name, values in coded.items():
        distinct = sorted(set(values))
        place = {value: index for index, value in enumerate(distinct)}
        lines.append(f"{name} coded {_joined(distinct)}|{','.join(str(place[value]) for value in values)}")
    return gzip.compress("\n".join(lines).encode("ascii"), compresslevel=9, mtime=0)


def decode(packed: bytes) -> tuple[dict[str, list[str]], dict[str, list[int]]]:
    """The text columns and the number columns of a table, by name. Raises BundleError on a damaged file."""
    try:
        head, *lines = gzip.decompress(packed).decode("ascii").split("\n")
        magic, _, rows = head.rpartition(" ")
        texts: dict[str, list[str]] = {}
        numbers: dict[str, list[int]] = {}
        for line in lines:
            name, kind, values = line.split(" ", 2)
            if kind == "delta":
                numbers[name] = list(accumulate(map(int, _split(values))))
            elif kind == "coded":
                distinct, _, places = values.partition("|")
                texts[name] = list(map(_split(distinct).__getitem__, map(int, _split(places))))
            else:
                texts[name] = _split(values)
        lengths = {len(text) for text in texts.values()} | {len(column) for column in numbers.values()}
        complete = magic == _MAGIC and lengths == {int(rows)}
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise BundleError("a table of the data bundle cannot be read") from error
    if not complete:
        raise BundleError("a table of the data bundle is incomplete or of another version")
    return texts, numbers


def _split(values: str) -> list[str]:
    return values.split(",") if values else []


def _joined(values: Sequence[str]) -> str:
    if any("," in value or "\n" in value or "|" in value for value in values):
        raise BundleError("a text of a table contains a separator")
    return ",".join(values)
