"""What SendGrid's silence proves, and when it proves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import new_id, utc_now
from app.models.ledger import Attempt, Dispatch
from app.models.receipts import RawEvent
from app.models.reconcile import HeardCall, WebhookRefusal, WebListening
from app.registry import Registry
from app.services import listening, receipts
from app.services.ledger import check, results
from app.services.ledger.claims import Claim
from app.services.reconcile import mail, verdicts
from messaging.types import DeliveryStatus
from tests import ledger
from tests.conftest import Database
from tests.factories import Makes
from workers.receipts import merge_some

NOW = utc_now()
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
WAITING, DOUBT, EXPIRED = DeliveryStatus.WAITING, DeliveryStatus.IN_DOUBT, DeliveryStatus.EXPIRED


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


def call_in_doubt(session: Session, makes: Makes, *, age: timedelta = 20 * MINUTE, size: int = 3) -> UUID:
    """A call of SendGrid's to ``size`` people that was written ``age`` ago and not answered."""
    sent = ledger.frozen(makes, size)
    ledger.carried(session, DOUBT)
    opened(session, sent, NOW - age)
    return sent


def opened(session: Session, sent: UUID, at: datetime) -> None:
    session.execute(
        sa.update(Attempt)
        .where(Attempt.dispatch_id == sent)
        .values(provider="sendgrid", opened_at=at, closed_at=at + timedelta(seconds=10))
    )


def heard(session: Session, *ages: timedelta) -> None:
    """Events came of calls made so long ago."""
    for n, age in enumerate(ages):
        session.add(
            HeardCall(dispatch_id=new_id(), batch_n=0, attempt_n=n, provider="sendgrid", opened_at=NOW - age)
        )
    session.flush()


def stretch(
    session: Session, began: timedelta, seen: timedelta = timedelta(0), *, ended: bool = False
) -> None:
    """A process of the site answered from ``began`` ago until ``seen`` ago."""
    at = NOW - seen
    session.add(WebListening(id=new_id(), began_at=NOW - began, seen_at=at, ended_at=at if ended else None))
    session.flush()


def reconcile(session: Session, now: datetime = NOW) -> verdicts.Verdict:
    found = [
        verdicts.not_taken(session, *call, now=now) for call in mail.silent(session, "sendgrid", now=now)
    ]
    session.expire_all()
    return verdicts.Verdict(sum(v.given_back for v in found), sum(v.expired for v in found))


def everybody(session: Session, sent: UUID, status: DeliveryStatus) -> bool:
    (line,) = check.balance(session, sent)
    assert line.balances, line.problems
    return set(ledger.statuses(session, sent).values()) == {status}


def claimed_again(session: Session) -> Claim:
    session.execute(sa.text("UPDATE batches SET not_before = now() WHERE state = 'waiting'"))
    return ledger.claimed(session)


LATER = (5 * MINUTE, 6 * MINUTE, 7 * MINUTE)


def test_silence_of_15_minutes_with_three_later_calls_heard_gives_all_back(
    session: Session, makes: Makes
) -> None:
    sent = call_in_doubt(session, makes)
    stretch(session, 2 * HOUR)
    heard(session, *LATER)
    assert reconcile(session) == verdicts.Verdict(given_back=3)
    assert everybody(session, sent, WAITING)
    attempt = session.scalars(sa.select(Attempt).where(Attempt.dispatch_id == sent)).one()
    assert (attempt.outcome, attempt.reason) == ("not_taken", "silence")
    held = claimed_again(session)
    assert held.dispatch == sent, "they are sent again"
    assert session.get_one(Dispatch, sent).finished_at is None
    assert reconcile(session) == verdicts.Verdict(), "once"


def test_a_call_that_was_heard_before_it_was_in_doubt_is_never_called_silent(
    session: Session, makes: Makes
) -> None:
    sent = call_in_doubt(session, makes)
    stretch(session, 2 * HOUR)
    heard(session, *LATER)
    session.add(
        HeardCall(dispatch_id=sent, batch_n=0, attempt_n=1, provider="sendgrid", opened_at=NOW - 20 * MINUTE)
    )
    session.flush()
    assert reconcile(session) == verdicts.Verdict()
    assert everybody(session, sent, DOUBT)


def test_without_time_left_they_are_expired(session: Session, makes: Makes) -> None:
    sent = call_in_doubt(session, makes)
    stretch(session, 2 * HOUR)
    heard(session, *LATER)
    session.execute(sa.text("UPDATE batches SET expires_at = :at"), {"at": NOW + timedelta(seconds=30)})
    assert reconcile(session) == verdicts.Verdict(expired=3)
    assert everybody(session, sent, EXPIRED)


@pytest.mark.parametrize(
    "why",
    ["too soon", "two later calls", "earlier calls", "nobody listened", "a gap", "a death", "a refusal", "began later",
     "unmerged", "unreadable"],
)  # fmt: skip
def test_short_silence_proves_nothing(session: Session, makes: Makes, why: str) -> None:
    sent = call_in_doubt(session, makes, age=15 * MINUTE if why == "too soon" else 20 * MINUTE)
    if why == "two later calls":
        heard(session, *LATER[:2])
    elif why == "earlier calls":
        heard(session, 5 * MINUTE, 6 * MINUTE, 21 * MINUTE)
    else:
        heard(session, *LATER)
    if why == "a gap":
        stretch(session, 2 * HOUR, 10 * MINUTE, ended=True)
        stretch(session, 9 * MINUTE)
    elif why == "began later":
        stretch(session, 19 * MINUTE)
    elif why != "nobody listened":
        stretch(session, 2 * HOUR)
    if why == "a death":  # another process, which may have taken a call with it
        stretch(session, 3 * HOUR, 12 * MINUTE)
    if why == "a refusal":
        listening.note(session, [("sendgrid", NOW - 3 * MINUTE)])
    if why == "unmerged":
        session.add(RawEvent(source="sendgrid", body="[]", received_at=NOW - 2 * MINUTE))
        session.flush()
    if why == "unreadable":
        receipts.store(session, "sendgrid", "not json")
        assert merge_some(session).problems == 1
        assert session.scalars(sa.select(WebhookRefusal.source)).all() == ["sendgrid"]
    assert reconcile(session) == verdicts.Verdict()
    assert everybody(session, sent, DOUBT)


