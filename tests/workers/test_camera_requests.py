"""A request all the way: through the real fan-out to the sandbox's inboxes, and back by the link. Only a link leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from app.crypto import keyring
from app.db import utc_now
from app.factory import create_app
from app.models.organisations import Sender
from app.models.people import ContactPoint
from app.models.service_messages import ServiceMessage
from app.registry import Registry
from app.services import consent, receiving, terms
from app.services.register import requests, sending, telling
from messaging.links import CAMERA
from messaging.types import Channel, DeliveryStatus, InboundSms
from tests.conftest import Database
from tests.register_asking import LOOK_FOR, Force, force
from tests.sending import URL, World, world
from workers import cameras, runtime

LINK = re.compile(rf"{re.escape(URL)}(/c/\S+)")
FACTS = ("red coat", "bicycle", "1234567/26", "UB8", "Uxbridge", "burglary")


@pytest.fixture
def here(committed: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        monkeypatch.setattr(runtime, "registry", lambda: made.worker)
        yield made


@pytest.fixture
def police(here: World) -> Force:
    return force(here.database, here.app)


@pytest.fixture
def client(here: World) -> FlaskClient:
    return create_app(here.app).test_client()


def heard(here: World, channel: str, to: str) -> list[str]:
    """What somebody has in their inbox or on their phone, the newest first; an e-mail with its subject."""
    with urlopen(f"{here.sandbox.url}/control/inbox?{urlencode({'channel': channel, 'to': to})}") as answer:
        return [f"{one.get('subject') or ''}\n{one['text']}" for one in json.load(answer)["messages"]]


def sent(here: World, police: Force) -> tuple[UUID, UUID]:
    """A request sent and drained: (its id, its dispatch)."""
    request = police.ask()
    assert cameras.tend() == 1
    dispatch = police.request(request).dispatch_id
    assert dispatch is not None
    here.drain()
    here.balance(dispatch)
    return request, dispatch


def address(here: World, contact: int) -> tuple[str, str]:
    with here.looking() as session:
        found = session.get_one(ContactPoint, contact)
        return found.channel, found.address


def test_only_a_link_leaves_and_everybody_is_accounted_for(
    here: World, police: Force, client: FlaskClient
) -> None:
    contacts = [police.owner(channel=c).id for c in (Channel.EMAIL, Channel.EMAIL, Channel.SMS)]
    left = police.owner()
    with here.looking() as session:
        actor = sending.ACTOR
        consent.leave(session, left.id, police.organisation.id, how="test", actor=actor)
        session.commit()
    request, dispatch = sent(here, police)
    assert set(police.asked(request)) == {*contacts, left.id}
    statuses = here.statuses(dispatch)
    assert statuses == dict.fromkeys(contacts, DeliveryStatus.ACCEPTED) | {left.id: DeliveryStatus.STOPPED}
    assert here.reached(dispatch) == dict.fromkeys(contacts, 1)
    for contact in contacts:
        (text,) = heard(here, *address(here, contact))
        assert not [fact for fact in FACTS if fact.lower() in text.lower()], text
        (link,) = set(LINK.findall(text))
        target = here.app.signer.verify(CAMERA, link.rpartition("/")[2], utc_now())
        assert (target.contact, target.dispatch) == (contact, dispatch)
        assert requests.reference(request) in text
        page = client.get(link)
        assert page.status_code == 200 and LOOK_FOR in page.text
        answer = client.post(link, data={"answer": "have-it", "note": ""})
        assert answer.status_code == 200 and "Thank you" in answer.text
        assert police.asked(request)[contact].answer == "have-it"


@pytest.mark.slow
def test_it_is_on_no_page_and_in_no_feed_or_list(here: World, police: Force, client: FlaskClient) -> None:
    police.owner()
    request, _ = sent(here, police)
    reference = requests.reference(request)
    assert client.get(f"/alert/{reference}").status_code == 404
    assert "we sent it" not in client.get(f"/genuine?reference={reference}").text.lower()
    (alerts,) = police.run("SELECT (SELECT count(*) FROM alerts), (SELECT count(*) FROM alert_areas)")
    assert tuple(alerts) == (0, 0)
    (row,) = police.run("SELECT topic, alert_id FROM dispatches")
    assert tuple(row) == (sending.TOPIC, None)


@pytest.mark.slow
def test_whoever_sleeps_gets_it_after_their_quiet_hours(here: World, police: Force) -> None:
    contact = police.owner().id
    police.run(
        "INSERT INTO contact_preferences (contact_id, channel, quiet_from, quiet_until) VALUES (:c, 'email', 22, 7)",
        c=contact,
    )
    request = police.ask()
    night = (utc_now() + timedelta(days=1)).astimezone(terms.LONDON).replace(hour=23)
    with here.worker.sessions.begin() as session:
        assert sending.send(session, request, public_url=URL, now=night) == 1
    dispatch = police.request(request).dispatch_id
    assert dispatch is not None
    assert here.batch(dispatch).not_before.astimezone(terms.LONDON).hour == 7


@pytest.mark.slow
def test_one_that_cannot_be_sent_stops_no_other(here: World, police: Force) -> None:
    police.owner(channel=Channel.SMS)
    police.owner(channel=Channel.EMAIL, cell=12)
    first, second = police.ask(), police.ask(cells=[12])
    police.run("UPDATE senders SET active = false WHERE channel = 'sms'")
    assert cameras.tend() == 1
    assert (police.request(first).asked_band, police.request(second).asked_band) == ("", "fewer than 3")


def told(registry: Registry) -> list[tuple[int | None, str]]:
    with registry.sessions() as session:
        rows = session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.created_at))
        return [(one.contact_id, f"{one.subject or ''} {one.text}") for one in rows]


@pytest.mark.slow
def test_who_has_not_answered_is_reminded_once_before_it_is_overwritten(here: World, police: Force) -> None:
    silent = police.owner(days_kept=2).id
    answered = police.owner(days_kept=2).id
    police.owner(days_kept=30)
    phone = police.owner(days_kept=2, channel=Channel.SMS).id
    request, _ = sent(here, police)
    police.run(
        "UPDATE request_recipients SET answer = 'have-not', answered_at = now() WHERE owner_id = "
        "(SELECT id FROM camera_owners WHERE contact_id = :c)", c=answered,
    )  # fmt: skip

    def remind(later: timedelta) -> int:
        with here.worker.sessions.begin() as session:
            return telling.remind(session, signer=here.worker.signer, public_url=URL, now=utc_now() + later)

    assert remind(timedelta(0)) == 0  # asked a moment ago
    assert [remind(timedelta(hours=13)) for _ in range(2)] == [2, 0]
    messages = dict(told(here.app))
    assert set(messages) == {silent, phone}
    for contact, text in messages.items():
        assert not [fact for fact in FACTS if fact in text] and requests.reference(request) in text
        (link,) = set(LINK.findall(text))
        assert here.app.signer.verify(CAMERA, link.rpartition("/")[2], utc_now()).contact == contact


@pytest.mark.slow
def test_whoever_looked_is_thanked_once_it_is_closed_and_reads_the_outcome(
    here: World, police: Force, client: FlaskClient
) -> None:
    contacts = {answer: police.owner().id for answer in ("have-it", "have-not", "not-again", "")}
    request, dispatch = sent(here, police)
    for answer, contact in contacts.items():
        if answer:
            link = here.app.signer.batch(CAMERA, dispatch, utc_now() + timedelta(days=1))(contact)
            assert client.post(link, data={"answer": answer}).status_code == 200
    with here.app.sessions.begin() as session:
        requests.close(session, police.token, request, why="Found.", outcome="Somebody was found. Thank you.")

    def thank() -> int:
        with here.worker.sessions.begin() as session:
            return telling.thank(session, signer=here.worker.signer, public_url=URL, now=utc_now())

    assert [thank() for _ in range(2)] == [2, 0]
    messages = dict(told(here.app))
    assert set(messages) == {contacts["have-it"], contacts["have-not"]}
    here.deliver()
    for contact in messages:
        thanks = heard(here, *address(here, contact))[0]
        assert "Somebody was found" not in thanks
        page = client.get(LINK.findall(thanks)[0])
        assert "Somebody was found" in page.text and "closed" in page.text


@pytest.mark.slow
def test_a_text_back_lands_in_the_inbox_as_any_other(here: World, police: Force) -> None:
    phone = police.owner(channel=Channel.SMS).id
    sent(here, police)
    _, number = address(here, phone)
    with here.worker.sessions.begin() as session:
        sender = session.scalars(sa.select(Sender).where(Sender.channel == "sms")).one()
        digest = keyring().digest("phone", number)
        message = InboundSms("SM" + "a" * 32, number, sender.address, "I have it", None)
        found = receiving.receive_text(session, message, sender, digest, utc_now())
        assert found is not None and found.controller_id == police.organisation.id
