"""Signing up through the pages: nothing personal first, no cookie at all, and an address is proved by its holder."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import quote, urlencode
from urllib.request import urlopen

import psycopg
import pytest
import sqlalchemy as sa

from app.factory import create_app
from app.models.confirmations import Confirmation, ConfirmationRefusal, Signup
from app.models.consent import Consent
from app.models.people import ContactPoint
from app.roles import libpq
from app.services import consent
from tests.app.web.conftest import Site, open_site
from tests.factories import TOPIC, Makes
from tests.residents import HERE, MAIL, MOBILE, SECRETS, Letter, Town, letters, other_than, town
from tests.sending import URL, world
from workers.post import send_due

SANDBOX = {"TWILIO_BASE_URL": "http://127.0.0.1:1", "SENDGRID_BASE_URL": "http://127.0.0.1:1"}
CHOSEN = {"postcode": HERE, "topic": [TOPIC, "events"]}


@dataclass
class Front(Site):
    """A site with a town, where made-up addresses may be used."""

    town: Town | None = None
    admin: str = ""

    def letters(self, to: str | None = None) -> list[Letter]:
        with self.registry.sessions() as session:
            return letters(session, to)

    def count(self, model: type) -> int:
        with self.registry.sessions() as session:
            return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0

    def contact(self, **changes: str):
        """The page of addresses, filled in and posted."""
        page = f"/subscribe/contact?{urlencode(CHOSEN, doseq=True)}"
        return self.submit(page, {"email": MAIL} | changes)

    def sign_up(self, **changes: str) -> str:
        """Where the codes are asked for."""
        answer = self.contact(**changes)
        assert answer.status_code == 303, text_of(answer.text)
        return answer.headers["Location"]


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture
def front(committed) -> Iterator[Front]:
    site = open_site(committed, **SANDBOX)
    with site.registry.sessions.begin() as session:
        made = town(Makes(session))
    yield Front(site.client, site.registry, made, libpq(committed.admin))
    site.registry.engine.dispose()


@pytest.fixture
def rows(committed):
    """How many rows each table has."""
    with psycopg.connect(libpq(committed.admin), autocommit=True) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        each = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for (name,) in names)
        yield lambda: dict(connection.execute(each).fetchall())


# -- the journey
def test_from_the_ward_to_the_first_alert_without_a_cookie_and_by_gets_until_the_address(front):
    page = front.client.get("/subscribe", query_string={"postcode": "ub81uw"})
    assert page.status_code == 200
    assert f"{front.town.wards[0].name} ward, Borough" in text_of(page.text)
    assert "Crime near you, and requests for help" in page.text
    assert page.text.count('type="checkbox"') == 5
    assert "@" not in page.text and 'type="email"' not in page.text, "nothing personal is asked yet"
    page = front.client.get("/subscribe/contact", query_string=CHOSEN)
    assert page.status_code == 200
    assert "I agree to get alerts." in page.text
    assert "Agree and continue" in page.text
    answer = front.contact(name="Ada")
    assert answer.status_code == 303
    check = answer.headers["Location"]
    assert re.fullmatch(r"/subscribe/check/[\w-]{43}", check)
    page = front.client.get(check)
    assert "a•••@people.example Not confirmed yet" in text_of(page.text)
    assert MAIL not in page.text
    letter = front.letters()[0]
    answer = front.submit(check, {"code": f"{letter.code[:3]} {letter.code[3:]}"})
    assert (answer.status_code, answer.headers["Location"]) == (303, check)
    page = front.client.get(check)
    assert "You are signed up" in page.text
    assert "a•••@people.example" in page.text
    assert 'href="/manage"' in page.text
    assert "Set-Cookie" not in str(page.headers) + str(answer.headers)
    with front.registry.sessions() as session:
        contact = session.scalars(sa.select(ContactPoint)).one()
        assert (contact.address, contact.salutation, contact.synthetic) == (MAIL, "Ada", True)


def test_by_mobile_alone(front):
    check = front.sign_up(email="", mobile="07700 900123")
    assert "••• 123" in front.client.get(check).text
    front.submit(check, {"code": front.letters(MOBILE)[0].code})
    assert "You are signed up" in front.client.get(check).text


def test_with_both_one_may_finish_without_the_other_and_come_back(front):
    check = front.sign_up(mobile=MOBILE)
    front.submit(check, {"code": front.letters(MOBILE)[0].code})
    page = front.client.get(check)
    assert "Enter your code" in page.text
    assert f"{check}?finish=1" in page.text
    done = text_of(front.client.get(f"{check}?finish=1").text)
    assert "You are signed up" in done
    assert "nothing is sent there yet: e-mail to a•••@people.example" in done
    front.submit(check, {"code": front.letters(MAIL)[0].code})
    assert "nothing is sent there yet" not in text_of(front.client.get(check).text)
    assert front.count(ContactPoint) == 2


def test_nobody_is_done_who_has_confirmed_nothing(front):
    check = front.sign_up()
    assert "Enter your code" in front.client.get(f"{check}?finish=1").text


def test_by_the_link_with_a_button_and_never_by_looking(front, rows):
    check = front.sign_up()
    link = f"/confirm/{front.letters()[0].link}"
    before = rows()
    for _ in range(2):
        page = front.client.get(link)
        assert "Confirm your e-mail address" in page.text
    assert front.client.head(link).status_code == 200
    assert rows() == before
    for _ in range(2):
        answer = front.client.post(link, data=front.fields(page.text))
        assert (answer.status_code, answer.headers["Location"]) == (303, link)
    assert "You are signed up" in front.client.get(link).text
    assert "You are signed up" in front.client.get(check).text
    assert front.count(Consent) == 1


def test_it_was_not_me_by_button_and_by_one_click_of_the_mail_program(front, rows):
    front.sign_up(mobile=MOBILE)
    by_mail, by_text = front.letters(MAIL)[0], front.letters(MOBILE)[0]
    before = rows()
    page = front.client.get(f"/not-me/{by_text.not_me}")
    assert "It was not me" in page.text
    assert rows() == before
    for letter, form in ((by_text, {}), (by_mail, {"List-Unsubscribe": "One-Click"})):
        for _ in range(2):
            answer = front.client.post(f"/not-me/{letter.not_me}", data=form)
            assert answer.status_code == 200
            assert "We have cancelled it." in answer.text
    assert "We have cancelled it." in front.client.get(f"/not-me/{by_text.not_me}").text
    assert front.count(ConfirmationRefusal) == 2
    front.sign_up(mobile=MOBILE)
    assert len(front.letters()) == 2, "no code goes there now"
    for letter in (by_mail, by_text):
        if letter.link:
            assert front.client.get(f"/confirm/{letter.link}").status_code == 404


def test_a_new_code_by_the_button(front):
    check = front.sign_up()
    answer = front.submit(f"{check}/again", page=check)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"{check}?again=1")
    assert "We have sent a new code" in front.client.get(f"{check}?again=1").text
    first, second = front.letters()
    if first.code != second.code:
        assert front.submit(check, {"code": first.code}).status_code == 400
    assert front.submit(check, {"code": second.code}).status_code == 303


# -- what is wrong is said
def test_no_topic_no_address_and_a_wrong_code_are_said_on_top_and_beside_the_field(front):
    page = front.client.get("/subscribe/contact", query_string={"postcode": HERE})
    assert page.status_code == 400
    assert page.text.count("Choose at least one topic.") == 2
    assert "<title>Error: " in page.text
    for changes, words in (
        ({"email": ""}, "Enter an e-mail address, a mobile number, or both."),
        ({"email": "ada"}, "Enter an e-mail address in the right form, like name@example.com."),
        ({"mobile": "020 7946 0000"}, "This is a landline."),
        ({"email": "ada", "mobile": "12"}, "This is not a complete phone number."),
        ({"name": "x" * 60}, "must be 50 characters or fewer"),
        ({"email": "a\x00@people.example"}, "cannot be used"),
        ({"wording": "999"}, "What you agree to has changed"),
        ({"wording": "x"}, "What you agree to has changed"),
    ):
        page = front.contact(**changes)
        assert page.status_code == 400, changes
        assert text_of(page.text).count(words) == 2, changes
    check = front.sign_up()
    code = front.letters()[0].code
    for typed, words in (
        ("", "Enter the 6-digit code."),
        ("12345", "The code has 6 digits."),
        (other_than(code), "That is not the code."),
    ):
        page = front.submit(check, {"code": typed})
        assert page.status_code == 400
        assert page.text.count(words) == 2
        assert typed == "" or typed not in page.text


def test_after_five_wrong_codes_a_new_one_is_needed_and_the_page_says_so(front):
    check = front.sign_up()
    code = front.letters()[0].code
    said = [front.submit(check, {"code": other_than(code)}).text for _ in range(5)]
    assert [("A wrong code was typed 5 times" in page) for page in said] == [False] * 4 + [True]
    assert "A wrong code was typed 5 times" in front.submit(check, {"code": code}).text


def test_an_old_code_and_a_vanished_sign_up_say_so(front):
    check = front.sign_up()
    letter = front.letters()[0]
    _pass_time(front, "UPDATE confirmations SET code_expires_at = code_expires_at - interval '31 minutes'")
    assert (
        "The code no longer works: a code lasts 30 minutes."
        in front.submit(check, {"code": letter.code}).text
    )
    for table in ("signups", "confirmations"):
        _pass_time(front, f"UPDATE {table} SET expires_at = expires_at - interval '8 days'")
    for path in (check, "/subscribe/check/x", "/subscribe/check/" + "é" * 500):
        page = front.client.get(path)
        assert page.status_code == 404
        assert "This sign-up is no longer here" in page.text
    assert front.client.get(f"/confirm/{letter.link}").status_code == 404


def _pass_time(front: Front, statement: str) -> None:
    """As the superuser: what happens to the rows by waiting."""
    with psycopg.connect(front.admin, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def test_a_network_that_asks_too_often_is_told_to_wait(committed):
    site = open_site(committed, **SANDBOX, CODES_PER_NETWORK="2")
    try:
        with site.registry.sessions.begin() as session:
            town(Makes(session))
        front = Front(site.client, site.registry)
        front.sign_up(mobile=MOBILE)
        answer = front.contact(email="eve@people.example")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3600")
        assert "Wait an hour" in answer.text
        assert front.count(Signup) == 1
        assert len(front.letters()) == 2
    finally:
        site.registry.engine.dispose()


def test_beyond_the_ration_the_page_is_the_same_and_nothing_leaves(front):
    pages = []
    for _ in range(5):
        check = front.sign_up()
        pages.append(_plain(front.client.get(check).text, check))
        wrong = front.submit(check, {"code": other_than(*(one.code for one in front.letters()))})
        pages.append(_plain(wrong.text, check))
    assert len(set(pages[::2])) == len(set(pages[1::2])) == 1
    assert len(front.letters()) == 3


def _plain(page: str, path: str) -> str:
    """A page without what is random in it."""
    page = re.sub(r'nonce="[^"]+"|value="[0-9a-f]{8}\.[0-9a-f]{32}"', "", page)
    return page.replace(path, "PATH").replace(quote(path), "PATH")


def test_signing_up_answers_alike_whether_the_address_is_known_or_not(front):
    with front.registry.sessions.begin() as session:
        Makes(session).resident(front.town.police, front.town.wards[0], address=MAIL)
    answers = []
    for typed in (MAIL, "ann@people.example"):
        answer = front.contact(email=typed)
        check = answer.headers.pop("Location")
        shown = front.client.get(check)
        wrong = front.submit(check, {"code": other_than(*(one.code for one in front.letters()))})
        again = front.submit(f"{check}/again", page=check)
        code = front.letters(typed)[-1].code
        right = front.submit(check, {"code": code})
        done = front.client.get(check)
        answers.append(
            [(one.status_code, _plain(one.text, check)) for one in (answer, shown, wrong, again, right, done)]
        )
    assert answers[0] == answers[1]


# -- who may be chosen
def test_where_several_organisations_look_after_a_ward_one_is_chosen(front):
    with front.registry.sessions.begin() as session:
        makes = Makes(session, itertools.count(100))
        council = makes.organisation("Borough Council")
        makes.team(council, front.town.wards)
        makes.team(front.town.police, front.town.wards)
        number = str(council.id)
    page = front.client.get(f"/subscribe?postcode={quote(HERE)}")
    assert "Borough Council" in page.text
    assert page.text.count('type="radio"') == 2
    assert " checked" not in page.text
    for wrong in ({}, {"organisation": "x"}, {"organisation": "\x00"}):
        page = front.client.get("/subscribe/contact", query_string=CHOSEN | wrong)
        assert page.status_code == 400
        assert "Choose who should send you alerts." in page.text
    chosen = f"/subscribe/contact?{urlencode(CHOSEN | {'organisation': number}, doseq=True)}"
    page = front.client.get(chosen)
    assert "You agree with Borough Council" in page.text
    assert 'name="mobile"' not in page.text, "the council has no number"
    assert front.submit(chosen, {"email": MAIL, "mobile": MOBILE}).status_code == 303
    assert [one.to for one in front.letters()] == [MAIL]


def test_a_postcode_that_leads_nowhere_goes_back_to_the_page_of_postcodes(front):
    assert front.client.get("/subscribe").headers["Location"] == "/"
    for typed in ("hello", "M1 1AE", "\x00", "x" * 10_000):
        answer = front.client.get("/subscribe", query_string={"postcode": typed})
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/postcode?postcode=")
        assert len(answer.headers["Location"]) < 300


def test_where_nobody_sends_and_where_no_wording_stands_nobody_can_sign_up(site):
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        _, ward, _ = makes.borough()
        makes.postcode(ward, HERE)
    assert "No alerts here yet" in site.client.get(f"/subscribe?postcode={quote(HERE)}").text
    with site.registry.sessions.begin() as session:
        Makes(session).organisation()
    page = site.client.get("/subscribe/contact", query_string=CHOSEN)
    assert (page.status_code, "You cannot sign up yet" in page.text) == (503, True)


def test_a_new_wording_is_shown_before_it_is_agreed_to(front):
    path = f"/subscribe/contact?{urlencode(CHOSEN, doseq=True)}"
    fields = front.fields(front.client.get(path).text)
    with front.registry.sessions.begin() as session:
        consent.add_wording(session, "I agree to more.")
    page = front.client.post(path, data=fields | {"email": MAIL})
    assert page.status_code == 400
    assert "I agree to more." in page.text
    assert MAIL in page.text, "what was typed is still there"
    assert front.client.post(path, data=front.fields(page.text) | {"email": MAIL}).status_code == 303


def test_on_a_real_network_made_up_addresses_are_refused(site):
    with site.registry.sessions.begin() as session:
        town(Makes(session))
    front = Front(site.client, site.registry)
    assert "kept for examples" in front.contact().text
    assert "kept for drama" in front.contact(email="", mobile="07700 900123").text


# -- hostile
HOSTILE = [
    "\x00",
    "\ud800",
    "x" * 60_000,
    "' OR 1=1 --",
    "<script>alert(1)</script>",
    "%00",
    "١٢٣٤٥٦",
    "🙂" * 50,
]


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_forms_are_refused_and_leave_no_row(front, rows, bad):
    check = front.sign_up()
    letter = front.letters()[0]
    contact = f"/subscribe/contact?{urlencode(CHOSEN, doseq=True)}"
    fields = front.fields(front.client.get(contact).text)
    before = rows()
    for path, data in (
        (contact, {"email": bad, "mobile": bad, "name": bad, "wording": bad}),
        (contact, {"email": MAIL, "name": "\x00" + bad}),
        (f"/subscribe/contact?postcode={quote(bad, errors='replace')}&topic=x", {"email": MAIL}),
        (check, {"code": bad}),
        (check + "x", {"code": "123456"}),
        ("/subscribe/check/" + quote(bad[:200], errors="replace"), {"code": "123456"}),
        ("/subscribe/check/" + quote(bad[:200], errors="replace") + "/again", {}),
        ("/confirm/" + quote(bad[:200], errors="replace"), {}),
        ("/not-me/" + quote(bad[:200], errors="replace"), {}),
        (f"/confirm/{letter.not_me}", {}),
        (f"/not-me/{letter.link}", {}),
    ):
        body = urlencode(fields | data, errors="surrogatepass")
        answer = front.client.post(path, data=body, content_type="application/x-www-form-urlencoded")
        assert answer.status_code in {302, 400, 404, 413}, (path, answer.status_code)
        assert "<script>alert" not in answer.text
        assert rows() == before, path


def test_five_megabytes_are_refused(front, rows):
    check = front.sign_up()
    before = rows()
    for path in (
        check,
        f"/subscribe/contact?{urlencode(CHOSEN, doseq=True)}",
        f"{check}/again",
        "/confirm/x",
    ):
        answer = front.client.post(path, data={"code": "1" * 5_000_000})
        assert answer.status_code == 413, path
    assert front.client.post("/not-me/x", data={"code": "1" * 5_000_000}).status_code in {404, 413}
    assert rows() == before


def test_a_form_of_another_site_signs_nobody_up(front, rows):
    before = rows()
    path = f"/subscribe/contact?{urlencode(CHOSEN, doseq=True)}"
    assert front.client.post(path, data={"email": MAIL}).status_code == 400
    answer = front.submit(path, {"email": MAIL}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert rows() == before


def test_no_get_of_the_journey_changes_anything(front, rows):
    check = front.sign_up(mobile=MOBILE)
    letter = front.letters(MAIL)[0]
    before = rows()
    for path in (
        f"/subscribe?postcode={quote(HERE)}",
        f"/subscribe/contact?{urlencode(CHOSEN, doseq=True)}",
        check,
        f"{check}?again=1",
        f"{check}?finish=1",
        f"/confirm/{letter.link}",
        f"/not-me/{letter.not_me}",
    ):
        assert front.client.get(path).status_code == 200, path
    assert front.client.get(f"{check}/again").status_code == 405
    assert rows() == before
    assert front.count(Confirmation) == 2


# -- through the worker and the providers
def test_the_whole_way_through_a_worker_and_the_providers_stand_in(committed, tmp_path):
    with world(committed, tmp_path) as here:
        with here.making() as makes:
            town(makes)
        front = Front(create_app(here.app).test_client(), here.app)
        check = front.sign_up(mobile=MOBILE)

        async def deliver() -> int:
            engine = here.engine()
            try:
                return await send_due(engine, 10.0)
            finally:
                await engine.aclose()

        assert asyncio.run(deliver()) == 2
        for channel, to in (("sms", MOBILE), ("email", MAIL)):
            query = urlencode({"channel": channel, "to": to})
            with urlopen(f"{here.sandbox.url}/control/inbox?{query}") as answer:
                text = json.load(answer)["messages"][0]["text"]
            found = {k: v for m in SECRETS.finditer(text) for k, v in m.groupdict().items() if v}
            assert f"{URL}/not-me/{found['not_me']}" in text
            assert front.client.get(f"/not-me/{found['not_me']}").status_code == 200
            assert front.submit(check, {"code": found["code"]}).status_code == 303
        assert "You are signed up" in front.client.get(check).text
