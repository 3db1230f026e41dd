"""One text message: what leaves, and what each answer means for it."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

from messaging.providers.twilio import TwilioProvider
from messaging.types import DeliveryRef, Outcome

ACCOUNT = "AC" + "0123456789abcdef" * 2
SID = "SM" + "0123456789abcdef" * 2
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
TAKEN = {
    "sid": SID,
    "status": "queued",
    "error_code": None,
    "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
}


def error(code, status=400):
    return {"code": code, "message": "to +447400100000 failed", "more_info": "…", "status": status}


def provider(url, **options):
    return TwilioProvider(ACCOUNT, "token", public_url="https://wardlink.example/", base_url=url, **options)


def send(server_class, message, *actions, timeout=5.0, may_start=None):
    """The result of sending ``message`` to a server that answers so, and what it received."""

    async def go():
        async with server_class(*actions) as server:
            twilio = provider(server.url)
            result = await twilio.send(message, timeout, may_start=may_start)
            await twilio.aclose()
            return result, server.requests

    return asyncio.run(asyncio.wait_for(go(), 20))


@pytest.fixture(scope="module")
def document():
    return json.loads((Path(__file__).parents[2] / "specs" / "twilio_create_message.json").read_text())


@pytest.fixture(scope="module")
def specification(document):
    return OpenAPI.from_dict(document)


def test_the_request_is_what_twilios_specification_says(document, specification, server_class, sms):
    message = sms()
    result, (request,) = send(server_class, message, server_class.answer(201, TAKEN))
    assert (result.outcome, result.provider_ref) == (Outcome.TAKEN, SID)
    assert (request.method, request.target) == ("POST", PATH)
    specification.validate_request(
        MockRequest(
            "https://api.twilio.com",
            "post",
            request.target,
            data=request.body,
            content_type=request.headers["content-type"],
            headers={"Authorization": request.headers["authorization"]},
        )
    )
    form = parse_qs(request.body.decode(), strict_parsing=True)
    (operation,) = (path["post"] for path in document["paths"].values())
    body = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]
    properties = body["schema"]["properties"]
    assert set(form) <= set(properties), "the specification lets unknown fields pass: we do not"
    assert form == {
        "To": [message.to],
        "From": [message.sender],
        "Body": [message.body],
        "ValidityPeriod": ["3600"],
        "StatusCallback": [
            f"https://wardlink.example/hooks/twilio/status?ref={message.ref}#rc=3&rp=ct,rt,5xx"
        ],
    }
    assert DeliveryRef.parse(str(message.ref)) == message.ref
    assert (
        base64.b64decode(request.headers["authorization"].removeprefix("Basic "))
        == f"{ACCOUNT}:token".encode()
    )


def test_an_api_key_signs_in_instead_of_the_accounts_token(server_class, sms):
    async def go():
        async with server_class(server_class.answer(201, TAKEN)) as server:
            twilio = provider(server.url, api_key=("SK" + "0" * 32, "secret"))
            await twilio.send(sms(), 5)
            await twilio.aclose()
            return server.requests

    (request,) = asyncio.run(go())
    assert request.target == PATH
    assert base64.b64decode(request.headers["authorization"].split()[1]) == f"SK{'0' * 32}:secret".encode()


def test_region_and_edge_of_the_environment_do_not_lead_elsewhere(server_class, sms, monkeypatch):
    monkeypatch.setenv("TWILIO_REGION", "au1")
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    result, requests = send(server_class, sms(), server_class.answer(201, TAKEN))
    assert (result.outcome, len(requests)) == (Outcome.TAKEN, 1)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason", "retryable", "opted_out"),
    [
        (400, error(21610), Outcome.REFUSED, "21610", False, True),
        (400, error(21211), Outcome.REFUSED, "21211", False, False),
        (400, error(21614), Outcome.REFUSED, "21614", False, False),
        (400, error(21612), Outcome.REFUSED, "21612", False, False),
        (400, error(21408), Outcome.REFUSED, "21408", False, False),
        (400, error(21999), Outcome.REFUSED, "21999", False, False),
        (400, error(21212), Outcome.NOT_TAKEN, "account", True, False),
        (400, error(21606), Outcome.NOT_TAKEN, "account", True, False),
        (400, error(30002), Outcome.NOT_TAKEN, "account", True, False),
        (401, error(20003, 401), Outcome.NOT_TAKEN, "account", True, False),
        (403, error(20005, 403), Outcome.NOT_TAKEN, "account", True, False),
        (404, error(20404, 404), Outcome.NOT_TAKEN, "account", True, False),
        (400, error(21611), Outcome.NOT_TAKEN, "21611", True, False),
        (400, b"<html>", Outcome.NOT_TAKEN, "400", True, False),
        (400, {"code": "21610"}, Outcome.NOT_TAKEN, "400", True, False),
        (400, {"code": True}, Outcome.NOT_TAKEN, "400", True, False),
        (422, b"[1]", Outcome.NOT_TAKEN, "422", True, False),
        (500, error(20500, 500), Outcome.IN_DOUBT, "500", False, False),
        (503, b"", Outcome.IN_DOUBT, "503", False, False),
        (301, b"", Outcome.IN_DOUBT, "301", False, False),
    ],
)
def test_each_answer_has_its_class(server_class, sms, status, body, outcome, reason, retryable, opted_out):
    result, requests = send(server_class, sms(), server_class.answer(status, body, Location="/elsewhere"))
    assert (result.outcome, result.reason, result.retryable, result.opted_out) == (
        outcome,
        reason,
        retryable,
        opted_out,
    )
    assert len(requests) == 1, "neither a retry nor a redirect"
    assert "447400" not in repr(result)


def test_429_says_how_long_to_wait(server_class, sms):
    result, _ = send(server_class, sms(), server_class.answer(429, error(20429, 429), Retry_After="12"))
    assert (result.outcome, result.reason, result.retry_after) == (Outcome.NOT_TAKEN, "20429", 12.0)
    assert result.retryable


@pytest.mark.parametrize(
    ("status", "code", "busy"),
    [
        (429, 20429, "account"),
        (400, 63038, "account"),
        (429, 0, "account"),
        (429, 21611, "sender"),
        (400, 14107, "sender"),
        (400, 30001, "sender"),
        (400, 21211, ""),
        (401, 20003, ""),
    ],
)
def test_too_many_is_told_of_the_account_or_of_one_sender(server_class, sms, status, code, busy):
    result, _ = send(server_class, sms(), server_class.answer(status, error(code, status)))
    assert result.busy == busy


def test_what_messages_have_in_common_is_written_once_and_never_taken_for_anothers(server_class, sms):
    messages = [
        sms(n, sender=sender, body=body, validity_seconds=seconds)
        for n, (sender, body, seconds) in enumerate(
            itertools.product(
                ["+447400000001", "Met Police"],
                ["Ring 101 & say “shed”: 5 % = £10", "Ring 101", "ŵ🚲\r\n?#/"],
                [60, 3600],
            )
        )
    ]

    async def go():
        async with server_class(server_class.answer(201, TAKEN)) as server:
            twilio = provider(server.url)
            for message in messages * 2:
                assert (await twilio.send(message, 5)).outcome is Outcome.TAKEN
            await twilio.aclose()
            return server.requests

    for request, message in zip(asyncio.run(go()), messages * 2, strict=True):
        form = {
            name: value for name, (value,) in parse_qs(request.body.decode(), strict_parsing=True).items()
        }
        assert form == {
            "To": message.to,
            "From": message.sender,
            "Body": message.body,
            "ValidityPeriod": str(message.validity_seconds),
            "StatusCallback": f"https://wardlink.example/hooks/twilio/status?ref={message.ref}#rc=3&rp=ct,rt,5xx",
        }


def test_two_accounts_have_names_of_their_own():
    second = provider("http://127.0.0.1:9", name="twilio-2")
    assert (provider("http://127.0.0.1:9").name, second.name) == ("twilio", "twilio-2")


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (lambda s: s.reset, "reset"),
        (lambda s: s.hang, "timeout"),
        (lambda s: s.raw(b"junk\r\n\r\n"), "unreadable"),
        (lambda s: s.answer(201, b"not json"), "unreadable"),
        (lambda s: s.answer(201, b"\xff\xfe"), "unreadable"),
        (lambda s: s.answer(201, b"[]"), "unreadable"),
        (lambda s: s.answer(201, {"status": "queued"}), "unreadable"),
        (lambda s: s.answer(201, {"sid": 5}), "unreadable"),
        (lambda s: s.answer(201, {"sid": SID + "\n"}), "unreadable"),
        (lambda s: s.answer(204), "unreadable"),
    ],
)
def test_no_whole_answer_is_in_doubt_and_never_tried_again(server_class, sms, action, reason):
    timeout = 0.3 if reason == "timeout" else 5
    result, requests = send(server_class, sms(), action(server_class), timeout=timeout)
    assert (result.outcome, result.reason, result.retryable) == (Outcome.IN_DOUBT, reason, False)
    assert len(requests) == 1


def test_a_closed_door_and_a_passed_deadline_are_not_taken(server_class, sms):
    async def go():
        async with server_class(server_class.answer(201, TAKEN)) as server:
            twilio = provider(server.url)
            late = await twilio.send(sms(), 5, may_start=lambda: False)
            assert server.requests == []
            await twilio.aclose()
        return late, await twilio.send(sms(), 5)

    late, closed = asyncio.run(go())
    assert (late.outcome, late.reason, late.retryable) == (Outcome.NOT_TAKEN, "deadline", True)
    assert (closed.outcome, closed.reason, closed.retryable) == (Outcome.NOT_TAKEN, "connect", True)


def test_calls_at_once_keep_their_own_deadlines_and_answers(server_class, sms):
    def answer_by_recipient(peer):
        to = parse_qs(peer.server.requests[-1].body.decode())["To"][0]
        sid = f"SM{int(to[1:]):032x}"
        server_class.answer(201, {"sid": sid})(peer)

    async def go():
        async with server_class(answer_by_recipient) as server:
            twilio = provider(server.url, limit=20)
            results = await asyncio.gather(
                *(twilio.send(sms(n), 10, may_start=lambda n=n: n % 3 != 0) for n in range(60))
            )
            await twilio.aclose()
            return results, server.requests

    results, requests = asyncio.run(go())
    for number, result in enumerate(results):
        if number % 3 == 0:
            assert (result.outcome, result.reason) == (Outcome.NOT_TAKEN, "deadline")
        else:
            assert result.provider_ref == f"SM{int(sms(number).to[1:]):032x}"
    assert len(requests) == 40


def test_a_synthetic_person_is_written_to_on_this_machine_only(sms):
    async def go():
        twilio = TwilioProvider(ACCOUNT, "token", public_url="https://wardlink.example")
        return await twilio.send(sms(synthetic=True), 5)  # a socket would fail the test

    result = asyncio.run(go())
    assert (result.outcome, result.reason, result.retryable) == (Outcome.REFUSED, "synthetic", False)


@pytest.mark.parametrize("seconds", [0, -1, 36_001])
def test_a_validity_that_twilio_does_not_know_is_our_mistake(sms, seconds):
    async def go():
        await provider("http://127.0.0.1:9").send(sms(validity_seconds=seconds), 5)

    with pytest.raises(ValueError, match="36,000"):
        asyncio.run(go())


@pytest.mark.parametrize("sid", ["", "AC12", "SK" + "0" * 32, ACCOUNT + "\n", ACCOUNT + "/../x"])
def test_a_malformed_account_is_refused_at_once(sid):
    with pytest.raises(ValueError, match="account SID"):
        TwilioProvider(sid, "token", public_url="https://wardlink.example")


def test_no_secret_shows_in_the_providers_text():
    assert "token" not in repr(provider("http://127.0.0.1:9"))
