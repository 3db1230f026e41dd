"""One's own alerts: a topic stopped, a house moved, everything left; complete at once, and nothing of others'."""

from __future__ import annotations

from uuid import uuid4

import pytest
import sqlalchemy as sa

from app.db import new_contact_id, utc_now
from app.errors import Invalid, Missing
from app.models.alerts import TOPICS
from app.models.audit import AuditEntry
from app.models.consent import Consent, Suppression
from app.models.ledger import BULK_LANE
from app.models.people import Place, PlaceArea, Subscription
from app.services import audience, consent, dispatch, people, sessions, subscriptions
from app.services.ledger import claims
from config.fields import Part
from geo.postcode import PostcodeError
from tests.factories import ACTOR, TOPIC, Makes
from tests.residents import HERE, MAIL, MOBILE, THERE, address, town

SIGN_UP = {"how": "test", "actor": ACTOR}


@pytest.fixture
def place(makes):
    return town(makes)


@pytest.fixture
def ada(session, makes, place):
    """Somebody with two topics at a postcode."""
    contact = makes.contact(MAIL)
    people.subscribe(session, contact, place.police.id, postcode=HERE, topics=[TOPIC, "events"], **SIGN_UP)
    return contact


def only(session, contact) -> subscriptions.Mine:
    found = subscriptions.mine(session, contact.id)
    assert len(found) == 1
    return found[0]


def stopped(session) -> list[str | None]:
    rows = session.scalars(sa.select(Suppression.topic).where(Suppression.lifted_at.is_(None)))
    return sorted(rows, key=str)


def events(session, event: str) -> int:
    return session.scalar(sa.select(sa.func.count()).where(AuditEntry.event == event)) or 0


def recipients(session, place, topic: str, ward: int) -> int:
    wanted = audience.parse(
        {"areas": [place.wards[ward].code]},
        controller=place.police.id,
        topic=topic,
        channels=["email", "sms"],
    )
    return sum(audience.count(session, wanted).values())


def choose(session, contact, chosen, where=None) -> None:
    where = where or only(session, contact).place
    subscriptions.set_topics(session, contact.id, where, chosen, actor=ACTOR)


def test_every_topic_has_plain_words():
    assert tuple(subscriptions.TOPIC_WORDS) == TOPICS


def test_a_place_is_shown_with_its_ward_organisation_and_topics(session, place, ada):
    seen = only(session, ada)
    assert (seen.postcode, seen.ward, seen.ward_code) == (HERE, place.wards[0].name, place.wards[0].code)
    assert (seen.controller_name, seen.topics, seen.held) == (place.police.name, (TOPIC, "events"), "")
    assert seen.borough.startswith("Borough")


def test_a_topic_that_is_stopped_ends_there_and_then_and_begins_again_when_it_is_chosen(session, place, ada):
    choose(session, ada, ["events", "outcomes"])
    assert only(session, ada).topics == ("events", "outcomes")
    assert stopped(session) == [TOPIC]
    assert [recipients(session, place, t, 0) for t in (TOPIC, "events", "outcomes")] == [0, 1, 1]
    choose(session, ada, [TOPIC, "events"])
    assert stopped(session) == ["outcomes"]
    assert recipients(session, place, TOPIC, 0) == 1
    assert (events(session, "subscription:remove"), events(session, "subscription:add")) == (2, 3)


def test_the_same_topics_again_change_nothing(session, place, ada):
    before = events(session, "subscription:add")
    choose(session, ada, [TOPIC, "events", TOPIC])
    assert (stopped(session), events(session, "subscription:remove")) == ([], 0)
    assert events(session, "subscription:add") == before


def test_a_topic_that_is_wanted_at_another_place_is_not_put_out_of_reach(session, place, ada):
    people.subscribe(session, ada, place.police.id, postcode=THERE, topics=[TOPIC], **SIGN_UP)
    here = subscriptions.mine(session, ada.id)[0]
    choose(session, ada, ["events"], here.place)
    assert stopped(session) == []
    assert [recipients(session, place, TOPIC, ward) for ward in (0, 1)] == [0, 1]


