"""The pace of sending: buckets that all workers share, and a cautious share of them while Redis is away.

What lies in a provider's queue is bounded elsewhere, in PostgreSQL (app.services.ledger.attempts.take_turn),
whatever happens here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from app.models.ledger import BACKLOG_SECONDS
from app.pacing import FAILURES, LONGEST_TOLD, Bucket, Buckets, Refused, SharedBuckets
from app.registry import Registry
from messaging.types import Outcome, SendResult

log = structlog.get_logger(__name__)

LOCAL_SHARE = 0.25  # of a rate, that one process takes while it cannot see what the others take
LOOK_AGAIN = 3.0  # seconds between two looks for Redis: one that hangs costs each look half a second
PATIENCE = 0.25  # seconds that a window waits for its turn; for longer its batch is let go
CALL_PATIENCE = 2.0  # the same for a call, whose attempt is on record already
RESERVE = 0.5  # of an account's bucket: what bulk leaves for urgent
HELD_BACK = "pace"  # the reason of a call that was not made, for it was not its turn
BUSY_SECONDS = 1.0  # to wait when a provider says "too many" and not for how long


class LocalBuckets:
    """Buckets of this process alone, at a share of the rate. ``clock``: seconds, never backwards."""

    def __init__(self, share: float, clock: Callable[[], float]) -> None:
        self._share, self._clock = share, clock
        self._tokens: dict[str, tuple[float, float]] = {}  # key → tokens, when
        self._told: dict[str, float] = {}

    def take(self, units: float, buckets: Sequence[Bucket]) -> Refused | None:
        now = self._clock()
        told = [self.told(b.key) for b in buckets]
        wait = max(told)
        for bucket in buckets:
            rate = bucket.rate * self._share
            if rate:
                tokens, at = self._tokens.get(bucket.key, (0.0, now))
                tokens = min(bucket.depth, tokens + (now - at) * rate)
                self._tokens[bucket.key] = (tokens, now)
                wait = max(wait, (bucket.need - tokens) / rate)
        if wait > 0:
            return Refused(wait, told)
        self._add(-units, buckets)
        return None

    def give_back(self, units: float, buckets: Sequence[Bucket]) -> None:
        self._add(units, buckets)

    def tell(self, key: str, seconds: float) -> None:
        until = self._clock() + min(seconds, LONGEST_TOLD)
        self._told[key] = max(self._told.get(key, until), until)

    def told(self, key: str) -> float:
        """Seconds that the provider still wants this one left alone, as far as this process heard."""
        return max(0.0, self._told.get(key, 0.0) - self._clock())

    def empty(self) -> None:
        """Begin anew, empty; what the provider told stays."""
        self._tokens.clear()

    def close(self) -> None:
        """Nothing to let go of."""

    def _add(self, units: float, buckets: Sequence[Bucket]) -> None:
        for bucket in buckets:
            if bucket.key in self._tokens:
                tokens, at = self._tokens[bucket.key]
                self._tokens[bucket.key] = (min(bucket.depth, tokens + units), at)


class Pacer:
    """Asks for turns, one object per process. ``rates``: units a second by kind of account ("twilio").

    ``shared`` may fail with one of FAILURES at any time; then this process goes on by itself, says so once,
    and looks again every three seconds.
    """

    def __init__(
        self, shared: Buckets, rates: Mapping[str, float], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.alone = False  # the shared buckets are out of reach: cautious rates
        self._shared, self._rates, self._clock = shared, rates, clock
        self._local = LocalBuckets(LOCAL_SHARE, clock)
        self._look_again = 0.0

    @classmethod
    def of(cls, registry: Registry) -> Pacer:
        settings = registry.settings
        return cls(
            # Every worker of an installation knows its database by the same name, by whatever host.
            SharedBuckets(settings.redis_url, registry.engine.url.database or ""),
            {
                "twilio": settings.twilio_segments_per_second,
                "sendgrid": settings.sendgrid_calls_per_second,
            },
        )

    def buckets(
        self, account: str, units: float, *, urgent: bool, sender: int | None = None, rate: float = 0.0
    ) -> list[Bucket]:
        """What ``units`` through an account, and from a sender of ``rate`` units a second, are taken from."""
        limit = self._rates.get(account.partition("-")[0], 0.0)
        depth = limit * BACKLOG_SECONDS
        # Bulk never touches the reserve; urgent takes what is there, and more: then bulk waits until it is back.
        reserve = RESERVE * depth
        need = 0.0 if urgent else reserve + min(units, depth - reserve)
        found = [Bucket(_account(account), limit, depth, need)]
        if sender is not None:
            # A window may put it in debt: so much more than the depth may wait at the provider.
            found.append(Bucket(_sender(sender), rate, rate * BACKLOG_SECONDS, 0.0))
        return found

    def at_once(self, account: str, units: float) -> float:
        """How many of ``units`` bulk should ask for at once: with more it would eat into what is kept for urgent."""
        limit = self._rates.get(account.partition("-")[0], 0.0)
        return min(units, limit * BACKLOG_SECONDS * (1 - RESERVE)) if limit else units

    async def turn(
        self, units: float, buckets: Sequence[Bucket], patience: float = PATIENCE
    ) -> Refused | None:
        """Take, waiting a little; None when taken, else for how long to let it be."""
        until = self._clock() + patience
        while True:
            refused = self.take(units, buckets)
            if refused is None or self._clock() + refused.seconds > until:
                return refused
            await asyncio.sleep(refused.seconds)

    def take(self, units: float, buckets: Sequence[Bucket]) -> Refused | None:
        """Take ``units`` from all of these or from none; None when taken."""
        told = [self._local.told(b.key) for b in buckets]
        if any(told):
            return Refused(max(told), told)
        if not self._reachable():
            return self._local.take(units, buckets)
        try:
            refused = self._shared.take(units, buckets)
        except FAILURES as error:
            self._away(error)
            return self._local.take(units, buckets)
        self._back()
        for bucket, seconds in zip(buckets, refused.told if refused else (), strict=False):
            if seconds:  # another process heard it: no need to ask again before it is over
                self._local.tell(bucket.key, seconds)
        return refused

    async def call(
        self,
        account: str,
        send: Callable[[], Awaitable[SendResult]],
        *,
        urgent: bool,
        units: float = 1.0,
        sender: int | None = None,
    ) -> SendResult:
        """One call of a provider in the account's turn. NOT_TAKEN for HELD_BACK, and nothing sent, when that is
        too far off.
        """
        refused = await self.turn(units, self.buckets(account, units, urgent=urgent), CALL_PATIENCE)
        if refused is not None:
            return SendResult(Outcome.NOT_TAKEN, reason=HELD_BACK, retry_after=refused.seconds)
        result = await send()
        self.heard(account, result, sender=sender)
        return result

    def give_back(self, units: float, buckets: Sequence[Bucket]) -> None:
        """Return what was taken and not used."""
        if units <= 0:
            return
        self._local.give_back(units, buckets)
        if self._reachable():
            try:
                self._shared.give_back(units, buckets)
            except FAILURES as error:
                self._away(error)

    def heard(self, account: str, result: SendResult, *, sender: int | None = None) -> None:
        """What an answer says of the pace: all workers leave the account, or the sender, alone for so long."""
        if not result.busy:
            return
        key = _sender(sender) if result.busy == "sender" and sender is not None else _account(account)
        seconds = result.retry_after or BUSY_SECONDS
        self._local.tell(key, seconds)
        log.info("told_to_wait", what=key, seconds=round(seconds, 1), reason=result.reason)
        if self._reachable():
            try:
                self._shared.tell(key, seconds)
            except FAILURES as error:
                self._away(error)

    def told(self, account: str) -> float:
        """Seconds that an account is to be left alone, as far as this process heard."""
        return self._local.told(_account(account))

    def close(self) -> None:
        self._shared.close()

    def _reachable(self) -> bool:
        return not self.alone or self._clock() >= self._look_again

    def _away(self, error: Exception) -> None:
        self._look_again = self._clock() + LOOK_AGAIN
        if not self.alone:
            self.alone = True
            self._local.empty()
            log.warning("pace_alone", share=LOCAL_SHARE, error=type(error).__name__)

    def _back(self) -> None:
        if self.alone:
            self.alone = False
            log.info("pace_shared")


def _account(name: str) -> str:
    return f"account:{name}"


def _sender(number: int) -> str:
    return f"sender:{number}"
