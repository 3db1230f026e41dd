"""Twilio's Messages API (2010-04-01): create, list, fetch, status callbacks, inbound texts.

Rules and shapes follow the official specification; error codes follow Twilio's documentation.
"""

from __future__ import annotations

import base64
import hmac
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from messaging.sandbox.callbacks import Courier, twilio_post
from messaging.sandbox.faults import Faults, share_hits
from messaging.sandbox.http import Request, json_reply
from messaging.sandbox.identity import Identity
from messaging.sandbox.inbox import Inbox
from messaging.sandbox.log import AcceptanceLog
from messaging.sandbox.messages import API, Message, MessageStore, new_sid
from messaging.sandbox.queues import LONGEST, SenderQueues, Timetable
from messaging.sandbox.segments import segments
from messaging.sandbox.settings import SandboxConfig

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_ALPHA = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_REF = re.compile(r"[?&]ref=([^&#]*)")
_STOP = frozenset(("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"))
_START = frozenset(("START", "YES", "UNSTOP"))
_HELP = frozenset(("HELP", "INFO"))
_MORE = "https://www.twilio.com/docs/errors/"


class Refusal(Exception):
    """An answer other than success: status, Twilio's code, text."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def answer(self) -> bytes:
        headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if self.status == 401 else None
        return json_reply(
            self.status,
            {
                "code": self.code,
                "message": self.message,
                "more_info": f"{_MORE}{self.code}",
                "status": self.status,
            },
            headers,
        )


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
    ) -> None:
        self._config = config
        self._sid = identity.account_sid
        self._token = identity.auth_token
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
        self._item = f"/{API}/Accounts/{self._sid}/Messages/"
        self.accepted = 0
        self.refused = 0

    # -- requests
    def create(self, request: Request) -> tuple[bytes, bool]:
        """POST Messages.json: (answer, accepted)."""
        try:
            self._authenticate(request)
            message = self._judge(_form(request))
        except Refusal as refusal:
            self.refused += 1
            return refusal.answer(), False
        sender = message.sender or message.service or ""
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

    # -- the rules of a message
    def _judge(self, form: dict[str, str]) -> Message:
        to, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
        body = form.get("Body", "")
        if not to:
            raise Refusal(400, 21604, "A 'To' phone number is required.")
        if not sender and not service:
            raise Refusal(400, 21603, "A 'From' phone number is required.")
        if not body:
            raise Refusal(400, 21602, "Message body is required.")
        if not _E164.fullmatch(to) or self._listed("invalid", to):
            raise Refusal(400, 21211, f"Invalid 'To' Phone Number: {to}")
        if sender and not _E164.fullmatch(sender) and not _ALPHA.fullmatch(sender):
            raise Refusal(400, 21212, f"Invalid From Number (caller ID): {sender}")
        if service and not _SERVICE.fullmatch(service):
            raise Refusal(400, 21701, "The Messaging Service does not exist.")
        if to == sender:
            raise Refusal(400, 21266, "'To' and 'From' number cannot be the same.")
        if len(body) > 1600:
            raise Refusal(400, 21617, "The concatenated message body exceeds the 1600 character limit.")
        callback = form.get("StatusCallback", "")
        if callback and not _usable(callback.partition("?")[0].partition("#")[0]):
            raise Refusal(400, 21609, "The 'StatusCallback' URL is not a valid URL.")
        validity = _validity(form.get("ValidityPeriod"))
        if (to, sender or service) in self._opted_out or self._listed("opted_out", to):
            raise Refusal(400, 21610, "Attempt to send to unsubscribed recipient")
        if self._queues.wait(sender or service) > LONGEST:
            raise Refusal(429, 21611, "This 'From' number has exceeded the maximum number of queued messages")
        found = _REF.search(callback)
        return Message(
            to,
            sender or None,
            body,
            segments(body),
            status="queued" if sender else "accepted",
            service=service or None,
            callback=callback,
            ref=unquote(found[1]) if found else "",
            validity=validity,
        )

    def _listed(self, kind: str, number: str) -> bool:
        endings = self._faults.channels["sms"].recipients[kind]
        return bool(endings) and number.endswith(endings)

    # -- the life of a message
    def _leave(self, message: Message) -> None:
        message.moved("sent")
        reorder = self._faults.channels["sms"].receipts.reorder
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
        faults = self._faults.channels["sms"].receipts
        if share_hits(faults.withhold, message.sid):
            return
        fields = _callback_fields(message, status or message.status, self._sid)
        for _ in range(2 if share_hits(faults.double, message.sid) else 1):
            self._courier.submit(twilio_post(message.callback, fields, self._token))
        if faults.forge:
            forged = {**fields, "MessageStatus": "undelivered", "SmsStatus": "undelivered", "ErrorCode": "30003"}
            self._courier.submit(twilio_post(message.callback, forged, "not the account's token"))

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
            fields = _inbound_fields(message, self._sid, kind)
            self._courier.submit(twilio_post(self._config.inbound_url, fields, self._token))
        return message

    # -- the list
    def _list(self, query: dict[str, str]) -> dict[str, object]:
        size = min(max(_integer(query.get("PageSize", "50")), 1), 1000)
        page, after = _integer(query.get("Page", "0")), query.get("PageToken", "").removeprefix("PA")
        earliest, latest = _period(query)
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


def _form(request: Request) -> dict[str, str]:
    if not request.headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded"):
        raise Refusal(415, 20415, "Send the message as application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl(request.body.decode("ascii"), errors="strict", max_num_fields=100)
    except ValueError:
        raise Refusal(400, 20001, "The form could not be read.") from None
    return dict(pairs)


def _validity(text: str | None) -> int:
    if text is None:
        return 36_000
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 36_000:
        raise Refusal(400, 20001, f"ValidityPeriod must be a whole number from 1 to 36000, not {text!r}.")
    return int(text)


@lru_cache(maxsize=256)
def _usable(url: str) -> bool:
    """http or https, a host name, no underscore in it."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in (parts.hostname or "")
    except ValueError:
        return False


