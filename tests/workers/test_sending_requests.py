"""Every request that the engine sends is what the providers' own specifications say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import orjson
import pytest
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

from app.cli.stack import free_port
from app.services import organisations
from messaging import gsm7
from messaging.links import MANAGE, REPLY, STOP
from messaging.types import Channel, DeliveryRef, DeliveryStatus
from tests.conftest import Database
from tests.factories import ACTOR
from tests.messaging.providers.conftest import SID, Request, Server
from tests.sending import URL, World, world
from workers.sending.drain import drain
from workers.sending.engine import Engine

SPECS = Path(__file__).parents[1] / "specs"
ACCOUNT = "AC" + "0123456789abcdef" * 2


@dataclass
class Provider:
    """A port where a provider will listen, and the world that writes to it."""

    here: World
    port: int

    def drain(self, *actions: object) -> list[Request]:
        """Send all that is ready to a server that answers so; what it received."""

        async def go() -> list[Request]:
            async with Server(*actions, port=self.port) as server:  # type: ignore[arg-type]
                engine = Engine(self.here.worker)
                await drain(engine, [0, 1], 20.0)
                await engine.aclose()
                return server.requests

        return asyncio.run(asyncio.wait_for(go(), 60))


@pytest.fixture
def provider(committed: Database, tmp_path: Path) -> Iterator[Provider]:
    port = free_port()
    there = f"http://127.0.0.1:{port}"
    changes = {"SENDGRID_BASE_URL": there, "TWILIO_BASE_URL": there, "TWILIO_ACCOUNT_SID": ACCOUNT}
    with world(committed, tmp_path, **changes) as here:
        yield Provider(here, port)


def freeze(here: World, channel: Channel, count: int, *, one_way: bool = False, **changes: object) -> UUID:
    with here.making() as makes:
        police = makes.organisation("Metropolitan; Police, Camden")
        if one_way:
            organisations.add_sender(
                makes.session, [police.id], channel="sms", provider="twilio", address="MetPolice",
                kind="alphanumeric", lane="bulk", segments_per_second=1_000.0, actor=ACTOR,
            )  # fmt: skip
        else:
            makes.sender(police, channel)
        _, ward, _ = makes.borough()
        for n in range(count):
            makes.resident(police, ward, channel=channel, salutation=f"Ann <{n}>")
        return here.send(makes, makes.alert(police, [ward], channels=[channel], **changes))


def valid(specification: str, request: Request, host: str, content_type: str) -> None:
    OpenAPI.from_dict(json.loads((SPECS / specification).read_text())).validate_request(
        MockRequest(
            host,
            request.method.lower(),
            request.target,
            data=request.body,
            content_type=content_type,
            headers={"Authorization": request.headers["authorization"]},
        )
    )


@pytest.mark.parametrize("kind", ["advice", "appeal"])
def test_every_mail_call_is_what_sendgrids_specification_says_second_tries_too(
    provider: Provider, kind: str
) -> None:
    here = provider.here
    sent = freeze(here, Channel.EMAIL, 4, body="Dear ((name)), lock your shed.", kind=kind)
    wrong = {"errors": [{"field": "personalizations.1.to", "message": "not a valid address", "help": None}]}
    requests = provider.drain(Server.answer(400, wrong), Server.answer(202, X_Message_Id="abc"))
    assert len(requests) == 2
    contacts = here.batch(sent).contact_ids
    for attempt, (request, ordinals) in enumerate(zip(requests, ([1, 2, 3, 4], [1, 3, 4]), strict=True), 1):
        valid("sendgrid_mail.json", request, "https://api.sendgrid.com", "application/json")
        assert (request.method, request.target) == ("POST", "/v3/mail/send")
        mail = orjson.loads(request.body)
        assert set(mail) == {
            "personalizations", "from", "subject", "content", "headers", "tracking_settings",
        }  # fmt: skip
        assert set(mail["from"]) == {"email", "name"}
        assert not set(";,") & set(mail["from"]["name"])
        assert mail["headers"] == {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
        assert mail["tracking_settings"]["click_tracking"] == {"enable": False, "enable_text": False}
        assert mail["tracking_settings"]["open_tracking"] == {"enable": False}
        assert [c["type"] for c in mail["content"]] == ["text/plain", "text/html"]
        refs = [DeliveryRef.parse(p["custom_args"]["wl"]) for p in mail["personalizations"]]
        assert refs == [DeliveryRef(sent, 0, attempt, o) for o in ordinals]
        for person, ordinal in zip(mail["personalizations"], ordinals, strict=True):
            assert set(person) == {"to", "substitutions", "headers", "custom_args"}
            assert set(person["to"][0]) == {"email"}
            assert len(person["substitutions"]) == (5 if kind == "appeal" else 4)
            _links_lead_back(here, person, contacts[ordinal - 1], sent, MANAGE)
            if kind == "appeal":
                _links_lead_back(here, person, contacts[ordinal - 1], sent, REPLY)
    assert here.statuses(sent)[contacts[1]] is DeliveryStatus.REFUSED
    here.balance(sent)


def _links_lead_back(here: World, person: dict, contact: int, sent: UUID, other: str) -> None:
    stop = person["headers"]["List-Unsubscribe"]
    assert stop.startswith(f"<{URL}/") and stop.endswith(">")
    token = urlsplit(stop[1:-1]).path.rpartition("/")[2]
    told = here.app.signer.verify(STOP, token, datetime.now(UTC))
    assert (told.contact, told.dispatch) == (contact, sent)
    assert stop[1:-1] in person["substitutions"].values()
    (found,) = [v for v in person["substitutions"].values() if v.startswith(f"{URL}/{other}/")]
    token = urlsplit(found).path.rpartition("/")[2]
    told = here.app.signer.verify(other, token, datetime.now(UTC))
    assert (told.contact, told.dispatch) == (contact, sent)


@pytest.mark.parametrize("kind", ["advice", "appeal"])
@pytest.mark.parametrize("one_way", [False, True])
def test_every_text_is_what_twilios_specification_says(provider: Provider, one_way: bool, kind: str) -> None:
    here = provider.here
    sent = freeze(here, Channel.SMS, 3, one_way=one_way, kind=kind)
    requests = provider.drain(Server.answer(201, {"sid": SID, "status": "queued"}))
    assert len(requests) == 3
    document = json.loads((SPECS / "twilio_create_message.json").read_text())
    (operation,) = (path["post"] for path in document["paths"].values())
    form = "application/x-www-form-urlencoded"
    known = set(operation["requestBody"]["content"][form]["schema"]["properties"])
    seen = set()
    for request in requests:
        valid("twilio_create_message.json", request, "https://api.twilio.com", form)
        fields = {k: v[0] for k, v in parse_qs(request.body.decode(), strict_parsing=True).items()}
        assert set(fields) == {"To", "From", "Body", "ValidityPeriod", "StatusCallback"}
        assert set(fields) <= known
        assert 1 <= int(fields["ValidityPeriod"]) <= 36_000
        callback = urlsplit(fields["StatusCallback"])
        assert fields["StatusCallback"].startswith(f"{URL}/hooks/twilio/status?ref=")
        assert callback.fragment == "rc=3&rp=ct,rt,5xx"
        ref = DeliveryRef.parse(parse_qs(callback.query)["ref"][0])
        assert (ref.dispatch, ref.batch) == (sent, 0)
        seen.add(ref.ordinal)
        batch = here.batch(sent)
        segments = gsm7.segments(fields["Body"]).segments
        assert segments <= batch.reserved_segments / batch.size, "what was reserved suffices"
        if one_way:
            token = fields["Body"].rpartition("/")[2]
            assert here.app.signer.verify(STOP, token, datetime.now(UTC)).dispatch == sent
        else:
            assert "STOP" in fields["Body"]
        assert (f"{URL}/r/" in fields["Body"]) == (kind == "appeal")
        if kind == "appeal":
            token = fields["Body"].partition(f"{URL}/r/")[2].split()[0]
            assert here.app.signer.verify(REPLY, token, datetime.now(UTC)).dispatch == sent
    assert seen == {1, 2, 3}
    here.balance(sent)


def test_the_validity_of_a_text_ends_with_its_dispatch(provider: Provider) -> None:
    here = provider.here
    sent = freeze(here, Channel.SMS, 1)
    here.run("UPDATE batches SET expires_at = now() + interval '100 seconds' WHERE dispatch_id = :d", d=sent)
    (request,) = provider.drain(Server.answer(201, {"sid": SID}))
    assert 80 <= int(parse_qs(request.body.decode())["ValidityPeriod"][0]) <= 100
