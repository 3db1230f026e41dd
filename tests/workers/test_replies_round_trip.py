"""From an appeal that a real call carried to a reply by its link or by text, and the answer back."""

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

from app.db import utc_now
from app.factory import create_app
from app.models.alerts import KINDS
from app.models.ledger import Dispatch
from app.models.organisations import Organisation, Sender
from app.models.people import ContactPoint
from app.models.replies import Reply, ReplyMessage
from app.models.service_messages import ServiceMessage
from app.services import answers, organisations, receipts
from messaging import links
from messaging.links import REPLY
from messaging.types import Channel
from tests import replies
from tests.app.web.test_reply import once_of
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.sending import URL, World, world
from workers import runtime
from workers.receipts import merge

LINK = re.compile(rf"{re.escape(URL)}(/r/\S+)")


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


@pytest.fixture
def client(here: World) -> FlaskClient:
    return create_app(here.app).test_client()


def heard(here: World, channel: Channel, to: str) -> list[str]:
    """What somebody has in their inbox or on their phone, the newest first."""
    with urlopen(f"{here.sandbox.url}/control/inbox?{urlencode({'channel': channel, 'to': to})}") as answer:
        return [str(one["text"]) for one in json.load(answer)["messages"]]


def one_way(makes: Makes, police: Organisation) -> None:
    organisations.add_sender(
        makes.session, [police.id], channel="sms", provider="twilio", address="MetPolice", kind="alphanumeric",
        lane="bulk", segments_per_second=1_000.0, actor=ACTOR,
    )  # fmt: skip


def sent(here: World, channel: Channel, *, kind: str = "appeal", alphanumeric: bool = False) -> UUID:
    with here.making() as makes:
        police = makes.organisation("Met Police")
        if alphanumeric:
            one_way(makes, police)
        else:
            makes.sender(police, channel)
        _, ward, _ = makes.borough()
        for n in range(3):
            makes.resident(police, ward, channel=channel, salutation=f"Ann {n}")
        dispatch = here.send(makes, makes.alert(police, [ward], kind=kind, channels=[channel]))
    here.drain()
    here.balance(dispatch)
    return dispatch


def addresses(here: World, dispatch: UUID) -> dict[int, str]:
    with here.looking() as session:
        return {c: session.get_one(ContactPoint, c).address for c in here.batch(dispatch).contact_ids}


@pytest.mark.parametrize(
    ("channel", "alphanumeric"), [(Channel.EMAIL, False), (Channel.SMS, False), (Channel.SMS, True)]
)
def test_each_appeal_carries_a_link_of_its_own_that_takes_a_reply(
    here: World, client: FlaskClient, channel: Channel, alphanumeric: bool
) -> None:
    dispatch = sent(here, channel, alphanumeric=alphanumeric)
    for contact, address in addresses(here, dispatch).items():
        (text,) = heard(here, channel, address)
        (link,) = LINK.findall(text)
        told = here.app.signer.verify(REPLY, link.rpartition("/")[2], utc_now())
        assert (told.contact, told.dispatch) == (contact, dispatch)
        page = client.get(link)
        assert page.status_code == 200
        answer = client.post(link, data={"once": once_of(page.text), "body": f"I am {contact}.", "name": ""})
        assert answer.status_code == 200
    with here.looking() as session:
        found = session.execute(
            sa.select(Reply.contact_id, ReplyMessage.body).join(
                ReplyMessage, ReplyMessage.reply_id == Reply.id
            )
        ).all()
    assert {(c, b) for c, b in found} == {(c, f"I am {c}.") for c in addresses(here, dispatch)}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"appeal", "missing"}))
def test_what_asks_for_nothing_carries_no_reply_link(here: World, kind: str) -> None:
    dispatch = sent(here, Channel.EMAIL, kind=kind)
    for address in addresses(here, dispatch).values():
        (text,) = heard(here, Channel.EMAIL, address)
        assert "/r/" not in text and "/s/" in text and "/m/" in text


