"""The sending engine: claims batches and carries several at once, none with a transaction open.

One engine per process. Claims and records are short blocking transactions; only providers are
awaited, so while one batch waits for its answer the next is prepared.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import crypto, providers
from app.db import AWAY
from app.models.ledger import DispatchContent
from app.models.people import ADDRESS_PURPOSE, SALUTATION_PURPOSE
from app.registry import Registry
from app.services.ledger import attempts, claims, recovery, results
from app.services.ledger.claims import Claim, Remaining
from app.services.ledger.results import Row
from messaging.types import Channel, DeliveryStatus, Outcome, SendResult
from workers.sending.pacing import HELD_BACK, Pacer
from workers.sending.routes import Route, Routes, failed

log = structlog.get_logger(__name__)
T = TypeVar("T")

# The lease outlives the last moment at which a call may start by this share.
SAFE_SHARE = 0.8
RECORD_PATIENCE = 120.0  # seconds to go on trying to write down what a provider answered
LONGEST_BACK_OFF = 300.0
CLOSED_SECONDS = 0.5  # until a batch whose ways are all closed is looked at again
UNREADABLE = "unreadable address"


@dataclass(slots=True)
class Job:
    """A claimed batch in hand: who is left, and until when a call may start."""

    held: Claim
    left: list[Remaining]
    attempt: int | None  # already open for all of ``left`` (e-mail)
    deadline: float  # time.monotonic(), like those below
    ends: float  # its time is over
    until: float = math.inf  # begin nothing more after this
    route: Route | None = None  # by whom; of a job with anybody left always there

    def may_start(self) -> bool:
        return time.monotonic() < self.deadline


class Engine:
    """Sends for one process. ``aclose`` before its event loop ends."""

    def __init__(self, registry: Registry) -> None:
        settings = registry.settings
        sa.event.listen(registry.engine, "do_connect", _by_index)
        self.sessions = registry.sessions
        self.lease = float(settings.lease_seconds)
        self.timeout = float(settings.provider_timeout_seconds)
        self.public_url = settings.public_url.rstrip("/")
        self.email_from = (settings.email_from, settings.email_from_name)
        self.signer = registry.signer
        self.routes = Routes(self.sessions, providers.ways(settings))
        self.pacer = Pacer.of(registry)
        self.content = lru_cache(maxsize=64)(self._content)
        self.stopping = False

    async def aclose(self) -> None:
        await self.routes.aclose()
        self.pacer.close()

    def begin(self, lanes: Sequence[int]) -> Job | None:
        """Claim the next batch, settle who may no longer be written to, open its attempt (e-mail).

        None when nothing is ready. A job without anybody left is already closed.
        """
        deadline = self.deadline()
        self.routes.refresh()
        with self.sessions.begin() as session:
            held = claims.claim(
                session,
                lanes=lanes,
                channels=list(self.routes.ways),
                lease_seconds=self.lease,
                held_senders=self.routes.held_senders(self.pacer.told),
            )
            if held is None:
                return None
            ends = deadline + held.seconds_left - self.lease * SAFE_SHARE
            checked = claims.check(session, held)
            left = self.settle(session, held, checked)
            if not held.running or held.expired:
                status = DeliveryStatus.STOPPED if not held.running else DeliveryStatus.EXPIRED
                rows = [Row(r.ordinal, r.contact_id, status) for r in left]
                results.write(session, held.dispatch, held.batch, None, rows)
                left = []
            attempt = route = None
            if left:
                urgent = held.urgency != "routine"
                route = self.routes.choose(session, held.channel, held.sender_id, urgent=urgent)
                if route is None:  # its last way was closed at this very moment
                    results.release(session, held, done=False, delay_seconds=CLOSED_SECONDS, progress=True)
                    return Job(held, [], None, deadline, ends)
            if left:  # before an attempt is on record: a database that goes away now puts nobody in doubt
                self.content(held.dispatch, str(held.channel), held.language, held.sender_kind)
            if route and held.channel is Channel.EMAIL:
                attempt = self.open(session, held, left[: route.most], route)
                if attempt is None:  # stopped or expired at this very moment: the next claim will say so
                    results.release(session, held, done=False)
                    return Job(held, [], None, deadline, ends)
            if not left:
                results.release(session, held, done=True)
                recovery.finish(session, held.dispatch)
            return Job(held, left, attempt, deadline, ends, route=route)

    def deadline(self) -> float:
        """The last monotonic moment to start a call, were the lease taken now."""
        return time.monotonic() + self.lease * SAFE_SHARE

    def open(self, session: Session, held: Claim, left: Sequence[Remaining], route: Route) -> int | None:
        return attempts.open_attempt(
            session,
            held,
            provider=route.name,
            sender_id=route.sender_id,
            first=left[0].ordinal,
            last=left[-1].ordinal,
            lease_seconds=self.lease,
        )

    def settle(self, session: Session, held: Claim, checked: claims.Checked) -> list[Remaining]:
        """Write down those who said stop or were erased meanwhile; who is left."""
        rows = [Row(o, c, DeliveryStatus.STOPPED) for o, c in checked.stopped]
        rows += [Row(o, c, DeliveryStatus.ERASED) for o, c in checked.erased]
        results.write(session, held.dispatch, held.batch, None, rows)
        return checked.left

    def recheck(self, session: Session, held: Claim, people: Sequence[Remaining]) -> list[Remaining]:
        """Who of these may still be written to, right before another try or window."""
        checked = claims.check(session, held, people[0].ordinal, people[-1].ordinal)
        wanted = {p.ordinal for p in people}
        return [p for p in self.settle(session, held, checked) if p.ordinal in wanted]

    async def record(self, what: str, write: Callable[[Session], T]) -> T:
        """Commit what a provider answered, trying again while the database is away.

        Everything written here may be written twice. When the database stays away the evidence is
        lost and the sweeper finds the attempt open: in doubt.
        """
        began, pause = time.monotonic(), 0.1
        while True:
            try:
                with self.sessions.begin() as session:
                    return write(session)
            except AWAY as error:
                if time.monotonic() - began > RECORD_PATIENCE:
                    raise
                log.warning("record_waits", what=what, error=type(error.orig).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    def write_rows(
        self, session: Session, held: Claim, attempt: int | None, rows: Sequence[Row]
    ) -> results.Written:
        """Record an attempt's results; a repeat is counted and alarmed, and loses nobody else."""
        written = results.write(session, held.dispatch, held.batch, attempt, rows)
        if written.repeated:
            log.error(
                "delivery_repeated",
                dispatch=str(held.dispatch),
                batch=held.batch,
                attempt=attempt,
                repeated=written.repeated,
            )
        return written

    def not_taken(self, session: Session, held: Claim, attempt: int, people: Sequence[Remaining]) -> None:
        """Proof that these were not taken: whoever the sweeper put in doubt meanwhile waits again."""
        results.give_back(session, held.dispatch, held.batch, attempt, [p.contact_id for p in people])

    def finish_batch(
        self, session: Session, held: Claim, *, done: bool, delay: float = 0.0, progress: bool = False
    ) -> None:
        results.release(session, held, done=done, delay_seconds=delay, progress=progress)
        if done:
            recovery.finish(session, held.dispatch)

    def again_in(
        self, held: Claim, route: Route, results: Sequence[SendResult], asked: float | None
    ) -> float:
        """Seconds until those not taken are tried again: at once where the provider failed and another can."""
        if asked is not None and all(r.reason == HELD_BACK for r in results):
            return asked  # not its turn yet
        urgent = held.urgency != "routine"
        if all(failed(r) for r in results) and self.routes.another(route, held.sender_id, urgent=urgent):
            return 0.0
        return self.back_off(held, asked)

    def back_off(self, held: Claim, retry_after: float | None) -> float:
        """Seconds until another try: jittered, doubling, never sooner than the provider asks."""
        wait = min(LONGEST_BACK_OFF, 2.0 ** min(held.tries, 9)) * random.uniform(0.5, 1.0)  # noqa: S311
        return max(wait, retry_after or 0.0)

    def open_values(self, people: Sequence[Remaining]) -> tuple[list[str | None], list[str | None]]:
        """Addresses and names of a batch, opened in bulk. None for a value that does not open."""
        return (
            _open([p.address_enc for p in people], ADDRESS_PURPOSE),
            _open([p.salutation_enc for p in people], SALUTATION_PURPOSE),
        )

    def _content(self, dispatch: UUID, channel: str, language: str, kind: str) -> DispatchContent:
        """What a dispatch says; it never changes, so it is kept."""
        with self.sessions() as session:
            return session.get_one(DispatchContent, (dispatch, channel, language, kind))


