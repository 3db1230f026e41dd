"""Faults on demand: what goes wrong, for which calls, and how a control request asks for it."""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

CHANNELS = ("email", "sms")
# Where calls come in: SendGrid, Twilio, and the second providers of each channel.
DOORS = (*CHANNELS, "sms-2", "smtp", "notify")
BEFORE, AFTER = "before", "after"
RECIPIENT_KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    # Whole words of the local part. A word, so that christopher@ does not unsubscribe.
    "email": {
        "bounce": ("bounce",),
        "complain": ("complain",),
        "stop": ("stop",),
        "defer": ("defer",),
        "drop": ("drop",),
        "refuse": (),
    },
    # Endings of numbers; a whole number is an ending too.
    "sms": {"undelivered": (), "unknown": (), "opted_out": (), "invalid": (), "stop": ()},
    "sms-2": {"undelivered": (), "unknown": (), "opted_out": (), "invalid": (), "stop": ()},
    # Endings of addresses, and of addresses or numbers.
    "smtp": {"refuse": ()},
    "notify": {"invalid": ()},
}


@dataclass(slots=True)
class Strike:
    """Which calls a fault strikes.

    ``times`` calls at most (None: without end), each with the probability ``share``, from the
    moment that ``start`` recipients were accepted on the channel. ``when`` is before or after
    acceptance; ``code`` and ``retry_after`` (seconds) belong to *status*.
    """

    times: int | None = None
    share: float = 1.0
    start: int = 0
    when: str = BEFORE
    code: int = 503
    retry_after: float | None = None

    def hits(self, accepted: int) -> bool:
        """True if the call at hand is struck; counts it."""
        if self.times == 0 or accepted < self.start or random.random() >= self.share:  # noqa: S311
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass(slots=True)
class Receipts:
    """Shares (0 to 1) of recipients whose receipts are withheld or doubled; reordered and forged are all or none.

    ``delay``: seconds that every receipt is kept back.
    """

    withhold: float = 0.0
    delay: float = 0.0
    double: float = 0.0
    reorder: bool = False
    forge: bool = False


@dataclass(slots=True)
class ChannelFaults:
    """What is asked of one channel. ``latency_ms`` passes before acceptance."""

    latency_ms: float = 0.0
    status: Strike | None = None
    hang: Strike | None = None
    drop: Strike | None = None
    hold: Strike | None = None
    receipts: Receipts = field(default_factory=Receipts)
    recipients: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def quiet(self) -> bool:
        """True if no call of this channel can be struck."""
        return not (self.latency_ms or self.status or self.hang or self.drop or self.hold)


def share_hits(share: float, key: str) -> bool:
    """Whether a share strikes this recipient: always the same answer for the same key."""
    return share > 0 and zlib.crc32(key.encode()) / 2**32 < share


class Magic:
    """E-mail addresses that behave in a way of their own, by words of their local part."""

    def __init__(self, kinds: Mapping[str, tuple[str, ...]]) -> None:
        self._words = [word.lower() for words in kinds.values() for word in words]
        groups = [f"(?P<{k}>{'|'.join(map(re.escape, words))})" for k, words in kinds.items() if words]
        # Whole words only, before the @.
        found = rf"(?<![A-Za-z0-9])(?:{'|'.join(groups)})(?![A-Za-z0-9])(?=.*@)"
        self._search = re.compile(found, re.IGNORECASE).search

    def kinds(self, to: list[str]) -> dict[str, str]:
        """address → kind, for those that have one: usually none, and then this costs next to nothing."""
        together = "\n".join(to).lower()
        if not any(word in together for word in self._words):
            return {}
        return {address: str(match.lastgroup) for address in to if (match := self._search(address))}


