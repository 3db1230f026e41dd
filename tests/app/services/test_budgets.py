"""Caps per organisation: two sends never both pass, risk to life always does, and what was not used comes back once."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid
from app.models.alerts import Alert
from app.models.audit import AuditEntry
from app.models.ledger import Batch, Dispatch
from app.models.limits import Reservation, SpendCounter
from app.models.organisations import Organisation
from app.registry import Registry
from app.services import dispatch
from app.services.budgets import allowances, reserving, settling
from app.services.budgets.allowances import Load, Prices
from app.services.ledger import recovery, results
from config.fields import Part
from messaging.types import Channel, DeliveryStatus
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, Makes

URL = "http://127.0.0.1:8000"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


@pytest.fixture
def makes(session: Session) -> Makes:
    return Makes(session)


def town(makes: Makes, emails: int, phones: int = 0) -> tuple[Organisation, Callable[..., Alert]]:
    """An organisation with so many residents, and a maker of alerts to all of them."""
    police = makes.organisation()
    _, ward, _ = makes.borough()
    for channel, count in ((Channel.EMAIL, emails), (Channel.SMS, phones)):
        if count:
            makes.sender(police, channel)
            makes.sender(police, channel, lane="urgent")
        for _ in range(count):
            makes.resident(police, ward, channel=channel)
    channels = [c for c, n in (("email", emails), ("sms", phones)) if n]
    return police, lambda **more: makes.alert(police, [ward], channels=channels, **more)


def send(session: Session, alert: Alert, n: int = 1, **more: object) -> UUID:
    more = {"now": NOON} | more
    return dispatch.send(
        session, alert.id, token=f"token-{alert.id}-{n}", actor=ACTOR, public_url=URL, **more  # type: ignore[arg-type]
    ).id  # fmt: skip


def limit(session: Session, police: Organisation, **most: int | None) -> None:
    """``emails_day=3`` and the like."""
    changes = {(name.split("_")[1], name.split("_")[0]): value for name, value in most.items()}
    allowances.set_limits(session, police, changes, actor=ACTOR)


def taken(session: Session, police: Organisation) -> dict[tuple[str, date], tuple[int, int, int]]:
    rows = session.execute(
        sa.select(
            SpendCounter.period,
            SpendCounter.starts,
            SpendCounter.emails,
            SpendCounter.segments,
            SpendCounter.cost,
        ).where(SpendCounter.organisation_id == police.id)
    )
    return {(period, starts): (emails, segments, cost) for period, starts, emails, segments, cost in rows}


TODAY, MONTH = ("day", date(2026, 11, 25)), ("month", date(2026, 11, 1))


def test_without_a_limit_everything_passes_and_is_counted(session: Session, makes: Makes) -> None:
    police, alert = town(makes, 3, 2)
    sent = send(session, alert(), prices=Prices(Decimal("3.75"), Decimal("0.05")))
    held = session.get_one(Reservation, sent)
    assert (held.emails, held.segments, held.over, held.counted) == (3, 2, False, True)
    # 3 × 0.05 p and 2 × 3.75 p are 7.65 p.
    assert held.cost == 765
    assert taken(session, police) == {TODAY: (3, 2, 765), MONTH: (3, 2, 765)}
    assert allowances.allowances(session, police.id, NOON.date()) == []


@pytest.mark.parametrize(
    ("most", "says"),
    [
        ({"emails_day": 5}, "needs 3 e-mails. Your organisation may send 5 e-mails on 25 November, of which 2 e-mails are"),
        ({"emails_month": 5}, "needs 3 e-mails. Your organisation may send 5 e-mails in November 2026"),
        ({"segments_day": 3}, "may send 3 text segments on 25 November, of which 1 text segment is left"),
        ({"pence_day": 15}, "needs £0.08. Your organisation may send £0.15 on 25 November, of which £0.07 is left"),
        ({"pence_month": 15}, "needs £0.08"),
        ({"emails_day": 0}, "may send 0 e-mails"),
    ],
)  # fmt: skip
def test_what_goes_over_a_limit_is_refused_with_the_figures_and_leaves_nothing(
    session: Session, makes: Makes, most: dict[str, int], says: str
) -> None:
    police, alert = town(makes, 3, 2)
    first = "emails_day" not in most or most["emails_day"]
    if first:
        send(session, alert())
    before = taken(session, police)
    limit(session, police, **most)
    second = alert()
    session.flush()
    with pytest.raises(Conflict) as refused, session.begin_nested():
        send(session, second)
    assert says in refused.value.message
    assert taken(session, police) == before
    assert session.scalar(sa.select(sa.func.count()).where(Dispatch.alert_id == second.id)) == 0
    assert session.scalar(sa.select(sa.func.count()).select_from(Batch).where(Batch.size > 3)) == 0


def test_just_as_much_as_is_left_passes_and_another_period_has_its_own(
    session: Session, makes: Makes
) -> None:
    police, alert = town(makes, 3)
    limit(session, police, emails_day=3, emails_month=6)
    send(session, alert())
    with pytest.raises(Conflict), session.begin_nested():
        send(session, alert())
    # Another day of the same month, then no day of that month is left.
    send(session, alert(), now=NOON - timedelta(days=1))
    with (
        pytest.raises(Conflict, match="in November 2026, of which 0 e-mails are left"),
        session.begin_nested(),
    ):
        send(session, alert(), now=NOON + timedelta(days=1))
    send(session, alert(), now=NOON + timedelta(days=10))
    assert taken(session, police)["month", date(2026, 12, 1)] == (3, 0, 0)


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 11, 25, 23, 59, tzinfo=UTC), date(2026, 11, 25)),
        (
            datetime(2026, 7, 31, 23, 30, tzinfo=UTC),
            date(2026, 8, 1),
        ),  # half past midnight in London's summer
        (datetime(2026, 3, 28, 23, 59, tzinfo=UTC), date(2026, 3, 28)),
        (datetime(2026, 3, 29, 23, 0, tzinfo=UTC), date(2026, 3, 30)),  # the clocks went forward that night
        (datetime(2026, 10, 24, 22, 59, tzinfo=UTC), date(2026, 10, 24)),
        (datetime(2026, 10, 25, 23, 59, tzinfo=UTC), date(2026, 10, 25)),  # and back
    ],
)
def test_days_and_months_are_londons(moment: datetime, day: date) -> None:
    assert allowances.day_of(moment) == day
    assert allowances.starts_of(day) == {"day": day, "month": day.replace(day=1)}


def test_a_sending_for_later_takes_from_the_day_on_which_it_begins(session: Session, makes: Makes) -> None:
    police, alert = town(makes, 1)
    send(session, alert(), not_before=NOON + timedelta(days=6))
    assert set(taken(session, police)) == {("day", date(2026, 12, 1)), ("month", date(2026, 12, 1))}


def test_an_exercise_counts_as_much(session: Session, makes: Makes) -> None:
    police, alert = town(makes, 2)
    limit(session, police, emails_day=3)
    send(session, alert(), exercise=True)
    with pytest.raises(Conflict), session.begin_nested():
        send(session, alert())


def test_urgent_is_refused_and_risk_to_life_is_counted_and_marked_instead(
    session: Session, makes: Makes
) -> None:
    police, alert = town(makes, 2)
    limit(session, police, emails_day=1)
    with pytest.raises(Conflict), session.begin_nested():
        send(session, alert(urgency="urgent"))
    sent = send(session, alert(urgency="risk-to-life"))
    held = session.get_one(Reservation, sent)
    assert (held.over, held.counted) == (True, False)
    assert taken(session, police) == {}
    # It is seen at once, and stands in the counters a moment later, once.
    (day,) = allowances.allowances(session, police.id, NOON.date())
    assert (day.used, day.left) == (2, 0)
    assert [settling.settle(session) for _ in range(2)] == [1, 0]
    assert taken(session, police) == {TODAY: (2, 0, 0), MONTH: (2, 0, 0)}
    assert allowances.allowances(session, police.id, NOON.date())[0].used == 2
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "dispatch:exceed")).one()
    assert (entry.subject, entry.detail) == (f"dispatch:{sent}", '{"emails_per_day":1}')
    assert reserving.cost(session, sent) == reserving.Cost(Decimal(0), False, True)


def test_risk_to_life_within_the_limits_is_not_marked(session: Session, makes: Makes) -> None:
    police, alert = town(makes, 2)
    limit(session, police, emails_day=2)
    assert not session.get_one(Reservation, send(session, alert(urgency="risk-to-life"))).over


def test_what_was_not_used_comes_back_once(session: Session, makes: Makes) -> None:
    """Of five texts of two segments: one taken, one delivered, one in doubt, one refused, one stopped."""
    police, alert = town(makes, 1, 5)
    sent = send(
        session, alert(sms_text="Bicycles stolen. " * 12), now=NOON, prices=Prices(Decimal(4), Decimal(1))
    )
    each = session.scalars(
        sa.select(Batch.reserved_segments / Batch.size).where(
            Batch.dispatch_id == sent, Batch.channel == "sms"
        )
    ).one()
    assert each > 1
    assert taken(session, police)[TODAY] == (1, 5 * each, (5 * each * 4 + 1) * 100)
    assert settling.settle(session) == 0, "it has not ended"
    session.execute(
        sa.text(
            "UPDATE batches SET state = 'done', accepted = 1, delivered = 1, in_doubt = 1, refused = 1, stopped = 1 "
            "WHERE dispatch_id = :d AND channel = 'sms'"
        ),
        {"d": sent},
    )
    session.execute(
        sa.text("UPDATE batches SET state = 'done', erased = 1 WHERE dispatch_id = :d AND channel = 'email'"),
        {"d": sent},
    )
    recovery.finish(session)
    assert [settling.settle(session) for _ in range(3)] == [1, 0, 0]
    used = (0, 3 * each, 3 * each * 4 * 100)
    assert taken(session, police) == {TODAY: used, MONTH: used}
    held = session.get_one(Reservation, sent, populate_existing=True)
    assert (held.emails, held.segments) == (1, 5 * each), "what was reserved stays on record"
    assert (held.spent_emails, held.spent_segments, held.spent_cost) == used
    assert reserving.cost(session, sent) == reserving.Cost(Decimal(3 * each * 4), True, False)


def test_a_dispatch_that_goes_on_once_more_is_settled_once_more_by_the_difference(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 3)
    police = session.get_one(Organisation, session.get_one(Dispatch, sent).controller_id)
    held, attempt = ledger.carried(session, DeliveryStatus.IN_DOUBT)
    recovery.finish(session)
    settling.settle(session)
    assert {t[0] for t in taken(session, police).values()} == {3}
    contacts = ledger.ids(session, sent)
    assert results.give_back(session, sent, 0, attempt, contacts[:2]) == 2
    assert settling.settle(session) == 0, "they are to be sent to again"
    session.execute(
        sa.text("UPDATE batches SET state = 'done', expired = 2 WHERE dispatch_id = :d"), {"d": sent}
    )
    recovery.finish(session)
    assert [settling.settle(session) for _ in range(2)] == [1, 0]
    assert {t[0] for t in taken(session, police).values()} == {1}
    assert held.dispatch == sent


def test_what_ended_before_it_was_counted_is_counted_with_what_it_used(
    session: Session, makes: Makes
) -> None:
    police, alert = town(makes, 3)
    sent = send(session, alert(urgency="risk-to-life"))
    session.execute(
        sa.text("UPDATE batches SET state = 'done', delivered = 2, stopped = 1 WHERE dispatch_id = :d"),
        {"d": sent},
    )
    recovery.finish(session)
    assert [settling.settle(session) for _ in range(2)] == [1, 0]
    assert taken(session, police)[TODAY] == (2, 0, 0)


def test_a_dispatch_to_nobody_settles_to_nothing(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, ward, _ = makes.borough()
    send(session, makes.alert(police, [ward]))
    recovery.finish(session)
    assert settling.settle(session) == 1
    assert set(taken(session, police).values()) == {(0, 0, 0)}


def test_limits_are_set_changed_and_taken_away_on_the_record(session: Session, makes: Makes) -> None:
    police, _ = town(makes, 0)
    limit(session, police, emails_day=5, pence_month=10_000)
    limit(session, police, emails_day=6, segments_day=None)
    assert allowances.limits(session, police.id) == {("day", "emails"): 6, ("month", "pence"): 10_000}
    limit(session, police, emails_day=None)
    assert allowances.limits(session, police.id) == {("month", "pence"): 10_000}
    details = session.scalars(
        sa.select(AuditEntry.detail)
        .where(AuditEntry.event == "organisation:limits", AuditEntry.organisation_id == police.id)
        .order_by(AuditEntry.id)
    ).all()
    assert details == [
        '{"emails_per_day":5,"pence_per_month":10000}',
        '{"emails_per_day":6,"segments_per_day":"none"}',
        '{"emails_per_day":"none"}',
    ]
    for wrong in ({"emails_week": 1}, {"letters_day": 1}, {"emails_day": -1}, {"emails_day": 10**13}):
        with pytest.raises(Invalid):
            limit(session, police, **wrong)


def test_the_page_learns_what_is_left_and_what_would_be_too_much(session: Session, makes: Makes) -> None:
    police, alert = town(makes, 3, 2)
    limit(session, police, emails_day=5, pence_month=100)
    send(session, alert())
    day, month = allowances.allowances(session, police.id, NOON.date())
    assert (day.measure, day.used, day.left) == ("emails", 3, 2)
    assert (month.measure, month.used, month.left) == ("pence", 8, 92)
    assert allowances.tight(Load(2, 0, 9_200), [day, month]) == []
    assert allowances.tight(Load(3, 0, 0), [day, month]) == [day]
    assert allowances.tight(Load(0, 0, 9_201), [day, month]) == [month]


# -- two at once, committed
def test_of_two_sends_at_the_same_moment_only_one_passes(app: Registry, committed: Database) -> None:
    """Both have frozen before either looks; the second waits for the first one's commit, and is refused."""
    with app.sessions.begin() as session:
        police, alert = town(Makes(session), 3)
        limit(session, police, emails_day=5)
        alerts = [alert().id, alert().id]
    waits = threading.Barrier(2, timeout=30)
    outcome: list[object] = []

    def one(which: UUID) -> None:
        try:
            with app.sessions.begin() as session:
                found = session.get_one(Alert, which)
                waits.wait()
                send(session, found)
            outcome.append("sent")
        except Conflict as error:
            outcome.append(error.message)

    threads = [threading.Thread(target=one, args=(a,)) for a in alerts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(outcome) == 2
    assert sorted(o == "sent" for o in outcome) == [False, True], outcome
    with app.sessions() as session:
        assert taken(session, police)[TODAY] == (3, 0, 0)
        assert session.scalar(sa.select(sa.func.count()).select_from(Dispatch)) == 1
        assert session.scalar(sa.select(sa.func.count()).select_from(Reservation)) == 1


def test_the_second_waits_for_the_first_and_sees_what_it_left(app: Registry) -> None:
    """The first has frozen and not committed: the second is held at the counter, not before, and then refused."""
    with app.sessions.begin() as session:
        police, alert = town(Makes(session), 3)
        limit(session, police, emails_day=5)
        first, second = alert(), alert()
    outcome: list[str] = []

    def later() -> None:
        try:
            with app.sessions.begin() as session:
                send(session, session.get_one(Alert, second.id))
            outcome.append("sent")
        except Conflict as error:
            outcome.append(error.message)

    with app.sessions() as holder:
        send(holder, holder.get_one(Alert, first.id))
        thread = threading.Thread(target=later)
        thread.start()
        pid = holder.scalar(sa.text("SELECT pg_backend_pid()"))
        while not waits_for(app, pid):
            assert thread.is_alive(), outcome
        # Risk to life passes meanwhile: it waits for no counter, and the second finds it counted.
        with app.sessions.begin() as session:
            makes = Makes(session, itertools.count(500))
            vital = makes.alert(police, [], urgency="risk-to-life", audience_expression=first.audience)
            assert not session.get_one(Reservation, send(session, vital)).counted
        holder.commit()
    thread.join(30)
    (said,) = outcome
    assert "of which 0 e-mails are left" in said


def waits_for(app: Registry, pid: int) -> bool:
    """Whether somebody waits for this process of the database's. A transaction of its own: activity is read once in each."""
    with app.sessions() as session:
        return bool(
            session.scalar(
                sa.text(
                    "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid)))"
                ),
                {"pid": pid},
            )
        )


def test_settling_never_waits_for_a_freeze_that_hangs(app: Registry, committed: Database) -> None:
    worker = committed.open(Part.WORKER)
    with app.sessions.begin() as session:
        police, alert = town(Makes(session), 3)
        limit(session, police, emails_day=10)
        first, second = alert(), alert()
    with app.sessions.begin() as session:
        done = send(session, session.get_one(Alert, first.id))
    with worker.sessions.begin() as session:
        session.execute(sa.text("UPDATE batches SET state = 'done', stopped = size"))
        recovery.finish(session)
    with app.sessions() as hangs:
        send(hangs, hangs.get_one(Alert, second.id))
        with worker.sessions.begin() as session:
            assert settling.settle(session) == 0
            assert session.scalar(sa.text("SELECT 1")) == 1, "its transaction goes on"
        hangs.rollback()
    with worker.sessions.begin() as session:
        assert settling.settle(session) == 1
    with app.sessions() as session:
        assert taken(session, police)[TODAY] == (0, 0, 0)
        assert session.get_one(Reservation, done).spent_emails == 0
    worker.engine.dispose()


def test_a_freeze_behind_one_that_hangs_gives_up_and_says_so(
    app: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserving, "PATIENCE", "100ms")
    with app.sessions.begin() as session:
        _, alert = town(Makes(session), 1)
        first, second = alert(), alert()
    with app.sessions() as hangs:
        send(hangs, hangs.get_one(Alert, first.id))
        with pytest.raises(Conflict, match="at this moment"), app.sessions.begin() as session:
            send(session, session.get_one(Alert, second.id))
        hangs.rollback()
    with app.sessions.begin() as session:
        send(session, session.get_one(Alert, second.id))
