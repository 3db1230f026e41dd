"""The job behind the ring of every minute: what stayed silent is settled, or asked about.

Everything is bounded: a run asks at most a few hundred questions and says how many, and the next goes on. No
transaction is open while a provider is asked. A provider that does not answer is asked again a minute later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
import structlog

from app import providers, queue
from app.registry import Registry
from app.services import listening, unreachable
from app.services.ledger import evidence
from app.services.reconcile import inbox, mail, silence, texts, verdicts
from app.services.reconcile.texts import Doubt, Sent
from config.queues import Queue
from messaging.providers import twilio_hooks
from messaging.providers.twilio_reader import Known, ReaderError, TwilioReader
from messaging.types import DeliveryRef, Receipt
from workers import runtime

log = structlog.get_logger(__name__)

PILE = "reconcile"
EVERY_TICKS = 60  # of the scheduler's
SHORTEST_GAP = 30.0  # seconds
MOST_NUMBERS = 300  # asked about in one run
_LOCK = sa.text("SELECT pg_try_advisory_lock(hashtext('wardlink.reconcile'))")
_UNLOCK = sa.text("SELECT pg_advisory_unlock(hashtext('wardlink.reconcile'))")
_NOW = sa.text("SELECT clock_timestamp()")
Readers = Mapping[str, TwilioReader]


@dataclass(slots=True)
class Reconciled:
    """What one run did: ``proved`` taken, ``given_back`` to wait, ``expired``, ``reported`` and ``received`` texts."""

    proved: int = 0
    given_back: int = 0
    expired: int = 0
    reported: int = 0
    received: int = 0

    @property
    def total(self) -> int:
        return self.proved + self.given_back + self.expired + self.reported + self.received


def reconcile() -> int:
    """One run; how many deliveries and texts it settled. Another run at the same time does nothing.

    While the queue server is away it is called every second, and runs twice a minute.
    """
    queue.answered(PILE)
    if time.monotonic() < _Next.at:
        return 0
    _Next.at = time.monotonic() + SHORTEST_GAP
    return runtime.attempt(_reconcile)


class _Next:
    """When this process may run again, by its monotonic clock."""

    at = 0.0


def _reconcile() -> int:
    registry = runtime.registry()
    with registry.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as held:
        # One at a time: two could give one message to two doubts.
        if not held.execute(_LOCK).scalar_one():
            return 0
        try:
            # The database's clock wrote down what is compared with it; this machine's may be stepped.
            now = held.execute(_NOW).scalar_one()
            return runtime.runner().run(run(registry, now=now)).total
        finally:
            held.execute(_UNLOCK)


async def run(registry: Registry, *, now: datetime) -> Reconciled:
    """Settle and ask everything that is due at ``now``. Holds no lock: see ``reconcile``."""
    done = Reconciled()
    settle_mail(registry, done, now=now)
    readers = providers.readers(registry.settings)
    try:
        if readers:
            await settle_texts(registry, readers, done, now=now)
            await hear_of_silent(registry, readers, done, now=now)
            await read_inboxes(registry, readers, done, now=now)
    finally:
        for reader in readers.values():
            await reader.aclose()
    with registry.sessions.begin() as session:
        listening.purge(session, now=now)
        mail.purge(session, now=now)
    if done.total:
        log.info("reconciled", **{name: getattr(done, name) for name in Reconciled.__slots__})
    return done


# -- e-mail
def settle_mail(registry: Registry, done: Reconciled, *, now: datetime) -> None:
    """SendGrid's silence, where it proves something."""
    with registry.sessions() as session:
        calls = mail.silent(session, providers.SENDGRID, now=now)
    for call in calls:
        with registry.sessions.begin() as session:
            _count(done, verdicts.not_taken(session, *call, now=now))


def _count(done: Reconciled, verdict: verdicts.Verdict) -> None:
    done.given_back += verdict.given_back
    done.expired += verdict.expired


# -- texts in doubt
async def settle_texts(registry: Registry, readers: Readers, done: Reconciled, *, now: datetime) -> None:
    """Compare doubts with Twilio's lists, attempt by attempt of at most 100 texts each."""
    with registry.sessions() as session:
        found = texts.due(
            session,
            list(readers),
            signer=registry.signer,
            public_url=registry.settings.public_url,
            now=now,
            most=MOST_NUMBERS // 10,
        )
    asked: texts.Attempts = {}
    numbers = 0
    for attempt, doubts in found.items():
        if numbers and numbers + len(doubts) > MOST_NUMBERS:
            break
        asked[attempt], numbers = doubts, numbers + len(doubts)
    every = [doubt for doubts in asked.values() for doubt in doubts]
    by_provider: dict[str, list[Doubt]] = {}
    for doubt in every:
        by_provider.setdefault(doubt.provider, []).append(doubt)
    judged = texts.Judged()
    for provider, doubts in by_provider.items():
        lists = await _lists(readers[provider], doubts)
        with registry.sessions() as session:
            some = texts.judge(session, doubts, lists)
        judged.taken |= some.taken
        judged.absent += some.absent
    for attempt, doubts in asked.items():
        _write(registry, attempt, doubts, judged, done, now=now)


