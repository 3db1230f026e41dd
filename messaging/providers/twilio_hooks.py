"""What Twilio sends us: signatures, status callbacks and texts that people write.

Light to import: the web process uses this module and never ``twilio.rest``.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import urlparse

from twilio.request_validator import RequestValidator, add_port, remove_port

from messaging.keywords import keyword
from messaging.types import DeliveryRef, DeliveryStatus, InboundSms, Keyword, Receipt

_STATUS = {
    "accepted": DeliveryStatus.ACCEPTED,
    "scheduled": DeliveryStatus.ACCEPTED,
    "queued": DeliveryStatus.ACCEPTED,
    "sending": DeliveryStatus.ACCEPTED,
    "sent": DeliveryStatus.DEFERRED,  # the network has it; whether the phone does is not known
    "partially_delivered": DeliveryStatus.DEFERRED,
    "delivered": DeliveryStatus.DELIVERED,
    "read": DeliveryStatus.DELIVERED,
    "undelivered": DeliveryStatus.BOUNCED,
    "failed": DeliveryStatus.BOUNCED,
    "canceled": DeliveryStatus.BOUNCED,
}
# Never again to this number: 30005 is a number that does not exist, 30006 a landline. 30003 is
# a phone that is switched off, 30007 and 30008 say nothing lasting about the number.
_SUPPRESS = {"30005": "bounce", "30006": "bounce", "21610": "stop", "21614": "bounce"}
_CODE = re.compile(r"[0-9]{1,6}")
_SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
_ADDRESS = re.compile(r"\+?[0-9]{3,15}")
_DATE = re.compile(r"[0-9]{10}")
_OPT_OUT = {"STOP": Keyword.STOP, "START": Keyword.START, "HELP": Keyword.HELP}
_LONGEST_BODY = 1_600 * 4
SENT_FIELD = "wl_sent"  # of a text that was read from the list: when it was sent


class HookError(ValueError):
    """The form is not what Twilio documents; the message says what is missing."""


def verify_signature(
    auth_token: str, url: str, params: Mapping[str, str], signature: str, overrides: str = ""
) -> bool:
    """Whether Twilio signed this: the public ``url`` as it was called, query and all.

    ``params``: a dict, or a MultiDict with ``getlist``. ``overrides``: the fragment that the
    address was given with; a server never sees it, so the address is tried without it and with it.
    """
    try:
        return _signed(auth_token, url, params, signature) or (
            bool(overrides) and _signed(auth_token, url + overrides, params, signature)
        )
    except (ValueError, TypeError, AttributeError):  # hostile ports, surrogates, values
        return False


_validator = lru_cache(maxsize=8)(RequestValidator)


def _signed(auth_token: str, url: str, params: Mapping[str, str], signature: str) -> bool:
    """What RequestValidator.validate says of a form, with half of its work: with its port the address is tried
    only if it is not signed without.
    """
    validator, expected = _validator(auth_token), signature.encode()
    parsed = urlparse(url)
    return any(
        hmac.compare_digest(validator.compute_signature(form(parsed), params).encode(), expected)
        for form in (remove_port, add_port)
    )


def parse_status(
    ref_text: str, form: Mapping[str, str], received_at: datetime | None = None
) -> Receipt | None:
    """The receipt in a status callback, or None if it is not about one of our messages.

    Dated by RawDlrDoneDate where that is sane, else by ``received_at`` (UTC; default: now).
    Order is not guaranteed and statuses repeat: the rank of the status decides.
    """
    try:
        ref = DeliveryRef.parse(ref_text)
    except ValueError:
        return None
    status = _STATUS.get(form.get("MessageStatus") or form.get("SmsStatus") or "")
    if status is None:
        return None
    received = received_at or datetime.now(UTC)
    sid = form.get("MessageSid") or form.get("SmsSid") or ""
    code = form.get("ErrorCode") or ""
    failed = status is DeliveryStatus.BOUNCED and _CODE.fullmatch(code) is not None
    return Receipt(
        ref=ref,
        status=status,
        at=_done(form.get("RawDlrDoneDate") or "", received),
        provider_ref=sid if _SID.fullmatch(sid) else None,
        reason=code if failed else "",
        suppress=_SUPPRESS.get(code) if failed else None,
    )


def parse_inbound(form: Mapping[str, str]) -> InboundSms:
    """The text that somebody sent; HookError if it names no message or no sender.

    ``keyword`` is what Twilio says that it acted on, else what the words mean to us.
    """
    sid = form.get("MessageSid") or form.get("SmsMessageSid") or form.get("SmsSid") or ""
    sender, to = form.get("From") or "", form.get("To") or ""
    if not _SID.fullmatch(sid):
        raise HookError("MessageSid is missing or not a message's")
    if not _ADDRESS.fullmatch(sender) or not _ADDRESS.fullmatch(to):
        raise HookError("From or To is missing or not a phone number")
    body = (form.get("Body") or "")[:_LONGEST_BODY].replace("\x00", "")
    acted_on = _OPT_OUT.get((form.get("OptOutType") or "").upper())
    return InboundSms(sid, sender, to, body, acted_on or keyword(body), _sent(form.get(SENT_FIELD) or ""))


def _sent(text: str) -> datetime | None:
    try:
        sent = datetime.fromisoformat(text)
    except ValueError:
        return None
    return sent if sent.tzinfo else None


def _done(text: str, received: datetime) -> datetime:
    """RawDlrDoneDate (``YYMMDDhhmm``, UTC) if it lies within the week before we heard of it."""
    if not _DATE.fullmatch(text):
        return received
    try:
        done = datetime.strptime(text, "%y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError:
        return received
    sane = received - timedelta(days=7) <= done <= received + timedelta(minutes=1)
    return done if sane else received