def test_a_clean_restart_beside_another_process_is_no_gap(session: Session, makes: Makes) -> None:
    call_in_doubt(session, makes)
    heard(session, *LATER)
    stretch(session, 2 * HOUR, 10 * MINUTE, ended=True)
    stretch(session, 11 * MINUTE)
    listening.note(session, [("twilio", NOW - 3 * MINUTE)])
    assert reconcile(session).given_back == 3


def test_a_refusal_before_the_attempt_does_not_matter(session: Session, makes: Makes) -> None:
    call_in_doubt(session, makes)
    heard(session, *LATER)
    stretch(session, 2 * HOUR)
    listening.note(session, [("sendgrid", NOW - 30 * MINUTE)])
    assert reconcile(session).given_back == 3


@pytest.mark.parametrize(
    ("age", "deaf", "known", "settled"),
    [
        (27 * HOUR, 20 * HOUR, True, True),  # an outage within the first half of SendGrid's day
        (25 * HOUR, 20 * HOUR, True, False),  # the day is not over
        (27 * HOUR, 10 * HOUR, True, False),  # an outage when the last tries were due
        (27 * HOUR, 20 * HOUR, False, False),  # never heard of: it may be deaf, not silent
    ],
)
def test_otherwise_26_hours_of_silence(
    session: Session, makes: Makes, age: timedelta, deaf: timedelta, known: bool, settled: bool
) -> None:
    sent = call_in_doubt(session, makes, age=age)
    stretch(session, 3 * 24 * HOUR, deaf, ended=True)
    stretch(session, deaf - HOUR)
    if known:
        heard(session, 200 * HOUR)
    session.execute(sa.text("UPDATE batches SET expires_at = :at"), {"at": NOW + HOUR})
    assert reconcile(session).given_back == (3 if settled else 0)
    assert everybody(session, sent, WAITING if settled else DOUBT)


def test_other_providers_calls_stay_in_doubt(session: Session, makes: Makes) -> None:
    sent = call_in_doubt(session, makes)
    session.execute(sa.text("UPDATE attempts SET provider = 'smtp'"))
    heard(session, *LATER)
    stretch(session, 2 * HOUR)
    assert reconcile(session) == verdicts.Verdict()
    assert everybody(session, sent, DOUBT)


def test_an_event_that_comes_after_all_is_stronger_than_silence(session: Session, makes: Makes) -> None:
    sent = call_in_doubt(session, makes)
    heard(session, *LATER)
    stretch(session, 2 * HOUR)
    assert reconcile(session).given_back == 3
    receipts.store(session, "sendgrid", ledger.body(ledger.event(sent, 2, "delivered")))
    assert merge_some(session).moved
    assert ledger.statuses(session, sent) == {
        1: DeliveryStatus.ACCEPTED,
        2: DeliveryStatus.DELIVERED,
        3: DeliveryStatus.ACCEPTED,
    }
    (line,) = check.balance(session, sent)
    assert line.balances, line.problems
    held = claimed_again(session)
    assert held.dispatch == sent
    results.release(session, held, done=True)
    assert everybody_done(session, sent)


def everybody_done(session: Session, sent: UUID) -> bool:
    return session.scalars(
        sa.text("SELECT state FROM batches WHERE dispatch_id = :d"), {"d": sent}
    ).all() == ["done"]


def test_merging_notes_which_calls_were_heard(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 2)
    ledger.carried(session)
    for _ in range(2):
        receipts.store(session, "sendgrid", ledger.body(ledger.event(sent, 1, "processed")))
        merge_some(session)
    assert session.execute(sa.select(HeardCall.dispatch_id, HeardCall.attempt_n)).all() == [(sent, 1)]


# -- what processes say of themselves
def test_a_process_says_that_it_answers_and_what_it_turned_away(committed: Database) -> None:
    app = committed.open()
    one = listening.Listening(app.sessions)
    assert one.beat() and one.beat()
    one.refused("sendgrid")
    one.refused("sendgrid")
    with app.sessions() as session:
        (row,) = session.scalars(sa.select(WebListening)).all()
        assert row.ended_at is None and row.seen_at > row.began_at
        now = utc_now()
        assert listening.calm_since(session, "sendgrid", now=now) > row.began_at
        assert listening.calm_since(session, "twilio", now=now) == row.began_at
    one.end()
    with app.sessions() as session:
        assert session.scalars(sa.select(WebListening.ended_at)).one() is not None
    app.engine.dispose()


def test_a_process_that_was_cut_off_begins_a_new_stretch(committed: Database) -> None:
    app = committed.open()
    one = listening.Listening(app.sessions)
    one.beat()
    engine = sa.create_engine(
        committed.admin.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE web_listening SET seen_at = now() - interval '2 minutes'"))
    one.beat()
    with app.sessions() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(WebListening)) == 2
        calm = listening.calm_since(session, "sendgrid", now=utc_now())
        assert calm >= session.scalars(sa.select(sa.func.max(WebListening.began_at))).one()
    app.engine.dispose()
