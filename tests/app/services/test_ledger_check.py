"""The check of the invariant finds what is planted; and what the sweeper and a late worker leave adds up."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.alerts import Alert
from app.models.ledger import Dispatch
from app.registry import Registry
from app.services.ledger import attempts, check, claims, recovery, results
from app.services.ledger.results import Row
from messaging.types import Channel, DeliveryStatus, Outcome
from tests import ledger
from tests.conftest import Database
from tests.factories import Makes


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


def line_of(session: Session, sent: UUID) -> check.Balance:
    (line,) = check.balance(session, sent)
    return line


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        ("UPDATE batches SET accepted = accepted + 1", "the counters say"),
        ("UPDATE batches SET accepted = accepted - 1, refused = refused + 1", "the counters say"),
        ("UPDATE deliveries SET status = 23 WHERE ordinal = 2", "the counters say"),
        ("UPDATE deliveries SET ordinal = 3 WHERE ordinal = 2", "at another place"),
        ("DELETE FROM deliveries WHERE ordinal = 2", "the counters say"),
        (
            (
                "INSERT INTO deliveries SELECT dispatch_id, 77, batch_n, ordinal, attempt_n, status FROM deliveries "
                "WHERE ordinal = 1"
            ),
            "belong to nobody",
        ),
        ("UPDATE batches SET contact_ids[2] = contact_ids[1]", "more than one batch"),
    ],
)
def test_a_planted_fault_is_found_and_named(session: Session, makes: Makes, fault: str, found: str) -> None:
    sent = ledger.frozen(makes, 4)
    ledger.carried(session)
    assert line_of(session, sent).balances
    session.execute(sa.text(fault))
    line = line_of(session, sent)
    assert not line.balances
    assert any(found in problem for problem in line.problems), line.problems


def test_a_status_that_is_none_of_ours_leaves_somebody_unaccounted(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 3)
    ledger.carried(session)
    session.execute(sa.text("UPDATE deliveries SET status = 15 WHERE ordinal = 1"))
    assert line_of(session, sent).unaccounted == 1


def test_a_missing_row_counts_as_waiting_and_the_balance_says_how_all_stand(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 5)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    contacts = ledger.ids(session, sent)
    results.write(
        session,
        sent,
        0,
        attempt,
        [
            Row(1, contacts[0], DeliveryStatus.ACCEPTED),
            Row(2, contacts[1], DeliveryStatus.REFUSED, "bad-address"),
            Row(3, contacts[2], DeliveryStatus.IN_DOUBT, "timeout"),
            Row(4, contacts[3], DeliveryStatus.STOPPED),
        ],
    )
    line = line_of(session, sent)
    assert (line.recipients, line.accepted, line.silent, line.refused, line.in_doubt, line.stopped, line.waiting) == (
        5, 1, 1, 1, 1, 1, 1,
    )  # fmt: skip
    assert line.balances


def test_writing_the_same_twice_changes_nothing_and_a_repeat_by_another_attempt_is_counted(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 3)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    assert ledger.recorded(session, held, attempt, DeliveryStatus.ACCEPTED) == results.Written(3, 0, 0)
    assert ledger.recorded(session, held, attempt, DeliveryStatus.ACCEPTED) == results.Written(0, 0, 0)
    another = ledger.attempted(session, held)
    assert ledger.recorded(session, held, another, DeliveryStatus.ACCEPTED) == results.Written(0, 0, 3)
    assert line_of(session, sent).balances


def test_evidence_lifts_a_doubt_and_a_doubt_never_lowers_evidence(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 2)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    ledger.recorded(session, held, attempt, DeliveryStatus.IN_DOUBT)
    assert ledger.recorded(session, held, attempt, DeliveryStatus.ACCEPTED).moved == 2
    ledger.recorded(session, held, attempt, DeliveryStatus.IN_DOUBT)
    assert set(ledger.statuses(session, sent).values()) == {DeliveryStatus.ACCEPTED}
    assert line_of(session, sent).balances


def test_the_sweeper_puts_only_the_open_stretch_in_doubt_and_the_rest_is_claimed_again(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 6, Channel.SMS)
    held = ledger.claimed(session)
    first = ledger.attempted(session, held, 1, 2)
    ledger.recorded(session, held, first, DeliveryStatus.ACCEPTED, [1, 2])
    results.close_attempt(session, held, first, Outcome.TAKEN)
    ledger.attempted(session, held, 3, 4)
    assert recovery.recover(session) == [], "the lease still holds"
    session.execute(sa.text("UPDATE batches SET lease_until = clock_timestamp() - interval '1 second'"))
    assert recovery.recover(session) == [(sent, 0, 2)]
    assert ledger.statuses(session, sent) == {
        1: DeliveryStatus.ACCEPTED,
        2: DeliveryStatus.ACCEPTED,
        3: DeliveryStatus.IN_DOUBT,
        4: DeliveryStatus.IN_DOUBT,
    }
    assert line_of(session, sent).balances
    again = ledger.claimed(session)
    assert [p.ordinal for p in claims.check(session, again).left] == [5, 6]
    assert attempts.open_attempt(session, held, provider="test", first=5, last=6, lease_seconds=60) is None


def test_a_dispatch_finishes_when_its_last_batch_is_done_and_not_before(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 2)
    assert recovery.finish(session) == []
    ledger.carried(session)
    assert recovery.finish(session) == [sent]
    assert recovery.finish(session) == []
    assert session.get_one(Dispatch, sent, populate_existing=True).state == "done"


def test_an_urgent_batch_is_claimed_before_an_older_routine_one(session: Session, makes: Makes) -> None:
    routine = ledger.frozen(makes, 1)
    police = makes.organisation()
    makes.sender(police, lane="urgent")
    _, ward, _ = makes.borough()
    makes.resident(police, ward)
    urgent = ledger.resent(makes, police, ward, urgency="urgent")
    assert recovery.waiting(session) == {0: 1, 1: 1}
    assert [ledger.claimed(session).dispatch for _ in range(2)] == [urgent, routine]
    assert claims.claim(session, lanes=[0, 1], channels=list(Channel), lease_seconds=60) is None


def test_every_dispatch_of_an_alert_has_its_lines(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 2)
    alert = session.get_one(Alert, session.get_one(Dispatch, sent).alert_id)
    assert [line.dispatch for line in check.of_alert(session, alert)] == [sent]
