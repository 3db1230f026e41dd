"""Codes and links: an address is proved by its holder, codes are rare, and nothing tells who is known."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from threading import Barrier

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Conflict, Invalid, Missing
from app.models.audit import AuditEntry
from app.models.confirmations import Confirmation, ConfirmationRefusal, Signup
from app.models.consent import Consent, Wording
from app.models.people import ContactPoint, Subscription
from app.models.service_messages import ServiceMessage
from app.models.staff import WebSession
from app.services import consent, people, sessions
from app.services.confirmations import links, own_page, sending, signups, tokens
from app.services.confirmations.entering import Entered
from app.services.confirmations.rations import TooMany
from geo.postcode import PostcodeError
from messaging import gsm7
from tests.factories import ACTOR, TOPIC, Makes
from tests.residents import (
    HERE,
    MAIL,
    MOBILE,
    NOW,
    TERMS,
    address,
    letters,
    other_than,
    town,
    wanted,
)


def count(session, model) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def enter(session, token: str, code: str, *, now=NOW, terms=TERMS) -> Entered:
    return signups.enter(session, token, code, terms, actor=ACTOR, now=now)


# -- signing up
def test_an_address_becomes_a_contact_point_only_when_its_code_is_entered(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place, salutation="Ada"))
    assert (count(session, ContactPoint), count(session, Consent)) == (0, 0)
    letter = letters(session)[0]
    assert (letter.to, letter.row.kind, letter.row.synthetic) == (MAIL, "confirm", True)
    assert "Ada" not in letter.row.text + letter.row.html + letter.row.subject
    assert enter(session, token, letter.code) is Entered.RIGHT
    contact = people.find_contact(session, address(MAIL))
    assert contact is not None
    assert (contact.confirmed_at, contact.salutation, contact.synthetic) == (NOW, "Ada", True)
    agreed = session.scalars(sa.select(Consent)).one()
    assert (agreed.contact_id, agreed.wording_id, agreed.how) == (contact.id, place.wording, signups.HOW)
    assert session.scalars(sa.select(Subscription.topic)).all() == [TOPIC]
    events = set(session.scalars(sa.select(AuditEntry.event)))
    assert {"contact:create", "contact:confirm", "consent:give", "subscription:add"} <= events


def test_e_mail_and_mobile_are_proved_apart_and_either_alone_is_enough(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place, MAIL, MOBILE))
    mail, text = letters(session, MAIL)[0], letters(session, MOBILE)[0]
    assert (mail.row.segments, text.row.segments, text.link) == (0, 1, "")
    assert enter(session, token, text.code) is Entered.RIGHT
    seen = signups.view(session, token, now=NOW)
    assert [(one.masked, one.confirmed) for one in seen.addresses] == [
        ("a•••@people.example", False),
        ("••• 123", True),
    ]
    assert (seen.confirmed, seen.finished) == (1, False)
    assert enter(session, token, mail.code) is Entered.RIGHT
    assert signups.view(session, token, now=NOW).finished
    assert count(session, ContactPoint) == 2


def test_the_link_of_the_e_mail_confirms_by_its_button_and_looking_changes_nothing(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    link = letters(session)[0].link
    for _ in range(2):
        assert links.look(session, link, now=NOW).used is False
    assert count(session, ContactPoint) == 0
    for _ in range(2):  # twice is once
        assert links.press(session, link, actor=ACTOR, now=NOW + timedelta(days=6)) is None
    assert links.look(session, link, now=NOW).used is True
    assert signups.view(session, token, now=NOW).finished
    assert count(session, Consent) == 1


def test_the_wording_that_was_shown_is_the_one_on_record_even_when_it_has_changed_since(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    consent.add_wording(session, "I agree to something else.")
    enter(session, token, letters(session)[0].code)
    assert session.scalars(sa.select(Consent.wording_id)).all() == [place.wording]
    with pytest.raises(Conflict):
        signups.begin(session, **wanted(place))
    assert session.get_one(Wording, place.wording).version == 1


def test_secrets_are_kept_as_digests_only(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    letter = letters(session)[0]
    for table in ("signups", "confirmations"):
        kept = str(session.execute(sa.text(f"SELECT {table}::text FROM {table}")).scalars().all())
        for secret in (token, letter.code, letter.link, letter.not_me, MAIL):
            assert secret not in kept
            assert secret.encode().hex() not in kept


def test_what_cannot_be_signed_up_for_is_refused_and_sends_nothing(session, makes):
    place = town(makes)
    other = makes.organisation("Elsewhere Council")
    makes.team(place.police, place.wards)
    for error, changes in (
        (Invalid, {"topics": []}),
        (Invalid, {"topics": ["gossip"]}),
        (Invalid, {"addresses": []}),
        (Invalid, {"controller": other.id}),
        (Invalid, {"salutation": "x" * 51}),
        (Invalid, {"salutation": "a\x00b"}),
        (Invalid, {"salutation": "a\nb"}),
        (PostcodeError, {"postcode": "M1 1AE"}),
        (Conflict, {"wording": place.wording + 1}),
    ):
        with pytest.raises(error):
            signups.begin(session, **wanted(place, **changes))
    assert (count(session, Signup), count(session, ServiceMessage)) == (0, 0)


def test_who_left_and_signs_up_again_gets_what_was_chosen_now_and_nothing_from_before(session, makes):
    place = town(makes)
    contact = makes.resident(place.police, place.wards[1], address=MAIL, topics=["events", "outcomes"])
    consent.leave(session, contact.id, place.police.id, how="link", actor=ACTOR, reason="unsubscribe")
    token = signups.begin(session, **wanted(place))
    enter(session, token, letters(session)[0].code)
    assert session.scalars(sa.select(Subscription.topic).where(Subscription.ended_at.is_(None))).all() == [
        TOPIC
    ]


def test_who_is_signed_up_and_adds_a_place_keeps_the_others(session, makes):
    place = town(makes)
    makes.resident(place.police, place.wards[1], address=MAIL, topics=["events"])
    token = signups.begin(session, **wanted(place))
    enter(session, token, letters(session)[0].code)
    topics = session.scalars(sa.select(Subscription.topic).where(Subscription.ended_at.is_(None)))
    assert sorted(topics) == ["events", TOPIC]


# -- codes
def test_a_wrong_code_is_told_and_after_five_a_new_one_is_needed(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    code = letters(session)[0].code
    said = [enter(session, token, other_than(code)) for _ in range(6)]
    assert said == [Entered.WRONG] * 4 + [Entered.SPENT] * 2
    assert enter(session, token, code) is Entered.SPENT
    signups.again(session, token, TERMS, now=NOW)
    assert enter(session, token, letters(session)[-1].code) is Entered.RIGHT


def test_a_code_lasts_thirty_minutes_and_its_sign_up_seven_days(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    first = letters(session)[0]
    assert enter(session, token, first.code, now=NOW + timedelta(minutes=30)) is Entered.EXPIRED
    later = NOW + timedelta(days=6)
    signups.again(session, token, TERMS, now=later)
    assert len(letters(session)) == 2
    assert enter(session, token, letters(session)[-1].code, now=later) is Entered.RIGHT
    for late in (NOW + timedelta(days=7), NOW + timedelta(days=70)):
        with pytest.raises(Missing):
            signups.view(session, token, now=late)
        with pytest.raises(Missing):
            enter(session, token, "123456", now=late)
        with pytest.raises(Missing):
            links.look(session, first.link, now=late)


def test_a_new_code_takes_the_place_of_the_old_one(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    signups.again(session, token, TERMS, now=NOW)
    old, new = letters(session)
    if old.code != new.code:
        assert enter(session, token, old.code) is Entered.WRONG
    with pytest.raises(Missing):
        links.look(session, old.link, now=NOW)
    assert enter(session, token, new.code) is Entered.RIGHT


def test_the_same_right_code_twice_is_once_and_is_no_wrong_try_at_the_other_address(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place, MAIL, MOBILE))
    code = letters(session, MAIL)[0].code
    assert [enter(session, token, code) for _ in range(2)] == [Entered.RIGHT] * 2
    tries = session.scalars(sa.select(Confirmation.tries).where(Confirmation.channel == "sms"))
    assert tries.all() == [0]
    assert count(session, ContactPoint) == 1


def test_a_code_opens_only_its_own_sign_up(session, makes):
    place = town(makes)
    one = signups.begin(session, **wanted(place))
    signups.begin(session, **wanted(place, "eve@people.example"))
    mine, theirs = letters(session, MAIL)[0].code, letters(session, "eve@people.example")[0].code
    if mine != theirs:
        assert enter(session, one, theirs) is Entered.WRONG


def test_twenty_wrong_codes_from_one_network_end_its_guessing_for_everybody_there(session, makes):
    place = town(makes)
    said = []
    for n in range(5):
        token = signups.begin(session, **wanted(place, f"ada{n}@people.example"))
        code = letters(session)[-1].code
        said += [enter(session, token, other_than(code)) for _ in range(4)]
    assert set(said) == {Entered.WRONG}
    with pytest.raises(TooMany):
        enter(session, token, code)
    elsewhere = replace(TERMS, network="198.51.100.0/24")
    assert enter(session, token, code, terms=elsewhere) is Entered.RIGHT


@pytest.mark.parametrize(
    "wrong",
    ["", "12345", "1234567", "1" * 100_000, "\x00", "\ud800", "１２３４５６", "12345é", "-12345", "' OR 1"],
)
def test_nothing_but_the_code_is_the_code(session, makes, wrong):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    assert enter(session, token, wrong.encode("utf-8", "replace").decode()) is Entered.WRONG


# -- rations
def test_a_thousand_sign_ups_for_one_address_send_three_an_hour_and_six_a_day(session, makes):
    place = town(makes)
    for n in range(1_000):
        at = NOW.replace(hour=0) + timedelta(seconds=80 * n)  # over 22 hours
        signups.begin(session, **wanted(place, now=at))
        if n == 44:
            assert len(letters(session)) == 3
    assert len(letters(session)) == 6
    assert count(session, Signup) == 1_000


def test_nobody_can_guess_on_by_asking_for_codes_that_are_not_sent(session, makes):
    """Beyond the ration a page has no code at all: what would match it is nothing that can be typed."""
    place = town(makes)
    for _ in range(3):
        signups.begin(session, **wanted(place))
    token = signups.begin(session, **wanted(place))
    kept = session.scalars(sa.select(Confirmation).order_by(Confirmation.id)).all()
    assert [c.sent for c in kept] == [1, 1, 1, 0]
    possible = (tokens.code_digest(kept[3].id, f"{n:06d}") for n in range(10_000))
    assert all(kept[3].code_digest != one for one in possible)
    said = [enter(session, token, "123456") for _ in range(5)]
    assert said == [Entered.WRONG] * 4 + [Entered.SPENT], "and it answers as any other"
    signups.again(session, token, TERMS, now=NOW)
    assert enter(session, token, "123456") is Entered.WRONG


def test_a_code_that_is_still_good_stays_good_when_no_new_one_may_be_sent(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    for _ in range(5):
        signups.again(session, token, TERMS, now=NOW)
    sent = letters(session)
    assert len(sent) == 3
    for _ in range(3):
        enter(session, token, other_than(*(one.code for one in sent)))
    signups.again(session, token, TERMS, now=NOW)
    confirmation = session.scalars(sa.select(Confirmation)).one()
    assert confirmation.tries == 3, "asking again gives no more tries at it"
    assert enter(session, token, sent[-1].code) is Entered.RIGHT


def test_texts_stop_when_the_days_money_is_spent_and_e_mail_goes_on(session, makes):
    place = town(makes)
    terms = replace(TERMS, pence_per_day=10, segment_pence=Decimal(4))
    for n in range(30):
        typed = (f"07700 900{n:03d}", f"ada{n}@people.example")
        signups.begin(session, **wanted(place, *typed, terms=terms))
    channels = [one.row.channel for one in letters(session)]
    assert (channels.count("sms"), channels.count("email")) == (2, 30)
    tomorrow = NOW + timedelta(days=1)
    signups.begin(session, **wanted(place, "07700 900999", terms=terms, now=tomorrow))
    assert len(letters(session, "+447700900999")) == 1


def test_one_network_and_everybody_together_have_their_limits(session, makes):
    place = town(makes)
    terms = replace(TERMS, per_network=4)
    for n in range(2):
        signups.begin(session, **wanted(place, f"a{n}@people.example", f"07700 90000{n}", terms=terms))
    with pytest.raises(TooMany):
        signups.begin(session, **wanted(place, "b@people.example", terms=terms))
    with pytest.raises(TooMany):
        own_page.ask(session, address("b@people.example"), terms, now=NOW)
    assert (count(session, Signup), len(letters(session))) == (2, 4)
    few = replace(TERMS, per_hour=6)
    for n in range(10):
        network = replace(few, network=f"198.51.{n}.0/24")
        signups.begin(session, **wanted(place, f"c{n}@people.example", terms=network))
    assert len(letters(session)) == 6, "and nobody is told"


def test_an_organisation_without_a_number_sends_no_text(session, makes):
    place = town(makes)
    council = makes.organisation("Council")
    makes.team(council, place.wards)
    assert [signups.can_text(session, one.id) for one in (place.police, council)] == [True, False]
    signups.begin(session, **wanted(place, MOBILE, controller=council.id))
    assert letters(session) == []


def test_the_text_is_one_segment_with_a_short_host_and_two_with_a_long_one():
    for host, segments in (("wardlink.example", 1), ("alerts.neighbourhood.some-police.example", 2)):
        words = sending.text("123456", f"https://{host}/not-me/{'x' * 40}")
        assert gsm7.segments(words)[::2] == ("GSM-7", segments)


# -- it wasn't me
def test_who_did_not_ask_refuses_and_gets_no_code_for_thirty_days_whoever_asks(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    letter = letters(session)[0]
    assert letter.row.stop_url == f"https://wardlink.example/not-me/{letter.not_me}"
    assert links.look_at_refusal(session, letter.not_me) is False
    for _ in range(2):
        links.refuse(session, letter.not_me, actor=ACTOR, now=NOW)
    assert links.look_at_refusal(session, letter.not_me) is True
    assert session.scalars(sa.select(ConfirmationRefusal.until)).all() == [NOW + timedelta(days=30)]
    with pytest.raises(Missing):
        links.look(session, letter.link, now=NOW)
    assert enter(session, token, letter.code) is Entered.WRONG
    seen = signups.view(session, token, now=NOW)
    assert not seen.confirmed, "whoever asked sees a page like any other"
    signups.again(session, token, TERMS, now=NOW + timedelta(days=5))
    signups.begin(session, **wanted(place, now=NOW + timedelta(days=29)))
    own_page.ask(session, address(MAIL), TERMS, now=NOW + timedelta(days=29))
    assert len(letters(session)) == 1
    signups.begin(session, **wanted(place, now=NOW + timedelta(days=31)))
    assert len(letters(session)) == 2


def test_refusing_what_was_confirmed_all_the_same_leaves_and_closes_what_is_open(session, makes):
    place = town(makes)
    token = signups.begin(session, **wanted(place))
    letter = letters(session)[0]
    enter(session, token, letter.code)
    contact = people.find_contact(session, address(MAIL))
    opened = sessions.begin(session, contact_id=contact.id, now=NOW)
    links.refuse(session, letter.not_me, actor=ACTOR, now=NOW)
    assert session.scalars(sa.select(Consent.withdrawn_how)).all() == ["it was not me"]
    assert sessions.find(session, opened, now=NOW) is None


def test_the_two_links_are_not_made_from_each_other_and_a_forged_one_refuses_nothing(session, makes):
    place = town(makes)
    signups.begin(session, **wanted(place))
    letter = letters(session)[0]
    for wrong in (
        letter.link,
        letter.not_me[:-1] + ("A" if letter.not_me[-1] != "A" else "B"),
        letter.not_me[:-1],
        letter.not_me + "A",
        "",
        "\x00" * 40,
        "é" * 40,
        "+" * 40,
    ):
        with pytest.raises(Missing):
            links.refuse(session, wrong, actor=ACTOR, now=NOW)
    with pytest.raises(Missing):
        links.press(session, letter.not_me, actor=ACTOR, now=NOW)
    assert count(session, ConfirmationRefusal) == 0


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{40}", fullmatch=True))
def test_no_text_that_we_did_not_make_is_a_link_to_refuse(registry, token):
    assert tokens.read_not_me(token) is None
    assert len(tokens.digest(token)) == 32


# -- one's own page
def known(session, makes: Makes, place, typed: str = MAIL) -> ContactPoint:
    return makes.resident(place.police, place.wards[0], address=typed, channel=address(typed).channel)


@pytest.mark.parametrize("typed", [MAIL, MOBILE])
def test_a_known_address_gets_a_code_that_opens_its_page_once(session, makes, typed):
    place = town(makes)
    contact = known(session, makes, place, typed)
    token = own_page.ask(session, address(typed), TERMS, now=NOW)
    letter = letters(session)[0]
    assert (letter.to, letter.row.kind, letter.row.contact_id) == (typed, "manage", contact.id)
    assert own_page.enter(session, token, other_than(letter.code), TERMS, now=NOW) == (Entered.WRONG, None)
    result, opened = own_page.enter(session, token, letter.code, TERMS, now=NOW)
    assert result is Entered.RIGHT
    assert sessions.find(session, opened, now=NOW).contact.id == contact.id
    with pytest.raises(Missing):
        own_page.enter(session, token, letter.code, TERMS, now=NOW)


def test_a_fresh_link_opens_the_page_once_and_for_thirty_minutes(session, makes):
    place = town(makes)
    contact = known(session, makes, place)
    own_page.ask(session, address(MAIL), TERMS, now=NOW)
    link = letters(session)[0].link
    with pytest.raises(Missing):
        links.look(session, link, now=NOW + timedelta(minutes=30))
    assert links.look(session, link, now=NOW) == links.LinkView(False, None)
    assert count(session, WebSession) == 0
    opened = links.press(session, link, actor=ACTOR, now=NOW)
    assert sessions.find(session, opened, now=NOW).contact.id == contact.id
    assert links.press(session, link, actor=ACTOR, now=NOW) is None
    assert count(session, WebSession) == 1


def test_an_unknown_address_takes_the_same_steps_and_nothing_leaves(session, makes):
    place = town(makes)
    known(session, makes, place)
    known(session, makes, place, MOBILE)
    steps: list[list[str]] = []

    def listen(*event: object) -> None:
        steps[-1].append(re.sub("savepoint_[0-9]+", "savepoint", str(event[2])))

    connection = session.connection()
    sa.event.listen(connection, "before_cursor_execute", listen)
    try:
        for typed in (MAIL, "nobody@people.example", MOBILE, "07700 900555"):
            steps.append([])
            session.expire_all()
            token = own_page.ask(session, address(typed), TERMS, now=NOW)
            for code in ("000000", "111111"):
                own_page.enter(session, token, code, TERMS, now=NOW)
    finally:
        sa.event.remove(connection, "before_cursor_execute", listen)
    assert steps[0] == steps[1]
    assert steps[2] == steps[3]
    assert sorted(one.to for one in letters(session)) == [MOBILE, MAIL]
    assert count(session, ServiceMessage) == 4, "the other two had run out before they were queued"


def test_an_address_that_never_confirmed_is_unknown(session, makes):
    place = town(makes)
    makes.contact(MAIL, confirmed_at=None)
    token = own_page.ask(session, address(MAIL), TERMS, now=NOW)
    assert letters(session) == []
    assert own_page.page(session, token, now=NOW).masked == "a•••@people.example"
    assert place.police.name


def test_the_link_of_a_message_says_no_address_and_an_erased_one_looks_alike(session, makes):
    place = town(makes)
    contact = known(session, makes, place, MOBILE)
    token = own_page.ask_by_link(session, contact.id, TERMS, now=NOW)
    gone = own_page.ask_by_link(session, 5, TERMS, now=NOW)
    assert {own_page.page(session, one, now=NOW).masked for one in (token, gone)} == {""}
    assert [one.to for one in letters(session)] == [MOBILE]
    plain = token.removeprefix(own_page.QUIET)
    for wrong in (plain, "x" + token, ""):
        with pytest.raises(Missing):
            own_page.page(session, wrong, now=NOW)
    assert own_page.enter(session, gone, "123456", TERMS, now=NOW) == (Entered.WRONG, None)


def test_nobody_can_guess_a_known_address_open_in_a_day(session, makes):
    """Six codes a day and five tries each: thirty guesses in a million, however many networks guess."""
    place = town(makes)
    known(session, makes, place)
    guesses = 0
    for n in range(200):
        at = NOW.replace(hour=0) + timedelta(minutes=7 * n)
        terms = replace(TERMS, network=f"10.{n}.0.0/24")
        token = own_page.ask(session, address(MAIL), terms, now=at)
        live = session.scalars(sa.select(Confirmation).order_by(Confirmation.id.desc()).limit(1)).one()
        before = live.sent
        guesses += 5 * before
        assert own_page.page(session, token, now=at)
    assert guesses == 30


# -- two at once
def test_the_same_code_at_the_same_time_is_used_once(committed):
    registry = committed.open(pool_size=8)
    try:
        with registry.sessions.begin() as session:
            makes = Makes(session)
            place = town(makes)
            known(session, makes, place, "eve@people.example")
            signup = signups.begin(session, **wanted(place))
            page = own_page.ask(session, address("eve@people.example"), TERMS, now=NOW)
            codes = {one.to: one.code for one in letters(session)}
        start = Barrier(8)

        def strike(n: int) -> object:
            start.wait()
            with registry.sessions.begin() as session:
                if n % 2:
                    return enter(session, signup, codes[MAIL])
                try:
                    code = codes["eve@people.example"]
                    return own_page.enter(session, page, code, TERMS, now=NOW)[1] is not None
                except Missing:
                    return False

        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(strike, range(8)))
        assert said[1::2] == [Entered.RIGHT] * 4
        assert sum(map(bool, said[::2])) == 1
        with registry.sessions() as session:
            assert count(session, WebSession) == 1
            assert count(session, Consent) == 2
            assert count(session, ContactPoint) == 2
    finally:
        registry.engine.dispose()


def test_many_sign_ups_at_once_neither_wait_for_each_other_nor_pass_the_limits(committed):
    registry = committed.open(pool_size=8)
    try:
        with registry.sessions.begin() as session:
            place = town(Makes(session))
        typed = [(MAIL, MOBILE), (MOBILE, MAIL), (MAIL,), (MOBILE,)] * 6

        def strike(which: tuple[str, ...]) -> None:
            with registry.sessions.begin() as session:
                signups.begin(session, **wanted(place, *which))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(strike, typed))
        with registry.sessions() as session:
            assert (len(letters(session, MAIL)), len(letters(session, MOBILE))) == (3, 3)
    finally:
        registry.engine.dispose()


def test_signing_up_leaves_the_same_behind_for_known_and_unknown(session, makes):
    place = town(makes)
    known(session, makes, place)
    assert HERE
    for typed in (MAIL, "nobody@people.example"):
        signups.begin(session, **wanted(place, typed))
    first, second = letters(session)
    assert first.row.contact_id is None
    assert second.row.contact_id is None
    same = [
        one.row.text.replace(one.code, "").replace(one.link, "").replace(one.not_me, "")
        for one in (first, second)
    ]
    assert same[0] == same[1]


def test_one_mailbox_behind_plus_signs_and_dots_gets_six_codes_an_hour_and_refuses_for_all_of_them(
    session, makes
):
    place = town(makes)
    for n in range(10):
        signups.begin(session, **wanted(place, f"vic.tim+{n}@people.example"))
    sent = letters(session)
    assert len(sent) == 6
    links.refuse(session, sent[0].not_me, actor=ACTOR, now=NOW)
    later = NOW + timedelta(hours=2)
    signups.begin(session, **wanted(place, "v.i.ctim+again@people.example", now=later))
    assert len(letters(session)) == 6
    signups.begin(session, **wanted(place, "victoria@people.example", now=later))
    assert len(letters(session)) == 7


def test_a_network_has_a_limit_of_the_day_as_well(session, makes):
    place = town(makes)
    few = replace(TERMS, per_network=2)
    for hour in range(4):
        for n in range(2):
            at = NOW.replace(hour=0) + timedelta(hours=hour)
            signups.begin(session, **wanted(place, f"a{hour}{n}@people.example", now=at, terms=few))
    with pytest.raises(TooMany):
        signups.begin(session, **wanted(place, "b@people.example", now=NOW.replace(hour=5), terms=few))


def test_codes_for_addresses_that_nobody_knows_take_nothing_from_everybodys(session, makes):
    place = town(makes)
    few = replace(TERMS, per_hour=3)
    for n in range(5):
        own_page.ask(session, address(f"nobody{n}@people.example"), few, now=NOW)
    signups.begin(session, **wanted(place, terms=few))
    assert len(letters(session)) == 1


def test_an_erasure_takes_what_was_typed_for_the_address_and_leaves_what_others_wait_for(session, makes):
    place = town(makes)
    signups.begin(session, **wanted(place, salutation="Ada"))
    signups.begin(session, **wanted(place, MAIL, "other@people.example"))
    contact = makes.contact(MAIL)
    people.erase(session, contact.id, actor=ACTOR)
    assert count(session, Signup) == 1
    left = session.scalars(sa.select(Confirmation)).all()
    assert [c.address for c in left] == ["other@people.example"]
