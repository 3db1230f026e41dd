"""One call of up to 1,000 e-mails: what leaves, and what each answer means for its recipients."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

from messaging.providers.sendgrid import EU_HOST, SendGridProvider, build_body
from messaging.types import DeliveryRef, Outcome

KEY = "SG.secret"


def send(server_class, call, *actions, timeout=5.0, may_start=None):
    async def go():
        async with server_class(*actions) as server:
            sendgrid = SendGridProvider(KEY, base_url=server.url)
            result = await sendgrid.send(call, timeout, may_start=may_start)
            await sendgrid.aclose()
            return result, server.requests

    return asyncio.run(asyncio.wait_for(go(), 20))


@pytest.fixture(scope="module")
def specification():
    text = (Path(__file__).parents[2] / "specs" / "sendgrid_mail.json").read_text()
    return OpenAPI.from_dict(json.loads(text))


@pytest.mark.parametrize("host", ["https://api.sendgrid.com", EU_HOST])
@pytest.mark.parametrize("count", [1, 1000])
def test_the_request_is_what_sendgrids_specification_says(specification, server_class, mail, host, count):
    call = mail(count)
    accepted = server_class.answer(202, X_Message_Id="14c5d75ce93")
    result, (request,) = send(server_class, call, accepted)
    assert (result.outcome, result.provider_ref) == (Outcome.TAKEN, "14c5d75ce93")
    assert (request.method, request.target) == ("POST", "/v3/mail/send")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    specification.validate_request(
        MockRequest(
            host,
            "post",
            request.target,
            data=request.body,
            content_type="application/json",
            headers={"Authorization": request.headers["authorization"]},
        )
    )
    message = json.loads(request.body)
    # The specification lets unknown fields pass, so the names are asserted here.
    assert set(message) == {
        "personalizations",
        "from",
        "reply_to",
        "subject",
        "content",
        "headers",
        "tracking_settings",
    }
    assert message["from"] == {"email": "alerts@police.example", "name": "Met Police Camden Team"}
    assert message["headers"] == {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
    assert [part["type"] for part in message["content"]] == ["text/plain", "text/html"]
    assert message["tracking_settings"] == {
        "click_tracking": {"enable": False, "enable_text": False},
        "open_tracking": {"enable": False},
        "subscription_tracking": {"enable": False},
        "ganalytics": {"enable": False},
    }
    assert len(message["personalizations"]) == count
    for recipient, person in zip(call.recipients, message["personalizations"], strict=True):
        assert person == {
            "to": [{"email": recipient.address}],
            "substitutions": recipient.substitutions,
            "headers": {"List-Unsubscribe": f"<{recipient.stop_url}>"},
            "custom_args": {
                "wl": str(DeliveryRef(call.dispatch, call.batch, call.attempt, recipient.ordinal))
            },
        }


def test_the_specification_would_have_refused_a_wrong_request(specification, mail):
    wrong = json.loads(build_body(mail(1)))
    del wrong["from"]
    with pytest.raises(Exception, match="Request body validation error"):
        specification.validate_request(
            MockRequest(
                "https://api.sendgrid.com",
                "post",
                "/v3/mail/send",
                data=json.dumps(wrong).encode(),
                content_type="application/json",
                headers={"Authorization": "Bearer x"},
            )
        )


def test_what_is_the_same_for_all_holds_nothing_of_anybody(mail):
    message = json.loads(build_body(mail(2)))
    del message["personalizations"]
    rest = json.dumps(message)
    assert "people.example" not in rest
    assert "Ann" not in rest
    assert "categories" not in message


def errors(*pairs):
    return {"errors": [{"message": m, "field": f, "help": None} for f, m in pairs]}


def test_named_recipients_are_rejected_and_the_others_may_go(server_class, mail):
    answer = errors(
        ("personalizations.1.to.0.email", "Does not contain a valid address."),
        (
            "personalizations.2.to",
            "Each email address should be unique. We found a duplicate of [person1@people.example].",
        ),
        (None, "The substitutions in personalizations.0 are over 10000 bytes"),
    )
    result, _ = send(server_class, mail(3, first=40), server_class.answer(400, answer))
    assert (result.outcome, result.retryable, result.bisect) == (Outcome.NOT_TAKEN, True, False)
    assert result.rejected == {41: "bad-address", 42: "duplicate-address", 40: "substitutions"}
    assert "person" not in repr(result)


@pytest.mark.parametrize(
    ("status", "body", "outcome", "reason", "retryable", "bisect"),
    [
        (400, b"", Outcome.NOT_TAKEN, "400", True, True),
        (400, b"{}", Outcome.NOT_TAKEN, "400", True, True),
        (400, b'{"errors": [3, null, {"field": 9}]}', Outcome.NOT_TAKEN, "400", True, True),
        (400, errors((None, "something is wrong")), Outcome.NOT_TAKEN, "400", True, True),
        (400, errors(("personalizations.9", "x")), Outcome.NOT_TAKEN, "400", True, True),
        (400, errors(("personalizations.00003333", "x")), Outcome.NOT_TAKEN, "400", True, True),
        (400, errors(("personalizations", "too many")), Outcome.NOT_TAKEN, "400", True, True),
        (400, errors(("from.email", "no")), Outcome.NOT_TAKEN, "content", False, False),
        (401, errors((None, "no")), Outcome.NOT_TAKEN, "account", True, False),
        (403, errors(("from", "not verified")), Outcome.NOT_TAKEN, "account", True, False),
        (404, b"", Outcome.NOT_TAKEN, "account", True, False),
        (405, b"", Outcome.NOT_TAKEN, "account", True, False),
        (413, b"", Outcome.NOT_TAKEN, "413", True, True),
        (418, b"", Outcome.NOT_TAKEN, "418", True, False),
        (500, b"", Outcome.IN_DOUBT, "500", False, False),
        (503, b"", Outcome.IN_DOUBT, "503", False, False),
        (200, b"{}", Outcome.IN_DOUBT, "200", False, False),
        (302, b"", Outcome.IN_DOUBT, "302", False, False),
    ],
)
def test_each_answer_has_its_class(server_class, mail, status, body, outcome, reason, retryable, bisect):
    result, requests = send(server_class, mail(3), server_class.answer(status, body, Location="/x"))
    assert (result.outcome, result.reason, result.retryable, result.bisect) == (
        outcome,
        reason,
        retryable,
        bisect,
    )
    assert result.rejected == {}
    assert len(requests) == 1


@pytest.mark.parametrize("headers", [{"Retry_After": "3"}, {"X_RateLimit_Reset": "1"}])
def test_429_says_how_long_to_wait(server_class, mail, headers):
    result, _ = send(server_class, mail(), server_class.answer(429, b"", **headers))
    assert (result.outcome, result.reason) == (Outcome.NOT_TAKEN, "429")
    assert result.retry_after == (3.0 if "Retry_After" in headers else 0.0)
    assert result.busy == "account"


@pytest.mark.parametrize(
    ("remaining", "reset", "busy"), [("0", 30, "account"), ("1", 30, ""), ("0", -30, ""), ("none", 30, "")]
)
def test_the_last_call_that_was_given_out_says_when_the_next_ones_are(
    server_class, mail, remaining, reset, busy
):
    headers = {"X_RateLimit_Remaining": remaining, "X_RateLimit_Reset": str(int(time.time()) + reset)}
    result, _ = send(server_class, mail(), server_class.answer(202, **headers))
    assert (result.outcome, result.busy) == (Outcome.TAKEN, busy)
    if busy:
        assert 20 < result.retry_after <= 30


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (lambda s: s.reset, "reset"),
        (lambda s: s.hang, "timeout"),
        (lambda s: s.raw(b"junk\r\n\r\n"), "unreadable"),
        (lambda s: s.raw(b"HTTP/1.1 202 Accep", close=True), "reset"),
    ],
)
def test_no_whole_answer_puts_the_whole_call_in_doubt(server_class, mail, action, reason):
    timeout = 0.3 if reason == "timeout" else 5
    result, requests = send(server_class, mail(), action(server_class), timeout=timeout)
    assert (result.outcome, result.reason, result.retryable) == (Outcome.IN_DOUBT, reason, False)
    assert len(requests) == 1


def test_a_closed_door_and_a_passed_deadline_are_not_taken(server_class, mail):
    async def go():
        async with server_class(server_class.answer(202)) as server:
            sendgrid = SendGridProvider(KEY, base_url=server.url)
            late = await sendgrid.send(mail(), 5, may_start=lambda: False)
            assert server.requests == []
            await sendgrid.aclose()
        return late, await sendgrid.send(mail(), 5)

    late, closed = asyncio.run(go())
    assert (late.outcome, late.reason, late.retryable) == (Outcome.NOT_TAKEN, "deadline", True)
    assert (closed.outcome, closed.reason, closed.retryable) == (Outcome.NOT_TAKEN, "connect", True)


def test_synthetic_people_are_written_to_on_this_machine_only(mail):
    call = mail(3)
    real = call.recipients[1]._replace(synthetic=False)
    call = mail(3, recipients=[call.recipients[0], real, call.recipients[2]])

    async def go():
        return await SendGridProvider(KEY, base_url=EU_HOST).send(call, 5)  # a socket would fail the test

    result = asyncio.run(go())
    assert result.outcome is Outcome.NOT_TAKEN
    assert result.rejected == {0: "synthetic", 2: "synthetic"}


def test_a_call_to_nobody_is_our_mistake(mail):
    with pytest.raises(ValueError, match="without recipients"):
        asyncio.run(SendGridProvider(KEY, base_url="http://127.0.0.1:9").send(mail(0), 5))


def test_no_secret_shows_in_the_providers_text():
    assert "secret" not in repr(SendGridProvider(KEY))
