"""Both adapters against the sandbox and back: what leaves is taken, what returns is signed and leads home."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit
from uuid import UUID

import pytest
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import RequestValidator

from messaging.providers import sendgrid_hooks, twilio_hooks
from messaging.providers.sendgrid import SendGridProvider
from messaging.providers.twilio import CALLBACK_OVERRIDES, TwilioProvider
from messaging.render import Tags, compile_email, substitutions
from messaging.sandbox import judge
from messaging.sandbox.embed import running
from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig
from messaging.types import (
    DeliveryRef,
    DeliveryStatus,
    EmailCall,
    EmailRecipient,
    Keyword,
    Outcome,
    Receipt,
    SmsMessage,
)

DISPATCH = UUID("0198c0de-0000-7000-8000-000000000001")
OURS, THEIRS = "+447700900001", "+447700900123"
NONCE = "9f31ab12cd34"


@dataclass
class Site:
    """A web server that keeps what is posted to it: (path with its query, headers, body)."""

    url: str = ""
    posts: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def to(self, path: str) -> list[tuple[str, dict[str, str], bytes]]:
        return [post for post in list(self.posts) if urlsplit(post[0]).path == path]


@contextmanager
def listening() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            site.posts.append((self.path, dict(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    with listening() as made:
        yield made


@pytest.fixture
def sandbox(site: Site, tmp_path: Path) -> Iterator[Sandbox]:
    config = SandboxConfig(
        state=tmp_path / "sandbox",
        events_url=f"{site.url}/hooks/sendgrid/events",
        inbound_url=f"{site.url}/hooks/twilio/inbound",
        sender_rate=1_000.0,
        delivery_delay=0.02,
    )
    with running(config) as started:
        yield started


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.01)


def mail(*addresses: str) -> EmailCall:
    content = compile_email(
        nonce=NONCE, headline="Shed thefts", body_markdown="Hello ((name)), lock your shed.", what_to_do="",
        reference="WL-2345678", controller_name="Police", from_email="alerts@police.example",
        from_name="Police", public_url="https://wardlink.example",
    )  # fmt: skip
    people = [
        EmailRecipient(
            ordinal,
            address,
            f"https://wardlink.example/s/{ordinal}",
            substitutions(
                Tags(NONCE), f"https://wardlink.example/s/{ordinal}", "https://wardlink.example/m/1", "Ann"
            ),
            True,
        )
        for ordinal, address in enumerate(addresses, 1)
    ]
    return EmailCall(DISPATCH, 3, 2, content, people)


def test_mail_goes_out_and_signed_events_lead_back_to_each_recipient(sandbox: Sandbox, site: Site) -> None:
    async def go() -> object:
        provider = SendGridProvider(sandbox.identity.sendgrid_key, base_url=sandbox.url)
        result = await provider.send(
            mail("ann@people.example", "bounce@people.example", "complain@people.example"), 10
        )
        await provider.aclose()
        return result

    result = asyncio.run(go())
    assert result.outcome is Outcome.TAKEN  # type: ignore[attr-defined]
    checker = sendgrid_hooks.SignatureChecker(sandbox.identity.public_key)
    theirs = EventWebhook(sandbox.identity.public_key)

    def receipts() -> list[Receipt]:
        return [
            r for _, _, body in site.to("/hooks/sendgrid/events") for r in sendgrid_hooks.parse_events(body)
        ]

    until(lambda: len(receipts()) == 7, "three processed, two delivered, a bounce and a complaint")
    for _, headers, body in site.to("/hooks/sendgrid/events"):
        signature = headers["X-Twilio-Email-Event-Webhook-Signature"]
        timestamp = headers["X-Twilio-Email-Event-Webhook-Timestamp"]
        assert theirs.verify_signature(body.decode(), signature, timestamp)
        assert checker.verify(body, signature, timestamp)
        assert not checker.verify(body + b" ", signature, timestamp)
    final: dict[int, Receipt] = {}
    for receipt in receipts():
        assert receipt.ref[:3] == (DISPATCH, 3, 2)
        assert receipt.provider_ref == result.provider_ref  # type: ignore[attr-defined]
        if receipt.ref.ordinal not in final or receipt.status > final[receipt.ref.ordinal].status:
            final[receipt.ref.ordinal] = receipt
    assert {o: (r.status, r.suppress) for o, r in final.items()} == {
        1: (DeliveryStatus.DELIVERED, None),
        2: (DeliveryStatus.BOUNCED, "bounce"),
        3: (DeliveryStatus.COMPLAINED, "complaint"),
    }
    tally = judge.tally(sandbox.log_path, DISPATCH.hex)
    assert (tally.accepted, tally.twice) == (3, 0)


def twilio(sandbox: Sandbox, site: Site) -> TwilioProvider:
    identity = sandbox.identity
    return TwilioProvider(
        identity.account_sid, identity.auth_token, public_url=site.url, base_url=sandbox.url
    )


def text(ordinal: int, to: str) -> SmsMessage:
    return SmsMessage(DeliveryRef(DISPATCH, 4, 1, ordinal), OURS, to, "Lock your shed.", 3_600, True)


def test_texts_go_out_and_signed_callbacks_lead_back_to_each_of_them(sandbox: Sandbox, site: Site) -> None:
    sandbox.faults.apply({"sms": {"recipients": {"unknown": ["124"]}}})

    async def go() -> list[object]:
        provider = twilio(sandbox, site)
        results = await asyncio.gather(
            provider.send(text(1, THEIRS), 10), provider.send(text(2, "+447700900124"), 10)
        )
        await provider.aclose()
        return list(results)

    results = asyncio.run(go())
    until(lambda: len(site.to("/hooks/twilio/status")) == 4, "sent and the end, of two texts")
    validator = RequestValidator(sandbox.identity.auth_token)
    final: dict[int, Receipt] = {}
    for path, headers, body in site.to("/hooks/twilio/status"):
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        url, signature = site.url + path, headers["X-Twilio-Signature"]
        assert validator.validate(url, form, signature)
        token = sandbox.identity.auth_token
        assert twilio_hooks.verify_signature(token, url, form, signature, CALLBACK_OVERRIDES)
        assert not twilio_hooks.verify_signature(token, url + "0", form, signature, CALLBACK_OVERRIDES)
        receipt = twilio_hooks.parse_status(parse_qs(urlsplit(path).query)["ref"][0], form)
        assert receipt is not None
        if receipt.ref.ordinal not in final or receipt.status > final[receipt.ref.ordinal].status:
            final[receipt.ref.ordinal] = receipt
    assert {o: (r.status, r.suppress, r.reason) for o, r in final.items()} == {
        1: (DeliveryStatus.DELIVERED, None, ""),
        2: (DeliveryStatus.BOUNCED, "bounce", "30005"),
    }
    assert [final[1].provider_ref, final[2].provider_ref] == [r.provider_ref for r in results]  # type: ignore[attr-defined]


def test_a_stop_comes_in_signed_and_the_next_text_is_refused_for_it(sandbox: Sandbox, site: Site) -> None:
    request = urllib.request.Request(
        f"{sandbox.url}/control/inbound",
        data=json.dumps({"from": THEIRS, "to": OURS, "body": " Stop "}).encode(),
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    until(lambda: len(site.to("/hooks/twilio/inbound")) == 1, "the text that came in")
    ((path, headers, body),) = site.to("/hooks/twilio/inbound")
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    url, signature = site.url + path, headers["X-Twilio-Signature"]
    assert RequestValidator(sandbox.identity.auth_token).validate(url, form, signature)
    assert twilio_hooks.verify_signature(sandbox.identity.auth_token, url, form, signature)
    message = twilio_hooks.parse_inbound(form)
    assert (message.sender, message.to, message.keyword) == (THEIRS, OURS, Keyword.STOP)

    async def go() -> object:
        provider = twilio(sandbox, site)
        result = await provider.send(text(1, THEIRS), 10)
        await provider.aclose()
        return result

    result = asyncio.run(go())
    assert (result.outcome, result.opted_out, result.reason) == (Outcome.REFUSED, True, "21610")  # type: ignore[attr-defined]
    assert judge.tally(sandbox.log_path, DISPATCH.hex).accepted == 0