def _write(
    registry: Registry,
    attempt: tuple[UUID, int, int],
    doubts: Sequence[Doubt],
    judged: texts.Judged,
    done: Reconciled,
    *,
    now: datetime,
) -> None:
    taken = [(doubt, sid) for doubt in doubts if (sid := judged.taken.get(doubt.ref))]
    gone = {d.contact_id for d in judged.absent if d.attempt == attempt and d.until <= now}
    with registry.sessions.begin() as session:
        # A callback may have said meanwhile whose this message is.
        named = texts.named(session, [doubt.contact_id for doubt, _ in taken], [sid for _, sid in taken])
        proved = [_accepted(doubt.ref, sid, now) for doubt, sid in taken if sid not in named]
        done.proved += evidence.apply(session, [receipt for receipt in proved if receipt]).moved
        texts.ask_again(session, attempt, doubts, now=now)
    if gone:
        with registry.sessions.begin() as session:
            _count(done, verdicts.not_taken(session, *attempt, now=now, only=gone))
    with registry.sessions.begin() as session:
        verdicts.settled(session, *attempt)


def _accepted(ref: DeliveryRef, sid: str, now: datetime) -> Receipt | None:
    # What became of it since is asked by its sid, with all others that are silent.
    return twilio_hooks.parse_status(str(ref), {"MessageSid": sid, "MessageStatus": "accepted"}, now)


async def _lists(reader: TwilioReader, doubts: list[Doubt]) -> dict[str, list[Sent]]:
    """Number → what was written to it at the time; numbers of which the provider did not tell are left out."""
    since: dict[str, datetime] = {}
    for doubt in doubts:
        since[doubt.number] = min(doubt.earliest, since.get(doubt.number, doubt.earliest))

    async def one(number: str) -> tuple[str, list[Sent] | None]:
        try:
            found = await reader.sent_to(number, since=since[number])
        except ReaderError as error:
            log.warning("provider_did_not_tell", question="list", error=error.reason)
            return number, None
        return number, [Sent(m.sid, m.body, m.created_at) for m in found]

    told = await asyncio.gather(*map(one, since))
    return {number: messages for number, messages in told if messages is not None}


# -- texts without an end
async def hear_of_silent(registry: Registry, readers: Readers, done: Reconciled, *, now: datetime) -> None:
    """Read what Twilio knows of texts whose callbacks stayed away, by their sids."""
    with registry.sessions.begin() as session:
        silence.notice(session, now=now)
    with registry.sessions() as session:
        rounds = silence.due(session, list(readers), now=now)
    for one in rounds:
        told = await asyncio.gather(*(_fetch(readers[text.provider], text) for text in one.texts))
        if any(answer is None for answer in told):  # not now: the same texts next time, and others meanwhile
            continue
        receipts = [receipt for answer in told for receipt in answer or ()]
        with registry.sessions.begin() as session:
            found = evidence.apply(session, receipts)
            unreachable.suppress(session, found.known)
            silence.asked(session, one, now=now)
        done.reported += found.moved


async def _fetch(reader: TwilioReader, text: silence.Silent) -> list[Receipt] | None:
    """What Twilio says of a text, nothing if it knows it not; None if it did not answer."""
    try:
        known = await reader.fetch(text.sid)
    except ReaderError as error:
        log.warning("provider_did_not_tell", question="fetch", error=error.reason)
        return None
    receipt = None if known is None else _told(text.ref, known)
    return [] if receipt is None else [receipt]


def _told(ref: DeliveryRef, known: Known) -> Receipt | None:
    return twilio_hooks.parse_status(str(ref), known.form())


# -- texts from people
async def read_inboxes(registry: Registry, readers: Readers, done: Reconciled, *, now: datetime) -> None:
    """Texts to our numbers that no webhook brought, number by number."""
    with registry.sessions() as session:
        boxes = inbox.due(session, list(readers), now=now)
    mute: set[str] = set()  # an account that does not answer holds up no other's texts
    for box in boxes:
        if box.provider in mute:
            continue
        try:
            found = await readers[box.provider].received(box.number, since=box.since)
        except ReaderError as error:
            log.warning("provider_did_not_tell", question="inbound", error=error.reason)
            mute.add(box.provider)
            continue
        received = [inbox.Text(m.sid, m.sender, m.to, m.body, m.sent_at or m.created_at) for m in found]
        with registry.sessions.begin() as session:
            kept = inbox.keep(session, box, received, now=now)
            if kept:
                queue.ring(session, Queue.RECEIPTS, "workers.receipts.merge", coalesce="receipts")
        done.received += kept
