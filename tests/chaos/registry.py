"""The faults of ``make chaos``, by name. Each stands in a file of its group under ``faults/``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from messaging.types import Channel
from tests.chaos.harness import Scene

GROUPS = (
    "kills",
    "leases",
    "queue",
    "database",
    "provider",
    "receipts",
    "replies",
    "sending",
    "clock",
    "hosts",
)
Play = Callable[[Scene], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong in mid-send.

    ``does`` says what, in a line. ``play`` starts processes, strikes, and puts right what has to be;
    the runner then waits for the end and judges. ``receipts``: the sandbox reports to the site on
    every message. ``second``: there is a second provider of each channel. ``needs``: names from
    ``needs.py``. ``disk``: the case has a cluster of its own on a file system of this size.
    ``patient``: it waits rather than works, so another may run beside it.
    """

    name: str
    does: str
    play: Play
    receipts: bool = False
    second: bool = False
    needs: Sequence[str] = ()
    channels: Sequence[Channel] = tuple(Channel)
    disk: str = ""
    patient: bool = False


FAULTS: dict[str, Fault] = {}


def fault(name: str, does: str, **more: object) -> Callable[[Play], Play]:
    """Enter a fault into the list."""

    def enter(play: Play) -> Play:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, does, play, **more)  # type: ignore[arg-type]
        return play

    return enter


def known() -> dict[str, Fault]:
    """All faults, in the order of their groups."""
    for group in GROUPS:
        import_module(f"tests.chaos.faults.{group}")
    # Whichever module was imported first.
    in_order = sorted(FAULTS.values(), key=lambda f: GROUPS.index(f.play.__module__.rpartition(".")[2]))
    return {fault.name: fault for fault in in_order}
