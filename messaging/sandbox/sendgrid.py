"""SendGrid's v3 mail/send: authentication, the rules, acceptance, and what a mailbox then does."""

from __future__ import annotations

import hmac
import re
import secrets
import time
from functools import partial
from ipaddress import ip_address
from urllib.parse import urlsplit

import orjson

from messaging.sandbox.callbacks import Courier, Post
from messaging.sandbox.events import EventFeed
from messaging.sandbox.faults import Faults
from messaging.sandbox.http import Request, json_reply, reply
from messaging.sandbox.identity import Identity
from messaging.sandbox.inbox import Inbox
from messaging.sandbox.log import AcceptanceLog
from messaging.sandbox.mail import CheckedMail, Problem, check
from messaging.sandbox.queues import Timetable
from messaging.sandbox.settings import SandboxConfig

PATH = "/v3/mail/send"
_LARGEST = 30_000_000  # bytes of a whole mail
_STOP_URL = re.compile(r"<(https?://[^<>\s]+)>")


class SendGrid:
    """One account. ``accepted`` counts recipients taken since the start."""

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
        self._authorization = f"Bearer {identity.sendgrid_key}".encode()
        self._faults = faults
        self._log = log
        self._inbox = inbox
        self._courier = courier
        self._timetable = timetable
        self._delay = config.delivery_delay
        self.feed: EventFeed | None = None
        if config.events_url and config.receipts:
            self.feed = EventFeed(config, identity.signing_key, faults, courier)
        self.accepted = 0
        self.calls = 0
        self.refused = 0

    def send(self, request: Request) -> tuple[bytes, bool]:
        """POST mail/send: (answer, accepted)."""
        status, problems = 400, list[Problem]()
        if not hmac.compare_digest(request.headers.get(b"authorization", b""), self._authorization):
            message = "The provided authorization grant is invalid, expired, or revoked"
            status, problems = 401, [Problem(None, message)]
        elif not request.headers.get(b"content-type", b"").startswith(b"application/json"):
            status, problems = 415, [Problem(None, "Content-Type should be application/json.")]
        elif len(request.body) >= _LARGEST:
            status, problems = 413, [Problem(None, "Payload too large: a mail must be under 30 MB.")]
        if not problems:
            checked = check(request.body)
            if isinstance(checked, CheckedMail):
                problems = self._refuse_listed(checked)
            else:
                problems = checked
            if not problems and isinstance(checked, CheckedMail):
                return self._accept(checked, request.body), True
        self.refused += 1
        errors = [{"message": p.message, "field": p.field, "help": None} for p in problems]
        return json_reply(status, {"errors": errors}), False

    def _refuse_listed(self, mail: CheckedMail) -> list[Problem]:
        """Addresses that the faults ask to refuse, as an invalid one would be."""
        if not self._faults.channels["email"].recipients["refuse"]:
            return []
        kinds = self._faults.magic.kinds(mail.to)
        return [
            Problem(f"personalizations.{n}.to", "Does not contain a valid address.")
            for n, address in enumerate(mail.to)
            if kinds.get(address) == "refuse"
        ]

    def _accept(self, mail: CheckedMail, body: bytes) -> bytes:
        message_id = secrets.token_urlsafe(16)
        self._log.append("email", message_id, mail.sender, mail.refs, mail.to)
        self.accepted += len(mail.to)
        self.calls += 1
        self._inbox.add_mail(message_id, mail.to, body)
        if self.feed:
            self.feed.accepted(message_id, mail)
        stopping = [a for a, kind in self._faults.magic.kinds(mail.to).items() if kind == "stop"]
        if stopping:
            at = time.monotonic() + self._delay
            self._timetable.at(at, partial(self._unsubscribe, frozenset(stopping), body))
        return reply(202, headers={"X-Message-Id": message_id})

    def _unsubscribe(self, addresses: frozenset[str], body: bytes) -> None:
        """Press the mail program's own button (RFC 8058), where the link leads to this machine only."""
        for person in orjson.loads(body)["personalizations"]:
            if any(to["email"] in addresses for to in person["to"]):
                found = _STOP_URL.search(person.get("headers", {}).get("List-Unsubscribe", ""))
                if found and _is_loopback(found[1]):
                    self._courier.submit(
                        Post(
                            found[1],
                            {"Content-Type": "application/x-www-form-urlencoded"},
                            b"List-Unsubscribe=One-Click",
                        )
                    )


def _is_loopback(url: str) -> bool:
    if not url.isascii():
        return False
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
