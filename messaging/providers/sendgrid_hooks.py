"""What SendGrid sends us: signed arrays of events, each with our delivery reference.

No replay window: SendGrid repeats a delivery for a day and documents none, a repeated event
changes nothing (rank and event decide), and turning a late one away would lose a bounce.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from sendgrid.helpers.eventwebhook import EventWebhook

from messaging.providers.base import REF_ARG
from messaging.types import DeliveryRef, DeliveryStatus, Receipt

_ENHANCED_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_LONGEST_ID = 200
# SendGrid's reasons for not even trying → (our reason, why to write no more).
_DROPPED = {
    "bounced address": ("dropped-bounced", "bounce"),
    "invalid": ("dropped-invalid", "bounce"),
    "spam reporting address": ("dropped-complaint", "complaint"),
    "unsubscribed address": ("dropped-unsubscribed", "unsubscribe"),
    "unsubscribed": ("dropped-unsubscribed", "unsubscribe"),
}
_Meaning = tuple[DeliveryStatus, str, str | None]


class EventsError(ValueError):
    """The body is not a JSON array: nothing of it can be used."""


class SignatureChecker:
    """Checks the Event Webhook's signatures against its public key (base64 DER, as SendGrid shows it)."""

    def __init__(self, public_key: str) -> None:
        try:
            self._webhook = EventWebhook(public_key)
        except (ValueError, UnsupportedAlgorithm):
            self._webhook = EventWebhook()
        # The library takes an empty key for "later" and any kind of key for an elliptic one.
        if not isinstance(self._webhook.public_key, EllipticCurvePublicKey):
            raise ValueError("the SendGrid webhook key is not an elliptic curve public key in base64")

    def verify(self, body: bytes, signature: str, timestamp: str) -> bool:
        """Whether SendGrid signed exactly these bytes (its trailing line break included)."""
        try:
            return bool(self._webhook.verify_signature(body.decode("utf-8"), signature, timestamp))
        except (ValueError, TypeError):  # not UTF-8, not base64, surrogates
            return False


def parse_events(body: bytes, received_at: datetime | None = None) -> list[Receipt]:
    """The receipts in a body, in its order; EventsError if it is not a JSON array.

    Events without our reference, of other kinds, or that cannot be read are left out. Dated by
    SendGrid's timestamp where it is one, else by ``received_at`` (UTC; default: now).
    """
    try:
        events = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise EventsError("the body is not JSON") from None
    if not isinstance(events, list):
        raise EventsError("the body is not an array of events")
    received = received_at or datetime.now(UTC)
    receipts = (_receipt(event, received) for event in events if isinstance(event, dict))
    return [receipt for receipt in receipts if receipt is not None]


def _receipt(event: Mapping[str, Any], received: datetime) -> Receipt | None:
    ref_text = event.get(REF_ARG)
    if not isinstance(ref_text, str):
        return None
    try:
        ref = DeliveryRef.parse(ref_text)
    except ValueError:
        return None
    meaning = _meaning(event)
    if meaning is None:
        return None
    status, reason, suppress = meaning
    # The first part of sg_message_id is the X-Message-Id that the call was answered with.
    message_id = _text(event, "sg_message_id").partition(".")[0][:_LONGEST_ID]
    return Receipt(ref, status, _at(event.get("timestamp"), received), message_id or None, reason, suppress)


def _meaning(event: Mapping[str, Any]) -> _Meaning | None:
    match event.get("event"):
        case "processed":
            return DeliveryStatus.ACCEPTED, "", None
        case "deferred":
            return DeliveryStatus.DEFERRED, _smtp_status(event), None
        case "delivered":
            return DeliveryStatus.DELIVERED, "", None
        case "bounce":
            # "blocked" is a refusal of this message (full mailbox, reputation), not of the address.
            blocked = event.get("type") == "blocked"
            reason = _smtp_status(event) or ("blocked" if blocked else "bounce")
            return DeliveryStatus.BOUNCED, reason, None if blocked else "bounce"
        case "dropped":
            reason, suppress = _DROPPED.get(_text(event, "reason").strip().lower(), ("dropped", None))
            return DeliveryStatus.BOUNCED, reason, suppress
        case "spamreport":
            return DeliveryStatus.COMPLAINED, "spam", "complaint"
        case "unsubscribe" | "group_unsubscribe":
            return DeliveryStatus.ACCEPTED, "unsubscribed", "unsubscribe"
    return None


def _smtp_status(event: Mapping[str, Any]) -> str:
    """An enhanced status code like 5.1.1; never SendGrid's free text, which names the address."""
    status = _text(event, "status")
    return status if _ENHANCED_STATUS.fullmatch(status) else ""


def _text(event: Mapping[str, Any], key: str) -> str:
    value = event.get(key)
    return value if isinstance(value, str) else ""


def _at(timestamp: Any, received: datetime) -> datetime:
    if isinstance(timestamp, int) and not isinstance(timestamp, bool):
        try:
            return datetime.fromtimestamp(timestamp, UTC)
        except (OverflowError, ValueError, OSError):
            return received
    return received
