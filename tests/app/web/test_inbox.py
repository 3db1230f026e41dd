"""The team's inbox in a browser: found, read, answered once, closed; and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.db import new_id, utc_now
from app.models.audit import AuditEntry
from app.models.organisations import Sender
from app.models.people import ContactPoint
from app.models.replies import Reply
from app.models.service_messages import ServiceMessage
from app.models.staff import Staff
from app.services import inbound, receiving
from messaging.types import Channel
from tests import replies
from tests.app.web.conftest import Site
from tests.app.web.test_reply import once_of
from tests.factories import Makes

NOW = utc_now()


@dataclass
class Desk:
    """An officer of a team, a colleague of another team, one of another organisation, and two appeals."""

    site: Site
    officer: Staff
    colleague: Staff
    outsider: Staff
    mails: list[int]
    texter: int
    sent: UUID

    def write(
        self, contact: int | None = None, body: str = "A red van.", *, at: int = 0, name: str | None = None
    ) -> str:
        """Somebody writes; the address of the thread."""
        with self.site.registry.sessions.begin() as session:
            thread = receiving.receive_web(
                session,
                contact_id=contact or self.mails[0],
                dispatch_id=self.sent,
                body=body,
                name=name,
                once=new_id().hex,
                now=NOW - timedelta(hours=2) + timedelta(minutes=at),
            )
        return f"/staff/inbox/{thread}"

    def answer(self, thread: str, **changes: str) -> tuple[int, str]:
        page = self.site.client.get(thread).text
        data = self.site.fields(page) | {"once": once_of(page), "body": "Thank you."} | changes
        answer = self.site.client.post(f"{thread}/answer", data=data)
        return answer.status_code, answer.text

    def act(self, thread: str, what: str) -> int:
        return self.site.submit(f"{thread}/{what}", page=thread).status_code

    def state(self, thread: str) -> str:
        with self.site.registry.sessions() as session:
            return session.get_one(Reply, UUID(thread.rpartition("/")[2])).state

    def queued(self) -> list[ServiceMessage]:
        with self.site.registry.sessions() as session:
            return list(session.scalars(sa.select(ServiceMessage)))

    def events(self) -> list[str]:
        with self.site.registry.sessions() as session:
            return list(
                session.scalars(
                    sa.text("SELECT event FROM audit_entries WHERE actor_kind = 'staff' ORDER BY id")
                )
            )


@pytest.fixture
def desk(site: Site) -> Iterator[Desk]:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police, council = makes.organisation("Met Police"), makes.organisation("Council")
        makes.sender(police)
        makes.sender(police, "sms")
        _, ward, _ = makes.borough()
        north, south = (makes.team(police, [ward], name=n) for n in ("North Team", "South Team"))
        mails = [makes.resident(police, ward).id for _ in range(3)]
        texter = makes.resident(police, ward, channel=Channel.SMS)
        sent = replies.appeal(makes, police, ward, team=north.id, headline="Who saw <this>?")
        found = Desk(
            site,
            replies.staff_row(makes, police, north, name="PC <Okoro>"),
            replies.staff_row(makes, police, south),
            replies.staff_row(makes, council),
            mails,
            texter.id,
            sent,
        )
    site.enter(staff=found.officer)
    yield found


# -- the list
@pytest.mark.parametrize("state", ["new", "answered", "closed"])
def test_an_empty_inbox_says_so_in_words(desk: Desk, state: str) -> None:
    page = desk.site.client.get(f"/staff/inbox?state={state}")
    assert page.status_code == 200
    assert f"{state.capitalize()} (0)" in page.text
    assert "Nothing is waiting" in page.text or "There are no" in page.text


def test_the_list_groups_by_alert_and_shows_the_beginning_escaped(desk: Desk) -> None:
    thread = desk.write(body="<script>alert(1)</script>", name="<b>Ann</b>")
    page = desk.site.client.get("/staff/inbox").text
    assert "Who saw &lt;this&gt;?" in page and "1 reply on this page" in page and "New (1)" in page
    assert "&lt;script&gt;" in page and "<script>alert" not in page and "<b>Ann" not in page
    assert f'href="{thread}"' in page
    # Names and first words were read: that is on the record, by ids.
    with desk.site.registry.sessions() as session:
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "reply:consult")).one()
    assert entry.actor_id == str(desk.officer.id)
    assert thread.rpartition("/")[2] in str(entry.detail) and "Ann" not in str(entry.detail)


def test_older_pages_follow_until_there_are_no_more(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        for n in range(30):
            contact = Makes(session).contact(f"writer{n}@people.example")
            receiving.receive_web(
                session, contact_id=contact.id, dispatch_id=desk.sent, body=f"word{n}.", name=None,
                once=new_id().hex, now=NOW,
            )  # fmt: skip
    first = desk.site.client.get("/staff/inbox").text
    assert "25 replies on this page" in first and "New (30)" in first
    older = first.partition('">Older replies')[0].rpartition('href="')[2].replace("&amp;", "&")
    second = desk.site.client.get(older).text
    assert "5 replies on this page" in second and "Older replies" not in second
    assert sum(f"word{n}." in first for n in range(30)) == 25
    assert all((f"word{n}." in first) != (f"word{n}." in second) for n in range(30))


@pytest.mark.parametrize(
    "after", ["", "x", "0", "-", "99999999999999999-" + "0" * 32, "1-" + "0" * 31, "1-\x00"]
)
def test_a_cursor_that_is_none_breaks_nothing(desk: Desk, after: str) -> None:
    desk.write()
    assert desk.site.client.get("/staff/inbox", query_string={"after": after}).status_code == 200


def test_there_is_no_other_state(desk: Desk) -> None:
    assert desk.site.client.get("/staff/inbox?state=lost").status_code == 404


# -- one thread
def test_a_thread_shows_who_said_what_and_leads_to_the_alert(desk: Desk) -> None:
    thread = desk.write(body="<i>van</i>\nred", name="Ann")
    assert desk.answer(thread)[0] == 303
    page = desk.site.client.get(thread).text
    for part in (
        "&lt;i&gt;van&lt;/i&gt;\nred",
        "Ann",
        "PC &lt;Okoro&gt;, for North Team",
        "Thank you.",
        'href="/alert/WL-',
    ):
        assert part in page
    with desk.site.registry.sessions() as session:
        address = session.get_one(ContactPoint, desk.mails[0]).address
    assert address not in page, "officers answer without seeing where it goes"


def test_looking_at_a_thread_stands_on_the_record_and_changes_nothing_else(desk: Desk) -> None:
    thread = desk.write()
    for _ in range(2):
        assert desk.site.client.get(thread).status_code == 200
    assert desk.events() == ["reply:consult", "reply:consult"]
    assert desk.state(thread) == "new"


@pytest.mark.parametrize("who", ["colleague", "outsider"])
def test_a_thread_of_others_looks_as_if_there_were_none(desk: Desk, who: str) -> None:
    thread = desk.write()
    desk.site.enter(staff=getattr(desk, who))
    token = desk.site.fields(desk.site.client.get("/staff/account").text)
    for address in (thread, f"/staff/inbox/{new_id()}"):
        assert desk.site.client.get(address).status_code == 404
        for what in ("answer", "close", "reopen"):
            data = token | {"once": "a" * 32, "body": "Hello."}
            assert desk.site.client.post(f"{address}/{what}", data=data).status_code == 404
    assert thread not in desk.site.client.get("/staff/inbox").text
    assert desk.state(thread) == "new" and desk.queued() == []


def test_nobody_reads_a_reply_without_signing_in(desk: Desk) -> None:
    thread = desk.write()
    desk.site.client.delete_cookie("__Host-wardlink")
    for address in ("/staff/inbox", thread):
        assert desk.site.client.get(address).status_code == 302
    assert desk.site.client.post(f"{thread}/close").status_code == 302
    assert desk.state(thread) == "new"


# -- answering and closing
def test_an_answer_is_queued_once_for_a_double_click(desk: Desk) -> None:
    thread = desk.write()
    once = "c3" * 16
    assert [desk.answer(thread, once=once)[0] for _ in range(2)] == [303, 303]
    (message,) = desk.queued()
    assert (message.kind, message.channel, message.contact_id) == ("reply-answer", "email", desk.mails[0])
    assert desk.state(thread) == "answered"
    assert "Answered (1)" in desk.site.client.get("/staff/inbox?state=answered").text
    assert "on its way" in desk.site.client.get(f"{thread}?done=answered").text
    assert desk.events().count("reply:answer") == 1


@pytest.mark.parametrize("body", ["", "  ", "x" * 2_001, "a\x00b"])
def test_an_answer_that_cannot_be_sent_comes_back_with_what_was_typed(desk: Desk, body: str) -> None:
    thread = desk.write()
    status, page = desk.answer(thread, body=body)
    assert status == 400 and "There is a problem" in page and 'href="#body"' in page
    assert desk.queued() == [] and desk.state(thread) == "new"


def test_a_text_may_have_480_characters_and_the_page_says_what_it_costs(desk: Desk) -> None:
    thread = desk.write(desk.texter)
    assert "153 characters" in desk.site.client.get(thread).text
    assert desk.answer(thread, body="x" * 481)[0] == 400
    assert desk.answer(thread, body="x" * 480)[0] == 303
    assert [m.channel for m in desk.queued()] == ["sms"]


def test_whoever_said_stop_cannot_be_answered_and_the_page_says_so(desk: Desk) -> None:
    thread = desk.write(desk.texter)
    page = desk.site.client.get(thread).text
    data = desk.site.fields(page) | {"once": once_of(page), "body": "Thank you."}
    with desk.site.registry.sessions.begin() as session:
        number = session.scalars(sa.select(Sender.id).where(Sender.channel == "sms")).one()
        inbound.stop(session, number, session.get_one(ContactPoint, desk.texter).digest)
    refused = desk.site.client.post(f"{thread}/answer", data=data)
    assert refused.status_code == 400 and "texted STOP" in refused.text
    after = desk.site.client.get(thread).text
    assert "texted STOP" in after and "<textarea" not in after
    assert desk.queued() == []


def test_closing_and_opening_again(desk: Desk) -> None:
    thread = desk.write()
    assert desk.act(thread, "close") == 303
    assert desk.state(thread) == "closed"
    page = desk.site.client.get(thread).text
    assert "Open again" in page and "<textarea" not in page
    assert desk.act(thread, "reopen") == 303
    assert desk.state(thread) == "new"
    assert [e for e in desk.events() if e != "reply:consult"] == ["reply:close", "reply:reopen"]


def test_a_new_word_brings_a_closed_thread_back(desk: Desk) -> None:
    thread = desk.write()
    desk.act(thread, "close")
    desk.write(body="One thing more.", at=1)
    assert desk.state(thread) == "new"
    assert "One thing more." in desk.site.client.get("/staff/inbox").text


def test_what_a_page_says_was_done_comes_from_a_list(desk: Desk) -> None:
    thread = desk.write()
    assert "you won" not in desk.site.client.get(f"{thread}?done=you won").text


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(
        st.sampled_from(["body", "once", "other"]),
        st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=80), max_size=2),
    ),
    what=st.sampled_from(["answer", "close", "reopen"]),
)
def test_no_form_makes_the_inbox_fail(desk: Desk, data: dict[str, list[str]], what: str) -> None:
    thread = desk.write() if not desk.events() else f"/staff/inbox/{_only(desk)}"
    token = desk.site.fields(desk.site.client.get(thread).text)["form_token"]
    before = len(desk.queued())
    answer = desk.site.client.post(f"{thread}/{what}", data={"form_token": token, **data})
    assert answer.status_code in {303, 400}
    if answer.status_code == 400:
        assert len(desk.queued()) == before


def _only(desk: Desk) -> UUID:
    with desk.site.registry.sessions() as session:
        return session.scalars(sa.select(Reply.id)).one()


@pytest.mark.parametrize("what", ["answer", "close"])
def test_nobody_answers_or_closes_past_a_word_that_they_have_not_read(desk: Desk, what: str) -> None:
    thread = desk.write(body="I saw a van.")
    page = desk.site.client.get(thread).text
    data = desk.site.fields(page) | {"once": once_of(page), "body": "Thank you."}
    desk.write(body="He is back.", at=30)
    answer = desk.site.client.post(f"{thread}/{what}", data=data)
    assert answer.status_code == 400
    assert "Read it first" in answer.text
    assert "He is back." in answer.text
    assert desk.state(thread) == "new"
    assert desk.queued() == []
    if what == "answer":
        assert "Thank you." in answer.text  # what was typed is still there
    assert desk.act(thread, "close") == 303
