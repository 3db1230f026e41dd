"""What passes between the service and the providers: the shapes, and nothing that does.

Pure: no database, queue or web framework. A *delivery reference* travels with everything
that leaves and comes back in every receipt; it is known at the freeze, before any row of
the ledger exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID


class Channel(StrEnum):
    """How a contact point is reached."""

    EMAIL = "email"
    SMS = "sms"


class DeliveryStatus(IntEnum):
    """What is known of one recipient of a dispatch. The value is the rank.

    Evidence moves a delivery only upwards, so receipts may come twice and in any order, and
    a late bounce or complaint outranks *delivered*.
    """

    WAITING = 0  # given back for another try: proved not taken, time remains
    IN_DOUBT = 10  # bytes left, no answer was read
    EXPIRED = 20  # its time ran out before it left
    STOPPED = 21  # said stop, or the dispatch was stopped, before it left
    ERASED = 22  # the contact point was erased before it left
    REFUSED = 23  # the provider, or our own adapter, would not take it
    ACCEPTED = 30  # the provider took it
    DEFERRED = 32  # the provider says: trying again (or: handed to the network)
    DELIVERED = 40
    BOUNCED = 50  # failed after acceptance, for good
    COMPLAINED = 60  # the recipient called it spam


class Outcome(StrEnum):
    """What happened to one call (design §5: what happened decides what may follow)."""

    TAKEN = "taken"  # 2xx, read
    NOT_TAKEN = "not_taken"  # refused before any byte, 4xx, 429: may be tried again
    IN_DOUBT = "in_doubt"  # bytes written, then timeout, reset, 5xx, unreadable 2xx: may not
    REFUSED = "refused"  # this one recipient will never be taken


@lru_cache(maxsize=256)
def _dispatch(text: str) -> UUID:
    # Thousands of receipts in a row are about one dispatch.
    return UUID(hex=text)


class DeliveryRef(NamedTuple):
    """(dispatch, batch, attempt, ordinal) as it travels: ``<32 hex>.<batch>.<attempt>.<ordinal>``."""

    dispatch: UUID
    batch: int
    attempt: int
    ordinal: int

    def __str__(self) -> str:
        return f"{self.dispatch.hex}.{self.batch}.{self.attempt}.{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> DeliveryRef:
        """Read a reference; ValueError for anything that is not exactly one of ours."""
        parts = text.split(".")
        if len(parts) != 4 or len(parts[0]) != 32 or not text.isascii():
            raise ValueError("not a delivery reference")
        numbers = []
        for part in parts[1:]:
            if not part.isdigit() or len(part) > 9:
                raise ValueError("not a delivery reference")
            numbers.append(int(part))
        return cls(_dispatch(parts[0]), *numbers)


@dataclass(frozen=True, slots=True)
class EmailContent:
    """One e-mail, the same for a whole batch but for its substitutions.

    ``subject``, ``text`` and ``html`` hold substitution tags (see messaging.render); ``html``
    is already escaped.
    """

    from_email: str
    from_name: str
    subject: str
    text: str
    html: str
    reply_to: str | None = None


class EmailRecipient(NamedTuple):
    """One personalisation of an e-mail call."""

    ordinal: int
    address: str
    stop_url: str  # RFC 8058: https, answers POST; empty in a message of no list (a code, an answer)
    substitutions: dict[str, str]  # tag → value, complete; at most 10,000 bytes in all
    synthetic: bool


@dataclass(frozen=True, slots=True)
class EmailCall:
    """One provider call: ≤ 1,000 recipients, no address twice."""

    dispatch: UUID
    batch: int
    attempt: int
    content: EmailContent
    recipients: Sequence[EmailRecipient]


@dataclass(frozen=True, slots=True)
class SmsMessage:
    """One text message."""

    ref: DeliveryRef
    sender: str  # E.164 or an alphanumeric sender
    to: str  # E.164
    body: str
    validity_seconds: int  # 1 to 36,000
    synthetic: bool


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of a call (e-mail) or a message (SMS).

    ``rejected`` (e-mail, with NOT_TAKEN): ordinals the provider named as the fault, each with
    its reason: fail those and send the rest as a new attempt. ``bisect``: it refused the call
    for a recipient but could not be understood: halve the call. ``each`` (e-mail): where every
    message is a call of its own, what became of each by its ordinal; ``outcome`` is then the worst.
    """

    outcome: Outcome
    provider_ref: str | None = None
    reason: str = ""  # short code: "429", "21610", "timeout", "bad-address" …, never an address
    retryable: bool = True
    retry_after: float | None = None  # seconds
    busy: str = ""  # "account" or "sender": which of them the provider wants left alone for a while
    opted_out: bool = False  # the provider holds a STOP: becomes a suppression
    rejected: Mapping[int, str] = field(default_factory=dict)
    bisect: bool = False
    each: Mapping[int, SendResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a provider reports later of one delivery."""

    ref: DeliveryRef
    status: DeliveryStatus
    at: datetime  # UTC, as the provider dates it
    provider_ref: str | None = None
    reason: str = ""
    suppress: str | None = None  # "bounce", "complaint", "unsubscribe", "stop": why to write no more


class Keyword(StrEnum):
    STOP = "stop"
    START = "start"
    HELP = "help"


@dataclass(frozen=True, slots=True)
class InboundSms:
    """A text that somebody sent to one of our numbers."""

    provider_ref: str
    sender: str  # theirs, E.164
    to: str  # ours
    body: str
    keyword: Keyword | None
    # When it was sent, for one that was read from the provider's list: later than others that were sent after it.
    sent_at: datetime | None = None
