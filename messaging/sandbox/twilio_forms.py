"""What Twilio's API accepts and says: refusals, forms in, periods of a list, forms of its webhooks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlsplit

from messaging.sandbox.http import Request, json_reply
from messaging.sandbox.messages import API, Message
from messaging.sandbox.segments import segments

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_ALPHA = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
_REF = re.compile(r"[?&]ref=([^&#]*)")
_PLAIN = re.compile(r"[\x21-\x7e]+")
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


def new_message(form: dict[str, str]) -> Message:
    """The message that a form asks for; Refusal for the first rule it breaks."""
    to, sender, service = form.get("To", ""), form.get("From", ""), form.get("MessagingServiceSid", "")
    body = form.get("Body", "")
    if not to:
        raise Refusal(400, 21604, "A 'To' phone number is required.")
    if not sender and not service:
        raise Refusal(400, 21603, "A 'From' phone number is required.")
    if not body:
        raise Refusal(400, 21602, "Message body is required.")
    if not _E164.fullmatch(to):
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
    if callback and not (_PLAIN.fullmatch(callback) and _usable(re.split("[?#]", callback)[0])):
        raise Refusal(400, 21609, "The 'StatusCallback' URL is not a valid URL.")
    validity = _validity(form.get("ValidityPeriod"))
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


def read_form(request: Request) -> dict[str, str]:
    """The fields of a request; Refusal for one that is not a form."""
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
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in (parts.hostname or "")
        )
    except ValueError:
        return False


def whole(text: str) -> int:
    """A whole number of a list's query."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refusal(400, 20001, "Page and PageSize must be whole numbers.")
    return int(text)


def period(query: dict[str, str]) -> tuple[float, float]:
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


def callback_fields(message: Message, status: str, account: str) -> dict[str, str]:
    """The form of a status callback."""
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


def inbound_fields(message: Message, account: str, kind: str) -> dict[str, str]:
    """The form of a text that came in; ``kind``: STOP, START, HELP or "" (then no OptOutType)."""
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
