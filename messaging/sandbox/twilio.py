"""Twilio's Messages API (2010-04-01): create, list, fetch, status callbacks, inbound texts.

Rules and shapes follow the official specification; error codes follow Twilio's documentation.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl, urlencode

from messaging.sandbox.callbacks import Courier, twilio_post
from messaging.sandbox.faults import Faults, Receipts, share_hits
from messaging.sandbox.http import Request, json_reply
from messaging.sandbox.identity import Identity
from messaging.sandbox.inbox import Inbox
from messaging.sandbox.log import AcceptanceLog
from messaging.sandbox.messages import API, Message, MessageStore
from messaging.sandbox.queues import LONGEST, SenderQueues, Timetable
from messaging.sandbox.segments import segments
from messaging.sandbox.settings import SandboxConfig
from messaging.sandbox.twilio_forms import (
    Refusal,
    callback_fields,
    inbound_fields,
    new_message,
    period,
    read_form,
    whole,
)

_STOP = frozenset(("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"))
_START = frozenset(("START", "YES", "UNSTOP"))
_HELP = frozenset(("HELP", "INFO"))


class Twilio:
    """One account. ``accepted`` counts messages taken since the start."""

    def __init__(
        self,
        config: SandboxConfig,
        identity: Identity,
        faults: Faults,
        log: AcceptanceLog,
        inbox: Inbox,
        courier: Courier,
        timetable: Timetable,
        *,
        second: bool = False,
    ) -> None:
        self._config = config
        self.door = "sms-2" if second else "sms"
        self._sid = identity.second_account_sid if second else identity.account_sid
        self._token = identity.second_auth_token if second else identity.auth_token
        self._faults = faults
        self._log = log
        self._inbox = inbox
        self._courier = courier
        self._timetable = timetable
        self._queues = SenderQueues(config.senders, config.sender_rate)
        self._opted_out: set[tuple[str, str]] = set()  # (theirs, ours)
        secret = base64.b64encode(f"{self._sid}:{self._token}".encode()).decode()
        self._authorization = f"Basic {secret}"
        self.messages = MessageStore(config.messages_kept)
        self.collection = f"/{API}/Accounts/{self._sid}/Messages.json"
        self.account = f"/{API}/Accounts/{self._sid}/"
        self._item = f"{self.account}Messages/"
        self.numbers: set[str] = set()  # ours: what messages were sent from
        self.accepted = 0
        self.refused = 0

    def waiting(self) -> dict[str, float]:
        """Segments that each sender has still to pass on."""
        return self._queues.waiting()

    # -- requests
    def create(self, request: Request) -> tuple[bytes, bool]:
        """POST Messages.json: (answer, accepted)."""
        try:
            self._authenticate(request)
            message = new_message(read_form(request))
            self._admit(message)
        except Refusal as refusal:
            self.refused += 1
            return refusal.answer(), False
        sender = message.sender or message.service or ""
        self.numbers.add(sender)
        leaves = self._queues.turn(sender, message.segments, message.validity)
        self.accepted += 1
        self._log.append("sms", message.sid, sender, [message.ref], [message.to])
        self.messages.add(message)
        self._inbox.add_text(message)
        if leaves is None:
            self._timetable.at(
                time.monotonic() + message.validity, partial(self._finish, message, "failed", 30036)
            )
        else:
            self._timetable.at(leaves, partial(self._leave, message))
        return json_reply(201, message.resource(self._sid)), True

    def read(self, request: Request) -> bytes:
        """GET Messages.json and Messages/{sid}.json."""
        try:
            self._authenticate(request)
            if request.path == self.collection:
                return json_reply(200, self._list(dict(parse_qsl(request.query))))
            sid = request.path.removeprefix(self._item).removesuffix(".json")
            message = self.messages.get(sid)
            if message is None or not request.path.startswith(self._item):
                raise Refusal(404, 20404, f"The requested resource {request.path} was not found")
        except Refusal as refusal:
            return refusal.answer()
        return json_reply(200, message.resource(self._sid))

    def _authenticate(self, request: Request) -> None:
        if not hmac.compare_digest(request.headers.get(b"authorization", b""), self._authorization.encode()):
            raise Refusal(401, 20003, "Authenticate")

    def _admit(self, message: Message) -> None:
        """The rules that depend on who has stopped, on the queue and on the faults."""
        ours = message.sender or message.service or ""
        if self._listed("invalid", message.to):
            raise Refusal(400, 21211, f"Invalid 'To' Phone Number: {message.to}")
        if (message.to, ours) in self._opted_out or self._listed("opted_out", message.to):
            raise Refusal(400, 21610, "Attempt to send to unsubscribed recipient")
        if self._queues.wait(ours) > LONGEST:
            raise Refusal(429, 21611, "This 'From' number has exceeded the maximum number of queued messages")

    def _listed(self, kind: str, number: str) -> bool:
        endings = self._faults.channels[self.door].recipients[kind]
        return bool(endings) and number.endswith(endings)

    # -- the life of a message
    def _leave(self, message: Message) -> None:
        message.moved("sent")
        reorder = self._faults.channels[self.door].receipts.reorder
        if not reorder:
            self._tell(message)
        if self._listed("undelivered", message.to):
            end: Callable[[], None] = partial(self._finish, message, "undelivered", 30003)
        elif self._listed("unknown", message.to):
            end = partial(self._finish, message, "undelivered", 30005)
        else:
            end = partial(self._finish, message, "delivered", None)
        self._timetable.at(time.monotonic() + self._config.delivery_delay, end)
        if reorder:
            late = time.monotonic() + self._config.delivery_delay + 0.1
            self._timetable.at(late, partial(self._tell, message, "sent"))

    def _finish(self, message: Message, status: str, error: int | None) -> None:
        message.moved(status, error)
        self._tell(message)
        if status == "delivered" and message.sender and self._listed("stop", message.to):
            self.inbound(message.to, message.sender, "STOP")

    def _tell(self, message: Message, status: str | None = None) -> None:
        """Post the status callback of a message."""
        if not message.callback or not self._config.receipts:
            return
        faults = self._faults.channels[self.door].receipts
        if share_hits(faults.withhold, message.sid):
            return
        fields = callback_fields(message, status or message.status, self._sid)
        submit = partial(self._submit, message.callback, message.sid, fields, faults)
        if faults.delay:
            self._timetable.at(time.monotonic() + faults.delay, submit)
        else:
            submit()

    def _submit(self, url: str, sid: str, fields: dict[str, str], faults: Receipts) -> None:
        for _ in range(2 if share_hits(faults.double, sid) else 1):
            self._courier.submit(twilio_post(url, fields, self._token))
        if faults.forge:
            forged = {
                **fields,
                "MessageStatus": "undelivered",
                "SmsStatus": "undelivered",
                "ErrorCode": "30003",
            }
            self._courier.submit(twilio_post(url, forged, "not the account's token"))

    # -- from a phone
    def inbound(self, theirs: str, ours: str, body: str) -> Message:
        """A phone texts one of our numbers. STOP and START act at once; everything is forwarded."""
        word = body.strip().upper()
        kind = "STOP" if word in _STOP else "START" if word in _START else "HELP" if word in _HELP else ""
        if kind == "STOP":
            self._opted_out.add((theirs, ours))
        elif kind == "START":
            self._opted_out.discard((theirs, ours))
        message = Message(ours, theirs, body, segments(body), direction="inbound", status="received")
        message.sent = message.created
        self.messages.add(message)
        self._inbox.add_text(message)
        if self._config.inbound_url:
            fields = inbound_fields(message, self._sid, kind)
            self._courier.submit(twilio_post(self._config.inbound_url, fields, self._token))
        return message

    # -- the list
    def _list(self, query: dict[str, str]) -> dict[str, object]:
        size = min(max(whole(query.get("PageSize", "50")), 1), 1000)
        page, after = whole(query.get("Page", "0")), query.get("PageToken", "").removeprefix("PA")
        earliest, latest = period(query)
        sender = query.get("From")
        found: list[Message] = []
        skip = 0 if after else page * size
        started = not after
        for m in self.messages.newest_first(query.get("To")):
            if not started:
                started = m.sid == after
                continue
            # Twilio dates a queued message when it leaves; until then its creation stands in.
            at = m.sent or m.created
            if not earliest <= at < latest or (sender is not None and m.sender != sender):
                continue
            if skip:
                skip -= 1
                continue
            found.append(m)
            if len(found) > size:
                break
        more, found = len(found) > size, found[:size]

        def uri(number: int, token: str | None = None) -> str:
            kept = {k: v for k, v in query.items() if k not in ("Page", "PageToken", "PageSize")}
            kept |= {"PageSize": str(size), "Page": str(number)}
            return f"{self.collection}?{urlencode(kept | ({'PageToken': 'PA' + token} if token else {}))}"

        return {
            "end": page * size + len(found) - 1 if found else 0,
            "first_page_uri": uri(0),
            "messages": [m.resource(self._sid) for m in found],
            "next_page_uri": uri(page + 1, found[-1].sid) if more else None,
            "page": page,
            "page_size": size,
            "previous_page_uri": uri(page - 1) if page else None,
            "start": page * size,
            "uri": uri(page, after or None),
        }
