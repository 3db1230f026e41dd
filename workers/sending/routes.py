"""Choosing by whom a batch goes: the states that all workers share, and what this one heard itself.

A provider that leaves us in doubt is left alone at once, here, and judged for everybody by the scheduler
(app.services.routes). Nobody in doubt is ever sent to again: only those proved not taken go by another way.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

import structlog
from sqlalchemy.orm import Session, sessionmaker

from app.db import AWAY
from app.models.ledger import BULK_LANE, URGENT_LANE
from app.models.routes import DOWN, TRYING, UP
from app.providers import Way
from app.services import routes
from app.services.routes import Seen, SenderRoute
from messaging.providers.base import SYNTHETIC, EmailProvider, SmsProvider
from messaging.types import Channel, Outcome, SendResult

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
LONGEST_QUIET = 60.0
AVOID_SECONDS = 30.0
# A trial puts few people at risk of doubt.
TRIAL_PEOPLE = {Channel.EMAIL: 50, Channel.SMS: 10}
# Why a call was not taken although the provider is well: it paces us (no failover for that), or we held back.
PACED = frozenset({"429", "14107", "20429", "21611", "30001", "63038"})
HELD_BACK = frozenset({"deadline", "pool-timeout", "pace", SYNTHETIC})


@dataclass(frozen=True, slots=True)
class Route:
    """By whom and from where one batch goes. ``paced`` by the sender's own rate, in segments a second."""

    way: Way
    channel: Channel
    sender_id: int
    sender: str
    rate: float
    most: int  # people an attempt
    paced: bool = True
    trial: bool = False  # one attempt to see whether the provider is well again

    @property
    def name(self) -> str:
        return self.way.name

    @property
    def email(self) -> EmailProvider:
        return cast(EmailProvider, self.way.provider)

    @property
    def sms(self) -> SmsProvider:
        return cast(SmsProvider, self.way.provider)


def failed(result: SendResult) -> bool | None:
    """Whether the provider failed a call. None: the call says nothing about it."""
    match result.outcome:
        case Outcome.IN_DOUBT:
            return True
        case Outcome.NOT_TAKEN if result.rejected or result.bisect or not result.retryable:
            return False  # it answered, about a recipient or the content
        case Outcome.NOT_TAKEN if (
            result.reason in PACED or result.reason in HELD_BACK or result.reason.startswith("rcpt-")
        ):
            return None
        case Outcome.NOT_TAKEN:
            return True
    return None if result.reason == SYNTHETIC else False


def failed_percent(results: Iterable[SendResult]) -> int | None:
    """What stands with an attempt: the share of its calls that the provider failed."""
    told = [f for r in results if (f := failed(r)) is not None]
    return round(100 * sum(told) / len(told)) if told else None


