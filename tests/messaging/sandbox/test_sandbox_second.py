"""The doors of the second providers: each with its own credentials, its own faults, one acceptance log."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from app.cli.stack import Stack
from messaging.sandbox import judge
from messaging.sandbox.embed import running
from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig

FORM = {"To": "+447700900123", "From": "+447700900999", "Body": "Hello"}


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with running(SandboxConfig(state=tmp_path, receipts=False, second=True)) as made:
        yield made


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict]:
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def text(sandbox: Sandbox, account: str, token: str) -> int:
    basic = base64.b64encode(f"{account}:{token}".encode()).decode()
    return post(
        f"{sandbox.url}/2010-04-01/Accounts/{account}/Messages.json",
        urlencode(FORM).encode(),
        {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"},
    )[0]


def accounts(sandbox: Sandbox) -> tuple[tuple[str, str], tuple[str, str]]:
    known = sandbox.identity
    return (known.account_sid, known.auth_token), (known.second_account_sid, known.second_auth_token)


def test_each_account_has_its_own_token_and_its_own_faults(sandbox: Sandbox) -> None:
    first, second = accounts(sandbox)
    assert (text(sandbox, *first), text(sandbox, *second)) == (201, 201)
    assert text(sandbox, second[0], first[1]) == 401
    sandbox.faults.apply({"sms": {"status": 500}})
    assert (text(sandbox, *first), text(sandbox, *second)) == (500, 201)
    sandbox.faults.apply({"sms": {}, "sms-2": {"status": 429}})
    assert (text(sandbox, *first), text(sandbox, *second)) == (201, 429)
    assert [one.channel for one in judge.read(sandbox.log_path)] == ["sms"] * 4
    assert sandbox.gauge()["accepted_second"] == {"sms-2": 2, "smtp": 0, "notify": 0}


def test_without_being_asked_for_the_second_doors_are_shut(tmp_path: Path) -> None:
    with running(SandboxConfig(state=tmp_path, receipts=False)) as sandbox:
        _, second = accounts(sandbox)
        assert text(sandbox, *second) in (401, 404)
        assert post(f"{sandbox.url}/v2/notifications/sms", b"{}", {})[0] == 404
        assert sandbox.smtp.port == 0
        assert "smtp_url" not in sandbox.described()
        assert "accepted_second" not in sandbox.gauge()


def test_a_text_to_a_number_of_the_second_account_is_signed_by_it(sandbox: Sandbox) -> None:
    text(sandbox, *accounts(sandbox)[1])
    assert sandbox._account_of(FORM["From"]) is sandbox.twilio_2
    assert sandbox._account_of("+447700900000") is sandbox.twilio


# -- mail
def letter(**headers: str) -> EmailMessage:
    made = EmailMessage()
    known = {
        "From": "alerts@wardlink.example", "To": "ann@people.example", "Subject": "Hello",
        "Date": "Tue, 01 Sep 2026 08:00:00 GMT", "Message-ID": f"<{'a' * 32}.0.1.1@wardlink.example>",
    }  # fmt: skip
    for name, value in (known | headers).items():
        if value:
            made[name] = value
    made.set_content("Hello")
    made.add_alternative("<p>Hello</p>", subtype="html")
    return made


def test_the_mail_server_wants_a_password_and_what_we_promise_of_every_message(sandbox: Sandbox) -> None:
    at = urlsplit(sandbox.smtp.url("127.0.0.1"))
    with smtplib.SMTP(at.hostname, at.port, timeout=10) as mail:
        with pytest.raises(smtplib.SMTPSenderRefused):
            mail.send_message(letter())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            mail.login("relay", "wrong")
        mail.login(at.username, at.password)
        assert mail.send_message(letter()) == {}
        link = "<https://wards.example/s/1>"
        click = "List-Unsubscribe=One-Click"
        assert mail.send_message(letter(**{"List-Unsubscribe": link, "List-Unsubscribe-Post": click})) == {}
        for wrong in (
            {"List-Unsubscribe": link},
            {"List-Unsubscribe-Post": click},
            {"Message-ID": "<something@else.example>"},
            {"Subject": ""},
            {"Date": ""},
        ):
            with pytest.raises(smtplib.SMTPDataError, match=r"5\.6\.0"):
                mail.send_message(letter(**wrong))
        plain = EmailMessage()
        for name, value in letter().items():
            if not name.lower().startswith(("content", "mime")):
                plain[name] = value
        plain.set_content("Hello")
        with pytest.raises(smtplib.SMTPDataError, match="HTML"):
            mail.send_message(plain)
        assert mail.noop()[0] == 250
    assert [one.refs for one in judge.read(sandbox.log_path)] == [[f"{'a' * 32}.0.1.1"]] * 2
    assert sandbox._inbox.newest("channel=email")[0]["to"] == "ann@people.example"


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\r\n", b"NONSENSE\r\n", b"RCPT TO:<a@b.example>\r\n", b"x" * 20_000]
)
def test_what_is_not_smtp_harms_nobody_else(sandbox: Sandbox, line: bytes) -> None:
    async def go() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.smtp.port)
        await reader.readline()
        writer.write(line)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    assert not asyncio.run(go()).startswith(b"2")
    with smtplib.SMTP("127.0.0.1", sandbox.smtp.port, timeout=10) as mail:
        assert mail.noop()[0] == 250


# -- Notify
def token(
    sandbox: Sandbox, *, secret: str = "", issuer: str = "", at: float = 0, algorithm: str = "HS256"
) -> str:
    key = sandbox.identity.notify_key

    def part(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    signed = (
        part({"typ": "JWT", "alg": algorithm})
        + "."
        + part({"iss": issuer or key[-73:-37], "iat": int(at or time.time())})
    )
    mac = hmac.digest((secret or key[-36:]).encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def notify(sandbox: Sandbox, bearer: str | None, channel: str = "sms", **changes: object) -> tuple[int, str]:
    known = sandbox.identity
    asked: dict[str, object] = (
        {
            "phone_number": "+447700900123",
            "template_id": known.notify_sms_template,
            "personalisation": {"body": "Hi"},
        }
        if channel == "sms"
        else {
            "email_address": "ann@people.example",
            "template_id": known.notify_email_template,
            "personalisation": {"subject": "Hi", "body": "Hello"},
        }
    )
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    body = json.dumps({k: v for k, v in (asked | changes).items() if v is not None}).encode()
    status, answer = post(f"{sandbox.url}/v2/notifications/{channel}", body, headers)
    return status, "" if status == 201 else answer["errors"][0]["error"]


def test_notify_wants_a_fresh_token_of_the_service(sandbox: Sandbox) -> None:
    assert notify(sandbox, None) == (401, "AuthError")
    for wrong in (
        token(sandbox, secret="x" * 36),
        token(sandbox, issuer="0198c0de-0000-7000-8000-000000000001"),
        token(sandbox, at=time.time() - 60),
        token(sandbox, at=time.time() + 60),
        token(sandbox, algorithm="none"),
        "a.b.c",
        "nonsense",
    ):
        assert notify(sandbox, wrong) == (403, "AuthError"), wrong
    assert notify(sandbox, token(sandbox)) == (201, "")
    assert notify(sandbox, token(sandbox), "email") == (201, "")
    assert [one.channel for one in judge.read(sandbox.log_path)] == ["sms", "email"]


@pytest.mark.parametrize(
    ("channel", "changes", "error"),
    [
        ("sms", {"phone_number": None}, "ValidationError"),
        ("sms", {"phone_number": "abc"}, "ValidationError"),
        ("sms", {"template_id": "x"}, "ValidationError"),
        ("sms", {"template_id": "0198c0de-0000-7000-8000-000000000001"}, "BadRequestError"),
        ("sms", {"personalisation": {}}, "BadRequestError"),
        ("sms", {"surplus": 1}, "ValidationError"),
        ("email", {"email_address": "nobody"}, "ValidationError"),
        ("email", {"personalisation": {"body": "Hello"}}, "BadRequestError"),
        ("email", {"one_click_unsubscribe_url": "http://wards.example/s/1"}, "ValidationError"),
    ],
)
def test_notify_refuses_what_notify_refuses(
    sandbox: Sandbox, channel: str, changes: dict, error: str
) -> None:
    assert notify(sandbox, token(sandbox), channel, **changes) == (400, error)
    assert list(judge.read(sandbox.log_path)) == []


# -- as a process
def test_a_process_says_how_its_second_providers_are_reached(tmp_path: Path) -> None:
    stack = Stack(tmp_path, {})
    try:
        handle = stack.sandbox("http://127.0.0.1:8000", second=True)
        found = handle.environ()
        assert {"TWILIO_2_ACCOUNT_SID", "SMTP_URL", "NOTIFY_API_KEY", "NOTIFY_BASE_URL"} <= set(found)
        assert found["SMTP_URL"].startswith("smtp://relay:")
        handle.faults(smtp={"status": 550}, notify={"hang": True}, **{"sms-2": {"hold": True}})
        assert handle.gauge()["held_second"] == {"sms-2": 0, "smtp": 0, "notify": 0}
        assert stack.environ["TWILIO_2_AUTH_TOKEN"] == found["TWILIO_2_AUTH_TOKEN"]
    finally:
        stack.stop()