def test_no_topic_at_all_ends_the_place(session, place, ada):
    choose(session, ada, [])
    assert subscriptions.mine(session, ada.id) == []
    assert stopped(session) == sorted([TOPIC, "events"])
    people.subscribe(session, ada, place.police.id, postcode=HERE, topics=[TOPIC], **SIGN_UP)
    assert stopped(session) == ["events"], "what is signed up for again is sent again"
    assert recipients(session, place, TOPIC, 0) == 1


def test_a_stopped_topic_bites_in_what_is_being_sent_already(committed):
    app, worker = committed.open(), committed.open(Part.WORKER)
    try:
        with app.sessions.begin() as session:
            makes = Makes(session)
            place = town(makes)
            ada = makes.contact(MAIL)
            people.subscribe(
                session, ada, place.police.id, postcode=HERE, topics=[TOPIC, "events"], **SIGN_UP
            )
            alert = makes.alert(place.police, place.wards[:1])
            url = "https://wardlink.example"
            dispatch.send(session, alert.id, token="a token of the test", actor=ACTOR, public_url=url)
        with worker.sessions.begin() as session:
            held = claims.claim(session, lanes=[BULK_LANE], channels=["email"], lease_seconds=60)
        assert held is not None
        for chosen, left in ((None, 1), (["events"], 0), ([TOPIC], 1)):
            if chosen is not None:
                with app.sessions.begin() as session:
                    choose(session, ada, chosen)
            with worker.sessions() as session:
                found = claims.check(session, held)
            assert (len(found.left), len(found.stopped)) == (left, 1 - left)
    finally:
        app.engine.dispose()
        worker.engine.dispose()


def test_moving_house_takes_the_topics_along_and_loses_nothing(session, place, ada):
    old = only(session, ada).place
    new = subscriptions.move(session, ada.id, old, "ub83ph", actor=ACTOR)
    seen = only(session, ada)
    assert (seen.place, seen.postcode, seen.ward) == (new, THERE, place.wards[1].name)
    assert seen.topics == (TOPIC, "events")
    assert stopped(session) == []
    assert [recipients(session, place, TOPIC, ward) for ward in (0, 1)] == [0, 1]
    assert session.get_one(Place, old).postcode == HERE
    ended = session.scalars(sa.select(Subscription.topic).where(Subscription.ended_at.is_not(None)))
    assert sorted(ended) == sorted([TOPIC, "events"])
    lies_in = session.scalars(sa.select(PlaceArea).where(PlaceArea.place_id == new)).one()
    assert (lies_in.area_id, lies_in.release_id) == (place.wards[1].id, "test")
    assert events(session, "place:alter") == 1


def test_moving_to_where_one_is_changes_nothing_and_to_another_place_of_ones_own_joins_the_two(
    session, place, ada
):
    old = only(session, ada).place
    assert subscriptions.move(session, ada.id, old, "UB8 1UW", actor=ACTOR) == old
    people.subscribe(session, ada, place.police.id, postcode=THERE, topics=["outcomes"], **SIGN_UP)
    subscriptions.move(session, ada.id, old, THERE, actor=ACTOR)
    assert only(session, ada).topics == (TOPIC, "events", "outcomes")


def test_one_cannot_move_to_where_the_organisation_does_not_look_after(session, makes, place, ada):
    makes.team(place.police, place.wards[:1])
    makes.team(makes.organisation("Elsewhere Police"), place.wards[1:])
    old = only(session, ada).place
    with pytest.raises(Invalid, match="does not send alerts about UB8 3PH"):
        subscriptions.move(session, ada.id, old, THERE, actor=ACTOR)
    with pytest.raises(PostcodeError):
        subscriptions.move(session, ada.id, old, "M1 1AE", actor=ACTOR)
    assert only(session, ada).postcode == HERE


