"""Service messages: who they come from, who may not be written to, and what each answer leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.models.organisations import Organisation, Sender
from app.models.service_messages import ServiceMessage
from app.registry import Registry
from app.services import consent, outgoing, post
from app.services.outgoing import Outgoing
from messaging.notices import Notice
from messaging.types import Channel, Outcome, SendResult
from tests import ledger
from tests.conftest import Database
from tests.factories import Makes

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
LEASE = timedelta(seconds=60)
NUMBER = "+447700900555"
MAIL = "Ann.Other@people.example"
CODE = Notice("Your code", "It is 123456.", "<p>It is 123456.</p>")


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


@pytest.fixture
def makes(session: Session) -> Makes:
    return Makes(session)


def mail(session: Session, controller: UUID | None = None, **changes: object) -> UUID:
    values: dict[str, object] = {
        "kind": "confirm", "address": MAIL, "content": CODE, "controller": controller,
        "expires_at": NOW + HALF_HOUR, "synthetic": True, "now": NOW,
    }  # fmt: skip
    return post.queue_email(session, **(values | changes))  # type: ignore[arg-type]


def text(session: Session, controller: UUID | None = None, **changes: object) -> UUID | None:
    values: dict[str, object] = {
        "kind": "confirm", "address": NUMBER, "text": "Your code is 123456", "controller": controller,
        "expires_at": NOW + HALF_HOUR, "synthetic": True, "now": NOW,
    }  # fmt: skip
    return post.queue_text(session, **(values | changes))  # type: ignore[arg-type]


def read(session: Session, message: UUID | None) -> ServiceMessage:
    session.expire_all()
    return session.get_one(ServiceMessage, message)


def claim(session: Session, now: datetime = NOW, **more: object) -> list[Outgoing]:
    return outgoing.claim_due(session, 20, now, **more)  # type: ignore[arg-type]


def state(session: Session, message: UUID | None) -> tuple[str, str | None]:
    row = read(session, message)
    return row.state, row.reason


def said(row: ServiceMessage) -> list[str | None]:
    return [row.address, row.subject, row.text, row.html, row.stop_url]


# -- queueing
def test_a_text_comes_from_a_number_that_can_be_answered_urgent_first_else_from_a_name(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    assert text(session, police.id) is None
    assert text(session, None) is None
    chosen = []
    for kind, lane, address in (
        ("alphanumeric", "urgent", "Police"), ("two-way", "bulk", "+447700900101"),
        ("two-way", "urgent", "+447700900102"),
    ):  # fmt: skip
        sender = Sender(channel="sms", provider="twilio", address=address, kind=kind, lane=lane)
        session.add(sender)
        session.flush()
        session.execute(
            sa.text("INSERT INTO sender_controllers VALUES (:s, :o)"), {"s": sender.id, "o": police.id}
        )
        assert read(session, text(session, police.id)).sender_id == sender.id
        chosen.append(sender)
    asked = text(session, police.id, sender_id=chosen[1].id)
    assert read(session, asked).sender_id == chosen[1].id
    chosen[2].active = False
    session.flush()
    assert read(session, text(session, police.id)).sender_id == chosen[1].id


def test_an_email_comes_from_the_controllers_urgent_sender_else_from_the_site(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    assert read(session, mail(session, police.id)).sender_id is None
    assert read(session, mail(session, None)).sender_id is None
    bulk = makes.sender(police)
    assert read(session, mail(session, police.id)).sender_id == bulk.id
    urgent = makes.sender(police, lane="urgent")
    assert read(session, mail(session, police.id)).sender_id == urgent.id


def test_what_is_said_and_to_whom_is_encrypted(session: Session, makes: Makes) -> None:
    message = mail(session, stop_url="https://w.example/not-me/x")
    row = session.execute(
        sa.text("SELECT address_enc, subject_enc, text_enc, html_enc, stop_url_enc FROM service_messages")
    ).one()
    assert all(isinstance(value, bytes) for value in row)
    assert not any(b"123456" in value or b"people" in value for value in row)
    assert said(read(session, message)) == [MAIL, *(getattr(CODE, f) for f in ("subject", "text", "html")),
                                            "https://w.example/not-me/x"]  # fmt: skip


def test_segments_are_counted_as_phones_count_them(session: Session, makes: Makes) -> None:
    assert (post.segments_of("x" * 160), post.segments_of("x" * 161), post.segments_of("ł" * 71)) == (1, 2, 2)
    police = makes.organisation()
    makes.sender(police, "sms")
    assert read(session, text(session, police.id, text="x" * 161)).segments == 2


# -- claiming
def test_a_claim_puts_messages_on_record_as_sending_once_and_in_their_order(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    makes.sender(police, "sms")
    early, late = mail(session, now=NOW - HALF_HOUR), text(session, police.id)
    future = mail(session, now=NOW + timedelta(seconds=1))
    gone = mail(session, expires_at=NOW)
    claimed = claim(session)
    assert [m.id for m in claimed] == [early, late]
    assert [m.tries for m in claimed] == [1, 1]
    assert (claimed[0].address, claimed[0].subject, claimed[0].html) == (MAIL, CODE.subject, CODE.html)
    assert (claimed[1].address, claimed[1].text, claimed[1].stop_url) == (NUMBER, "Your code is 123456", "")
    row = read(session, early)
    assert (row.state, row.tries, row.opened_at) == ("sending", 1, NOW)
    assert claim(session) == []
    assert state(session, future) == ("waiting", None)
    assert state(session, gone) == ("waiting", None)  # the sweep's


def test_a_channel_that_is_left_alone_is_not_claimed(session: Session, makes: Makes) -> None:
    mail(session)
    assert claim(session, channels=[Channel.SMS]) == []
    assert len(claim(session, channels=[Channel.EMAIL])) == 1


def suppress(
    session: Session, channel: str, address: str, controller: UUID | None, reason: str, **more
) -> None:
    kind = "email" if channel == "email" else "phone"
    keyring = crypto.keyring()
    assert consent.suppress(
        session, channel=channel, digest=keyring.digest(kind, address), digest_key=keyring.index_id,
        controller=controller, reason=reason, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "reason", "goes"),
    [
        ("sms", "stop", False), ("sms", "provider", False), ("sms", "complaint", False),
        ("sms", "left", True), ("sms", "unsubscribe", True), ("sms", "imported", True),
        ("email", "bounce", False), ("email", "complaint", False),
        ("email", "left", True), ("email", "unsubscribe", True), ("email", "stop", True),
    ],
)  # fmt: skip
def test_stop_complaints_and_dead_addresses_count_right_before_the_send_and_leaving_does_not(
    session: Session, makes: Makes, channel: str, reason: str, goes: bool
) -> None:
    police, other = makes.organisation(), makes.organisation("Other")
    makes.sender(police, "sms")
    address = MAIL.casefold() if channel == "email" else NUMBER
    queue = mail if channel == "email" else text
    message = queue(session, police.id)
    suppress(session, channel, address, other.id, reason)
    suppress(session, channel, address, police.id, reason)
    claimed = claim(session)
    assert [m.id for m in claimed] == ([message] if goes else [])
    row = read(session, message)
    if not goes:
        assert (row.state, row.reason, row.closed_at) == ("refused", "stopped", NOW)
        assert said(row) == [None] * 5


def test_a_stop_to_another_controller_or_one_that_was_lifted_stops_nothing(
    session: Session, makes: Makes
) -> None:
    police, other = makes.organisation(), makes.organisation("Other")
    makes.sender(police, "sms")
    suppress(session, "sms", NUMBER, other.id, "stop")
    suppress(session, "sms", NUMBER, police.id, "stop")
    session.execute(
        sa.text("UPDATE suppressions SET lifted_at = now() WHERE controller_id = :c"), {"c": police.id}
    )
    message = text(session, police.id)
    assert [m.id for m in claim(session)] == [message]


def test_a_stop_to_a_number_binds_all_who_write_from_it_in_either_lane(
    session: Session, makes: Makes
) -> None:
    police, other = makes.organisation(), makes.organisation("Other")
    sender = makes.sender(police, "sms", lane="bulk")
    twin = Sender(channel="sms", provider="twilio", address=sender.address, kind="two-way", lane="urgent")
    session.add(twin)
    session.flush()
    suppress(session, "sms", NUMBER, other.id, "stop", sender_id=twin.id)
    message = text(session, None, sender_id=sender.id)
    assert claim(session) == []
    assert state(session, message) == ("refused", "stopped")


def test_texts_wait_for_their_senders_turn_and_that_is_no_try(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    sender = makes.sender(police, "sms", rate=1.0)
    messages = [text(session, police.id, now=NOW - timedelta(seconds=9 - n)) for n in range(5)]
    claimed = claim(session)
    assert [m.id for m in claimed] == messages[:3]  # 2.5 s of messages may wait at the provider
    for message in messages[3:]:
        row = read(session, message)
        assert (row.state, row.tries) == ("waiting", 0)
        assert NOW < row.not_before < NOW + timedelta(seconds=5)
    session.execute(sa.text("UPDATE sender_pace SET free_at = now() WHERE sender_id = :s"), {"s": sender.id})
    assert [m.id for m in claim(session, NOW + timedelta(seconds=5))] == messages[3:]


def test_one_damaged_message_stops_no_other_and_a_sender_that_is_gone_sends_nothing(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    sender = makes.sender(police, "sms")
    damaged, orphan, good = mail(session), text(session, police.id), mail(session)
    session.execute(sa.text("UPDATE service_messages SET text_enc = '\\x0102' WHERE id = :i"), {"i": damaged})
    sender.active = False
    session.flush()
    assert [m.id for m in claim(session)] == [good]
    row = session.execute(
        sa.text("SELECT state, reason, text_enc FROM service_messages WHERE id = :i"), {"i": damaged}
    ).one()
    assert tuple(row) == ("refused", "unreadable", None)
    assert state(session, orphan) == ("refused", "no-sender")


# -- recording
@pytest.mark.parametrize(
    ("result", "ends"),
    [
        (SendResult(Outcome.TAKEN, provider_ref="abc"), ("sent", None)),
        (SendResult(Outcome.IN_DOUBT, reason="timeout", retryable=False), ("in_doubt", "timeout")),
        (SendResult(Outcome.REFUSED, reason="21614", retryable=False), ("refused", "21614")),
        (SendResult(Outcome.NOT_TAKEN, reason="content", retryable=False), ("refused", "content")),
        (
            SendResult(Outcome.NOT_TAKEN, reason="400", rejected={1: "bad-address"}),
            ("refused", "bad-address"),
        ),
        (SendResult(Outcome.NOT_TAKEN, reason="413", bisect=True), ("refused", "413")),
        (SendResult(Outcome.NOT_TAKEN, reason="429", retry_after=3_600.0), ("expired", "429")),
    ],
)
def test_every_answer_that_is_final_removes_what_was_said_and_keeps_the_count(
    session: Session, result: SendResult, ends: tuple[str, str | None]
) -> None:
    message = mail(session)
    (sent,) = claim(session)
    outgoing.record(session, sent, result, now=NOW)
    row = read(session, message)
    assert (row.state, row.reason) == ends
    assert (row.tries, row.closed_at, row.provider_ref) == (1, NOW, result.provider_ref)
    assert said(row) == [None] * 5
    # Whatever is written or asked later changes nothing.
    outgoing.record(session, sent, SendResult(Outcome.NOT_TAKEN, reason="429"), now=NOW)
    assert claim(session, NOW + timedelta(minutes=10)) == []
    assert outgoing.sweep(session, lease=LEASE, now=NOW + timedelta(days=1)) == []
    assert read(session, message).state in (ends[0], "refused")


def test_what_was_not_taken_waits_as_long_as_asked_and_a_late_second_record_of_it_changes_nothing(
    session: Session,
) -> None:
    message = mail(session)
    (first,) = claim(session)
    busy = SendResult(Outcome.NOT_TAKEN, reason="429", retry_after=77.0)
    outgoing.record(session, first, busy, now=NOW)
    row = read(session, message)
    assert (row.state, row.reason, row.not_before) == ("waiting", "429", NOW + timedelta(seconds=77))
    assert row.address == MAIL
    outgoing.record(session, first, busy, now=NOW)
    (second,) = claim(session, NOW + timedelta(seconds=77))
    assert second.tries == 2
    outgoing.record(session, first, busy, now=NOW)  # its commit was never heard of, so it is written again
    assert state(session, message)[0] == "sending"
    outgoing.record(session, second, SendResult(Outcome.TAKEN), now=NOW)
    assert state(session, message) == ("sent", None)


# -- sweeping
def test_a_lost_workers_message_is_in_doubt_and_never_claimed_again(session: Session) -> None:
    message = mail(session)
    (sent,) = claim(session)
    assert outgoing.sweep(session, lease=LEASE, now=NOW + LEASE) == []
    late = NOW + LEASE + timedelta(seconds=1)
    assert outgoing.sweep(session, lease=LEASE, now=late) == [message]
    row = read(session, message)
    assert (row.state, row.reason, said(row)) == ("in_doubt", "worker lost", [None] * 5)
    assert claim(session, late) == []
    # The worker comes back after all: its evidence counts.
    outgoing.record(session, sent, SendResult(Outcome.TAKEN, provider_ref="x"), now=late)
    assert state(session, message) == ("sent", None)


def test_proof_that_a_lost_message_was_not_taken_ends_it_for_nothing_is_left_to_send(
    session: Session,
) -> None:
    message = mail(session)
    (sent,) = claim(session)
    outgoing.sweep(session, lease=LEASE, now=NOW + 2 * LEASE)
    outgoing.record(session, sent, SendResult(Outcome.NOT_TAKEN, reason="deadline"), now=NOW + 2 * LEASE)
    assert state(session, message) == ("refused", "not-taken")


def test_what_waited_too_long_expires_and_is_due_no_more(session: Session) -> None:
    message = mail(session)
    assert outgoing.due(session, now=NOW)
    outgoing.sweep(session, lease=LEASE, now=NOW + HALF_HOUR)
    row = read(session, message)
    assert (row.state, said(row)) == ("expired", [None] * 5)
    assert not outgoing.due(session, now=NOW + HALF_HOUR)


# -- what providers report later
def reasons(session: Session) -> list[tuple[UUID | None, str]]:
    rows = session.execute(sa.text("SELECT controller_id, reason FROM suppressions ORDER BY reason"))
    return [(controller, reason) for controller, reason in rows]


def test_a_complaint_about_a_service_message_is_its_controllers_and_a_bounce_is_everybodys(
    session: Session, makes: Makes
) -> None:
    police: Organisation = makes.organisation()
    known = makes.contact()
    message = mail(session, police.id, contact_id=known.id)
    nobody = mail(session, police.id)
    ours = mail(session, None, contact_id=known.id)
    reported = [(message, "unsubscribe"), (message, "complaint"), (nobody, "bounce"), (ours, "complaint")]
    assert outgoing.suppress(session, reported) == 1
    assert reasons(session) == [(police.id, "complaint")]
    assert outgoing.suppress(session, [(message, "bounce"), (message, "complaint")]) == 1
    assert reasons(session) == [(None, "bounce"), (police.id, "complaint")]
    assert outgoing.suppress(session, [(known_nowhere(), "bounce")]) == 0


def known_nowhere() -> UUID:
    return UUID(int=7)


def test_a_complaint_outranks_an_unsubscribe_that_stands(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    known = makes.contact()
    message = mail(session, police.id, contact_id=known.id)
    assert outgoing.suppress(session, [(message, "unsubscribe")]) == 1
    assert outgoing.suppress(session, [(message, "complaint")]) == 1
    assert reasons(session) == [(police.id, "complaint")]


@pytest.mark.parametrize("kind", ["reply-answer", "reply-receipt"])
@pytest.mark.parametrize(
    ("channel", "reason"), [("email", "unsubscribe"), ("email", "left"), ("sms", "left")]
)
def test_an_answer_does_not_follow_whoever_left_meanwhile(
    session: Session, makes: Makes, kind: str, channel: str, reason: str
) -> None:
    police = makes.organisation()
    makes.sender(police, "sms")
    message = (mail if channel == "email" else text)(session, police.id, kind=kind)
    suppress(session, channel, MAIL.casefold() if channel == "email" else NUMBER, police.id, reason)
    assert claim(session) == []
    assert state(session, message) == ("refused", "stopped")


def test_what_is_due_behind_texts_that_wait_is_due_all_the_same(session: Session, makes: Makes) -> None:
    """A claim of texts whose sender's queue is full takes none, and says nothing of what stands behind them."""
    police = makes.organisation()
    makes.sender(police, "sms", rate=1.0)
    for n in range(4):
        text(session, police.id, now=NOW - timedelta(seconds=30 - n))
    assert len(outgoing.claim_due(session, 3, NOW)) == 3
    code = mail(session, police.id)
    assert outgoing.claim_due(session, 1, NOW) == []
    assert outgoing.due(session, now=NOW)
    assert not outgoing.due(session, now=NOW, channels=[Channel.SMS])
    assert [m.id for m in outgoing.claim_due(session, 1, NOW)] == [code]
    assert not outgoing.due(session, now=NOW)
