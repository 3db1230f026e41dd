"""A small provider of our own: a real TCP server that records and answers as it is told."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

import pytest

from messaging.render import Tags, compile_email, substitutions
from messaging.types import DeliveryRef, EmailCall, EmailRecipient, SmsMessage

DISPATCH = UUID("0198c0de-0000-7000-8000-000000000001")
SID = "SM" + "0123456789abcdef" * 2


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Action = Callable[["Peer"], None]


class Peer(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self.server, self.buffer, self.shut = server, b"", False

    def connection_made(self, transport):
        self.transport = transport
        self.server.connections += 1
        self.server.open.add(self)

    def connection_lost(self, exc):
        self.shut = True
        self.server.open.discard(self)

    def data_received(self, data):
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        if len(rest) < length:
            if self.server.cut_after is not None and len(rest) >= self.server.cut_after:
                self.transport.abort()
            return
        method, target, _ = first.split(" ")
        self.buffer = rest[length:]
        self.server.requests.append(Request(method, target, headers, rest[:length]))
        actions = self.server.actions
        actions[min(len(self.server.requests), len(actions)) - 1](self)


class Server:
    """``async with Server(action, …)``: the n-th request meets the n-th action, later ones the last."""

    def __init__(self, *actions: Action, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.actions, self.tls, self.port = actions, tls, port
        self.requests: list[Request] = []
        self.open: set[Peer] = set()
        self.connections = 0
        self.cut_after: int | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Peer(self), "127.0.0.1", self.port, ssl=self.tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc) -> None:
        self._server.close()
        for peer in list(self.open):
            peer.transport.abort()
        await self._server.wait_closed()
        await asyncio.sleep(0)

    # what it can do ---------------------------------------------------------------------
    @staticmethod
    def answer(status: int, body: bytes | dict = b"", close: bool = False, **headers: str) -> Action:
        payload = json.dumps(body).encode() if isinstance(body, dict) else body
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(payload)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return Server.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + payload, close=close)

    @staticmethod
    def raw(data: bytes, close: bool = False) -> Action:
        def act(peer: Peer) -> None:
            peer.transport.write(data)
            if close:
                peer.transport.close()

        return act

    @staticmethod
    def reset(peer: Peer) -> None:
        peer.transport.abort()

    @staticmethod
    def hang(peer: Peer) -> None:
        pass


@pytest.fixture
def server_class() -> type[Server]:
    return Server


@pytest.fixture
def sms():
    def make(ordinal: int = 0, **changes) -> SmsMessage:
        values = {
            "ref": DeliveryRef(DISPATCH, 7, 2, ordinal),
            "sender": "+447400000001",
            "to": f"+4474001{ordinal:05d}",
            "body": "Burglary & theft: 50% more + £5 “lost”",
            "validity_seconds": 3600,
            "synthetic": True,
        }
        return SmsMessage(**(values | changes))

    return make


@pytest.fixture
def mail():
    def make(count: int = 3, first: int = 0, **changes) -> EmailCall:
        tags = Tags("9f31ab12cd34")
        content = compile_email(
            nonce="9f31ab12cd34",
            headline="Shed thefts in ((name))'s street",
            body_markdown="We **saw** three thefts.",
            what_to_do="Lock your shed.",
            reference="WL-1",
            controller_name="Met Police",
            from_email="alerts@police.example",
            from_name="Met Police; Camden, Team",
            public_url="https://wardlink.example",
            reply_to="team@police.example",
        )
        recipients = []
        for ordinal in range(first, first + count):
            stop = f"https://wardlink.example/s/{ordinal}"
            recipients.append(
                EmailRecipient(
                    ordinal=ordinal,
                    address=f"Person{ordinal}@people.example",
                    stop_url=stop,
                    substitutions=substitutions(tags, stop, stop.replace("/s/", "/m/"), "Ann <b>"),
                    synthetic=True,
                )
            )
        values = {
            "dispatch": DISPATCH,
            "batch": 7,
            "attempt": 2,
            "content": content,
            "recipients": recipients,
        }
        return EmailCall(**(values | changes))

    return make
