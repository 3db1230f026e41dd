"""The text messages that the sandbox knows, as Twilio's API shows them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

API = "2010-04-01"


@lru_cache(maxsize=1024)
def _rfc2822(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def rfc2822(at: float | None) -> str | None:
    return None if at is None else _rfc2822(int(at))


def new_sid(kind: str = "SM") -> str:
    return kind + secrets.token_hex(16)


class Message:
    """One text, either way. Times are Unix seconds; ``validity`` is in seconds."""

    __slots__ = (
        "body",
        "callback",
        "created",
        "direction",
        "error",
        "ref",
        "segments",
        "sender",
        "sent",
        "service",
        "sid",
        "status",
        "to",
        "updated",
        "validity",
    )

    def __init__(
        self,
        to: str,
        sender: str | None,
        body: str,
        segments: int,
        *,
        direction: str = "outbound-api",
        status: str = "queued",
        service: str | None = None,
        callback: str = "",
        ref: str = "",
        validity: int = 36_000,
    ) -> None:
        self.sid = new_sid()
        self.to = to
        self.sender = sender
        self.service = service
        self.body = body
        self.segments = segments
        self.direction = direction
        self.status = status
        self.callback = callback
        self.ref = ref
        self.validity = validity
        self.created = self.updated = time.time()
        self.sent: float | None = None
        self.error: int | None = None

    def moved(self, status: str, error: int | None = None) -> None:
        """Take the next status, now."""
        self.status, self.error, self.updated = status, error, time.time()
        if status == "sent":
            self.sent = self.updated

    def resource(self, account: str) -> dict[str, object]:
        """The documented JSON of a Message."""
        uri = f"/{API}/Accounts/{account}/Messages/{self.sid}"
        return {
            "account_sid": account,
            "api_version": API,
            "body": self.body,
            "date_created": rfc2822(self.created),
            "date_sent": rfc2822(self.sent),
            "date_updated": rfc2822(self.updated),
            "direction": self.direction,
            "error_code": self.error,
            "error_message": ERRORS.get(self.error) if self.error else None,
            "from": self.sender,
            "messaging_service_sid": self.service,
            "num_media": "0",
            "num_segments": "0" if self.status == "accepted" else str(self.segments),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json", "feedback": f"{uri}/Feedback.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }


ERRORS = {
    30001: "Queue overflow",
    30003: "Unreachable destination handset",
    30005: "Unknown destination handset",
    30036: "Validity period expired",
}


class MessageStore:
    """Messages by id and by the other party's number; the oldest go when there are too many."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._by_sid: dict[str, Message] = {}
        self._by_to: dict[str, list[Message]] = {}

    def __len__(self) -> int:
        return len(self._by_sid)

    def add(self, message: Message) -> None:
        self._by_sid[message.sid] = message
        self._by_to.setdefault(message.to, []).append(message)
        if len(self._by_sid) > self._keep:
            oldest = self._by_sid.pop(next(iter(self._by_sid)))
            rest = self._by_to[oldest.to]
            rest.remove(oldest)
            if not rest:
                del self._by_to[oldest.to]

    def get(self, sid: str) -> Message | None:
        return self._by_sid.get(sid)

    def newest_first(self, to: str | None = None) -> Iterator[Message]:
        return reversed(self._by_sid.values()) if to is None else reversed(self._by_to.get(to, []))
