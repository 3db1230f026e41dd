"""The team's inbox: who sees which thread, how it is listed, read, answered and closed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.access import Who
from app.db import new_id, utc_now
from app.errors import Conflict, Invalid, Missing
from app.models.areas import Area
from app.models.audit import AuditEntry
from app.models.confirmations import Confirmation
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.models.replies import Reply, ReplyMessage
from app.models.service_messages import ServiceMessage
from app.models.staff import WebSession
from app.registry import Registry
from app.services import answers, consent, inbound, people, receiving, sessions
from app.services import replies as inbox
from messaging import gsm7
from messaging.links import REPLY
from messaging.types import Channel
from tests import ledger, replies
from tests.factories import ACTOR, Makes

NOW = utc_now().replace(microsecond=0)
ONCE = "fedcba9876543210" * 2


@dataclass
class Ground:
    """Police with two teams, each with an appeal; a council next door."""

    session: Session
    makes: Makes
    police: Organisation
    ward: Area
    north: Who
    south: Who
    chief: Who
    outsider: Who
    sent: dict[str, UUID]

    def write(self, to: str = "north", *, body: str = "A red van.", at: int = 0, **changes: object) -> UUID:
        """Somebody new writes; ``at``: minutes after the beginning."""
        channel = changes.pop("channel", Channel.EMAIL)
        person = changes.pop("person", None) or self.makes.resident(self.police, self.ward, channel=channel)  # type: ignore[arg-type]
        return receiving.receive_web(
            self.session,
            contact_id=person.id,  # type: ignore[attr-defined]
            dispatch_id=self.sent[to],
            body=body,
            name=changes.get("name"),  # type: ignore[arg-type]
            once=new_id().hex,
            now=NOW + timedelta(minutes=at),
        )

    def reply(self, reply_id: UUID) -> Reply:
        self.session.flush()
        self.session.expire_all()
        return self.session.get_one(Reply, reply_id)


@pytest.fixture
def ground(session: Session, makes: Makes) -> Ground:
    police, council = makes.organisation("Met"), makes.organisation("Council")
    makes.sender(police)
    makes.sender(police, "sms")
    _, ward, _ = makes.borough()
    makes.resident(police, ward)
    north, south = (makes.team(police, [ward], name=n) for n in ("North Team", "South Team"))
    sent = {
        name: replies.appeal(makes, police, ward, team=team, headline=f"Appeal {name}")
        for name, team in (("north", north.id), ("south", south.id), ("none", None))
    }
    return Ground(
        session, makes, police, ward,
        north=replies.officer(makes, police, north),
        south=replies.officer(makes, police, south),
        chief=replies.officer(makes, police),
        outsider=replies.officer(makes, council),
        sent=sent,
    )  # fmt: skip


def shown(page: inbox.Inbox) -> list[tuple[str, list[UUID]]]:
    return [(g.alert.headline if g.alert else "", [line.id for line in g.lines]) for g in page.groups]


# -- who sees what
def test_a_team_sees_its_own_threads_and_those_of_no_team_and_who_is_in_none_sees_all(
    ground: Ground,
) -> None:
    north, south, none = ground.write("north"), ground.write("south", at=1), ground.write("none", at=2)
    seen = {
        name: {id_ for _, ids in shown(inbox.inbox(ground.session, who)) for id_ in ids}
        for name, who in (
            ("north", ground.north), ("south", ground.south), ("chief", ground.chief), ("outsider", ground.outsider),
        )
    }  # fmt: skip
    assert seen == {
        "north": {north, none},
        "south": {south, none},
        "chief": {north, south, none},
        "outsider": set(),
    }
    unread = [inbox.unread(ground.session, w) for w in (ground.north, ground.chief, ground.outsider)]
    assert unread == [2, 3, 0]


@pytest.mark.parametrize("who", ["south", "outsider"])
def test_a_thread_of_others_is_missing_whatever_is_asked_of_it(
    ground: Ground, registry: Registry, who: str
) -> None:
    officer, thread = getattr(ground, who), ground.write("north")
    before = ground.session.scalar(sa.select(sa.func.count()).select_from(AuditEntry))
    for act in (
        lambda i: inbox.thread(ground.session, officer, i, actor=ACTOR),
        lambda i: inbox.close(ground.session, officer, i, actor=ACTOR, now=NOW),
        lambda i: inbox.reopen(ground.session, officer, i, actor=ACTOR),
        lambda i: answer(ground, registry, i, officer=officer),
    ):
        for id_ in (thread, new_id()):
            with pytest.raises(Missing):
                act(id_)
    assert ground.reply(thread).state == "new"
    assert ground.session.scalar(sa.select(sa.func.count()).select_from(AuditEntry)) == before


# -- the list
def test_threads_are_grouped_by_alert_the_newest_last_word_first(ground: Ground) -> None:
    first, second, third = ground.write("north"), ground.write("none", at=1), ground.write("north", at=2)
    page = inbox.inbox(ground.session, ground.north)
    assert shown(page) == [("Appeal north", [third, first]), ("Appeal none", [second])]
    assert page.counts == {"new": 3, "answered": 0, "closed": 0} and page.after is None


def test_the_list_shows_the_beginning_of_the_last_message_and_who_wrote(ground: Ground) -> None:
    ground.write(body="A\nred   van " + "x" * 200, name="Ann")
    (group,) = inbox.inbox(ground.session, ground.north).groups
    (line,) = group.lines
    assert line.glance.startswith("A red van xxx") and len(line.glance) == 120 and line.glance.endswith("…")
    assert (line.name, line.channel, line.ours) == ("Ann", "web", False)


def test_pages_follow_one_another_without_gap_or_repetition_while_words_come_at_the_same_moment(
    ground: Ground,
) -> None:
    written = [ground.write("north" if n % 2 else "none", at=n // 4) for n in range(23)]
    pages = [inbox.inbox(ground.session, ground.north, most=5)]
    while pages[-1].after is not None:
        pages.append(inbox.inbox(ground.session, ground.north, after=pages[-1].after, most=5))
    found = [id_ for page in pages for _, ids in shown(page) for id_ in ids]
    assert len(pages) == 5 and len(found) == len(set(found)) and set(found) == set(written)


def test_texts_that_answer_no_alert_have_a_group_of_their_own(session: Session, ground: Ground) -> None:
    contact = ground.makes.contact(channel=Channel.SMS)
    thread = Reply(controller_id=ground.police.id, contact_id=contact.id)
    session.add(thread)
    session.flush()
    session.add(ReplyMessage(reply_id=thread.id, direction="in", channel="sms", body="Hello?"))
    session.flush()
    assert shown(inbox.inbox(session, ground.south)) == [("", [thread.id])]
    assert inbox.thread(session, ground.south, thread.id, actor=ACTOR).alert is None


def test_there_is_no_other_state(ground: Ground) -> None:
    with pytest.raises(Invalid):
        inbox.inbox(ground.session, ground.north, state="lost")


def test_an_inbox_is_counted_no_further_than_asked(ground: Ground) -> None:
    for to in ("north", "none", "north"):
        ground.write(to)
    assert inbox.counts(ground.session, ground.north, ("new",), most=2) == {"new": 2}
    assert inbox.counts(ground.session, ground.north, ("new",), most=3) == {"new": 3}


# -- one thread
def test_a_thread_shows_its_messages_in_order_and_that_it_was_read_is_on_the_record(
    ground: Ground, registry: Registry
) -> None:
    person = ground.makes.resident(ground.police, ground.ward)
    thread = ground.write(person=person, name="Ann")
    answer(ground, registry, thread, body="Thank you.")
    ground.write(person=person, body="And a dog.", at=2)
    found = inbox.thread(ground.session, ground.north, thread, actor=ACTOR)
    assert [(m.ours, m.body, m.who) for m in found.messages] == [
        (False, "A red van.", None), (True, "Thank you.", "PC Okoro"), (False, "And a dog.", None),
    ]  # fmt: skip
    assert (found.state, found.name, found.channel, found.reader) == ("new", "Ann", "email", "North Team")
    assert found.alert is not None and found.alert.headline == "Appeal north" and found.alert.public
    entries = ground.session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "reply:consult")).all()
    assert [e.subject for e in entries] == [f"reply:{thread}"]


def test_a_long_thread_is_paged(ground: Ground) -> None:
    person = ground.makes.resident(ground.police, ground.ward)
    for n in range(7):
        thread = ground.write(person=person, body=str(n), at=n * 60)
    latest = inbox.thread(ground.session, ground.north, thread, actor=ACTOR, most=3)
    assert [m.body for m in latest.messages] == ["4", "5", "6"]
    before = inbox.thread(ground.session, ground.north, thread, actor=ACTOR, before=latest.earlier, most=3)
    assert [m.body for m in before.messages] == ["1", "2", "3"]
    first = inbox.thread(ground.session, ground.north, thread, actor=ACTOR, before=before.earlier, most=3)
    assert [m.body for m in first.messages] == ["0"] and first.earlier is None


def test_a_restricted_alert_has_no_public_page_to_link_to(ground: Ground) -> None:
    ground.sent["north"] = replies.appeal(ground.makes, ground.police, ground.ward, restricted=True)
    thread = ground.write("north")
    found = inbox.thread(ground.session, ground.north, thread, actor=ACTOR)
    assert found.alert is not None and not found.alert.public


# -- closing
def test_closing_and_opening_again_happen_once_each_and_stand_on_the_record(ground: Ground) -> None:
    thread = ground.write()
    for _ in range(2):
        inbox.close(ground.session, ground.north, thread, actor=ACTOR, now=NOW)
    closed = ground.reply(thread)
    assert (closed.state, closed.closed_at, closed.closed_by) == ("closed", NOW, ground.north.id)
    assert shown(inbox.inbox(ground.session, ground.north, state="closed")) == [("Appeal north", [thread])]
    for _ in range(2):
        inbox.reopen(ground.session, ground.north, thread, actor=ACTOR)
    again = ground.reply(thread)
    assert (again.state, again.closed_at, again.closed_by) == ("new", None, None)
    events = ground.session.scalars(
        sa.select(AuditEntry.event).where(AuditEntry.subject == f"reply:{thread}").order_by(AuditEntry.id)
    ).all()
    assert events == ["reply:receive", "reply:close", "reply:reopen"]


# -- answering
def answer(
    ground: Ground, registry: Registry, thread: UUID, *, officer: Who | None = None, **changes: object
) -> None:
    values: dict[str, object] = {"body": "Thank you.", "once": ONCE, "regions": ("GB",)} | changes
    answers.answer(
        ground.session,
        officer or ground.north,
        thread,
        signer=registry.signer,
        public_url=ledger.URL,
        actor=ACTOR,
        now=NOW + timedelta(minutes=1),
        **values,  # type: ignore[arg-type]
    )


def queued(session: Session) -> list[ServiceMessage]:
    return list(session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.created_at)))


def link_in(text: str) -> str:
    return text[text.index("/r/") + 3 :].split()[0]


def test_an_answer_by_email_carries_a_link_to_write_back_and_one_to_stop(
    ground: Ground, registry: Registry
) -> None:
    person = ground.makes.resident(ground.police, ground.ward)
    thread = ground.write(person=person)
    answer(ground, registry, thread, body="Thank <you>.\n\nWas it red?")
    (message,) = queued(ground.session)
    assert (message.kind, message.channel, message.contact_id) == ("reply-answer", "email", person.id)
    assert (message.address, message.synthetic) == (person.address, True)
    assert message.subject == "An answer from North Team"
    assert "Thank <you>." in (message.text or "") and "Thank &lt;you&gt;." in (message.html or "")
    assert message.stop_url and message.stop_url.startswith(f"{ledger.URL}/s/")
    told = registry.signer.verify(REPLY, link_in(message.text or ""), NOW)
    assert (told.contact, told.dispatch) == (person.id, ground.sent["north"])
    reply = ground.reply(thread)
    assert (reply.state, reply.last_at) == ("answered", NOW + timedelta(minutes=1))
    out = ground.session.scalars(sa.select(ReplyMessage).where(ReplyMessage.direction == "out")).one()
    assert (out.body, out.channel, out.staff_id) == ("Thank <you>.\n\nWas it red?", "email", ground.north.id)


def test_an_answer_by_text_comes_from_a_number_and_counts_its_segments(
    ground: Ground, registry: Registry
) -> None:
    person = ground.makes.resident(ground.police, ground.ward, channel=Channel.SMS)
    thread = ground.write(person=person)
    answer(ground, registry, thread, body="x" * 480)
    (message,) = queued(ground.session)
    assert (message.channel, message.sender_id is not None) == ("sms", True)
    assert (message.text or "").startswith("North Team: xxx")
    assert message.segments == gsm7.segments(message.text or "").segments
    assert registry.signer.verify(REPLY, link_in(message.text or ""), NOW).contact == person.id


def test_whoever_answered_no_alert_is_told_to_reply_to_the_text(
    session: Session, ground: Ground, registry: Registry
) -> None:
    contact = ground.makes.contact(channel=Channel.SMS)
    thread = Reply(controller_id=ground.police.id, contact_id=contact.id)
    session.add(thread)
    session.flush()
    answer(ground, registry, thread.id)
    assert queued(session)[0].text == "Met: Thank you.\nTo answer, reply to this text."


def test_a_double_click_answers_once(ground: Ground, registry: Registry) -> None:
    thread = ground.write()
    answer(ground, registry, thread)
    answer(ground, registry, thread, body="Thank you again.")
    assert len(queued(ground.session)) == 1
    answer(ground, registry, thread, once="0" * 32)
    assert len(queued(ground.session)) == 2
    events = ground.session.scalars(sa.select(AuditEntry.event).where(AuditEntry.event == "reply:answer"))
    assert len(events.all()) == 2


@pytest.mark.parametrize(
    "changes",
    [{"body": ""}, {"body": " \n"}, {"body": "x" * 2_001}, {"body": "a\x00"}, {"body": "\ud800"}, {"once": ""},
     {"once": "x" * 32}],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_and_nothing_is_queued(
    ground: Ground, registry: Registry, changes: dict[str, str]
) -> None:
    thread = ground.write()
    with pytest.raises(Invalid) as caught:
        answer(ground, registry, thread, **changes)
    assert caught.value.field == "body"
    assert queued(ground.session) == [] and ground.reply(thread).state == "new"


def test_a_text_is_shorter_than_an_email(ground: Ground, registry: Registry) -> None:
    thread = ground.write(channel=Channel.SMS)
    with pytest.raises(Invalid):
        answer(ground, registry, thread, body="x" * 481)


def test_a_closed_thread_is_opened_before_it_is_answered(ground: Ground, registry: Registry) -> None:
    thread = ground.write()
    inbox.close(ground.session, ground.north, thread, actor=ACTOR, now=NOW)
    with pytest.raises(Conflict):
        answer(ground, registry, thread)


def test_whoever_said_stop_cannot_be_answered_and_the_page_says_why(
    ground: Ground, registry: Registry
) -> None:
    person = ground.makes.resident(ground.police, ground.ward, channel=Channel.SMS)
    thread = ground.write(person=person)
    number = ground.session.scalar(sa.text("SELECT id FROM senders WHERE channel = 'sms'"))
    inbound.stop(ground.session, number, person.digest)
    with pytest.raises(Conflict) as caught:
        answer(ground, registry, thread)
    assert "STOP" in caught.value.message
    assert inbox.thread(ground.session, ground.north, thread, actor=ACTOR).cannot == caught.value.message
    assert queued(ground.session) == []


def test_whoever_left_another_organisation_can_be_answered(ground: Ground, registry: Registry) -> None:
    person = ground.makes.resident(ground.police, ground.ward)
    thread = ground.write(person=person)
    consent.leave(ground.session, person.id, ground.outsider.organisation_id, how="test", actor=ACTOR)
    answer(ground, registry, thread)
    assert len(queued(ground.session)) == 1


def test_no_text_goes_to_a_country_that_is_not_among_ours(
    session: Session, ground: Ground, registry: Registry
) -> None:
    address = people.Address(Channel.SMS, "+33612345678", "+33612345678", 1)
    contact = people.add_contact(session, address, actor=ACTOR)
    thread = Reply(controller_id=ground.police.id, contact_id=contact.id)
    session.add(thread)
    session.flush()
    with pytest.raises(Conflict):
        answer(ground, registry, thread.id)
    answer(ground, registry, thread.id, regions=("GB", "FR"))
    assert len(queued(session)) == 1


def test_without_a_number_to_text_from_the_officer_is_told(
    session: Session, ground: Ground, registry: Registry
) -> None:
    thread = ground.write(channel=Channel.SMS)
    session.execute(sa.text("UPDATE senders SET active = false WHERE channel = 'sms'"))
    with pytest.raises(Conflict):
        answer(ground, registry, thread)


# -- erasure
def test_an_erased_contact_point_leaves_no_word_no_message_no_session_and_no_code(
    session: Session, ground: Ground, registry: Registry
) -> None:
    person = ground.makes.resident(ground.police, ground.ward)
    thread = ground.write(person=person)
    answer(ground, registry, thread)
    sessions.begin(session, contact_id=person.id, now=NOW)
    session.add(
        Confirmation(
            purpose="manage",
            contact_id=person.id,
            channel="email",
            address=person.address,
            digest=person.digest,
            digest_key=crypto.keyring().index_id,
            form_version=1,
            expires_at=NOW,
        )
    )
    session.flush()
    models = (Reply, ReplyMessage, ServiceMessage, WebSession, Confirmation)
    counts = [session.scalar(sa.select(sa.func.count()).select_from(m)) for m in models]
    assert all(counts)
    people.erase(session, person.id, actor=ACTOR)
    counts = [session.scalar(sa.select(sa.func.count()).select_from(m)) for m in models]
    assert counts == [0] * len(models)
    assert session.get(ContactPoint, person.id) is None