def _integer(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refusal(400, 20001, "Page and PageSize must be whole numbers.")
    return int(text)


def _period(query: dict[str, str]) -> tuple[float, float]:
    """[earliest, latest) in Unix seconds from DateSent, DateSent> and DateSent<, days included whole."""
    earliest, latest = 0.0, float("inf")
    if "DateSent" in query:
        start, length = _moment(query["DateSent"])
        earliest, latest = start, start + max(length, 1.0)
    if "DateSent>" in query:
        earliest = max(earliest, _moment(query["DateSent>"])[0])
    if "DateSent<" in query:
        start, length = _moment(query["DateSent<"])
        latest = min(latest, start + max(length, 1.0))
    return earliest, latest


def _moment(text: str) -> tuple[float, float]:
    """(start, length in seconds) of a day or a moment, in UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refusal(400, 20001, f"DateSent must be a date as YYYY-MM-DD, not {text!r}.") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return at.timestamp(), timedelta(days=1).total_seconds() if len(text) == 10 else 0.0


def _callback_fields(message: Message, status: str, account: str) -> dict[str, str]:
    fields = {
        "AccountSid": account,
        "ApiVersion": API,
        "From": message.sender or "",
        "MessageSid": message.sid,
        "MessageStatus": status,
        "SmsSid": message.sid,
        "SmsStatus": status,
        "To": message.to,
    }
    if message.service:
        fields["MessagingServiceSid"] = message.service
    if status in ("delivered", "undelivered"):
        fields["RawDlrDoneDate"] = datetime.fromtimestamp(message.updated, UTC).strftime("%y%m%d%H%M")
    if status in ("failed", "undelivered"):
        fields["ErrorCode"] = str(message.error)
    return fields


def _inbound_fields(message: Message, account: str, kind: str) -> dict[str, str]:
    fields = {
        "AccountSid": account,
        "ApiVersion": API,
        "Body": message.body,
        "From": message.sender or "",
        "FromCity": "",
        "FromCountry": "GB",
        "FromState": "",
        "FromZip": "",
        "MessageSid": message.sid,
        "NumMedia": "0",
        "NumSegments": str(message.segments),
        "SmsMessageSid": message.sid,
        "SmsSid": message.sid,
        "SmsStatus": "received",
        "To": message.to,
        "ToCity": "",
        "ToCountry": "GB",
        "ToState": "",
        "ToZip": "",
    }
    if kind:
        fields["OptOutType"] = kind
    return fields
