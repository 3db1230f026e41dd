"""GOV.UK Notify: what leaves, and what each answer and each silence means."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import requests
import urllib3.exceptions

from messaging.providers.notify import NotifyClient, NotifyEmail, NotifySms, _unanswered
from messaging.sandbox import judge
from messaging.sandbox.embed import running
from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig
from messaging.types import Outcome, SendResult

KEY = "wardlink-0198c0de-0000-7000-8000-000000000001-0198c0de-0000-7000-8000-000000000002"
TEMPLATE = "0198c0de-0000-7000-8000-00000000000f"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with running(SandboxConfig(state=tmp_path, receipts=False, second=True)) as made:
        yield made


def client(sandbox: Sandbox) -> NotifyClient:
    return NotifyClient(sandbox.identity.notify_key, sandbox.url)


def send(provider: NotifySms | NotifyEmail, what: object, timeout: float = 2.0, **more: object) -> SendResult:
    async def go() -> SendResult:
        try:
            return await provider.send(what, timeout, **more)  # type: ignore[arg-type]
        finally:
            await provider.aclose()

    return asyncio.run(go())


def test_texts_and_mail_are_taken_with_our_reference(sandbox, sms, mail) -> None:
    text, call = sms(4), mail(3)
    result = send(NotifySms(client(sandbox), sandbox.identity.notify_sms_template), text)
    assert result.outcome is Outcome.TAKEN
    assert result.provider_ref
    result = send(NotifyEmail(client(sandbox), sandbox.identity.notify_email_template), call)
    assert {o: r.outcome for o, r in result.each.items()} == dict.fromkeys(range(3), Outcome.TAKEN)
    log = list(judge.read(sandbox.log_path))
    assert log[0].refs == [str(text.ref)]
    assert sorted(one.to[0] for one in log[1:]) == [p.address for p in call.recipients]


def test_a_request_holds_what_is_documented_and_nothing_else(server_class, sms, mail) -> None:
    answer = server_class.answer(201, {"id": "740e5834-3a29-46b4-9a6f-16142fde533a"})

    async def go() -> list:
        async with server_class(answer) as server:
            shared = NotifyClient(KEY, server.url)
            assert (await NotifySms(shared, TEMPLATE).send(sms(1), 2.0)).outcome is Outcome.TAKEN
            assert (await NotifyEmail(shared, TEMPLATE).send(mail(1), 2.0)).outcome is Outcome.TAKEN
            await shared.aclose()
            return server.requests

    text, letter = asyncio.run(go())
    assert [(r.method, r.target) for r in (text, letter)] == [
        ("POST", "/v2/notifications/sms"),
        ("POST", "/v2/notifications/email"),
    ]
    message = sms(1)
    assert orjson.loads(text.body) == {
        "phone_number": message.to,
        "template_id": TEMPLATE,
        "personalisation": {"body": message.body},
        "reference": str(message.ref),
    }
    body = orjson.loads(letter.body)
    assert set(body) == {
        "email_address", "template_id", "personalisation", "reference", "one_click_unsubscribe_url",
    }  # fmt: skip
    assert set(body["personalisation"]) == {"subject", "body"}
    assert "Ann <b>" in body["personalisation"]["body"]
    for request in (text, letter):
        assert request.headers["content-type"] == "application/json"
        head, claims, _ = request.headers["authorization"].removeprefix("Bearer ").split(".")
        assert decoded(head) == {"typ": "JWT", "alg": "HS256"}
        assert decoded(claims)["iss"] == KEY[-73:-37]
        assert KEY[-36:] not in str(request.headers)


def decoded(part: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


@pytest.mark.parametrize(
    ("faults", "outcome", "reason"),
    [
        ({"status": 429}, Outcome.NOT_TAKEN, "429"),
        ({"status": 403}, Outcome.NOT_TAKEN, "account"),
        ({"status": 500}, Outcome.IN_DOUBT, "500"),
        ({"status": 503}, Outcome.IN_DOUBT, "503"),
        ({"hang": True}, Outcome.IN_DOUBT, "timeout"),
        ({"drop": "before"}, Outcome.IN_DOUBT, "reset"),
        ({"drop": "after"}, Outcome.IN_DOUBT, "reset"),
        ({"recipients": {"invalid": ["00004"]}}, Outcome.REFUSED, "bad-address"),
    ],
)
def test_what_happened_decides_what_may_follow(sandbox, sms, faults, outcome, reason) -> None:
    sandbox.faults.apply({"notify": faults})
    result = send(NotifySms(client(sandbox), sandbox.identity.notify_sms_template), sms(4), timeout=0.3)
    assert (result.outcome, result.reason) == (outcome, reason)


def test_nobody_at_the_other_end_and_a_wrong_key_or_template_took_nothing(sandbox, sms, server_class) -> None:
    template = sandbox.identity.notify_sms_template
    gone = send(NotifySms(NotifyClient(KEY, "http://127.0.0.1:1"), template), sms())
    assert (gone.outcome, gone.reason, gone.retryable) == (Outcome.NOT_TAKEN, "connect", True)
    wrong = send(NotifySms(NotifyClient(KEY, sandbox.url), template), sms())
    assert (wrong.outcome, wrong.reason, wrong.retryable) == (Outcome.NOT_TAKEN, "account", True)
    other = send(NotifySms(client(sandbox), TEMPLATE), sms())
    assert (other.outcome, other.reason, other.retryable) == (Outcome.NOT_TAKEN, "account", True)


@pytest.mark.parametrize("answer", [b"not json", b"[]", b'{"id": 7}'])
def test_an_answer_that_cannot_be_read_is_doubt(server_class, sms, answer: bytes) -> None:
    async def go() -> SendResult:
        async with server_class(server_class.answer(201, answer)) as server:
            shared = NotifyClient(KEY, server.url)
            try:
                return await NotifySms(shared, TEMPLATE).send(sms(), 2.0)
            finally:
                await shared.aclose()

    result = asyncio.run(go())
    assert (result.outcome, result.reason) == (Outcome.IN_DOUBT, "unreadable")


def test_a_redirect_is_not_followed(server_class, sms) -> None:
    async def go() -> tuple[SendResult, int]:
        async with server_class(server_class.answer(302, b"", Location="/elsewhere")) as server:
            shared = NotifyClient(KEY, server.url)
            result = await NotifySms(shared, TEMPLATE).send(sms(), 2.0)
            await shared.aclose()
            return result, len(server.requests)

    result, requests = asyncio.run(go())
    assert (result.outcome, requests) == (Outcome.IN_DOUBT, 1)


def test_nobody_made_up_leaves_this_machine_and_nothing_after_the_deadline(sandbox, sms, mail) -> None:
    real = NotifyClient(KEY)
    assert send(NotifySms(real, TEMPLATE), sms()).reason == "synthetic"
    assert dict(send(NotifyEmail(real, TEMPLATE), mail(2)).rejected) == {0: "synthetic", 1: "synthetic"}
    late = send(
        NotifySms(client(sandbox), sandbox.identity.notify_sms_template), sms(), may_start=lambda: False
    )
    assert (late.outcome, late.reason) == (Outcome.NOT_TAKEN, "deadline")
    assert list(judge.read(sandbox.log_path)) == []


def test_a_refused_person_of_many_costs_the_others_nothing(sandbox, mail) -> None:
    sandbox.faults.apply({"notify": {"recipients": {"invalid": ["Person1@people.example"]}}})
    call = dataclasses.replace(mail(3))
    result = send(NotifyEmail(client(sandbox), sandbox.identity.notify_email_template), call)
    assert {o: r.outcome for o, r in result.each.items()} == {
        0: Outcome.TAKEN, 1: Outcome.REFUSED, 2: Outcome.TAKEN,
    }  # fmt: skip


def test_no_secret_is_shown_and_a_key_that_is_none_is_refused(sandbox) -> None:
    assert sandbox.identity.notify_key[-36:] not in repr(NotifySms(client(sandbox), TEMPLATE))
    with pytest.raises(ValueError, match="Notify key"):
        NotifyClient("short")


def test_only_a_wrong_certificate_proves_that_nothing_was_told() -> None:
    def raised(inner: ssl.SSLError) -> requests.exceptions.SSLError:
        wrapped = urllib3.exceptions.SSLError(inner)
        return requests.exceptions.SSLError(
            urllib3.exceptions.MaxRetryError(None, "/", wrapped)  # type: ignore[arg-type]
        )

    untrusted = _unanswered(raised(ssl.SSLCertVerificationError("self-signed certificate")))
    assert (untrusted.outcome, untrusted.reason) == (Outcome.NOT_TAKEN, "tls")
    broken = _unanswered(raised(ssl.SSLError("bad record mac")))
    assert (broken.outcome, broken.retryable) == (Outcome.IN_DOUBT, False)