def _by_index(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> None:
    """Every statement of the sender finds its rows by an index. A plan made and kept while a table was
    nearly empty would read all of it, a thousand times a batch, until somebody analysed the table.

    And as its plans do not depend on the values, each is made once: planning took a tenth of PostgreSQL's time.
    """
    asked = "-c enable_seqscan=off -c plan_cache_mode=force_generic_plan"
    options["options"] = f"{options.get('options', '')} {asked}"


def _open(blobs: Sequence[bytes | None], purpose: str) -> list[str | None]:
    keyring = crypto.keyring()
    present = [b for b in blobs if b is not None]
    try:
        opened: list[str | None] = list(keyring.decrypt_many(present, purpose))
    except crypto.CryptoError:
        # One damaged value must not hold up a thousand people.
        opened = [_open_one(keyring, b, purpose) for b in present]
    if len(present) == len(blobs):
        return opened
    values = iter(opened)
    return [None if b is None else next(values) for b in blobs]


def _open_one(keyring: crypto.Keyring, blob: bytes, purpose: str) -> str | None:
    try:
        return keyring.decrypt(blob, purpose)
    except crypto.CryptoError as error:
        log.error("value_does_not_open", purpose=purpose, code=str(error.code))
        return None


def worst(outcomes: Counter[Outcome]) -> Outcome:
    """What to call an attempt whose messages fared differently."""
    for outcome in (Outcome.IN_DOUBT, Outcome.TAKEN, Outcome.REFUSED):
        if outcomes[outcome]:
            return outcome
    return Outcome.NOT_TAKEN
