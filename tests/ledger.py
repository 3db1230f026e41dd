"""A dispatch as the engine leaves it, without an engine: claimed, attempted, written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import utc_now
from app.models.areas import Area
from app.models.ledger import BULK_LANE, URGENT_LANE, Batch, Delivery
from app.models.organisations import Organisation
from app.services import dispatch
from app.services.ledger import attempts, claims, results
from app.services.ledger.claims import Claim
from app.services.ledger.results import Row
from messaging.types import Channel, DeliveryRef, DeliveryStatus, Outcome
from tests.conftest import Database
from tests.factories import ACTOR, Makes

URL = "http://127.0.0.1:8000"
LANES = [URGENT_LANE, BULK_LANE]


@contextmanager
def by_anybody(database: Database) -> Iterator[Session]:
    """A session that may do what the app and the worker may, and leaves nothing behind.

    For what has nothing to do with roles: in one transaction both parts are played.
    """
    url = database.admin.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as inner:
            yield inner
        outer.rollback()


def frozen(
    makes: Makes, count: int, channel: Channel = Channel.EMAIL, *, organisation: Organisation | None = None
) -> UUID:
    """A dispatch to ``count`` new people of a ward of their own, ready to be claimed in this transaction."""
    police = organisation or makes.organisation()
    makes.sender(police, channel)
    _, ward, _ = makes.borough()
    for _ in range(count):
        makes.resident(police, ward, channel=channel)
    return resent(makes, police, ward, channel)


def resent(
    makes: Makes, police: Organisation, ward: Area, channel: Channel = Channel.EMAIL, **changes: object
) -> UUID:
    """One more dispatch to the people of a ward."""
    alert = makes.alert(police, [ward], channels=[channel], **changes)
    # An hour ago: a transaction that began before the freeze may claim it as well.
    return dispatch.send(
        makes.session,
        alert.id,
        token=f"token-{next(makes.numbers):06d}",
        actor=ACTOR,
        public_url=URL,
        now=utc_now() - timedelta(hours=1),
    ).id


def claimed(session: Session) -> Claim:
    held = claims.claim(session, lanes=LANES, channels=list(Channel), lease_seconds=60)
    assert held is not None
    return held


def attempted(session: Session, held: Claim, first: int = 1, last: int | None = None) -> int:
    """An attempt opened for a stretch of a batch; its number."""
    n = attempts.open_attempt(
        session, held, provider="test", first=first, last=last or held.size, lease_seconds=60
    )
    assert n is not None
    return n


def recorded(
    session: Session, held: Claim, attempt: int, status: DeliveryStatus, ordinals: Sequence[int] | None = None
) -> results.Written:
    """Everybody of a batch (or these ordinals) written down alike."""
    contacts = ids(session, held.dispatch, held.batch)
    rows = [Row(o, contacts[o - 1], status) for o in ordinals or range(1, held.size + 1)]
    return results.write(session, held.dispatch, held.batch, attempt, rows)


def carried(session: Session, status: DeliveryStatus = DeliveryStatus.ACCEPTED) -> tuple[Claim, int]:
    """The next waiting batch, sent in one attempt that ended so for everybody."""
    held = claimed(session)
    attempt = attempted(session, held)
    recorded(session, held, attempt, status)
    outcome = Outcome.IN_DOUBT if status is DeliveryStatus.IN_DOUBT else Outcome.TAKEN
    results.close_attempt(session, held, attempt, outcome)
    results.release(session, held, done=True)
    return held, attempt


def ids(session: Session, sent: UUID, batch: int = 0) -> list[int]:
    return list(
        session.scalars(sa.select(Batch.contact_ids).where(Batch.dispatch_id == sent, Batch.n == batch)).one()
    )


def statuses(session: Session, sent: UUID) -> dict[int, DeliveryStatus]:
    """Ordinal → status, of the first batch."""
    rows = session.execute(
        sa.select(Delivery.ordinal, Delivery.status).where(
            Delivery.dispatch_id == sent, Delivery.batch_n == 0
        )
    )
    return {ordinal: DeliveryStatus(status) for ordinal, status in rows}


def event(sent: UUID, ordinal: int, kind: str, *, attempt: int = 1, batch: int = 0, **more: object) -> dict:
    """One event as SendGrid posts it."""
    return {
        "wl": str(DeliveryRef(sent, batch, attempt, ordinal)),
        "event": kind,
        "timestamp": 1_790_000_000,
        "email": f"person{ordinal}@people.example",
        "sg_message_id": f"call-{batch}-{attempt}.sandbox.{ordinal}",
        **more,
    }


def body(*events: dict) -> str:
    return orjson.dumps(events).decode()
