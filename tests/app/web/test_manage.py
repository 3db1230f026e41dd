"""One's own page: by code or fresh link, alike for known and unknown, and what is changed there bites at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from app.db import new_contact_id, new_id, utc_now
from app.models.consent import Consent, Suppression
from app.models.people import Subscription
from app.models.staff import WebSession
from app.roles import libpq
from app.services import people, subscriptions
from messaging.links import MANAGE, REPLY
from tests.app.web.conftest import open_site
from tests.app.web.test_subscribe import HOSTILE, SANDBOX, Front, text_of
from tests.factories import ACTOR, TOPIC, Makes
from tests.residents import HERE, MAIL, MOBILE, THERE, address, other_than, town


class Home(Front):
    """The site of somebody who has an e-mail address and a mobile with two topics each."""

    mail: int
    mobile: int

    def ask(self, typed: str) -> str:
        answer = self.submit("/manage", {"address": typed})
        assert answer.status_code == 303
        return answer.headers["Location"]

    def sign_in(self, typed: str = MAIL) -> None:
        check = self.ask(typed)
        answer = self.submit(check, {"code": self.letters()[-1].code})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/my")

    def mine(self, contact: int | None = None) -> list[subscriptions.Mine]:
        with self.registry.sessions() as session:
            return subscriptions.mine(session, contact or self.mail)

    def link(self, contact: int, *, days: int = 1, purpose: str = MANAGE) -> str:
        until = utc_now() + timedelta(days=days)
        made: str = self.registry.signer.batch(purpose, new_id(), until)(contact)
        return made


@pytest.fixture
def home(committed) -> Iterator[Home]:
    site = open_site(committed, **SANDBOX)
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        made = town(makes)
        found = []
        for typed in (MAIL, MOBILE):
            contact = makes.contact(typed, channel=address(typed).channel)
            people.subscribe(
                session,
                contact,
                made.police.id,
                postcode=HERE,
                topics=[TOPIC, "events"],
                how="test",
                actor=ACTOR,
            )
            found.append(contact.id)
    home = Home(site.client, site.registry, made, libpq(committed.admin))
    home.mail, home.mobile = found
    yield home
    site.registry.engine.dispose()


@pytest.fixture
def rows(committed):
    """How many rows each table has, and every subscription, consent and suppression as it is."""
    with psycopg.connect(libpq(committed.admin), autocommit=True) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        each = " UNION ALL ".join(f"SELECT '{name}', count(*)::text FROM {name}" for (name,) in names)
        for name in ("subscriptions", "consents", "suppressions"):
            each += f" UNION ALL SELECT '{name} as they are', string_agg(t::text, ';' ORDER BY t.id) FROM {name} t"
        yield lambda: dict(connection.execute(each).fetchall())


# -- getting in
@pytest.mark.parametrize("typed", [MAIL, MOBILE, "07700 900123", "ADA@people.example"])
def test_a_code_opens_the_page_with_one_cookie(home, typed):
    assert home.client.get("/my").headers["Location"] == "/manage"
    check = home.ask(typed)
    assert "Set-Cookie" not in str(home.client.get(check).headers)
    letter = home.letters()[-1]
    assert letter.row.kind == "manage"
    answer = home.submit(check, {"code": letter.code})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/my")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-wardlink=")
    assert "HttpOnly" in cookie and "Secure" in cookie and "SameSite=Lax" in cookie
    page = text_of(home.client.get("/my").text)
    assert f"{HERE}: {home.town.wards[0].name} ward" in page
    assert home.client.get(check).status_code == 404, "the code is used up"
    assert home.client.get("/manage").headers["Location"] == "/my"


def test_a_fresh_link_opens_the_page_by_its_button_and_only_once(home):
    home.ask(MAIL)
    link = f"/confirm/{home.letters()[0].link}"
    page = home.client.get(link)
    assert "Open my page" in page.text
    assert home.count(WebSession) == 0
    form = home.fields(page.text)
    assert home.client.post(link, data=form).headers["Location"] == "/my"
    assert home.client.get("/my").status_code == 200
    home.client.delete_cookie("__Host-wardlink")
    assert home.client.get(link).status_code == 404
    assert home.client.post(link, data=form).headers["Location"] == link
    assert home.count(WebSession) == 1


def plain(text: str, *paths: str) -> str:
    text = re.sub(r'nonce="[^"]+"|value="[0-9a-f]{8}\.[0-9a-f]{32}"', "", text)
    for path in paths:
        text = text.replace(path, "PATH")
    return text


@pytest.mark.parametrize(("known", "unknown"), [(MAIL, "any@people.example"), (MOBILE, "07700 900023")])
def test_the_answer_is_the_same_whether_the_address_is_known_or_not(home, known, unknown):
    answers = []
    for typed in (known, unknown):
        answer = home.submit("/manage", {"address": typed})
        check = answer.headers.pop("Location")
        answer.headers.pop("X-Request-Id")
        answer.headers.pop("Content-Security-Policy")
        shown = home.client.get(check)
        wrong = [home.submit(check, {"code": f"{n}{n}{n}{n}{n}{n}"}) for n in range(6)]
        bytes_of = [
            (r.status_code, plain(r.text, check).replace("023", "123")) for r in (answer, shown, *wrong)
        ]
        answers.append((bytes_of, sorted(answer.headers.items())))
    assert answers[0] == answers[1]
    assert len(home.letters()) == 1


def test_what_is_no_address_is_said(home):
    for typed, words in (
        ("", "Enter the e-mail address or mobile number that the alerts come to."),
        ("ada@", "Enter an e-mail address in the right form"),
        ("020 7946 0000", "This is a landline."),
        ("a\x00@b.example", "cannot be used"),
    ):
        page = home.submit("/manage", {"address": typed})
        assert page.status_code == 400
        assert text_of(page.text).count(words) >= 2


def test_a_network_that_asks_too_often_is_told_to_wait(committed):
    site = open_site(committed, **SANDBOX, CODES_PER_NETWORK="2")
    try:
        statuses = [site.submit("/manage", {"address": f"a{n}@people.example"}).status_code for n in range(3)]
        assert statuses == [303, 303, 429]
    finally:
        site.registry.engine.dispose()


# -- by the link in a message
def test_the_link_of_a_message_opens_nothing_without_a_code_and_says_no_address(home, rows):
    link = home.link(home.mail)
    before = rows()
    for _ in range(2):
        page = home.client.get(link)
        assert page.status_code == 200
        assert "people.example" not in page.text
    assert rows() == before
    answer = home.submit(link)
    assert answer.status_code == 303
    page = home.client.get(answer.headers["Location"])
    assert "to the address or number that the message came to" in page.text
    assert "people.example" not in page.text
    assert [one.to for one in home.letters()] == [MAIL]
    home.submit(answer.headers["Location"], {"code": home.letters()[0].code})
    assert home.client.get("/my").status_code == 200


def test_the_link_of_somebody_erased_looks_like_any_other(home):
    pages = []
    for contact in (home.mail, new_contact_id()):
        link = home.link(contact)
        answer = home.submit(link)
        check = answer.headers["Location"]
        shown = home.client.get(check)
        wrong = home.submit(check, {"code": other_than(*(one.code for one in home.letters()))})
        pages.append([(r.status_code, plain(r.text, link, check)) for r in (answer, shown, wrong)])
    assert pages[0] == pages[1]


def test_a_torn_forged_or_old_link_leads_to_a_friendly_page(home, rows):
    good = home.link(home.mail)
    before = rows()
    for bad in (
        good[:-1],
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        "/m/x",
        "/m/" + home.link(home.mail, purpose=REPLY)[3:],
    ):
        assert "This link does not work" in home.client.get(bad).text
        assert home.client.get(bad).status_code == 404
    old = home.client.get(home.link(home.mail, days=-1))
    assert (old.status_code, "This link has expired" in old.text) == (410, True)
    assert rows() == before


def test_the_log_holds_neither_addresses_nor_links_nor_codes(home):
    with capture_logs() as lines:
        check = home.ask(MAIL)
        home.submit(check, {"code": home.letters()[0].code})
        home.client.get("/my")
    letter = home.letters()[0]
    for secret in (MAIL, check.rpartition("/")[2], letter.code, letter.link, str(home.mail)):
        assert secret not in str(lines)


# -- what one may change
def topic_boxes(page: str) -> dict[str, bool]:
    found = re.findall(r'<input[^>]*type="checkbox"[^>]*>', page)
    return {re.search(r'value="([^"]*)"', tag)[1]: " checked" in tag for tag in found}


def test_topics_are_ticked_and_what_is_saved_is_so_at_once(home):
    home.sign_in()
    assert topic_boxes(home.client.get("/my").text) == {
        TOPIC: True, "missing people": False, "prevention": False, "events": True, "outcomes": False,
    }  # fmt: skip
    place = str(home.mine()[0].place)
    answer = home.submit("/my/topics", {"place": place, "topic": ["events", "outcomes"]}, page="/my")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/my?saved=1")
    page = home.client.get("/my?saved=1").text
    assert "Your topics are saved." in page
    assert [topic for topic, ticked in topic_boxes(page).items() if ticked] == ["events", "outcomes"]
    with home.registry.sessions() as session:
        assert session.scalars(sa.select(Suppression.topic)).all() == [TOPIC]
    answer = home.submit("/my/topics", {"place": place}, page="/my")
    assert answer.headers["Location"] == "/my?removed=1"
    page = home.client.get("/my?removed=1").text
    assert "You get no more alerts about that place." in page
    assert "No alerts come to this address now." in page
    assert len(home.mine(home.mobile)) == 1, "the mobile is another contact point"


def test_moving_house(home):
    home.sign_in()
    path = f"/my/move?place={home.mine()[0].place}"
    for typed, words in (
        ("", "Enter your new postcode."),
        ("hello", "That is not a postcode"),
        ("M1 1AE", "We do not know this postcode in London"),
        ("\x00", "cannot be used"),
    ):
        page = home.submit(path, {"postcode": typed})
        assert page.status_code == 400, typed
        assert page.text.count(words) == 2, typed
    answer = home.submit(path, {"postcode": "ub8 3ph"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/my?moved=1")
    page = home.client.get("/my?moved=1").text
    assert "Your alerts are now about your new postcode." in page
    assert f"{THERE}: {home.town.wards[1].name} ward" in page
    assert [one.topics for one in home.mine()] == [(TOPIC, "events")]
    assert home.client.get(path).status_code == 404, "the old place is no longer theirs"


def test_leaving_everything_asks_first_and_is_complete_at_once(home, rows):
    home.sign_in()
    before = rows()
    assert "Leave everything" in home.client.get("/my/leave").text
    assert rows() == before
    answer = home.submit("/my/leave")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/manage/left")
    assert "You have left" in home.client.get("/manage/left").text
    assert home.client.get("/my").headers["Location"] == "/manage"
    with home.registry.sessions() as session:
        left = session.scalars(sa.select(Consent.contact_id).where(Consent.withdrawn_at.is_not(None))).all()
        live = session.scalars(sa.select(Subscription.contact_id).where(Subscription.ended_at.is_(None)))
        assert (left, set(live)) == ([home.mail], {home.mobile})
        assert session.scalars(sa.select(Suppression.reason)).all() == ["left"]
        assert session.scalars(sa.select(WebSession)).all() == []
    check = home.ask(MAIL)
    home.submit(check, {"code": home.letters()[-1].code})
    assert "No alerts come to this address now." in home.client.get("/my").text


def test_signing_out_closes_the_page_and_changes_nothing_else(home, rows):
    home.sign_in()
    before = rows()
    answer = home.submit("/my/sign-out", page="/my")
    assert answer.status_code == 303
    assert home.client.get("/my").status_code == 302
    after = rows()
    assert {name for name in after if after[name] != before[name]} == {"web_sessions"}


def test_nobody_reaches_the_place_of_somebody_else(home, rows):
    with home.registry.sessions.begin() as session:
        makes = Makes(session)
        eve = makes.contact("eve@people.example").id
    theirs = str(home.mine()[0].place)
    home.enter(contact_id=eve)
    before = rows()
    assert home.client.get(f"/my/move?place={theirs}").status_code == 404
    form = home.fields(home.client.get("/my").text)
    for place in (theirs, str(new_id()), "", "x", "\x00", "\ud800"):
        asked = quote(place, errors="replace")
        data = form | {"place": asked, "topic": "events", "postcode": THERE}
        assert home.client.post("/my/topics", data=data).status_code == 404, place
        assert home.client.post(f"/my/move?place={asked}", data=data).status_code == 404, place
    assert rows() == before


def test_without_signing_in_nothing_can_be_changed(home, rows):
    form = home.fields(home.client.get("/manage").text)
    place = str(home.mine()[0].place)
    before = rows()
    for path in ("/my/topics", f"/my/move?place={place}", "/my/leave", "/my/sign-out"):
        answer = home.client.post(path, data=form | {"place": place, "postcode": THERE})
        assert answer.status_code in {302, 303}
        assert answer.headers["Location"] == "/manage"
    assert rows() == before


def test_who_texted_stop_is_told_how_to_start_again(home):
    with home.registry.sessions.begin() as session:
        session.execute(
            sa.text(
                "INSERT INTO suppressions (channel, digest, digest_key, controller_id, sender_id, reason) "
                "SELECT c.channel, c.digest, c.digest_key, s.organisation_id, s.sender_id, 'stop' "
                "FROM contact_points c, sender_controllers s JOIN senders n ON n.id = s.sender_id "
                "WHERE c.id = :contact AND n.channel = 'sms'"
            ),
            {"contact": home.mobile},
        )
    home.enter(contact_id=home.mobile)
    assert "because you texted STOP" in home.client.get("/my").text


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_forms_are_refused_and_leave_no_row(home, rows, bad):
    check = home.ask(MAIL)
    home.enter(contact_id=home.mail)
    form = home.fields(home.client.get("/my").text)
    place = str(home.mine()[0].place)
    segment = quote(bad[:200], errors="replace")
    before = rows()
    for path, data in (
        ("/manage", {"address": bad}),
        ("/manage", {"address": f"{bad}@\x00"}),
        (check, {"code": bad}),
        (f"/manage/check/{segment}", {"code": "123456"}),
        (f"/m/{segment}", {}),
        ("/my/topics", {"place": bad, "topic": bad}),
        (f"/my/move?place={place}", {"postcode": bad}),
        (f"/my/move?place={segment}", {"postcode": THERE}),
    ):
        body = b"&".join(
            f"{quote(k)}={quote(v, errors='surrogatepass')}".encode() for k, v in (form | data).items()
        )
        answer = home.client.post(path, data=body, content_type="application/x-www-form-urlencoded")
        assert answer.status_code in {400, 404, 413}, (path, answer.status_code)
        assert "<script>alert" not in answer.text
        assert rows() == before, path
    for path in ("/manage", check, "/my/topics", f"/my/move?place={place}", "/my/leave", "/my/sign-out"):
        assert home.client.post(path, data={"x": "1" * 5_000_000}).status_code == 413, path
    assert rows() == before
