"""Limits hold however many ask at once, and a refusal counts nothing."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.confirmations import RateCounter
from app.services.limits import Limit, spend, take, used
from config.fields import Part
from tests.conftest import Database

NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def test_a_limit_lets_exactly_its_number_through_in_each_window(session: Session) -> None:
    limit = Limit("code", "a@people.example", 3, HOUR)
    assert [take(session, [limit], now=NOW) for _ in range(5)] == [None, None, None, limit, limit]
    assert used(session, limit, now=NOW) == 3
    later = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
    assert take(session, [limit], now=later - timedelta(microseconds=1)) == limit
    assert take(session, [limit], now=later) is None
    assert used(session, limit, now=later) == 1


def test_a_refusal_names_the_first_limit_in_the_way_and_counts_nothing(session: Session) -> None:
    wide, narrow, closed = (
        Limit("network", "x", 10, HOUR),
        Limit("code", "x", 1, HOUR),
        Limit("z", "x", 0, DAY),
    )
    assert take(session, [wide, narrow], now=NOW) is None
    assert take(session, [wide, narrow], now=NOW) == narrow
    assert take(session, [wide, narrow, closed], now=NOW) in (narrow, closed)
    assert take(session, [wide, closed], now=NOW) == closed
    assert (used(session, wide, now=NOW), used(session, narrow, now=NOW)) == (1, 1)


def test_what_else_the_transaction_did_survives_a_refusal(session: Session) -> None:
    first = Limit("code", "kept", 5, HOUR)
    take(session, [first], now=NOW)
    assert take(session, [Limit("code", "never", 0, HOUR)], now=NOW) is not None
    assert used(session, first, now=NOW) == 1


def test_keys_scopes_and_lengths_are_counted_apart_even_where_windows_end_together(session: Session) -> None:
    last_hour = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    limits = [
        Limit("code", "k", 5, HOUR),
        Limit("code", "k", 5, DAY),
        Limit("code", "other", 5, DAY),
        Limit("more", "k", 5, DAY),
        Limit("code", b"k", 5, DAY),
        Limit("code", "", 5, DAY),
    ]
    for n, limit in enumerate(limits):
        assert take(session, [limit], now=last_hour, amount=n % 5 + 1) is None
    assert [used(session, one, now=last_hour) for one in limits] == [1, 2, 3, 4, 5, 1]


def test_keys_stand_as_digests_and_nobody_can_tell_that_two_scopes_share_one(session: Session) -> None:
    take(session, [Limit("a", "+447700900123", 5, HOUR), Limit("b", "+447700900123", 5, HOUR)], now=NOW)
    keys = list(session.scalars(sa.select(RateCounter.key)))
    assert len(set(keys)) == 2
    assert all(len(key) == 32 and b"447700" not in key for key in keys)


def test_one_limit_twice_counts_once_and_none_at_all_holds(session: Session) -> None:
    limit = Limit("code", "twice", 1, HOUR)
    assert take(session, [limit, limit], now=NOW) is None
    assert used(session, limit, now=NOW) == 1
    assert take(session, [], now=NOW) is None


def test_an_amount_beyond_every_counter_is_refused_and_below_zero_is_a_mistake(session: Session) -> None:
    huge = Limit("spend", "", 10**12, DAY)
    assert take(session, [huge], now=NOW, amount=2**31) == huge
    with pytest.raises(ValueError, match="upwards"):
        take(session, [huge], now=NOW, amount=-1)
    with pytest.raises(ValueError, match="second"):
        take(session, [Limit("x", "", 1, timedelta(milliseconds=5))], now=NOW)


def test_money_is_reserved_in_hundredths_of_a_penny_rounded_up_until_the_day_ends(session: Session) -> None:
    def buy(segments: int, when: datetime = NOW) -> bool:
        return spend(session, segments, pence_per_day=10, segment_pence=Decimal("3.333"), now=when)

    assert [buy(1), buy(1), buy(1)] == [True, True, False]  # 334 + 334 + 334 > 1000
    assert buy(2, NOW + DAY)
    assert not spend(session, 1, pence_per_day=0, segment_pence=Decimal(4), now=NOW)


def test_two_processes_at_once_never_let_one_more_through_nor_wait_for_each_other(
    committed: Database,
) -> None:
    app, worker = committed.open(Part.APP), committed.open(Part.WORKER)
    most, each = 25, 20
    limits = [Limit("a", "one", most, HOUR), Limit("b", "", 1_000, HOUR), Limit("c", "two", most + 5, DAY)]
    let_through: list[int] = []
    failures: list[BaseException] = []
    gate = threading.Barrier(4)

    def ask(registry, order) -> None:
        gate.wait(10)
        try:
            for _ in range(each):
                with registry.sessions.begin() as session:
                    if take(session, order, now=NOW) is None:
                        let_through.append(1)
        except BaseException as error:
            failures.append(error)

    callers = [
        (app, limits),
        (worker, limits[::-1]),
        (app, [limits[2], limits[0], limits[1]]),
        (worker, limits),
    ]
    threads = [threading.Thread(target=ask, args=caller) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    assert len(let_through) == most
    with app.sessions() as session:
        assert [used(session, one, now=NOW) for one in limits] == [most] * 3
    for opened in (app, worker):
        opened.engine.dispose()