class Routes:
    """One process's choice of providers. Reads the shared states once a second at most."""

    def __init__(self, sessions: sessionmaker[Session], ways: dict[Channel, list[Way]]) -> None:
        self._sessions = sessions
        self.ways = ways
        self._seen = Seen({}, {}, frozenset())
        self._looked = -LOOK_SECONDS
        self._doubts: defaultdict[tuple[Channel, str], int] = defaultdict(int)
        self._quiet: dict[tuple[Channel, str], float] = {}  # in doubt: not before this
        self._avoid: dict[tuple[Channel, str], float] = {}  # it failed: rather another before this
        self._since: dict[tuple[Channel, str], datetime] = {}

    async def aclose(self) -> None:
        for way in (w for each in self.ways.values() for w in each):
            await way.provider.aclose()

    def refresh(self) -> None:
        """Read the shared states, unless that was done within the last second. While the database is away
        what was known stands: nothing can be claimed then anyway.
        """
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        try:
            with self._sessions() as session:
                self._read(session)
        except AWAY as error:
            log.warning("database_away", error=type(error.orig).__name__)

    def _read(self, session: Session) -> None:
        self._seen = routes.read(session)
        self._looked = time.monotonic()
        for key, (state, _, since) in self._seen.states.items():
            # Word from all workers that it is to be asked outranks what this one heard before.
            if state != DOWN and self._since.get(key, since) != since:
                self.forgive(*key)
            self._since[key] = since

    # -- what this process heard
    def heard(self, channel: Channel, name: str, results: Sequence[SendResult]) -> None:
        """What the calls of one attempt told. After each doubt in a row a longer silence, up to a minute."""
        key = (channel, name)
        told = [failed(r) for r in results]
        if told and all(told):  # another is asked first for a while, if there is one
            self._avoid[key] = time.monotonic() + AVOID_SECONDS
        elif False in told:
            self.forgive(channel, name)
        if results and all(r.outcome is Outcome.IN_DOUBT for r in results):
            self._doubts[key] += 1
            pause = min(LONGEST_QUIET, 2.0 ** (self._doubts[key] - 1))
            self._quiet[key] = time.monotonic() + pause
            log.warning("provider_in_doubt", channel=str(channel), provider=name, quiet_seconds=pause)

    def forgive(self, channel: Channel, name: str) -> None:
        """It answered: what was held against it is over."""
        for kept in (self._doubts, self._quiet, self._avoid):
            kept.pop((channel, name), None)

    def quiet(self, channel: Channel, name: str) -> float:
        """Until when (monotonic) it is left alone by this process; 0 when it is not."""
        return self._quiet.get((channel, name), 0.0)

    # -- choosing
    def closed(self, channel: Channel, name: str) -> bool:
        """Whether nothing goes by it now: in doubt here, down for all, or in trial without a call left."""
        if time.monotonic() < self.quiet(channel, name):
            return True
        state, trials, _ = self._seen.states.get((channel, name), (UP, 0, None))
        return state == DOWN or (state == TRYING and trials <= 0)

    def channels(self) -> list[Channel]:
        """The channels on which something urgent can leave now."""
        return [c for c, ways in self.ways.items() if any(not self.closed(c, w.name) for w in ways)]

    def held_senders(self, told: Callable[[str], float] = lambda _: 0.0) -> list[int]:
        """Senders whose batches are not to be claimed, as ``2 * sender + lane``: every way of theirs is
        closed, its provider told us to wait (``told``: seconds by its name), or the complaint brake holds
        their bulk mail.
        """
        held = [2 * sender + BULK_LANE for sender in self._seen.braked]
        waits = {w.name for ways in self.ways.values() for w in ways if told(w.name) > 0}
        if not waits and not any(self.closed(c, w.name) for c, ways in self.ways.items() for w in ways):
            return held
        for sender in self._seen.senders.values():
            for lane in (URGENT_LANE, BULK_LANE):
                found = self._candidates(sender, urgent=lane == URGENT_LANE)
                way = next((r.name for r in found if not self.closed(r.channel, r.name)), None)
                if way is None or way in waits:
                    held.append(2 * sender.id + lane)
        return held

    def choose(self, session: Session, channel: Channel, sender_id: int, *, urgent: bool) -> Route | None:
        """By whom a batch of this sender goes now; None when every way is closed.

        A provider in trial costs one of its trials, taken in the caller's transaction.
        """
        found = self._candidates(self._sender(session, channel, sender_id), urgent=urgent)
        now = time.monotonic()
        open_now = [r for r in found if not self.closed(r.channel, r.name)]
        # One that failed a moment ago is still better than none.
        open_now.sort(key=lambda r: self._avoid.get((channel, r.name), 0.0) > now)
        for route in open_now:
            if self._state(channel, route.name) != TRYING:
                return route
            if routes.take_trial(session, channel, route.name):
                return replace(route, most=min(route.most, TRIAL_PEOPLE[channel]), trial=True)
        return None

    def another(self, route: Route, sender_id: int, *, urgent: bool) -> bool:
        """Whether somebody else could carry what this route did not."""
        sender = self._seen.senders.get(sender_id)
        if sender is None:
            return False
        now = time.monotonic()
        return any(
            r.name != route.name
            and not self.closed(r.channel, r.name)
            and self._avoid.get((r.channel, r.name), 0.0) <= now
            for r in self._candidates(sender, urgent=urgent)
        )

    def _state(self, channel: Channel, name: str) -> str:
        return self._seen.states.get((channel, name), (UP, 0, None))[0]

    def _sender(self, session: Session, channel: Channel, sender_id: int) -> SenderRoute:
        found = self._seen.senders.get(sender_id)
        if found is None and sender_id:  # younger than the last look; without an id EMAIL_FROM is meant
            self._read(session)
            found = self._seen.senders.get(sender_id)
        return found or SenderRoute(sender_id, channel, self.ways[channel][0].name, "", "", 1.0, None)

    def _candidates(self, sender: SenderRoute, *, urgent: bool) -> list[Route]:
        """Every way that a sender's messages may take, the first choice first.

        A number belongs to an account: texts go by their sender's own, then by the number that stands in
        for it. E-mail keeps its address whoever carries it. A provider with a sender of its own takes all.
        """
        ways = {w.name: w for w in self.ways[sender.channel]}
        found: list[Route] = []

        def add(way: Way, who: SenderRoute) -> None:
            if (urgent or not way.urgent_only) and way.name not in {r.name for r in found}:
                found.append(
                    Route(way, sender.channel, who.id, who.address, who.rate, way.most, not way.own_sender)
                )

        # A sender whose provider is not set up here is carried by the first, as ever.
        add(ways.get(sender.provider, self.ways[sender.channel][0]), sender)
        if sender.channel is Channel.EMAIL:
            for way in self.ways[Channel.EMAIL]:
                add(way, sender)
            return found
        stand_in = self._seen.senders.get(sender.fallback or 0)
        if stand_in is not None and stand_in.provider in ways:
            add(ways[stand_in.provider], stand_in)
        for way in self.ways[Channel.SMS]:
            if way.own_sender:
                add(way, sender)
        return found
