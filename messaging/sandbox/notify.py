"""GOV.UK Notify's stand-in: its two endpoints that send, its bearer tokens, its refusals."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from typing import Any
from uuid import UUID, uuid4

import orjson

from messaging.sandbox.faults import Faults
from messaging.sandbox.http import Request, json_reply
from messaging.sandbox.identity import Identity
from messaging.sandbox.inbox import Inbox
from messaging.sandbox.log import AcceptanceLog
from messaging.sandbox.mail import is_address
from messaging.sandbox.messages import Message
from messaging.sandbox.segments import segments

DOOR = "notify"
PATHS = {"/v2/notifications/email": "email", "/v2/notifications/sms": "sms"}
FROM_NUMBER, FROM_ADDRESS = "WARDLINK", "wardlink@notifications.example"
_LEEWAY = 30  # seconds a token may be old, or ahead
_NUMBER = re.compile(r"\+?[0-9]{7,15}")
_FIELDS = {
    "email": {
        "email_address",
        "template_id",
        "personalisation",
        "reference",
        "email_reply_to_id",
        "one_click_unsubscribe_url",
        "sanitise_content_for",
    },
    "sms": {"phone_number", "template_id", "personalisation", "reference", "sms_sender_id"},
}


class _Refusal(Exception):
    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message

    def answer(self) -> bytes:
        return failing(self.status, self.error, self.message)


def failing(status: int, error: str, message: str) -> bytes:
    """A refusal in Notify's words."""
    return json_reply(status, {"errors": [{"error": error, "message": message}], "status_code": status})


class Notify:
    """One service. ``accepted`` counts messages taken since the start, of both channels."""

    def __init__(self, identity: Identity, faults: Faults, log: AcceptanceLog, inbox: Inbox) -> None:
        self._service, self._secret = identity.notify_key[-73:-37], identity.notify_key[-36:].encode()
        self._templates = {"email": identity.notify_email_template, "sms": identity.notify_sms_template}
        self._faults = faults
        self._log = log
        self._inbox = inbox
        self.accepted = 0
        self.refused = 0

    def send(self, request: Request) -> tuple[bytes, bool]:
        """POST notifications/email and /sms: (answer, accepted)."""
        channel = PATHS[request.path]
        try:
            self._authenticate(request.header(b"authorization"))
            asked = self._checked(channel, request.body)
        except _Refusal as refusal:
            self.refused += 1
            return refusal.answer(), False
        values = asked["personalisation"]
        template = str(asked["template_id"])
        notification = str(uuid4())
        self.accepted += 1
        content: dict[str, object]
        if channel == "sms":
            to = str(asked["phone_number"])
            content = {"body": values["body"], "from_number": FROM_NUMBER}
            self._log.append("sms", notification, FROM_NUMBER, [str(asked.get("reference", ""))], [to])
            self._inbox.add_text(Message(to, FROM_NUMBER, values["body"], segments(values["body"])))
        else:
            to = str(asked["email_address"])
            content = {"subject": values["subject"], "body": values["body"], "from_email": FROM_ADDRESS}
            self._log.append("email", notification, FROM_ADDRESS, [str(asked.get("reference", ""))], [to])
            self._inbox.add_mail(notification, [to], _as_call(to, values))
        shown = {
            "id": notification,
            "reference": asked.get("reference"),
            "content": content,
            "uri": f"https://api.notifications.example/v2/notifications/{notification}",
            "template": {
                "id": template,
                "version": 1,
                "uri": f"https://api.notifications.example/v2/{template}",
            },
            "scheduled_for": None,
        }
        return json_reply(201, shown), True

    def _authenticate(self, authorization: str) -> None:
        """HS256, by hand: the stand-in owes nothing to the client's library."""
        if not authorization.startswith("Bearer "):
            raise _Refusal(401, "AuthError", "Unauthorized: authentication token must be provided")
        try:
            head, claims, signature = authorization.removeprefix("Bearer ").split(".")
            header, payload = orjson.loads(_unpadded(head)), orjson.loads(_unpadded(claims))
            given = _unpadded(signature)
        except (ValueError, binascii.Error):
            raise _Refusal(403, "AuthError", "Invalid token: signature, api token is not valid") from None
        wanted = hmac.digest(self._secret, f"{head}.{claims}".encode(), hashlib.sha256)
        if header.get("alg") != "HS256" or not hmac.compare_digest(given, wanted):
            raise _Refusal(403, "AuthError", "Invalid token: signature, api token not found")
        if payload.get("iss") != self._service:
            raise _Refusal(403, "AuthError", "Invalid token: service not found")
        issued = payload.get("iat")
        if not isinstance(issued, int) or abs(time.time() - issued) > _LEEWAY:
            raise _Refusal(403, "AuthError", "Error: Your system clock must be accurate to within 30 seconds")

    def _checked(self, channel: str, body: bytes) -> dict[str, Any]:
        try:
            asked = orjson.loads(body)
        except orjson.JSONDecodeError:
            asked = None
        if not isinstance(asked, dict):
            raise _Refusal(400, "BadRequestError", "Invalid JSON supplied in POST data")
        address = "phone_number" if channel == "sms" else "email_address"
        for name in (address, "template_id"):
            if not isinstance(asked.get(name), str):
                raise _Refusal(400, "ValidationError", f"{name} is a required property")
        for name in asked:
            if name not in _FIELDS[channel]:
                raise _Refusal(
                    400, "ValidationError", f"Additional properties are not allowed ({name} was unexpected)"
                )
        try:
            UUID(asked["template_id"])
        except ValueError:
            raise _Refusal(400, "ValidationError", "template_id is not a valid UUID") from None
        if asked["template_id"] != self._templates[channel]:
            raise _Refusal(400, "BadRequestError", "Template not found")
        to = asked[address]
        if channel == "sms" and not _NUMBER.fullmatch(to):
            raise _Refusal(400, "ValidationError", "phone_number Must contain valid numbers")
        if channel == "email" and not is_address(to):
            raise _Refusal(400, "ValidationError", "email_address Not a valid email address")
        if to.endswith(self._faults.channels[DOOR].recipients["invalid"] or ("\n",)):
            raise _Refusal(400, "ValidationError", f"{address} is not valid")
        link = asked.get("one_click_unsubscribe_url")
        if link is not None and not str(link).startswith("https://"):
            raise _Refusal(400, "ValidationError", "one_click_unsubscribe_url is not a valid https url")
        values = asked.get("personalisation")
        wanted = ("body",) if channel == "sms" else ("subject", "body")
        missing = [w for w in wanted if not isinstance(values, dict) or not isinstance(values.get(w), str)]
        if missing:
            raise _Refusal(400, "BadRequestError", f"Missing personalisation: {', '.join(missing)}")
        return asked


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _as_call(to: str, values: dict[str, str]) -> bytes:
    """The message as the inbox keeps mail: like a call of SendGrid's."""
    return orjson.dumps(
        {
            "personalizations": [{"to": [{"email": to}]}],
            "from": {"email": FROM_ADDRESS},
            "subject": values["subject"],
            "content": [{"type": "text/plain", "value": values["body"]}],
        }
    )
