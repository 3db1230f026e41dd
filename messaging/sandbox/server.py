"""The sandbox itself: its parts put together, its routes, and what faults do to a call."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from messaging.sandbox import identity as identities
from messaging.sandbox.callbacks import Courier
from messaging.sandbox.control import Control
from messaging.sandbox.faults import AFTER, BEFORE, DOORS, Faults
from messaging.sandbox.http import Answer, Connection, Request, json_reply, reply
from messaging.sandbox.inbox import Inbox
from messaging.sandbox.log import AcceptanceLog
from messaging.sandbox.notify import PATHS as NOTIFY_PATHS
from messaging.sandbox.notify import Notify
from messaging.sandbox.notify import failing as notify_failing
from messaging.sandbox.queues import Timetable
from messaging.sandbox.sendgrid import PATH, SendGrid
from messaging.sandbox.settings import SandboxConfig
from messaging.sandbox.smtp import Smtp
from messaging.sandbox.twilio import Twilio

HOST = "127.0.0.1"
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
Take = Callable[[Request], tuple[bytes, bool]]


class Sandbox:
    """A local stand-in for Twilio and SendGrid. ``start()``, use ``url``, ``stop()``; once only."""

    def __init__(self, config: SandboxConfig) -> None:
        self.config = config
        self.identity = identities.load(config)
        self.faults = Faults()
        self.log_path = config.state / "acceptance.jsonl"
        self._log = AcceptanceLog(self.log_path)
        self._inbox = Inbox(config.inbox_size)
        self._courier = Courier()
        self._timetable = Timetable()
        parts = (self.faults, self._log, self._inbox, self._courier, self._timetable)
        self.twilio = Twilio(config, self.identity, *parts)
        self.sendgrid = SendGrid(config, self.identity, *parts)
        self.twilio_2 = Twilio(config, self.identity, *parts, second=True)
        self.notify = Notify(self.identity, self.faults, self._log, self._inbox)
        self.smtp = Smtp(self.identity, self.faults, self._log, self._inbox)
        self._control = Control(self.faults, self._account_of, self._inbox, self.log_path, self.gauge)
        self._open = dict.fromkeys(DOORS, 0)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen on loopback and write ``sandbox.json``. OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self._handle, self._connections), HOST, self.config.port, backlog=1024
            )
        except OSError:
            self._log.close()
            raise
        self.port = self._server.sockets[0].getsockname()[1]
        if self.config.second:
            await self.smtp.start(HOST)
        ready = json.dumps(self.described()).encode()
        identities.write_private(self.config.state / "sandbox.json", ready)

    async def stop(self) -> None:
        """End every connection; the state folder stays, but for ``sandbox.json``."""
        if self._server:
            self._server.close()
        self.config.state.joinpath("sandbox.json").unlink(missing_ok=True)
        await self.smtp.stop()
        for connection in list(self._connections):
            connection.close()
        if self.sendgrid.feed:
            self.sendgrid.feed.close()
        self._timetable.close()
        await self._courier.close()
        while self._connections:
            await asyncio.sleep(0)
        if self._server:
            await self._server.wait_closed()
        self._log.close()

    def described(self) -> dict[str, object]:
        """What ``sandbox.json`` holds."""
        return {
            "port": self.port,
            "pid": os.getpid(),
            "base_url": self.url,
            "account_sid": self.identity.account_sid,
            "auth_token": self.identity.auth_token,
            "sendgrid_key": self.identity.sendgrid_key,
            "event_webhook_public_key": self.identity.public_key,
            "acceptance_log": str(self.log_path.absolute()),
        } | (self._second() if self.config.second else {})

    def _second(self) -> dict[str, object]:
        return {
            "second_account_sid": self.identity.second_account_sid,
            "second_auth_token": self.identity.second_auth_token,
            "smtp_url": self.smtp.url(HOST),
            "notify_key": self.identity.notify_key,
            "notify_sms_template": self.identity.notify_sms_template,
            "notify_email_template": self.identity.notify_email_template,
        }

    def _account_of(self, number: str) -> Twilio:
        """The account that a number of ours is on, as far as it has sent anything."""
        return self.twilio_2 if number in self.twilio_2.numbers else self.twilio

    def gauge(self) -> dict[str, object]:
        """Open and accepted calls, and what is still to be told; counted since the start."""
        feed = self.sendgrid.feed
        return {
            "open_mail": self._open["email"],
            "open_sms": self._open["sms"],
            "held": {"email": self.faults.held("email"), "sms": self.faults.held("sms")},
            "accepted": {"email": self.sendgrid.accepted, "sms": self.twilio.accepted},
            "mail_calls": self.sendgrid.calls,
            "refused": {"email": self.sendgrid.refused, "sms": self.twilio.refused},
            "callbacks_pending": self._courier.pending + (feed.waiting if feed else 0),
            "callbacks_delivered": self._courier.delivered,
            "callbacks_failed": self._courier.failed,
            "timers": len(self._timetable),
            "waiting_segments": self.twilio.waiting(),
            "inbox": len(self._inbox),
        } | (self._second_gauge() if self.config.second else {})

    def _second_gauge(self) -> dict[str, object]:
        doors = ("sms-2", "smtp", "notify")
        waiting = self._open | {"smtp": self.smtp.open}
        return {
            "open_second": {d: waiting[d] for d in doors},
            "held_second": {d: self.faults.held(d) for d in doors},
            "accepted_second": {d: self._accepted(d) for d in doors},
        }

    # -- routes
    def _handle(self, connection: Connection, request: Request) -> Answer:
        path = request.path
        if path == self.twilio.collection and request.method == "POST":
            return self._call("sms", self.twilio.create, request)
        if path == PATH and request.method == "POST":
            return self._call("email", self.sendgrid.send, request)
        if self.config.second:
            if path == self.twilio_2.collection and request.method == "POST":
                return self._call("sms-2", self.twilio_2.create, request)
            if path.startswith(self.twilio_2.account):
                return self.twilio_2.read(request)
            if path in NOTIFY_PATHS and request.method == "POST":
                return self._call("notify", self.notify.send, request)
        if path.startswith("/2010-04-01/"):
            return self.twilio.read(request)
        if path.startswith("/control/"):
            return self._control.answer(connection, request)
        if path == "/" and request.method == "GET":
            page = self._inbox.page(request.query)
            return reply(200, page, "text/html; charset=utf-8", _PAGE_HEADERS)
        status = 405 if path == PATH else 404
        message = "method not allowed" if status == 405 else "not found"
        return json_reply(status, {"errors": [{"message": message, "field": None, "help": None}]})

    # -- calls and their faults
    def _call(self, channel: str, take: Take, request: Request) -> Answer:
        if self.faults.channels[channel].quiet:
            return take(request)[0]
        return self._faulty(channel, take, request)

    @contextmanager
    def _opened(self, channel: str) -> Iterator[None]:
        self._open[channel] += 1
        try:
            yield
        finally:
            self._open[channel] -= 1

    async def _faulty(self, channel: str, take: Take, request: Request) -> bytes | None:
        """A call under faults. None: the connection is dropped without an answer."""
        faults = self.faults.channels[channel]
        with self._opened(channel):
            accepted = self._accepted(channel)
            if faults.latency_ms:
                await asyncio.sleep(faults.latency_ms / 1000)
            if faults.status and faults.status.hits(accepted):
                return _failing(channel, faults.status.code, faults.status.retry_after)
            if faults.hang and faults.hang.hits(accepted):
                await asyncio.Event().wait()
            drop = faults.drop if faults.drop and faults.drop.hits(accepted) else None
            hold = faults.hold if faults.hold and faults.hold.hits(accepted) else None
            if hold and hold.when == BEFORE:
                await self.faults.hold(channel)
            if drop and drop.when == BEFORE:
                return None
            answer, taken = take(request)
            if hold and hold.when == AFTER and taken:
                await self.faults.hold(channel)
            return None if drop and taken else answer

    def _accepted(self, channel: str) -> int:
        doors: dict[str, SendGrid | Twilio | Notify | Smtp] = {
            "email": self.sendgrid,
            "sms": self.twilio,
            "sms-2": self.twilio_2,
            "notify": self.notify,
            "smtp": self.smtp,
        }
        return doors[channel].accepted


def _failing(channel: str, status: int, retry_after: float | None) -> bytes:
    """A refusal or outage on demand, in the words of the channel's provider."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    word = "Too Many Requests" if status == 429 else "Service unavailable"
    if channel == "email":
        return json_reply(
            status, {"errors": [{"message": word.lower(), "field": None, "help": None}]}, headers
        )
    if channel == "notify":
        return notify_failing(status, "TooManyRequestsError" if status == 429 else "Exception", word)
    code = 20429 if status == 429 else 20500
    shown = {
        "code": code,
        "message": word,
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return json_reply(status, shown, headers)
