"""Leases that ran out and dispatches that end, when two do it at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from app.db import utc_now
from app.models.ledger import Attempt, Batch, Dispatch
from app.models.limits import Reservation
from app.registry import Registry
from app.services import receipts
from app.services.budgets import settling
from app.services.ledger import check, recovery, results
from app.services.reconcile import verdicts
from config.fields import Part
from messaging.types import DeliveryStatus, Outcome
from tests import ledger
from tests.conftest import Database
from tests.factories import Makes
from workers.receipts import merge_some


@dataclass
class Ground:
    database: Database
    worker: Registry
    sent: UUID


@pytest.fixture
def ground(committed: Database) -> Iterator[Ground]:
    app, worker = committed.open(), committed.open(Part.WORKER)
    with app.sessions.begin() as session:
        sent = ledger.frozen(Makes(session), 3)
    yield Ground(committed, worker, sent)
    app.engine.dispose()
    worker.engine.dispose()


def test_a_late_worker_and_the_sweeper_do_not_wait_for_each_other(ground: Ground) -> None:
    """The worker has its attempt and wants its batch; the sweeper, asked meanwhile, leaves the batch for later."""
    sessions = ground.worker.sessions
    with sessions.begin() as session:
        held = ledger.claimed(session)
        attempt = ledger.attempted(session, held)
        session.execute(sa.update(Batch).values(lease_until=sa.text("now() - interval '1 minute'")))
    late = sessions()
    results.close_attempt(late, held, attempt, Outcome.TAKEN)  # its attempt is locked now
    with sessions.begin() as session:
        session.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        swept = recovery.recover(session)
    ledger.recorded(late, held, attempt, DeliveryStatus.ACCEPTED)
    results.release(late, held, done=True)
    late.commit()
    late.close()
    assert swept == [], "its worker is at it"
    with sessions() as session:
        assert set(ledger.statuses(session, ground.sent).values()) == {DeliveryStatus.ACCEPTED}
        assert session.get_one(Attempt, (ground.sent, 0, attempt)).outcome == "taken"


def test_of_two_who_close_the_last_batches_at_once_the_second_sees_that_all_is_done(ground: Ground) -> None:
    sessions = ground.worker.sessions
    engine = sa.create_engine(
        ground.database.admin.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    with engine.begin() as connection:  # a second batch of the same dispatch
        connection.execute(
            sa.text(
                "INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, "
                "exercise, contact_ids, size, reserved_segments, not_before, expires_at) "
                "SELECT dispatch_id, 1, channel, language, controller_id, sender_id, lane, urgency, exercise, "
                "ARRAY[1::bigint], 1, 0, not_before, expires_at FROM batches"
            )
        )
    first, second = sessions(), sessions()
    close = sa.update(Batch).values(state="done")
    first.execute(close.where(Batch.n == 0))
    second.execute(close.where(Batch.n == 1))
    assert recovery.finish(first, ground.sent) == []
    found: list[UUID] = []

    def finish() -> None:
        found.extend(recovery.finish(second, ground.sent))
        second.commit()

    thread = threading.Thread(target=finish)
    thread.start()
    first.commit()
    thread.join(20)
    first.close()
    second.close()
    assert found == [ground.sent]
    with sessions() as session:
        assert session.get_one(Dispatch, ground.sent).finished_at is not None


def test_an_event_that_waited_for_a_conclusion_from_silence_takes_it_back(ground: Ground) -> None:
    """The merger comes while the conclusion is being written down: it waits, and is stronger."""
    sessions, sent = ground.worker.sessions, ground.sent
    with sessions.begin() as session:
        ledger.carried(session, DeliveryStatus.IN_DOUBT)
    app = ground.database.open()
    with app.sessions.begin() as session:
        receipts.store(session, "sendgrid", ledger.body(ledger.event(sent, 2, "delivered")))
    app.engine.dispose()
    concluding = sessions()
    assert verdicts.not_taken(concluding, sent, 0, 1, now=utc_now()).given_back == 3
    done: list[int] = []

    def merge() -> None:
        with sessions.begin() as session:
            done.append(merge_some(session).moved)

    thread = threading.Thread(target=merge)
    thread.start()
    concluding.commit()
    concluding.close()
    thread.join(20)
    assert done and done[0] >= 3
    with sessions() as session:
        found = ledger.statuses(session, sent)
        assert found == {1: DeliveryStatus.ACCEPTED, 2: DeliveryStatus.DELIVERED, 3: DeliveryStatus.ACCEPTED}
        (line,) = check.balance(session, sent)
        assert line.balances, line.problems


def test_a_batch_that_was_reopened_while_its_dispatch_ended_reopens_the_dispatch(ground: Ground) -> None:
    sessions = ground.worker.sessions
    with sessions.begin() as session:
        ledger.carried(session)
        assert recovery.finish(session) == [ground.sent]
    assert settle(sessions) == 1
    with sessions.begin() as session:
        assert recovery.reopen(session) == []
        session.execute(sa.update(Batch).values(state="waiting"))
    with sessions.begin() as session:
        assert recovery.reopen(session) == [ground.sent]
    with sessions.begin() as session:
        one = session.get_one(Dispatch, ground.sent)
        assert (one.finished_at, one.state) == (None, "running")
        session.execute(sa.update(Batch).values(state="done"))
        assert recovery.finish(session) == [ground.sent]
    assert settle(sessions) == 1, "what it cost is reckoned once more"


def settle(sessions: sessionmaker[Session]) -> int:
    with sessions.begin() as session:
        return settling.settle(session)


def test_who_was_in_doubt_and_turns_out_not_to_have_been_written_to_is_paid_for_no_more(
    ground: Ground,
) -> None:
    sessions = ground.worker.sessions
    with sessions.begin() as session:
        ledger.carried(session, DeliveryStatus.IN_DOUBT)
        recovery.finish(session)
    assert settle(sessions) == 1
    over = utc_now() + timedelta(days=30)
    with sessions.begin() as session:
        assert session.scalars(sa.select(Reservation.spent_emails)).one() == 3
        assert verdicts.not_taken(session, ground.sent, 0, 1, now=over) == verdicts.Verdict(expired=3)
    assert settle(sessions) == 1
    with sessions() as session:
        assert session.scalars(sa.select(Reservation.spent_emails)).one() == 0