def test_a_link_lives_as_long_as_the_others_of_its_message(here: World) -> None:
    dispatch = sent(here, Channel.EMAIL)
    address = next(iter(addresses(here, dispatch).values()))
    token = LINK.findall(heard(here, Channel.EMAIL, address)[0])[0].rpartition("/")[2]
    signer = here.app.signer
    assert signer.verify(REPLY, token, utc_now() + timedelta(days=59)).dispatch == dispatch
    with pytest.raises(links.LinkError) as caught:
        signer.verify(REPLY, token, utc_now() + timedelta(days=61))
    assert caught.value.code == "expired"


# -- by text
def text_in(here: World, writer: str, body: str, sid: int) -> None:
    """What a webhook keeps of a text to the first number."""
    with here.app.sessions.begin() as session:
        number = session.scalars(sa.select(Sender.address).where(Sender.channel == "sms")).first()
        form = {"MessageSid": f"SM{sid:032x}", "From": writer, "To": str(number), "Body": body}
        receipts.store(session, "twilio-inbound", urlencode(form))


@pytest.fixture
def merging(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipts worker of this process is the world's, under the worker's own rights."""
    monkeypatch.setattr(runtime, "registry", lambda: here.worker)


@pytest.mark.usefixtures("merging")
def test_a_plain_answer_by_text_lands_with_its_alert_is_thanked_for_and_answered(here: World) -> None:
    dispatch = sent(here, Channel.SMS)
    contact, address = next(iter(addresses(here, dispatch).items()))
    for _ in range(2):  # Twilio calls twice
        text_in(here, address, "Saw him at the bus stop.", 1)
        merge()
    here.deliver()
    with here.looking() as session:
        thread = session.scalars(sa.select(Reply)).one()
        assert thread.contact_id == contact
        assert thread.alert_id == session.get_one(Dispatch, dispatch).alert_id
        assert session.scalars(sa.select(ReplyMessage.body)).all() == ["Saw him at the bus stop."]
    thanks, _ = heard(here, Channel.SMS, address)
    assert thanks.startswith("Thank you. Met Police will read this.")
    with here.app.sessions.begin() as session:
        police = session.scalars(sa.select(Organisation)).one()
        officer = replies.officer(Makes(session), police)
        answers.answer(
            session, officer, thread.id, body="Which bus stop?", once="d4" * 16, signer=here.app.signer,
            public_url=URL, regions=("GB",), actor=ACTOR, now=utc_now(),
        )  # fmt: skip
    here.deliver()
    answer = heard(here, Channel.SMS, address)[0]
    assert answer.startswith("Met Police: Which bus stop?\nTo answer: ")
    told = here.app.signer.verify(REPLY, LINK.findall(answer)[0].rpartition("/")[2], utc_now())
    assert (told.contact, told.dispatch) == (contact, dispatch)


@pytest.mark.usefixtures("merging")
def test_a_stranger_is_kept_thanked_and_helped_by_a_worker_with_a_workers_rights(here: World) -> None:
    sent(here, Channel.SMS)
    for sid, body in enumerate(("I found a bag", "HELP", "info"), 1):
        text_in(here, "+447700900888", body, sid)
    merge()
    here.deliver()
    help_text, thanks = heard(here, Channel.SMS, "+447700900888")
    assert "Text STOP to stop them" in help_text and f"{URL}/manage" in help_text
    assert thanks.startswith("Thank you.")
    with here.looking() as session:
        thread = session.scalars(sa.select(Reply)).one()
        assert thread.alert_id is None
        assert {m.state for m in session.scalars(sa.select(ServiceMessage))} == {"sent"}


@pytest.mark.usefixtures("merging")
def test_stop_after_a_reply_means_that_no_answer_goes_out(here: World) -> None:
    dispatch = sent(here, Channel.SMS)
    address = next(iter(addresses(here, dispatch).values()))
    text_in(here, address, "Saw him.", 1)
    text_in(here, address, "STOP", 2)
    merge()
    here.deliver()
    assert len(heard(here, Channel.SMS, address)) == 1, "the appeal alone"
