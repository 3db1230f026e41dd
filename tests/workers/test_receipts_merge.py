"""Merging what the providers report: whatever comes, in any order and however often, ends the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from urllib.parse import urlencode
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

from app.models.consent import Suppression
from app.models.ledger import Attempt, Delivery
from app.models.organisations import Sender
from app.models.receipts import EarlyReceipt, RawEvent
from app.registry import Registry
from app.services import inbound, people, receipts
from app.services.ledger import check, results
from config.fields import Part
from messaging.types import Channel, DeliveryRef, DeliveryStatus, Outcome
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from workers.receipts import _sendgrid, merge_some

SID = "SM" + "0123456789abcdef" * 2
KINDS = {
    "processed": DeliveryStatus.ACCEPTED,
    "deferred": DeliveryStatus.DEFERRED,
    "delivered": DeliveryStatus.DELIVERED,
    "bounce": DeliveryStatus.BOUNCED,
    "spamreport": DeliveryStatus.COMPLAINED,
}


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


def merged(session: Session) -> receipts.Merged:
    """All that waits, then the early ones; what it did in all."""
    total = receipts.Merged()
    while True:
        done = merge_some(session)
        for name in ("events", "moved", "early", "suppressed", "problems"):
            setattr(total, name, getattr(total, name) + getattr(done, name))
        if not done.events:
            break
    receipts.merge_early(session)
    session.expire_all()
    return total


def post(session: Session, *events: dict) -> None:
    receipts.store(session, "sendgrid", ledger.body(*events))


def sms_status(sent: UUID, ordinal: int, status: str, error: str = "", attempt: int = 1) -> str:
    ref = DeliveryRef(sent, 0, attempt, ordinal)
    form = {"MessageSid": SID, "MessageStatus": status, "ErrorCode": error, "wl_ref": str(ref)}
    return urlencode(form)


def balanced(session: Session, sent: UUID) -> check.Balance:
    (line,) = check.balance(session, sent)
    assert line.balances, line.problems
    return line


# -- any order and repetition
SIZE = 4


class Merging(RuleBasedStateMachine):
    """Events come before and after their rows, twice and shuffled; a merge may happen at any moment."""

    session: Session
    sent: UUID

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = self.session.begin_nested()
        self.held = ledger.claimed(self.session)
        self.attempt = ledger.attempted(self.session, self.held)
        self.posted: list[dict] = []
        self.base: DeliveryStatus | None = None

    @rule(ordinal=st.integers(1, SIZE), kind=st.sampled_from(sorted(KINDS)))
    def an_event_comes(self, ordinal: int, kind: str) -> None:
        event = ledger.event(self.sent, ordinal, kind, attempt=self.attempt)
        self.posted.append(event)
        post(self.session, event)

    @precondition(lambda self: self.posted)
    @rule(data=st.data())
    def events_come_again_and_shuffled(self, data: st.DataObject) -> None:
        post(self.session, *data.draw(st.lists(st.sampled_from(self.posted), min_size=1, max_size=6)))

    @precondition(lambda self: self.base is None)
    @rule(doubt=st.booleans())
    def the_worker_writes_down_what_it_knows(self, doubt: bool) -> None:
        self.base = DeliveryStatus.IN_DOUBT if doubt else DeliveryStatus.ACCEPTED
        ledger.recorded(self.session, self.held, self.attempt, self.base)
        outcome = Outcome.IN_DOUBT if doubt else Outcome.TAKEN
        results.close_attempt(self.session, self.held, self.attempt, outcome)

    @rule()
    def a_merge(self) -> None:
        merged(self.session)

    @invariant()
    def it_balances(self) -> None:
        balanced(self.session, self.sent)

    def teardown(self) -> None:
        if self.base is None:
            self.the_worker_writes_down_what_it_knows(doubt=True)
        merged(self.session)
        base = DeliveryStatus.ACCEPTED if self.posted else self.base
        expected = dict.fromkeys(range(1, SIZE + 1), base)
        for event in self.posted:
            ordinal = DeliveryRef.parse(event["wl"]).ordinal
            expected[ordinal] = max(expected[ordinal], KINDS[event["event"]])
        assert ledger.statuses(self.session, self.sent) == expected
        balanced(self.session, self.sent)
        assert self.session.scalar(sa.select(sa.func.count()).select_from(EarlyReceipt)) == 0
        before = ledger.statuses(self.session, self.sent)
        post(self.session, *self.posted)
        assert merged(self.session).moved == 0, "merging twice changes nothing"
        assert ledger.statuses(self.session, self.sent) == before
        self.savepoint.rollback()


def test_any_order_and_repetition_of_events_ends_in_the_same_place_and_balances(
    session: Session, makes: Makes
) -> None:
    class Here(Merging):
        pass

    Here.session, Here.sent = session, ledger.frozen(makes, SIZE)
    run_state_machine_as_test(Here, settings=settings(max_examples=25, stateful_step_count=12, deadline=None))


# -- one at a time
def test_a_receipt_that_comes_before_its_row_waits_and_is_merged_when_the_row_is_there(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 2)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    post(session, ledger.event(sent, 1, "delivered"))
    done = merged(session)
    assert (done.events, done.moved, done.early) == (1, 0, 1)
    assert ledger.statuses(session, sent) == {}
    ledger.recorded(session, held, attempt, DeliveryStatus.ACCEPTED)
    assert receipts.merge_early(session).moved == 1
    assert ledger.statuses(session, sent) == {1: DeliveryStatus.DELIVERED, 2: DeliveryStatus.ACCEPTED}
    balanced(session, sent)


def test_a_late_bounce_outranks_delivered_and_delivered_does_not_come_back(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 1)
    ledger.carried(session)
    for kind in ("delivered", "bounce", "delivered", "processed"):
        post(session, ledger.event(sent, 1, kind))
        merged(session)
    assert ledger.statuses(session, sent) == {1: DeliveryStatus.BOUNCED}
    line = balanced(session, sent)
    assert (line.accepted, line.delivered, line.bounced) == (1, 0, 1)


def test_one_event_proves_that_a_whole_sendgrid_call_in_doubt_was_taken(
    session: Session, makes: Makes
) -> None:
    sent = ledger.frozen(makes, 5)
    ledger.carried(session, DeliveryStatus.IN_DOUBT)
    assert balanced(session, sent).in_doubt == 5
    post(session, ledger.event(sent, 3, "delivered"))
    merged(session)
    assert ledger.statuses(session, sent) == {
        **dict.fromkeys((1, 2, 4, 5), DeliveryStatus.ACCEPTED),
        3: DeliveryStatus.DELIVERED,
    }
    line = balanced(session, sent)
    assert (line.accepted, line.in_doubt) == (5, 0)
    attempt = session.scalars(sa.select(Attempt).where(Attempt.dispatch_id == sent)).one()
    assert attempt.outcome == "taken"


def test_a_callback_about_one_text_proves_nothing_of_the_others(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 3, Channel.SMS)
    ledger.carried(session, DeliveryStatus.IN_DOUBT)
    receipts.store(session, "twilio-status", sms_status(sent, 2, "delivered"))
    merged(session)
    assert ledger.statuses(session, sent) == {
        1: DeliveryStatus.IN_DOUBT,
        2: DeliveryStatus.DELIVERED,
        3: DeliveryStatus.IN_DOUBT,
    }
    refs = session.scalars(sa.select(Delivery.provider_ref).where(Delivery.dispatch_id == sent)).all()
    assert sorted(filter(None, refs)) == [SID]
    balanced(session, sent)


def test_a_bounce_ends_the_address_for_all_and_a_complaint_only_for_who_wrote(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    sent = ledger.frozen(makes, 3, organisation=police)
    ledger.carried(session)
    bounced, complained, _ = ledger.ids(session, sent)
    post(session, ledger.event(sent, 1, "bounce"), ledger.event(sent, 2, "spamreport"))
    post(session, ledger.event(sent, 1, "bounce"), ledger.event(sent, 3, "bounce", type="blocked"))
    assert merged(session).suppressed == 2
    held = session.scalars(sa.select(Suppression)).all()
    digest = {c: session.get_one(people.ContactPoint, c).digest for c in (bounced, complained)}
    assert {(s.digest, s.controller_id, s.reason) for s in held} == {
        (digest[bounced], None, "bounce"),
        (digest[complained], police.id, "complaint"),
    }


def test_a_number_that_does_not_exist_is_written_to_no_more(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 2, Channel.SMS)
    ledger.carried(session)
    receipts.store(session, "twilio-status", sms_status(sent, 1, "undelivered", "30005"))
    receipts.store(session, "twilio-status", sms_status(sent, 2, "undelivered", "30003"))
    merged(session)
    assert session.scalars(sa.select(Suppression.reason)).all() == ["bounce"]
    assert balanced(session, sent).bounced == 2


def test_a_stop_that_the_provider_holds_is_ours_and_start_lifts_it(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 1, Channel.SMS)
    ledger.carried(session)
    receipts.store(session, "twilio-status", sms_status(sent, 1, "failed", "21610"))
    assert merged(session).suppressed == 1
    (held,) = session.scalars(sa.select(Suppression)).all()
    assert (held.reason, held.sender_id) == ("stop", session.scalars(sa.select(Sender.id)).one())
    assert balanced(session, sent).bounced == 1
    inbound.start(session, held.sender_id, held.digest)
    session.expire_all()
    assert session.scalars(sa.select(Suppression.lifted_at)).one() is not None


@pytest.mark.parametrize(
    ("source", "raw"),
    [("sendgrid", "not json"), ("sendgrid", '{"event": "delivered"}'), ("twilio-inbound", "From=x")],
)
def test_what_cannot_be_read_is_kept_with_its_problem_and_stops_no_other(
    session: Session, makes: Makes, source: str, raw: str
) -> None:
    sent = ledger.frozen(makes, 1)
    ledger.carried(session)
    receipts.store(session, source, raw)
    post(session, ledger.event(sent, 1, "delivered"))
    done = merged(session)
    assert (done.events, done.problems, done.moved) == (2, 1, 1)
    kept = session.scalars(sa.select(RawEvent).where(RawEvent.problem.is_not(None))).one()
    assert (kept.body, kept.merged_at is not None) == (raw, True)
    assert merged(session).events == 0


def test_a_stop_by_text_does_not_wait_behind_receipts(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 1, Channel.SMS)
    ledger.carried(session)
    number = session.scalars(sa.select(Sender.address)).one()
    receipts.store(session, "twilio-status", sms_status(sent, 1, "delivered"))
    stop = {"MessageSid": SID, "From": "+447700900321", "To": number, "Body": "Stop!"}
    receipts.store(session, "twilio-inbound", urlencode(stop))
    done = merge_some(session)
    assert (done.events, done.moved) == (1, 0)
    assert session.scalars(sa.select(Suppression.reason)).all() == ["stop"]
    assert merge_some(session).moved == 1


def test_an_id_that_the_database_cannot_hold_stops_no_merge(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 1)
    held = ledger.claimed(session)
    attempt = ledger.attempted(session, held)
    post(session, ledger.event(sent, 1, "delivered", sg_message_id="a\x00b.c"))
    assert merged(session).early == 1
    ledger.recorded(session, held, attempt, DeliveryStatus.ACCEPTED)
    assert receipts.merge_early(session).moved == 1


@pytest.mark.parametrize(
    "changes",
    [{"batch": 99}, {"batch": 999_999_999}, {"attempt": 999_999_999}, {"ordinal": 0}, {"ordinal": 2},
     {"ordinal": 999_999_999}, {"sent": UUID(int=0)}],
)  # fmt: skip
def test_an_invented_reference_moves_nobody(session: Session, makes: Makes, changes: dict) -> None:
    sent = ledger.frozen(makes, 1)
    ledger.carried(session)
    values = {"sent": sent, "ordinal": 1, "kind": "processed"} | changes
    post(session, ledger.event(values.pop("sent"), values.pop("ordinal"), values.pop("kind"), **values))
    assert merged(session).moved == 0
    assert ledger.statuses(session, sent) == {1: DeliveryStatus.ACCEPTED}
    balanced(session, sent)


def test_a_late_receipt_gives_no_name_back_to_somebody_who_was_erased(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 1, Channel.SMS)
    ledger.carried(session)
    people.erase(session, ledger.ids(session, sent)[0], actor=ACTOR)
    receipts.store(session, "twilio-status", sms_status(sent, 1, "delivered"))
    merged(session)
    assert ledger.statuses(session, sent) == {1: DeliveryStatus.DELIVERED}
    assert session.scalars(sa.select(Delivery.provider_ref)).all() == [None]


# -- two at once
@pytest.fixture
def doubted(committed: Database) -> Iterator[tuple[Database, list[UUID]]]:
    """Dispatches of one e-mail call each, all in doubt, with events that cross between two raw events."""
    registry = committed.open()
    sent: list[UUID] = []
    with registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.sender(police)
        _, ward, _ = makes.borough()
        for _ in range(8):
            makes.resident(police, ward)
        sent = [ledger.resent(makes, police, ward) for _ in range(25)]
    registry.engine.dispose()
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        for _ in sent:
            ledger.carried(session, DeliveryStatus.IN_DOUBT)
    worker.engine.dispose()
    app = committed.open()
    with app.sessions.begin() as session:
        for one, other in zip(sent, [*sent[1:], sent[0]], strict=True):
            post(
                session,
                *(ledger.event(one, o, "delivered") for o in (1, 8)),
                ledger.event(other, 5, "bounce"),
            )
            post(
                session,
                ledger.event(other, 5, "bounce"),
                *(ledger.event(one, o, "delivered") for o in (8, 2)),
            )
    app.engine.dispose()
    yield committed, sent


def test_two_mergers_at_once_neither_meet_head_on_nor_count_twice(
    doubted: tuple[Database, list[UUID]],
) -> None:
    database, sent = doubted
    failures: list[BaseException] = []
    start = threading.Barrier(2)

    def work() -> None:
        registry = database.open(Part.WORKER)
        try:
            start.wait(20)
            for _ in range(200):
                with registry.sessions.begin() as session:
                    done = receipts.merge(session, {"sendgrid": _sendgrid}, most=1)
                    waiting = sa.select(sa.func.count()).where(RawEvent.merged_at.is_(None))
                    if not done.events and not session.scalar(waiting):
                        return
        except BaseException as error:
            failures.append(error)
        finally:
            registry.engine.dispose()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    registry = database.open(Part.WORKER)
    with registry.sessions() as session:
        assert session.scalar(sa.select(sa.func.count()).where(RawEvent.merged_at.is_(None))) == 0
        for one in sent:
            line = balanced(session, one)
            assert (line.accepted, line.delivered, line.bounced, line.in_doubt) == (8, 3, 1, 0)
        assert session.scalars(sa.select(Suppression.reason)).all() == ["bounce"]
    registry.engine.dispose()


def test_a_text_that_cannot_be_taken_in_holds_up_no_stop_behind_it(session: Session, makes: Makes) -> None:
    sent = ledger.frozen(makes, 1, Channel.SMS)
    ledger.carried(session)
    number = session.scalars(sa.select(Sender.address)).one()
    damaged = makes.contact("07700 900123", Channel.SMS)
    session.execute(
        sa.text("UPDATE contact_points SET address_enc = '\\x0102' WHERE id = :c"), {"c": damaged.id}
    )
    session.expire_all()
    for sid, sender, body in ((SID, "+447700900123", "hello"), (SID[:-1] + "9", "+447700900321", "STOP")):
        text = {"MessageSid": sid, "From": sender, "To": number, "Body": body}
        receipts.store(session, "twilio-inbound", urlencode(text))
    done = merge_some(session)
    assert (done.events, done.problems) == (2, 1)
    assert session.scalars(sa.select(Suppression.reason)).all() == ["stop"]
    problem = session.scalars(sa.select(RawEvent.problem).where(RawEvent.problem.is_not(None))).one()
    assert problem == "failed: CryptoError"
    assert sent
