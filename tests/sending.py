"""A world of one test's own for sending: a committed database, a sandbox, and the real engine between them."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import redis
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.cli.stack import second_environ
from app.db import new_contact_id
from app.models.alerts import Alert
from app.models.areas import Area
from app.models.ledger import BULK_LANE, URGENT_LANE, Attempt, Batch, Delivery
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.registry import Registry
from app.services import consent, dispatch
from app.services.ledger import check
from config.fields import Part
from messaging.sandbox import judge
from messaging.sandbox.embed import running
from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig
from messaging.types import DeliveryStatus
from tests.conftest import Database
from tests.factories import ACTOR, START, TOPIC, Makes
from workers.post import send_due
from workers.sending.drain import drain
from workers.sending.engine import Engine

URL = "http://127.0.0.1:8000"


@dataclass
class World:
    """``app`` and ``worker`` are registries under their own database roles."""

    database: Database
    sandbox: Sandbox
    app: Registry
    worker: Registry
    tokens: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # -- making
    @contextmanager
    def making(self) -> Iterator[Makes]:
        """Makers in a transaction of the app's, committed at the end."""
        with self.app.sessions.begin() as session:
            yield Makes(session, self.numbers)

    def send(self, makes: Makes, alert: Alert, **more: object) -> UUID:
        token = f"token-{next(self.tokens):04d}"
        self.rest(makes.session)
        return dispatch.send(makes.session, alert.id, token=token, actor=ACTOR, public_url=URL, **more).id  # type: ignore[arg-type]

    def imported(self, makes: Makes, organisation: Organisation, ward: Area, address: str) -> ContactPoint:
        """A confirmed e-mail address as an import of old would have left it: never looked at."""
        contact = ContactPoint(
            id=new_contact_id(),
            channel="email",
            address=address,
            digest=crypto.keyring().digest("email", address),
            digest_key=crypto.keyring().index_id,
            form_version=1,
            confirmed_at=START,
            synthetic=True,
        )
        makes.session.add(contact)
        makes.session.flush()
        makes.live_in(contact, organisation, ward, [TOPIC])
        makes.wording()
        consent.give(makes.session, contact, organisation.id, how="import", actor=ACTOR)
        return contact

    # -- sending
    def drain(self, lanes: Sequence[int] = (URGENT_LANE, BULK_LANE), *, seconds: float = 20.0) -> int:
        """What a worker's job does: send all that is ready. How many batches were handled."""

        async def go() -> int:
            engine = Engine(self.worker)
            try:
                return await drain(engine, lanes, seconds)
            finally:
                await engine.aclose()

        return asyncio.run(go())

    def deliver(self, *, seconds: float = 20.0) -> int:
        """What a worker's job does for service messages: send all that are due. How many were taken in hand."""

        async def go() -> int:
            engine = Engine(self.worker)
            try:
                return await send_due(engine, seconds)
            finally:
                await engine.aclose()

        return asyncio.run(go())

    def engine(self) -> Engine:
        return Engine(self.worker)

    def faults(self, **channels: object) -> None:
        self.sandbox.faults.apply(channels)

    def run(self, statement: str, **values: object) -> None:
        """As the superuser: what a test does to time, or an accident to the rows."""
        engine = sa.create_engine(
            self.database.admin.replace("postgresql://", "postgresql+psycopg://"),
            poolclass=sa.NullPool,
        )
        with engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def come_back(self, sent: UUID) -> None:
        """The time that a batch waits for has passed, and what a provider asked for too."""
        with self.looking() as session:
            self.rest(session)
        self.run("UPDATE batches SET not_before = now() WHERE dispatch_id = :d", d=sent)

    def rest(self, session: Session) -> None:
        """Buckets as after a long rest: full, and nobody told to wait. (An empty one lets a single window go.)"""
        space = f"pace:{self.database.name}:"
        senders = session.execute(sa.text("SELECT id FROM senders")).scalars().all()
        with redis.Redis.from_url(self.worker.settings.redis_url) as valkey:
            for key in valkey.scan_iter(match=f"{space}*", count=1_000):
                valkey.delete(key)
            full = {"tokens": 1_000_000, "at": valkey.time()[0]}  # as many as fit in
            for bucket in ("account:twilio", "account:sendgrid", *(f"sender:{n}" for n in senders)):
                valkey.hset(f"{space}{bucket}", mapping=full)

    # -- looking
    @contextmanager
    def looking(self) -> Iterator[Session]:
        with self.app.sessions() as session:
            yield session

    def reached(self, sent: UUID) -> Counter[int]:
        """Contact id → how often, by the sandbox's acceptance log joined with the frozen batches."""
        with self.looking() as session:
            frozen = {b.n: b.contact_ids for b in session.scalars(_of(Batch, sent))}
        found: Counter[int] = Counter()
        for channel in judge.tally(self.sandbox.log_path, sent.hex).channels.values():
            assert not channel.twice_addresses, channel.twice_addresses
            for place, times in channel.places.items():
                batch, ordinal = map(int, place.split("."))
                found[frozen[batch][ordinal - 1]] += times
        return found

    def statuses(self, sent: UUID) -> dict[int, DeliveryStatus]:
        with self.looking() as session:
            return {d.contact_id: DeliveryStatus(d.status) for d in session.scalars(_of(Delivery, sent))}

    def reasons(self, sent: UUID) -> dict[int, str | None]:
        with self.looking() as session:
            return {d.contact_id: d.reason for d in session.scalars(_of(Delivery, sent))}

    def attempts(self, sent: UUID) -> list[Attempt]:
        with self.looking() as session:
            rows = session.scalars(_of(Attempt, sent).order_by(Attempt.batch_n, Attempt.n))
            return list(rows)

    def batch(self, sent: UUID, n: int = 0) -> Batch:
        with self.looking() as session:
            return session.get_one(Batch, (sent, n))

    def balance(self, sent: UUID) -> list[check.Balance]:
        """The table of the invariant; it must add up whenever anybody looks."""
        with self.looking() as session:
            lines = check.balance(session, sent)
        for line in lines:
            assert line.balances, line
        return lines


def _of(model: type, sent: UUID) -> sa.Select:
    return sa.select(model).where(model.dispatch_id == sent)


@contextmanager
def world(database: Database, folder: Path, *, second: bool = False, **settings: str) -> Iterator[World]:
    """Everything up; a sandbox that posts nothing by itself. ``second``: with the second providers."""
    config = SandboxConfig(state=folder / "sandbox", receipts=False, sender_rate=1_000.0, second=second)
    with running(config) as sandbox:
        changes = {
            "PUBLIC_URL": URL,
            "TWILIO_BASE_URL": sandbox.url,
            "TWILIO_ACCOUNT_SID": sandbox.identity.account_sid,
            "TWILIO_AUTH_TOKEN": sandbox.identity.auth_token,
            "SENDGRID_BASE_URL": sandbox.url,
            "SENDGRID_API_KEY": sandbox.identity.sendgrid_key,
        }
        changes |= (second_environ(sandbox.described()) if second else {}) | settings
        app, worker = database.open(Part.APP, **changes), database.open(Part.WORKER, **changes)
        made = World(database, sandbox, app, worker)
        with made.looking() as session:
            made.rest(session)  # another test, on a database of the same name, left its own
        try:
            yield made
        finally:
            app.engine.dispose()
            worker.engine.dispose()
