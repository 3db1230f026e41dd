"""Reads the acceptance log: who was reached, and who twice. Owes nothing to the sender's ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

CHANNELS = ("email", "sms")


class Acceptance(NamedTuple):
    """One accepted call. ``refs`` and ``to`` go together, place by place; ``at`` is Unix time."""

    at: float
    channel: str
    id: str
    sender: str
    refs: list[str]
    to: list[str]


@dataclass(slots=True)
class ChannelTally:
    """What was accepted for one dispatch on one channel.

    ``addresses`` counts acceptances by address, ``places`` by "batch.ordinal" (whatever the
    attempt was).
    """

    accepted: int = 0
    addresses: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)

    @property
    def twice_addresses(self) -> dict[str, int]:
        """Addresses accepted more than once, and how often."""
        if len(self.addresses) == self.accepted:
            return {}
        return {a: n for a, n in self.addresses.items() if n > 1}

    @property
    def twice_places(self) -> dict[str, int]:
        """ "batch.ordinal" accepted more than once, and how often."""
        if len(self.places) == self.accepted:
            return {}
        return {p: n for p, n in self.places.items() if n > 1}


@dataclass(slots=True)
class Tally:
    """What the sandbox accepted for one dispatch (32 hexadecimal digits)."""

    dispatch: str
    channels: dict[str, ChannelTally] = field(default_factory=lambda: {c: ChannelTally() for c in CHANNELS})
    offset: int = 0  # bytes of the log already counted

    @property
    def accepted(self) -> int:
        return sum(c.accepted for c in self.channels.values())

    @property
    def twice(self) -> int:
        """People reached more than once, by address or by place, whichever shows more."""
        return sum(max(len(c.twice_addresses), len(c.twice_places)) for c in self.channels.values())

    def add(self, acceptance: Acceptance) -> None:
        """Count the references of this dispatch in one call."""
        prefix = self.dispatch + "."
        channel = self.channels[acceptance.channel]
        for ref, address in zip(acceptance.refs, acceptance.to, strict=True):
            if ref.startswith(prefix):
                parts = ref.split(".")
                channel.accepted += 1
                channel.addresses[address.lower()] += 1
                channel.places[f"{parts[1]}.{parts[-1]}"] += 1

    def catch_up(self, path: Path) -> None:
        """Count what the log gained since the last time."""
        for acceptance, end in _lines(path, self.offset):
            self.add(acceptance)
            self.offset = end


def _lines(path: Path, offset: int) -> Iterator[tuple[Acceptance, int]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        file.seek(offset)
        yield from _parse(file, offset)


def _parse(file: BinaryIO, end: int) -> Iterator[tuple[Acceptance, int]]:
    for line in file:
        if not line.endswith(b"\n"):
            return  # still being written, or cut off by a kill
        end += len(line)
        r = orjson.loads(line)
        yield Acceptance(r["at"], r["channel"], r["id"], r["from"], r["refs"], r["to"]), end


def read(path: Path, offset: int = 0) -> Iterator[Acceptance]:
    """Every accepted call in order, from a place in the file on. A last line that is not whole is left out."""
    for acceptance, _ in _lines(path, offset):
        yield acceptance


def tally(path: Path, dispatch: str) -> Tally:
    """Count one dispatch; ``dispatch`` as 32 hexadecimal digits (``UUID.hex``)."""
    result = Tally(dispatch)
    result.catch_up(path)
    return result
