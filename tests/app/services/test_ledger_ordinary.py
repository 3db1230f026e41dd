"""The ordinary end of a batch is one statement; where it is not so plain, nothing of it is kept. And the look-ups of
the hot path stay searches of an index, however empty the ledger was when they were planned.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.ledger import Attempt, Batch
from app.registry import Registry
from app.services.ledger import check, claims, ordinary, recovery, results
from app.services.ledger.claims import Claim
from messaging.types import Channel, DeliveryStatus
from tests import ledger, plans
from tests.conftest import Database
from tests.factories import Makes

ACCEPTED, STOPPED, DOUBT = DeliveryStatus.ACCEPTED, DeliveryStatus.STOPPED, DeliveryStatus.IN_DOUBT


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


def not_so(session: Session, held: Claim, attempt: int, ordinals: list[int], why: type[Exception]) -> None:
    """It is refused, and the transaction rolled back as the engine does."""
    with pytest.raises(why), session.begin_nested():
        ordinary.all_taken(session, held, attempt, ordinals)


def test_everybody_taken_closes_attempt_and_batch_and_the_balance_holds(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 5)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    ordinary.all_taken(session, held, attempt, [1, 2, 3, 4, 5], ref="call-1", reason="202", failed_percent=0)
    assert recovery.finish(session, sent) == [sent]
    assert ledger.statuses(session, sent) == dict.fromkeys(range(1, 6), ACCEPTED)
    batch = session.get_one(Batch, (sent, 0), populate_existing=True)
    assert (batch.state, batch.accepted, batch.lease_token, batch.lease_until) == ("done", 5, None, None)
    kept = session.get_one(Attempt, (sent, 0, attempt), populate_existing=True)
    assert (kept.outcome, kept.provider_ref, kept.reason, kept.failed_percent) == (
        "taken",
        "call-1",
        "202",
        0,
    )
    assert kept.closed_at is not None
    (line,) = check.balance(session, sent)
    assert line.balances and line.accepted == 5


@pytest.mark.parametrize(("others", "perhaps_last"), [(0, True), (14, True), (15, False), (40, False)])
def test_whoever_ends_a_batch_is_told_whether_few_are_open(
    session: Session, makes: Makes, others: int, perhaps_last: bool
) -> None:
    """Sixteen batches at most end at one moment without seeing each other; with more open, none is the last."""
    sent = ledger.frozen(makes, 2)
    session.execute(
        sa.text(
            "INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise, "
            "contact_ids, size, reserved_segments, not_before, expires_at, state) "
            "SELECT dispatch_id, g, channel, language, controller_id, sender_id, lane, urgency, exercise, contact_ids, "
            "size, 0, now() + interval '1 hour', expires_at, CASE WHEN g <= :others THEN 'waiting' ELSE 'done' END "
            "FROM batches, generate_series(1, 60) g WHERE dispatch_id = :d"
        ),
        {"d": sent, "others": others},
    )
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    assert ordinary.all_taken(session, held, attempt, [1, 2]) is perhaps_last


def test_who_ended_before_the_call_is_left_out(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 5)
    held = ledger.claimed(session)
    contacts = ledger.ids(session, sent)
    results.write(session, sent, 0, None, [results.Row(o, contacts[o - 1], STOPPED) for o in (1, 3)])
    attempt = ledger.attempted(session, held, 2, 5)
    ordinary.all_taken(session, held, attempt, [2, 4, 5])
    expected = {1: STOPPED, 2: ACCEPTED, 3: STOPPED, 4: ACCEPTED, 5: ACCEPTED}
    assert ledger.statuses(session, sent) == expected
    assert session.get_one(Batch, (sent, 0), populate_existing=True).state == "done"
    (line,) = check.balance(session, sent)
    assert line.balances


def test_a_batch_with_somebody_still_to_be_sent_to_waits_again(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 3)
    held = ledger.claimed(session)
    ordinary.all_taken(session, held, ledger.attempted(session, held, 1, 2), [1, 2])
    batch = session.get_one(Batch, (sent, 0), populate_existing=True)
    assert (batch.state, batch.accepted) == ("waiting", 2)
    session.execute(sa.text("UPDATE batches SET not_before = now()"))
    assert [p.ordinal for p in claims.check(session, ledger.claimed(session)).left] == [3]


@pytest.mark.parametrize(
    ("accident", "why"),
    [
        ("UPDATE batches SET lease_token = gen_random_uuid()", ordinary.NotOrdinaryError),
        ("UPDATE attempts SET lease_token = gen_random_uuid()", ordinary.NotOrdinaryError),
        (
            "UPDATE attempts SET closed_at = now(), outcome = 'in_doubt', reason = 'worker lost'",
            ordinary.NotOrdinaryError,
        ),
        (
            (
                "INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, attempt_n, status) "
                "SELECT dispatch_id, contact_ids[2], n, 2, 1, 10 FROM batches"
            ),
            sa.exc.IntegrityError,
        ),
    ],
)
def test_a_lost_lease_a_closed_attempt_or_a_row_that_stands_keeps_nothing_of_it(
    session: Session, makes: Makes, accident: str, why: type[Exception]
) -> None:
    sent = ledger.frozen(makes, 3)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    session.execute(sa.text(accident))
    before = ledger.statuses(session, sent)
    not_so(session, held, attempt, [1, 2, 3], why)
    assert ledger.statuses(session, sent) == before
    batch = session.get_one(Batch, (sent, 0), populate_existing=True)
    assert (batch.state, batch.accepted) == ("claimed", 0)


def test_where_many_of_the_stretch_ended_before_the_ids_travel(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 4)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    far = [1, 2 + ordinary.MOST_LEFT_OUT + 1]
    not_so(session, held, attempt, far, ordinary.NotOrdinaryError)
    assert ledger.statuses(session, sent) == {}


def explained(session: Session, statement: sa.TextClause, **values: object) -> list[dict]:
    """The nodes of a plan, as the sender makes it: whole tables are not to be read."""
    session.execute(sa.text("SET LOCAL enable_seqscan = off"))
    plan = session.execute(sa.text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.text}"), values)
    return plans.nodes(plan.scalar_one())


def test_the_check_searches_the_ledger_by_person_even_if_it_was_planned_while_it_was_empty(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 10)
    held = ledger.claimed(session)
    session.execute(sa.text("ANALYZE deliveries"))
    values = {
        "controller": held.controller, "channel": "email", "topics": [held.topic], "dispatch": sent, "batch": 0,
        "first": 1, "last": 1_000, "waiting": 0,
    }  # fmt: skip
    nodes = explained(session, claims._REMAINING, **values)
    ledgers = [n for n in nodes if n.get("Relation Name", "").startswith("deliveries")]
    assert ledgers
    for node in ledgers:
        assert node["Node Type"] in ("Index Scan", "Index Only Scan")
        assert "dispatch_id" in node["Index Cond"] and "contact_id" in node["Index Cond"]


def claim_pages(session: Session) -> int:
    """Pages of the index of waiting batches, and of what it points to, that a claim reads."""
    values = {
        "lanes": ledger.LANES, "channels": list(Channel), "token": uuid4(), "lease": 60.0, "backlog": 2.5, "held": [],
    }  # fmt: skip
    with session.begin_nested() as attempt:
        nodes = explained(session, claims._CLAIM, **values)
        attempt.rollback()
    (found,) = [n for n in nodes if n.get("Index Name") == "ix_batches_waiting"]
    assert found["Actual Rows"] <= 2
    return int(found["Shared Hit Blocks"] + found["Shared Read Blocks"])


def test_a_claim_among_a_thousand_waiting_and_ten_thousand_finished_batches_reads_a_few_pages(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 1)
    session.execute(sa.text("ANALYZE batches"))
    # What tests before this one left in the index lies on its way too. (So few rows could as well be put in order.)
    session.execute(sa.text("SET LOCAL enable_sort = off"))
    before = claim_pages(session)
    session.execute(sa.text("SET LOCAL enable_sort = on"))
    session.execute(
        sa.text(
            """
            INSERT INTO batches (dispatch_id, n, channel, language, controller_id, sender_id, lane, urgency, exercise,
                contact_ids, size, reserved_segments, not_before, expires_at, state, accepted)
            SELECT dispatch_id, i, channel, language, controller_id, sender_id, lane, urgency, exercise, contact_ids,
                size, 0, not_before, expires_at, CASE WHEN i <= 10000 THEN 'done' ELSE 'waiting' END, 1
            FROM batches, generate_series(1, 11000) i WHERE dispatch_id = :sent AND n = 0
            """
        ),
        {"sent": sent},
    )
    session.execute(sa.text("ANALYZE batches"))
    assert claim_pages(session) - before < 60
