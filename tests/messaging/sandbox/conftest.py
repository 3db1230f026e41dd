"""A real sandbox in a thread, a real webhook beside it, and a plain HTTP client."""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest

from messaging.sandbox.embed import running
from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig

DISPATCH = "0198c0de000070008000000000000001"
OURS = "+447700900001"
THEIRS = "+447700900123"
DEADLINE = 20.0


def wait_for(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Ask again and again until the answer is true; AssertionError after the deadline."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        if found := condition():
            return found
        threading.Event().wait(0.01)
    raise AssertionError(f"{what} did not come true in {DEADLINE:g} s")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Posted:
    """One request that a webhook had."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    def signature_header(self, name: str) -> str:
        return self.headers[name.lower()]


@dataclass
class Webhook:
    """A web server that records what is posted to it.

    ``statuses``: answers to give first, then 200. ``hangs_up``: it closes after each answer, unannounced.
    """

    url: str = ""
    posts: list[Posted] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    hangs_up: bool = False

    def wait(self, n: int = 1) -> list[Posted]:
        wait_for(lambda: len(self.posts) >= n, f"post number {n} to the webhook")
        return list(self.posts)

    def events(self) -> list[dict[str, Any]]:
        return [event for post in list(self.posts) for event in json.loads(post.body)]


@contextmanager
def open_webhook() -> Iterator[Webhook]:
    webhook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {k.lower(): v for k, v in self.headers.items()}
            webhook.posts.append(Posted(self.path, headers, body))
            self.send_response(webhook.statuses.pop(0) if webhook.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = webhook.hangs_up

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    webhook.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield webhook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Caller:
    """Speaks to one sandbox, with its credentials."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.identity = sandbox.identity
        self.collection = f"/2010-04-01/Accounts/{self.identity.account_sid}/Messages.json"
        secret = f"{self.identity.account_sid}:{self.identity.auth_token}".encode()
        self.basic = "Basic " + base64.b64encode(secret).decode()

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.sandbox.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body or None, headers or {})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def text(self, **fields: str) -> Answer:
        """POST Messages.json with From, To and Body filled in; a field given as "" is left out."""
        form = {"To": THEIRS, "From": OURS, "Body": "Lock it.", **fields}
        body = urlencode({k: v for k, v in form.items() if v}).encode()
        headers = {"Authorization": self.basic, "Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", self.collection, body, headers)

    def mail(self, call: object) -> Answer:
        headers = {
            "Authorization": f"Bearer {self.identity.sendgrid_key}",
            "Content-Type": "application/json",
        }
        return self.request("POST", "/v3/mail/send", json.dumps(call).encode(), headers)

    def control(self, method: str, what: str, asked: object = None) -> Answer:
        return self.request(method, f"/control/{what}", b"" if asked is None else json.dumps(asked).encode())

    def faults(self, **channels: object) -> None:
        answer = self.control("POST", "faults", channels)
        assert answer.status == 200, answer.body

    def gauge(self) -> dict[str, Any]:
        found: dict[str, Any] = self.control("GET", "gauge").json()
        return found


def person(n: int = 0, address: str = "", **changes: Any) -> dict[str, Any]:
    """One personalisation without fault."""
    return {
        "to": [{"email": address or f"person{n}@post.example"}],
        "substitutions": {"%name%": f"Person {n}"},
        "headers": {"List-Unsubscribe": f"<https://wardlink.example/s/{n}>"},
        "custom_args": {"wl": f"{DISPATCH}.0.1.{n}"},
        **changes,
    }


def mail(people: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A call without fault; a part given as None is left out."""
    off = {"enable": False}
    call = {
        "personalizations": [person()] if people is None else people,
        "from": {"email": "alerts@wardlink.example", "name": "Wardlink"},
        "subject": "For %name%",
        "content": [{"type": "text/plain", "value": "Dear %name%, lock it."}],
        "headers": {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        "tracking_settings": {"click_tracking": off, "open_tracking": off, "subscription_tracking": off},
        **changes,
    }
    return {k: v for k, v in call.items() if v is not None}


Start = Callable[..., Caller]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a sandbox with the options given; fast unless told otherwise."""
    with ExitStack() as stack:

        def begin(**options: Any) -> Caller:
            quick: dict[str, Any] = {
                "state": tmp_path / "sandbox",
                "sender_rate": 10_000.0,
                "delivery_delay": 0.02,
            }
            return Caller(stack.enter_context(running(SandboxConfig(**(quick | options)))))

        yield begin


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with open_webhook() as opened:
        yield opened


@pytest.fixture
def caller(start: Start) -> Caller:
    return start()
