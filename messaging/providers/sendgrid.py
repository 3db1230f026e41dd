"""E-mail through SendGrid's v3 mail/send: one call for up to 1,000 recipients.

Its library gives the documented address and headers; the socket is ours (the library opens a
connection per call and sets no timeout) and the body is written by orjson, for it is the hot
loop: a few microseconds a recipient.
"""

from __future__ import annotations

from typing import Any

import orjson
from sendgrid import SendGridAPIClient

from messaging.providers.base import REF_ARG, SYNTHETIC, MayStart, is_loopback
from messaging.providers.connection import HttpError, NotSentError
from messaging.providers.http import HttpClient
from messaging.providers.sendgrid_errors import classify
from messaging.types import EmailCall, Outcome, SendResult

GLOBAL_HOST = "https://api.sendgrid.com"
EU_HOST = "https://api.eu.sendgrid.com"
# Nothing of ours is measured by watching people: neither opens nor clicks, and our own links
# for leaving instead of SendGrid's.
_TRACKING_OFF = {
    "click_tracking": {"enable": False, "enable_text": False},
    "open_tracking": {"enable": False},
    "subscription_tracking": {"enable": False},
    "ganalytics": {"enable": False},
}
_GLOBAL_HEADERS = {"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def build_body(call: EmailCall) -> bytes:
    """The JSON of one call. 1,000 recipients with four substitutions take 2 to 3 ms."""
    content = call.content
    # A reference's text but for the ordinal, as DeliveryRef writes it.
    ref = f"{call.dispatch.hex}.{call.batch}.{call.attempt}."
    message: dict[str, Any] = {
        "personalizations": [
            {
                "to": [{"email": address}],
                "substitutions": substitutions,
                "headers": {"List-Unsubscribe": f"<{stop_url}>"} if stop_url else {},
                "custom_args": {REF_ARG: f"{ref}{ordinal}"},
            }
            for ordinal, address, stop_url, substitutions, _ in call.recipients
        ],
        "from": {"email": content.from_email, "name": _name(content.from_name)},
        "subject": content.subject,
        "content": [
            {"type": "text/plain", "value": content.text},
            {"type": "text/html", "value": content.html},
        ],
        # One click is promised only where every recipient has a link for it.
        "headers": _GLOBAL_HEADERS if all(r.stop_url for r in call.recipients) else {},
        "tracking_settings": _TRACKING_OFF,
    }
    if content.reply_to is not None:
        message["reply_to"] = {"email": content.reply_to}
    return orjson.dumps(message)


def _name(name: str) -> str:
    """SendGrid takes neither semicolons nor commas in a name."""
    return " ".join(name.replace(";", " ").replace(",", " ").split())


class SendGridProvider:
    """Sends e-mail. ``base_url``: GLOBAL_HOST, EU_HOST or the sandbox's. ``limit``: calls in flight."""

    name = "sendgrid"

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str = GLOBAL_HOST,
        limit: int = 8,
        connect_timeout: float = 5.0,
    ) -> None:
        self._http = HttpClient(base_url, limit=limit, connect_timeout=connect_timeout)
        self._loopback = is_loopback(base_url)
        # The library's own request, up to the point where it would open a socket.
        request = SendGridAPIClient(api_key, host=self._http.origin).client.mail.send
        self._target = str(request._build_url(None)).removeprefix(self._http.origin)
        self._headers = {**request.request_headers, "Content-Type": "application/json"}

    def __repr__(self) -> str:
        return f"SendGridProvider({self._http.origin})"

    async def send(self, call: EmailCall, timeout: float, *, may_start: MayStart | None = None) -> SendResult:
        """Send one call; seconds of ``timeout`` hold for all of it. Never raises for the provider.

        A synthetic recipient never leaves this machine: NOT_TAKEN with all such ordinals in
        ``rejected``, before any byte.
        """
        if not self._loopback:
            synthetic = {r.ordinal: SYNTHETIC for r in call.recipients if r.synthetic}
            if synthetic:
                return SendResult(Outcome.NOT_TAKEN, reason=SYNTHETIC, rejected=synthetic)
        if not call.recipients:
            raise ValueError("an e-mail call without recipients")
        try:
            response = await self._http.request(
                "POST", self._target, self._headers, build_body(call), timeout=timeout, may_start=may_start
            )
        except NotSentError as error:
            return SendResult(Outcome.NOT_TAKEN, reason=error.reason)
        except HttpError as error:
            return SendResult(Outcome.IN_DOUBT, reason=error.reason, retryable=False)
        return classify(response, [recipient.ordinal for recipient in call.recipients])

    async def aclose(self) -> None:
        """Close the kept connections; the provider may be used again in another event loop."""
        await self._http.aclose()
