"""How ``make chaos`` prints its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.chaos.case import FAILED, MISSED, OK, SKIPPED, Row

_COLUMNS = (
    # heading, width, value
    ("open", 5, lambda r: r.open_calls),
    ("accepted", 9, lambda r: f"{r.share:.0%}" if r.share else "-"),
    ("once", 6, lambda r: r.once),
    ("twice", 6, lambda r: r.twice),
    ("lost", 5, lambda r: r.lost),
    ("possibly", 9, lambda r: r.possibly_twice),
    ("doubt", 6, lambda r: r.in_doubt),
    ("receipts", 9, lambda r: r.receipts_lost),
    ("replies", 8, lambda r: r.replies_lost),
    ("s", 6, lambda r: f"{r.seconds:.1f}"),
)


def head() -> str:
    """Two lines: what the columns count."""
    names = f"{'fault':35}{'':6}" + "".join(f"{name:>{width}}" for name, width, _ in _COLUMNS)
    above = f"{'':41}{'at the strike':>14}{'sent':>12}{'':>5}{'twice':>9}{'':>6}{'lost':>9}{'lost':>8}"
    return f"{above}\n{names}"


def line(row: Row) -> str:
    """One case; below it who is in doubt and why, and what went wrong."""
    name = f"{row.fault:35}{row.channel:6}"
    if row.result == SKIPPED:
        return f"{name} skipped: {row.why}"
    shown = name + "".join(f"{value(row)!s:>{width}}" for _, width, value in _COLUMNS)
    shown += f"  {row.result}"
    if row.doubts:
        named = ", ".join(f"{count} {why}" for why, count in sorted(row.doubts.items()))
        shown += f"\n{'':41}  in doubt: {named}"
    for what, value in row.notes.items():
        shown += f"\n{'':41}  {what}: {value}"
    if row.result in (FAILED, MISSED):
        shown += f"\n{'':41}  {row.why}"
    return shown


def summary(rows: Sequence[Row], seconds: float) -> str:
    """What all cases together say."""
    results = Counter(row.result for row in rows)
    played = [row for row in rows if row.result in (OK, FAILED)]
    faults = len({row.fault for row in rows if row.result == OK})
    people = sum(row.recipients for row in played)
    return (
        f"\n{results[OK]} cases of {faults} faults passed, {results[FAILED]} failed, {results[MISSED]} missed "
        f"their moment, {results[SKIPPED]} skipped, in {seconds / 60:.1f} minutes.\n"
        f"{people:,} recipients: twice {sum(r.twice for r in played)}, lost {sum(r.lost for r in played)}, "
        f"possibly twice {sum(r.possibly_twice for r in played)}, in doubt {sum(r.in_doubt for r in played)}; "
        f"receipts lost {sum(r.receipts_lost for r in played)}, replies lost {sum(r.replies_lost for r in played)}."
    )
