"""The small protocol the sending engine needs of a provider, and what all adapters share.

An adapter never raises for what a provider or a network does: it answers with a
:class:`~messaging.types.SendResult`. Cancelling the task that awaits ``send`` throws the
connection away; whether bytes had left is then unknown, so the caller must count the call as
in doubt.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

from messaging.types import EmailCall, SendResult, SmsMessage

MayStart = Callable[[], bool]
"""Asked once, right before the first byte: False if the lease's deadline has passed."""

SYNTHETIC = "synthetic"
"""The reason why an adapter will not send to a made-up person over a real network."""

REF_ARG = "wl"
"""Name under which a delivery reference travels with an e-mail and returns in every event."""


class EmailProvider(Protocol):
    """Sends one call of at most 1,000 recipients, none of them twice."""

    name: str

    async def send(
        self, call: EmailCall, timeout: float, *, may_start: MayStart | None = None
    ) -> SendResult: ...

    async def aclose(self) -> None: ...


class SmsProvider(Protocol):
    """Sends one text message a call; many calls may be awaited at once."""

    name: str

    async def send(
        self, message: SmsMessage, timeout: float, *, may_start: MayStart | None = None
    ) -> SendResult: ...

    async def aclose(self) -> None: ...


def is_loopback(base_url: str) -> bool:
    """Whether an address can only be this machine: ``localhost``, 127.0.0.0/8 or ::1.

    Names are not resolved: a name that points at this machine today may not tomorrow.
    """
    try:
        host = urlsplit(base_url).hostname
    except ValueError:
        return False
    if host is None:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
