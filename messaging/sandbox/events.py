"""SendGrid's event webhook: what became of each accepted e-mail, in signed batches.

Events are made when they are due and no earlier, a batch at a time: a call of 1,000 waits here
as one entry.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from messaging.sandbox.callbacks import Courier, event_post
from messaging.sandbox.faults import Faults, share_hits
from messaging.sandbox.mail import CheckedMail
from messaging.sandbox.settings import SandboxConfig

BATCH = 500  # events in one post
_IN_FLIGHT = 4  # posts at once; the rest waits unmade
PROCESSED, RESULT = "processed", "result"


@dataclass(slots=True)
class _Entry:
    """One call at one stage of its life."""

    message_id: str
    mail: CheckedMail
    stage: str
    at: int  # Unix seconds


Event = dict[str, Any]


class EventFeed:
    """Posts the events of accepted calls to one address."""

    def __init__(
        self, config: SandboxConfig, key: ec.EllipticCurvePrivateKey, faults: Faults, courier: Courier
    ) -> None:
        self._url = config.events_url or ""
        self._day, self._longest_gap = config.event_day, config.event_longest_gap
        self._key = key
        self._forger = ec.generate_private_key(ec.SECP256R1())
        self._faults = faults
        self._courier = courier
        self._delay = config.delivery_delay
        self._heap: list[tuple[float, int, _Entry]] = []
        self._order = itertools.count()
        self._current: Iterator[Event] = iter(())
        self._in_flight = 0
        self._wake: asyncio.TimerHandle | None = None
        self._closed = False
        self.waiting = 0  # recipients' stages not yet posted

    def accepted(self, message_id: str, mail: CheckedMail) -> None:
        """A call was taken: its events follow by themselves."""
        now = time.monotonic() + self._faults.channels["email"].receipts.delay
        reorder = self._faults.channels["email"].receipts.reorder
        first, second = (self._delay, 0.0) if reorder else (0.0, self._delay)
        self._add(now + first, _Entry(message_id, mail, PROCESSED, int(time.time())))
        self._add(now + second, _Entry(message_id, mail, RESULT, int(time.time() + self._delay)))
        self._look()

    def _add(self, when: float, entry: _Entry) -> None:
        heapq.heappush(self._heap, (when, next(self._order), entry))
        self.waiting += len(entry.mail.to)

    # -- batches
    def _look(self, *_: object) -> None:
        """Post what is due, as far as there is room; look again when something falls due."""
        if self._wake:
            self._wake.cancel()
            self._wake = None
        while self._in_flight < _IN_FLIGHT and not self._closed:
            batch = self._batch()
            if not batch:
                break
            self._post(batch)
        if self._heap and self._in_flight < _IN_FLIGHT and not self._closed:
            wait = max(self._heap[0][0] - time.monotonic(), 0.01)
            self._wake = asyncio.get_running_loop().call_later(wait, self._look)

    def _batch(self) -> list[Event]:
        batch = list(itertools.islice(self._current, BATCH))
        while len(batch) < BATCH and self._heap and self._heap[0][0] <= time.monotonic():
            entry = heapq.heappop(self._heap)[2]
            self.waiting -= len(entry.mail.to)
            self._current = self._events(entry)
            batch += itertools.islice(self._current, BATCH - len(batch))
        return batch

    def _post(self, batch: list[Event]) -> None:
        receipts = self._faults.channels["email"].receipts
        if receipts.reorder:
            random.shuffle(batch)
        body = _encode(batch)
        doubled = [e for e in batch if share_hits(receipts.double, e["email"])]
        self._submit(body, self._key)
        if doubled:
            self._submit(_encode(doubled), self._key)
        if receipts.forge:
            lies = [{**e, "event": "bounce", "sg_event_id": "forged-" + e["sg_event_id"]} for e in batch]
            self._courier.submit(event_post(self._url, _encode(lies), self._forger, _ignore, tries_for=0))

    def _submit(self, body: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        self._in_flight += 1

        def done(status: int) -> None:
            self._in_flight -= 1
            self._look()

        self._courier.submit(
            event_post(self._url, body, key, done, tries_for=self._day, longest_gap=self._longest_gap)
        )

    # -- events
    def _events(self, entry: _Entry) -> Iterator[Event]:
        mail, withhold = entry.mail, self._faults.channels["email"].receipts.withhold
        magic = self._faults.magic.kinds(mail.to)
        for n, address in enumerate(mail.to):
            if share_hits(withhold, address):
                continue
            kind = magic.get(address, "")
            for name, extra in _life(entry.stage, kind):
                yield {
                    **mail.args[n],
                    "email": address,
                    "timestamp": entry.at,
                    "event": name,
                    "sg_event_id": f"{entry.message_id}-{n}-{name}",
                    "sg_message_id": f"{entry.message_id}.sandbox.{n}",
                    "smtp-id": f"<{entry.message_id}@sandbox.invalid>",
                    **extra,
                }

    def close(self) -> None:
        self._closed = True
        if self._wake:
            self._wake.cancel()


_BOUNCE: Event = {"type": "bounce", "status": "5.1.1", "reason": "550 5.1.1 No such mailbox"}
_DEFER: Event = {"response": "451 4.2.0 Try again later", "attempt": "1"}
_DELIVER: Event = {"response": "250 OK"}


def _life(stage: str, kind: str) -> tuple[tuple[str, Event], ...]:
    """Which events one recipient has at this stage, by what kind of address it is."""
    if stage == PROCESSED:
        return (("dropped", {"reason": "Invalid"}),) if kind == "drop" else (("processed", {}),)
    match kind:
        case "drop":
            return ()
        case "bounce":
            return (("bounce", _BOUNCE),)
        case "defer":
            return (("deferred", _DEFER), ("delivered", _DELIVER))
        case "complain":
            return (("delivered", _DELIVER), ("spamreport", {}))
    return (("delivered", _DELIVER),)


def _encode(batch: list[Event]) -> bytes:
    return orjson.dumps(batch) + b"\r\n"


def _ignore(status: int) -> None:
    """A forged post is not answered for."""
