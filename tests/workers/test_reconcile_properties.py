"""Whatever is answered, lost, reported late and concluded from silence: nobody is written to twice, and all adds up.

The machine plays SendGrid, which knows what it took. It is honest: silent for 16 minutes about a call, it never took it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.orm import Session

from app.db import new_id, utc_now
from app.models.reconcile import HeardCall, WebListening
from app.registry import Registry
from app.services import receipts
from app.services.ledger import check, claims, recovery, results
from app.services.ledger.claims import Claim
from app.services.ledger.results import Row
from app.services.reconcile import mail, verdicts
from messaging.types import DeliveryStatus, Outcome
from tests import ledger
from tests.conftest import Database
from tests.factories import Makes
from workers.receipts import merge_some

SIZE = 4
LATE = timedelta(minutes=30)


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


class Reconciling(RuleBasedStateMachine):
    """One batch of e-mail. Every call ends in an answer, in doubt or with its worker; events may come at any time."""

    session: Session
    sent: UUID

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = self.session.begin_nested()
        self.now: datetime = utc_now()
        self.held: Claim | None = None
        self.taken: dict[int, list[int]] = {}  # attempt → ordinals that SendGrid has
        self.silent: set[int] = set()  # attempts of which no event was posted
        self.session.add(
            WebListening(
                id=new_id(), began_at=self.now - timedelta(days=1), seen_at=self.now + timedelta(days=2)
            )
        )
        self.session.flush()

    def _reached(self) -> Counter[int]:
        return Counter(ordinal for ordinals in self.taken.values() for ordinal in ordinals)

    # -- a worker
    @rule(arrives=st.booleans(), answer=st.sampled_from(["read", "doubt", "death"]))
    def a_worker_claims_and_sends(self, arrives: bool, answer: str) -> None:
        self.session.execute(sa.text("UPDATE batches SET not_before = now() WHERE state = 'waiting'"))
        held = claims.claim(self.session, lanes=ledger.LANES, channels=["email"], lease_seconds=60)
        if held is None:
            return
        left = claims.check(self.session, held).left
        if not left:
            results.release(self.session, held, done=True)
            return
        attempt = ledger.attempted(self.session, held, left[0].ordinal, left[-1].ordinal)
        self.session.execute(
            sa.text(
                "UPDATE attempts SET provider = 'sendgrid', opened_at = :at WHERE dispatch_id = :d AND n = :n"
            ),
            {"d": self.sent, "n": attempt, "at": self.now},
        )
        arrives = arrives or answer == "read"
        if arrives:
            self.taken[attempt] = [p.ordinal for p in left]
            self.silent.add(attempt)
        if answer == "death":
            self.session.execute(sa.text("UPDATE batches SET lease_until = now() - interval '1 minute'"))
            recovery.recover(self.session)
        else:
            status = DeliveryStatus.ACCEPTED if answer == "read" else DeliveryStatus.IN_DOUBT
            results.write(
                self.session,
                held.dispatch,
                held.batch,
                attempt,
                [Row(p.ordinal, p.contact_id, status) for p in left],
            )
            outcome = Outcome.TAKEN if answer == "read" else Outcome.IN_DOUBT
            results.close_attempt(self.session, held, attempt, outcome)
            results.release(self.session, held, done=True)
        self.session.execute(
            sa.text(
                "UPDATE attempts SET closed_at = :at WHERE dispatch_id = :d AND n = :n AND closed_at IS NOT NULL"
            ),
            {"d": self.sent, "n": attempt, "at": self.now},
        )

    # -- SendGrid
    @precondition(lambda self: self.taken)
    @rule(data=st.data(), kind=st.sampled_from(["processed", "delivered", "bounce"]))
    def sendgrid_posts_an_event(self, data: st.DataObject, kind: str) -> None:
        attempt = data.draw(st.sampled_from(sorted(self.taken)))
        ordinal = data.draw(st.sampled_from(self.taken[attempt]))
        event = ledger.event(self.sent, ordinal, kind, attempt=attempt)
        receipts.store(self.session, "sendgrid", ledger.body(event))
        self.session.execute(
            sa.text("UPDATE raw_events SET received_at = :at WHERE merged_at IS NULL"), {"at": self.now}
        )
        self.silent.discard(attempt)

    @rule()
    def a_merge(self) -> None:
        while merge_some(self.session).events:
            continue
        receipts.merge_early(self.session)

    # -- time
    @rule(later_calls=st.integers(0, 4))
    def half_an_hour_passes_and_silence_is_read(self, later_calls: int) -> None:
        for attempt in sorted(self.silent):  # in that time SendGrid has posted something of all that it took
            event = ledger.event(self.sent, self.taken[attempt][0], "processed", attempt=attempt)
            receipts.store(self.session, "sendgrid", ledger.body(event))
        self.silent.clear()
        self.session.execute(
            sa.text("UPDATE raw_events SET received_at = :at WHERE merged_at IS NULL"), {"at": self.now}
        )
        self.now += LATE
        for n in range(later_calls):
            self.session.add(
                HeardCall(
                    dispatch_id=new_id(), batch_n=0, attempt_n=n, provider="sendgrid",
                    opened_at=self.now - timedelta(minutes=1),
                )
            )  # fmt: skip
        self.session.flush()
        for call in mail.silent(self.session, "sendgrid", now=self.now):
            verdicts.not_taken(self.session, *call, now=utc_now())

    @invariant()
    def nobody_was_written_to_twice_and_it_balances(self) -> None:
        assert all(times == 1 for times in self._reached().values())
        (line,) = check.balance(self.session, self.sent)
        assert line.balances, line.problems

    def teardown(self) -> None:
        self.a_merge()
        found = ledger.statuses(self.session, self.sent)
        for ordinal in self._reached():
            assert found[ordinal] is DeliveryStatus.IN_DOUBT or found[ordinal] >= DeliveryStatus.ACCEPTED
        self.savepoint.rollback()


def test_nobody_twice_whatever_is_lost_late_or_silent(session: Session, makes: Makes) -> None:
    class Here(Reconciling):
        pass

    Here.session, Here.sent = session, ledger.frozen(makes, SIZE)
    run_state_machine_as_test(Here, settings=settings(max_examples=25, stateful_step_count=12, deadline=None))
