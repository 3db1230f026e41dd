"""Replies that come in: into the right thread, once, whoever wrote and however hostile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app import crypto
from app.db import new_id, utc_now
from app.errors import Invalid, Missing, TooMany
from app.models.alerts import Alert
from app.models.areas import Area
from app.models.audit import AuditEntry
from app.models.ledger import Dispatch
from app.models.organisations import Organisation, Sender, SenderController
from app.models.people import ContactPoint
from app.models.replies import Reply, ReplyMessage
from app.registry import Registry
from app.services import organisations, people, receiving
from messaging.types import Channel
from tests import ledger, replies
from tests.conftest import Database
from tests.factories import ACTOR, Makes

NOW = utc_now()
ONCE = "0123456789abcdef" * 2


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


@pytest.fixture
def ground(session: Session, makes: Makes) -> tuple[Organisation, Area, ContactPoint, UUID]:
    """Police, a ward, somebody in it, and an appeal that was sent to them by e-mail."""
    police = makes.organisation()
    makes.sender(police)
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward)
    team = makes.team(police, [ward], name="Borough Safer Team")
    return police, ward, person, replies.appeal(makes, police, ward, team=team.id)


def write(session: Session, person: ContactPoint, sent: UUID, **changes: object) -> UUID:
    values: dict[str, object] = {"body": "A red van.", "name": None, "once": new_id().hex, "now": NOW}
    return receiving.receive_web(session, contact_id=person.id, dispatch_id=sent, **(values | changes))  # type: ignore[arg-type]


def said(session: Session, reply_id: UUID) -> list[str]:
    rows = sa.select(ReplyMessage.body).where(ReplyMessage.reply_id == reply_id).order_by(ReplyMessage.at)
    return list(session.scalars(rows))


Ground = tuple[Organisation, Area, ContactPoint, UUID]


# -- by the link
def test_a_reply_lands_in_one_thread_of_its_alert_and_writer(session: Session, ground: Ground) -> None:
    police, _, person, sent = ground
    first = write(session, person, sent, name="  Ann \n Onymous ")
    again = write(session, person, sent, body="And a dog.", now=NOW + timedelta(minutes=1))
    assert first == again
    reply = session.get_one(Reply, first)
    alert = session.get_one(Alert, session.get_one(Dispatch, sent).alert_id)
    assert (reply.controller_id, reply.team_id, reply.alert_id) == (police.id, alert.team_id, alert.id)
    assert (reply.name, reply.state, reply.contact_id) == ("Ann Onymous", "new", person.id)
    assert reply.last_at == NOW + timedelta(minutes=1)
    assert said(session, first) == ["A red van.", "And a dog."]


def test_what_was_written_and_by_whom_is_encrypted(session: Session, ground: Ground) -> None:
    _, _, person, sent = ground
    write(session, person, sent, body="Somebody's secret", name="Ann")
    raw = session.execute(sa.text("SELECT body_enc, name_enc FROM reply_messages, replies")).one()
    for value in raw:
        assert b"secret" not in bytes(value) and b"Ann" not in bytes(value)


def test_a_form_that_is_sent_twice_is_one_reply_and_does_not_open_the_thread_again(
    session: Session, ground: Ground
) -> None:
    _, _, person, sent = ground
    first = write(session, person, sent, once=ONCE)
    session.get_one(Reply, first).state = "answered"
    session.flush()
    assert write(session, person, sent, once=ONCE) == first
    session.expire_all()
    assert said(session, first) == ["A red van."]
    assert session.get_one(Reply, first).state == "answered"


def test_the_form_token_of_one_person_does_not_swallow_the_reply_of_another(
    session: Session, makes: Makes, ground: Ground
) -> None:
    police, ward, person, sent = ground
    other = makes.resident(police, ward)
    mine = write(session, person, sent, once=ONCE)
    theirs = write(session, other, sent, once=ONCE, body="Mine.")
    assert mine != theirs and said(session, theirs) == ["Mine."]


@pytest.mark.parametrize("state", ["answered", "closed"])
def test_a_new_word_opens_a_thread_again(session: Session, makes: Makes, ground: Ground, state: str) -> None:
    police, _, person, sent = ground
    thread = session.get_one(Reply, write(session, person, sent, name="Ann"))
    thread.state = state
    if state == "closed":
        thread.closed_at, thread.closed_by = NOW, replies.officer(makes, police).id
    session.flush()
    write(session, person, sent, body="One thing more.")
    session.expire_all()
    thread = session.get_one(Reply, thread.id)
    assert (thread.state, thread.closed_at, thread.closed_by, thread.name) == ("new", None, None, "Ann")


def test_the_record_names_ids_and_nobody(session: Session, ground: Ground) -> None:
    police, _, person, sent = ground
    thread = write(session, person, sent, name="Ann Onymous", origin="198.51.100.0/24")
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "reply:receive")).one()
    assert (entry.subject, entry.organisation_id) == (f"reply:{thread}", police.id)
    assert (entry.actor_kind, entry.actor_id, entry.origin) == ("resident", str(person.id), "198.51.100.0/24")
    assert entry.s62 is None
    assert "Ann" not in (entry.detail or "") and "van" not in (entry.detail or "")


def test_a_competent_authority_logs_the_collection(session: Session, ground: Ground) -> None:
    police, _, person, sent = ground
    police.competent_authority = True
    session.flush()
    write(session, person, sent)
    assert session.scalars(sa.select(AuditEntry.s62).where(AuditEntry.event == "reply:receive")).one() == (
        "collection"
    )


def test_ten_replies_an_hour_are_kept_and_the_eleventh_is_refused(session: Session, ground: Ground) -> None:
    _, _, person, sent = ground
    start = NOW.replace(minute=0, second=0, microsecond=0)
    for n in range(10):
        thread = write(session, person, sent, body=str(n), once=f"{n:032x}", now=start)
    with pytest.raises(TooMany):
        write(session, person, sent, now=start)
    assert write(session, person, sent, once=f"{9:032x}", now=start) == thread, (
        "what came before is no new one"
    )
    assert len(said(session, thread)) == 10
    write(session, person, sent, now=start + timedelta(hours=1))


def test_whoever_was_erased_leaves_nothing_and_their_link_works_no_more(
    session: Session, ground: Ground
) -> None:
    _, _, person, sent = ground
    write(session, person, sent)
    people.erase(session, person.id, actor=ACTOR)
    session.expire_all()
    for model in (Reply, ReplyMessage):
        assert session.scalar(sa.select(sa.func.count()).select_from(model)) == 0
    with pytest.raises(Missing):
        write(session, person, sent)
    with pytest.raises(Missing):
        receiving.asked(session, contact_id=person.id, dispatch_id=sent)


def test_a_dispatch_that_is_not_ours_asked_nothing(session: Session, ground: Ground) -> None:
    with pytest.raises(Missing):
        write(session, ground[2], new_id())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"body": ""}, "body"),
        ({"body": " \n "}, "body"),
        ({"body": "x" * 2_001}, "body"),
        ({"body": "a\x00b"}, "body"),
        ({"body": "a\ud800b"}, "body"),
        ({"name": "x" * 61}, "name"),
        ({"name": "A\x00n"}, "name"),
        ({"name": "\udfff"}, "name"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_field(
    session: Session, ground: Ground, changes: dict[str, str], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        write(session, ground[2], ground[3], **changes)
    assert caught.value.field == field
    assert session.scalar(sa.select(sa.func.count()).select_from(Reply)) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(max_size=2_100), name=st.none() | st.text(max_size=70), once=st.text(max_size=40))
def test_whatever_is_written_is_kept_whole_or_refused(
    session: Session, ground: Ground, body: str, name: str | None, once: str
) -> None:
    _, _, person, sent = ground
    with session.begin_nested() as point:
        try:
            thread = write(session, person, sent, body=body, name=name, once=once)
        except Invalid:
            pass
        else:
            assert body.strip() in said(session, thread)
        point.rollback()


# -- as a text
@dataclass
class Texted:
    """Somebody who was sent an appeal by text from a number of the police."""

    police: Organisation
    ward: Area
    number: Sender
    person: ContactPoint
    sent: UUID


@pytest.fixture
def texted(session: Session, makes: Makes) -> Texted:
    police = makes.organisation()
    number = makes.sender(police, "sms")
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward, channel=Channel.SMS)
    sent = replies.appeal(makes, police, ward, Channel.SMS)
    replies.delivered(session, sent, person)
    return Texted(police, ward, number, person, sent)


def hear(
    session: Session, number: Sender, writer: str, body: str = "Saw him.", n: int = 1
) -> receiving.Received | None:
    digest = crypto.keyring().digest("phone", writer)
    return receiving.receive_text(
        session, replies.text(writer, number.address, body, n), number, digest, utc_now()
    )


def alert_of(session: Session, received: receiving.Received | None) -> UUID | None:
    assert received is not None
    return session.get_one(Reply, received.reply_id).alert_id


def test_a_text_lands_in_the_thread_of_the_latest_alert_from_that_number(
    session: Session, makes: Makes, texted: Texted
) -> None:
    later = replies.appeal(makes, texted.police, texted.ward, Channel.SMS)
    replies.delivered(session, later, texted.person)
    received = hear(session, texted.number, texted.person.address)
    assert alert_of(session, received) == session.get_one(Dispatch, later).alert_id
    assert received is not None and received.contact.id == texted.person.id
    message = session.scalars(sa.select(ReplyMessage)).one()
    assert (message.channel, message.body, message.direction) == ("sms", "Saw him.", "in")


def test_a_text_and_a_reply_by_the_link_stand_in_one_thread(session: Session, texted: Texted) -> None:
    by_link = write(session, texted.person, texted.sent)
    received = hear(session, texted.number, texted.person.address)
    assert received is not None and received.reply_id == by_link


def test_the_same_text_twice_is_one(session: Session, texted: Texted) -> None:
    first = hear(session, texted.number, texted.person.address)
    again = hear(session, texted.number, texted.person.address)
    assert first is not None and again is not None
    assert (first.known, again.known, again.reply_id) == (False, True, first.reply_id)
    assert len(said(session, first.reply_id)) == 1


def test_an_alert_that_came_from_another_number_is_not_what_a_text_answers(
    session: Session, makes: Makes, texted: Texted
) -> None:
    other = makes.sender(texted.police, "sms", lane="urgent")
    assert alert_of(session, hear(session, other, texted.person.address)) is None


def test_a_number_in_two_lanes_is_one_number_for_replies(session: Session, texted: Texted) -> None:
    lane = organisations.add_sender(
        session, [texted.police.id], channel="sms", provider="twilio", address=texted.number.address,
        kind="two-way", lane="urgent", segments_per_second=1.0, actor=ACTOR,
    )  # fmt: skip
    assert alert_of(session, hear(session, lane, texted.person.address)) is not None


def test_after_thirty_days_a_text_answers_no_alert_but_goes_to_who_wrote_last(
    session: Session, makes: Makes, texted: Texted
) -> None:
    first_by_name = makes.organisation("A Council")
    session.add(SenderController(sender_id=texted.number.id, organisation_id=first_by_name.id))
    session.flush()
    digest = crypto.keyring().digest("phone", texted.person.address)
    message = replies.text(texted.person.address, texted.number.address, "Hello?")
    received = receiving.receive_text(session, message, texted.number, digest, utc_now() + timedelta(days=31))
    assert received is not None and alert_of(session, received) is None
    assert received.controller_id == texted.police.id


def test_a_stranger_becomes_a_contact_point_without_consent_and_goes_to_the_first_by_name(
    session: Session, makes: Makes, texted: Texted
) -> None:
    council = makes.organisation("A Council")
    session.add(SenderController(sender_id=texted.number.id, organisation_id=council.id))
    session.flush()
    received = hear(session, texted.number, "+447700900987")
    assert received is not None and received.controller_id == council.id
    contact = received.contact
    assert (contact.address, contact.confirmed_at, contact.synthetic) == ("+447700900987", None, True)
    assert (
        session.scalar(sa.text("SELECT count(*) FROM consents WHERE contact_id = :c"), {"c": contact.id}) == 0
    )
    again = hear(session, texted.number, "+447700900987", "More", n=2)
    assert again is not None and again.reply_id == received.reply_id, "one thread for what answers no alert"


def test_a_real_number_is_not_synthetic_and_a_foreign_one_is_kept_too(
    session: Session, texted: Texted
) -> None:
    for n, writer in enumerate(("+447911123456", "+33612345678"), 1):
        received = hear(session, texted.number, writer, n=n)
        assert received is not None and not received.contact.synthetic


def test_a_short_code_cannot_be_answered_and_is_nobodys_reply(session: Session, texted: Texted) -> None:
    assert hear(session, texted.number, "60099") is None
    assert session.scalar(sa.select(sa.func.count()).select_from(Reply)) == 0


def test_a_number_of_no_organisation_has_no_inbox(session: Session, texted: Texted) -> None:
    session.execute(sa.delete(SenderController).where(SenderController.sender_id == texted.number.id))
    assert hear(session, texted.number, "+447700900987") is None


def test_a_text_without_words_says_so(session: Session, texted: Texted) -> None:
    received = hear(session, texted.number, texted.person.address, " ")
    assert received is not None
    assert said(session, received.reply_id) == [receiving.NO_WORDS]