class Faults:
    """The faults of every door, and the calls being held."""

    def __init__(self) -> None:
        self.channels = {c: _quiet(c) for c in DOORS}
        self._held: dict[str, set[asyncio.Future[None]]] = {c: set() for c in DOORS}
        self.magic = Magic(self.channels["email"].recipients)

    def held(self, channel: str) -> int:
        return len(self._held[channel])

    async def hold(self, channel: str) -> None:
        """Wait until released."""
        gate = asyncio.get_running_loop().create_future()
        self._held[channel].add(gate)
        try:
            await gate
        finally:
            self._held[channel].discard(gate)

    def release(self, channel: str, *, stay: bool = False) -> int:
        """Let the held calls go on; the hold ends with it unless ``stay``. Returns how many there were."""
        if not stay:
            self.channels[channel].hold = None
        gates = list(self._held[channel])
        for gate in gates:
            if not gate.done():
                gate.set_result(None)
        return len(gates)

    def apply(self, asked: object) -> None:
        """Put a control request into force. ValueError, in plain English, for one that is not understood.

        A channel that is named is replaced whole, the other stays as it is.
        """
        if not isinstance(asked, dict):
            raise ValueError("faults must be a JSON object with email, sms or both")
        new = {_known(channel, DOORS, "channel"): _channel(channel, a) for channel, a in asked.items()}
        self.channels.update(new)
        self.magic = Magic(self.channels["email"].recipients)

    def clear(self) -> None:
        """Put everything right again, and let the held calls go on."""
        for channel in DOORS:
            self.release(channel)
            self.channels[channel] = _quiet(channel)
        self.magic = Magic(self.channels["email"].recipients)

    def shown(self) -> dict[str, object]:
        return {c: asdict(f) for c, f in self.channels.items()}


def _quiet(channel: str) -> ChannelFaults:
    return ChannelFaults(recipients=dict(RECIPIENT_KINDS[channel]))


def _known(name: object, names: tuple[str, ...], what: str) -> str:
    if name not in names:
        raise ValueError(f"{name!r} is not a {what}: use {', '.join(names)}")
    return str(name)


def _number(value: object, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what} must be a number from {low:g} to {high:g}")
    return float(value)


def _channel(channel: str, asked: object) -> ChannelFaults:
    if not isinstance(asked, dict):
        raise ValueError(f"the faults of {channel} must be an object")
    faults = _quiet(channel)
    names = ("latency_ms", "status", "hang", "drop", "hold", "receipts", "recipients")
    for name, value in asked.items():
        if _known(name, names, "fault") == "latency_ms":
            faults.latency_ms = _number(value, name, 0, 600_000)
        elif name == "receipts":
            faults.receipts = _receipts(value)
        elif name == "recipients":
            faults.recipients |= _recipients(channel, value)
        elif value is not None:
            setattr(faults, name, _strike(name, value))
    return faults


def _strike(fault: str, asked: object) -> Strike:
    """``true``, a word (before, after), a number (a status) or an object with Strike's fields."""
    if asked is True:
        return Strike()
    if isinstance(asked, str):
        asked = {"when": asked}
    elif isinstance(asked, int):
        asked = {"code": asked}
    if not isinstance(asked, dict):
        raise ValueError(f"{fault} must be true or an object")
    strike = Strike()
    for name, value in asked.items():
        if (
            _known(name, ("times", "share", "start", "when", "code", "retry_after"), f"part of {fault}")
            == "when"
        ):
            strike = replace(strike, when=_known(value, (BEFORE, AFTER), "moment"))
        elif value is None and name in ("times", "retry_after"):
            continue
        elif name == "share":
            strike = replace(strike, share=_number(value, name, 0, 1))
        elif name == "retry_after":
            strike = replace(strike, retry_after=_number(value, name, 0, 86_400))
        else:
            low, high = (400, 599) if name == "code" else (0, 1_000_000_000)
            setattr(strike, name, int(_number(value, name, low, high)))
    return strike


def _receipts(asked: object) -> Receipts:
    """Shares may be written as true and false."""
    if not isinstance(asked, dict):
        raise ValueError("receipts must be an object")
    receipts = Receipts()
    for name, value in asked.items():
        if _known(name, ("withhold", "delay", "double", "reorder", "forge"), "receipts fault") == "delay":
            receipts.delay = _number(value, name, 0, 86_400)
        elif name in (
            "withhold",
            "double",
        ):
            share = float(value) if isinstance(value, bool) else _number(value, name, 0, 1)
            setattr(receipts, name, share)
        elif isinstance(value, bool):
            setattr(receipts, name, value)
        else:
            raise ValueError(f"{name} must be true or false")
    return receipts


def _recipients(channel: str, asked: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(asked, dict):
        raise ValueError("recipients must be an object of lists")
    kinds: dict[str, tuple[str, ...]] = {}
    for kind, endings in asked.items():
        _known(kind, tuple(RECIPIENT_KINDS[channel]), "kind of recipient")
        if not isinstance(endings, list) or not all(isinstance(e, str) and e for e in endings):
            raise ValueError(f"{kind} must be a list of words (e-mail) or endings of numbers (sms)")
        kinds[kind] = tuple(endings)
    return kinds
