"""The one-tap reply: by the link in a message, without signing in, on the worst of phones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app.db import new_id, utc_now
from app.models.replies import Reply, ReplyMessage
from app.services import people
from messaging.links import MANAGE, REPLY, STOP, Signer
from tests import replies
from tests.app.web.conftest import Site
from tests.factories import ACTOR, Makes


@dataclass
class Asked:
    """Somebody who was sent an appeal, and their link."""

    site: Site
    contact: int
    sent: UUID
    reference: str

    def link(self, *, contact: int | None = None, sent: UUID | None = None, days: float = 60) -> str:
        until = utc_now() + timedelta(days=days)
        return self.site.registry.signer.batch(REPLY, sent or self.sent, until)(contact or self.contact)

    def post(self, once: str | None = None, **fields: object) -> TestResponse:
        page = self.site.client.get(self.link()).text
        return self.site.client.post(
            self.link(), data={"body": "A red van.", "name": "", "once": once or once_of(page), **fields}
        )

    def kept(self) -> list[tuple[str | None, str]]:
        with self.site.registry.sessions() as session:
            rows = session.execute(
                sa.select(Reply.name, ReplyMessage.body)
                .join(ReplyMessage, ReplyMessage.reply_id == Reply.id)
                .order_by(ReplyMessage.at)
            )
            return [(name, body) for name, body in rows]


def once_of(page: str) -> str:
    found = re.search(r'name="once" value="([0-9a-f]{32})"', page)
    assert found
    return found[1]


@pytest.fixture
def asked(site: Site) -> Iterator[Asked]:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation("Met <Police>")
        makes.sender(police)
        _, ward, _ = makes.borough()
        person = makes.resident(police, ward)
        team = makes.team(police, [ward], name="Hayes & Town Team")
        sent = replies.appeal(
            makes, police, ward, team=team.id, headline="Who saw <this>, ((name))?", restricted=True
        )
        reference = session.scalars(sa.text("SELECT reference FROM alerts")).one()
    yield Asked(site, person.id, sent, reference)


def test_the_page_says_what_it_is_about_warns_first_and_keeps_nothing(asked: Asked) -> None:
    page = asked.site.client.get(asked.link())
    assert page.status_code == 200
    assert "Who saw &lt;this&gt;, neighbour?" in page.text and asked.reference in page.text
    assert "Hayes &amp; Town Team" in page.text
    assert page.text.index("call 999") < page.text.index("<textarea")
    assert "noindex" in page.headers["X-Robots-Tag"] and "Set-Cookie" not in page.headers
    assert asked.kept() == []


def test_a_reply_is_kept_and_thanked_for(asked: Asked) -> None:
    answer = asked.post(name="Ann")
    assert answer.status_code == 200
    assert "Thank you" in answer.text and asked.reference in answer.text and "999" in answer.text
    assert asked.kept() == [("Ann", "A red van.")]


def test_a_form_that_is_sent_twice_is_one_reply_and_both_are_thanked(asked: Asked) -> None:
    once = "a1" * 16
    assert [asked.post(once).status_code for _ in range(2)] == [200, 200]
    assert len(asked.kept()) == 1
    asked.post()
    assert len(asked.kept()) == 2


def test_line_ends_of_browsers_become_ours(asked: Asked) -> None:
    asked.post(body="one\r\ntwo\rthree")
    assert asked.kept() == [(None, "one\ntwo\nthree")]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"body": ""}, "Write what you want to tell us."),
        ({"body": "  \r\n "}, "Write what you want to tell us."),
        ({"body": "x" * 2_001}, "must be 2,000 characters or fewer"),
        ({"name": "x" * 61}, "must be 60 characters or fewer"),
        ({"body": "a\x00b"}, "a character that cannot be used"),
        ({"name": "a\x00b"}, "a character that cannot be used"),
    ],
)
def test_what_cannot_be_kept_is_said_beside_its_field_and_what_was_typed_stays(
    asked: Asked, fields: dict[str, str], words: str
) -> None:
    once = "b2" * 16
    answer = asked.post(once, **fields)
    assert answer.status_code == 400
    assert "<title>\n  Error:" in answer.text or "<title>Error:" in answer.text
    assert answer.text.count(words) == 2, "in the summary and beside the field"
    assert once_of(answer.text) == once
    assert asked.kept() == []


def test_an_expired_link_is_refused_with_the_numbers_to_call(asked: Asked) -> None:
    for call in (asked.site.client.get, asked.site.client.post):
        answer = call(asked.link(days=-1))
        assert answer.status_code == 410 and "999" in answer.text


@pytest.mark.parametrize("purpose", [STOP, MANAGE])
def test_a_link_of_another_purpose_opens_nothing(asked: Asked, purpose: str) -> None:
    until = None if purpose == STOP else utc_now() + timedelta(days=1)
    other = asked.site.registry.signer.batch(purpose, asked.sent, until)(asked.contact)
    token = other.rpartition("/")[2]
    assert asked.site.client.get(f"/r/{token}").status_code == 404
    assert asked.site.client.post(f"/r/{token}", data={"body": "x"}).status_code == 404
    mine = asked.link().rpartition("/")[2]
    assert asked.site.client.get(f"/r/{mine[:-1]}{'0' if mine[-1] != '0' else '1'}").status_code == 404
    assert asked.kept() == []


def test_whoever_was_erased_or_never_was_finds_a_link_that_no_longer_works(asked: Asked) -> None:
    with asked.site.registry.sessions.begin() as session:
        people.erase(session, asked.contact, actor=ACTOR)
    for link in (asked.link(), asked.link(contact=5), asked.link(sent=new_id())):
        for answer in (asked.site.client.get(link), asked.site.client.post(link, data={"body": "x"})):
            assert answer.status_code == 410
            assert "This link no longer works" in answer.text
    assert asked.kept() == []


def test_the_eleventh_reply_in_an_hour_is_refused_in_words(asked: Asked) -> None:
    answers = [asked.post(body=str(n)).status_code for n in range(25)]
    refused = answers.index(429)
    assert refused >= 10 and len(asked.kept()) == answers.count(200)
    assert "999" in asked.post().text


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(
        st.sampled_from(["body", "name", "once", "other"]),
        st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=80), max_size=2),
    )
)
def test_no_form_makes_the_page_fail(asked: Asked, data: dict[str, list[str]]) -> None:
    before = len(asked.kept())
    answer = asked.site.client.post(asked.link(), data=data)
    assert answer.status_code in {200, 400, 429}
    if answer.status_code != 200:
        assert len(asked.kept()) == before


def test_a_link_that_we_did_not_sign_answers_alike_whether_the_address_is_known_or_not(asked: Asked) -> None:
    """Only who holds a link of ours learns anything, and only of the address that it was sent to."""
    strangers = Signer({1: b"not the key of this site" * 2}, 1)
    until = utc_now() + timedelta(days=60)
    answers = set()
    for contact in (asked.contact, asked.contact ^ 1, 1):
        link = strangers.batch(REPLY, asked.sent, until)(contact)
        for response in (asked.site.client.get(link), asked.site.client.post(link, data={"body": "x"})):
            answers.add((response.status_code, re.sub(r'nonce="[^"]+"', "", response.text)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 404
    assert asked.kept() == []
