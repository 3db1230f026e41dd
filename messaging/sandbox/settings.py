"""What a sandbox is told when it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How one sandbox behaves.

    ``state`` is a folder of its own (made when missing): keys, ``sandbox.json``,
    ``acceptance.jsonl``. ``port`` 0 takes a free one. Credentials left out are made at random
    once and kept in ``state``. ``senders`` gives segments per second for a sender; every other
    one has ``sender_rate``. ``delivery_delay`` is the time in seconds between *sent* (e-mail:
    *processed*) and *delivered*. ``inbox_size`` is how many messages the inbox page shows at
    most, ``messages_kept`` how many texts can be fetched and listed. ``event_day`` is for how many
    seconds a batch of events is tried, a day at SendGrid, and ``event_longest_gap`` the longest pause
    between two tries. ``second`` opens the doors of the second providers: another Twilio account, a mail
    server, GOV.UK Notify.
    """

    state: Path
    port: int = 0
    account_sid: str | None = None
    auth_token: str | None = None
    sendgrid_key: str | None = None
    events_url: str | None = None
    inbound_url: str | None = None
    senders: Mapping[str, float] = field(default_factory=dict)
    sender_rate: float = 10.0
    receipts: bool = True
    delivery_delay: float = 0.2
    inbox_size: int = 20_000
    messages_kept: int = 200_000
    event_day: float = 86_400.0
    event_longest_gap: float = 15.0
    second: bool = False