def test_who_shares_a_place_keeps_theirs_when_the_other_moves(session, makes, place, ada):
    shared = only(session, ada)
    bob = makes.resident(place.police, place.wards[0], address="bob@people.example", topics=["outcomes"])
    session.add(
        Subscription(place_id=shared.place, contact_id=bob.id, controller_id=place.police.id, topic=TOPIC)
    )
    session.flush()
    subscriptions.move(session, ada.id, shared.place, THERE, actor=ACTOR)
    assert {one.place for one in subscriptions.mine(session, bob.id)} >= {shared.place}
    assert [recipients(session, place, TOPIC, ward) for ward in (0, 1)] == [1, 1]


def test_nobody_changes_the_place_of_somebody_else(session, makes, place, ada):
    theirs = only(session, ada).place
    eve = makes.resident(place.police, place.wards[0], address="eve@people.example")
    for contact, where in ((eve.id, theirs), (eve.id, uuid4()), (new_contact_id(), theirs)):
        with pytest.raises(Missing):
            subscriptions.set_topics(session, contact, where, [], actor=ACTOR)
        with pytest.raises(Missing):
            subscriptions.move(session, contact, where, THERE, actor=ACTOR)
    with pytest.raises(Invalid):
        choose(session, ada, ["gossip"])
    assert only(session, ada).topics == (TOPIC, "events")


def test_leaving_everything_ends_it_with_every_organisation_and_closes_the_page(session, makes, place, ada):
    council = makes.organisation("Council")
    makes.live_in(ada, council, place.wards[1], ["outcomes"])
    consent.give(session, ada, council.id, how="test", actor=ACTOR)
    opened = sessions.begin(session, contact_id=ada.id, now=utc_now())
    assert len(subscriptions.mine(session, ada.id)) == 2
    for _ in range(2):
        subscriptions.leave_all(session, ada.id, actor=ACTOR)
    assert subscriptions.mine(session, ada.id) == []
    assert stopped(session) == [None, None]
    assert sessions.find(session, opened, now=utc_now()) is None
    assert events(session, "consent:withdraw") == 2
    assert recipients(session, place, TOPIC, 0) == 0
    assert session.scalars(sa.select(Subscription).where(Subscription.ended_at.is_(None))).all() == []


def test_who_left_one_organisation_sees_only_the_other(session, makes, place, ada):
    consent.leave(session, ada.id, place.police.id, how="link", actor=ACTOR)
    assert subscriptions.mine(session, ada.id) == []
    with pytest.raises(Missing):
        subscriptions.the_place(session, ada.id, uuid4())


def test_the_page_knows_that_texts_were_stopped(session, makes, place):
    contact = makes.contact(MOBILE, channel=address(MOBILE).channel)
    people.subscribe(session, contact, place.police.id, postcode=HERE, topics=[TOPIC], **SIGN_UP)
    number = makes.sender(place.police, "sms")
    consent.suppress(
        session,
        channel="sms",
        digest=contact.digest,
        digest_key=contact.digest_key,
        controller=place.police.id,
        reason="stop",
        sender_id=number.id,
    )
    assert only(session, contact).held == "stop"


def test_the_page_of_many_places_is_one_query_and_ends_somewhere(session, makes, place, ada):
    for _ in range(subscriptions.MOST_PLACES + 5):
        makes.live_in(ada, place.police, place.wards[0], [TOPIC])
    assert len(subscriptions.mine(session, ada.id)) == subscriptions.MOST_PLACES


def test_moving_house_neither_lifts_a_no_nor_invents_a_yes(session, place, ada):
    consent.suppress(
        session, channel=ada.channel, digest=ada.digest, digest_key=ada.digest_key, controller=place.police.id,
        reason="unsubscribe",
    )  # fmt: skip
    given = session.scalar(sa.select(sa.func.count()).select_from(Consent))
    subscriptions.move(session, ada.id, only(session, ada).place, THERE, actor=ACTOR)
    assert only(session, ada).held == "unsubscribe"
    assert recipients(session, place, TOPIC, 1) == 0
    assert session.scalar(sa.select(sa.func.count()).select_from(Consent)) == given
