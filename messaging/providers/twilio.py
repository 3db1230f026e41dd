"""Text messages through Twilio's Messages API, over our HTTP client.

Twilio's library gives the documented request, once: address, headers, sign-in and the names of the
form's fields. Written and read message by message it takes three times as long (it parses every date and
makes an object of every answer), and its socket ignores its own timeout and hides Retry-After. So the form
of a message is written here, and of the answer the sid is read. ``twilio.rest`` is costly to import
(about 30 MiB), so it is imported when the first provider is made; the web process uses
:mod:`messaging.providers.twilio_hooks` alone.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import orjson

from messaging.providers.base import SYNTHETIC, MayStart, is_loopback
from messaging.providers.connection import HttpError, NotSentError, Response
from messaging.providers.http import HttpClient
from messaging.providers.twilio_errors import classify
from messaging.types import Outcome, SendResult, SmsMessage

API_BASE = "https://api.twilio.com"
STATUS_PATH = "/hooks/twilio/status"
# Asks Twilio to repeat a status callback that met a closed door, a silence or a 5xx: by default
# it tries again only where no connection was made, and once.
CALLBACK_OVERRIDES = "#rc=3&rp=ct,rt,5xx"
MAX_VALIDITY = 36_000  # seconds: Twilio's longest
_ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
_MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
_UNREADABLE = SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)


class TwilioProvider:
    """Sends text messages. ``public_url``: https address under which Twilio reaches our webhooks.

    ``username`` and ``password`` are an API key and its secret where the account's SID and
    token are not to be used. ``limit``: calls in flight. ``name`` tells one account from another.
    """

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        public_url: str,
        base_url: str = API_BASE,
        api_key: tuple[str, str] | None = None,
        name: str = "twilio",
        limit: int = 400,
        connect_timeout: float = 5.0,
    ) -> None:
        if not _ACCOUNT_SID.fullmatch(account_sid):
            raise ValueError("a Twilio account SID is AC followed by 32 hexadecimal digits")
        self.name = name
        self._http = HttpClient(base_url, limit=limit, connect_timeout=connect_timeout)
        self._loopback = is_loopback(base_url)
        asked = _documented(account_sid, auth_token, api_key, self._http.origin)
        self._head = self._http.prepare("POST", asked.target, asked.headers)
        self._to, self._body, callback, sender, validity = asked.fields
        self._callback = f"&{callback}=" + quote_plus(f"{public_url.rstrip('/')}{STATUS_PATH}?ref=")
        overrides = quote_plus(CALLBACK_OVERRIDES)

        # What a batch has in common is written once. Of bodies few: they may hold names.
        def same(from_: str, seconds: int) -> str:
            if not 1 <= seconds <= MAX_VALIDITY:
                raise ValueError("a text message's validity is 1 to 36,000 seconds")
            return f"{overrides}&{sender}={quote_plus(from_)}&{validity}={seconds}&{self._body}="

        self._same = lru_cache(maxsize=64)(same)
        self._quoted = lru_cache(maxsize=8)(quote_plus)

    def __repr__(self) -> str:
        return f"TwilioProvider({self._http.origin})"

    async def send(
        self, message: SmsMessage, timeout: float, *, may_start: MayStart | None = None
    ) -> SendResult:
        """Send one message; seconds of ``timeout`` hold for the whole call. Never raises for the provider."""
        if message.synthetic and not self._loopback:
            return SendResult(Outcome.REFUSED, reason=SYNTHETIC, retryable=False)
        form = (
            f"{self._to}={quote_plus(message.to)}{self._callback}{message.ref}"
            f"{self._same(message.sender, message.validity_seconds)}{self._quoted(message.body)}"
        )
        try:
            response = await self._http.exchange(
                self._head, form.encode("ascii"), timeout=timeout, may_start=may_start
            )
        except NotSentError as error:
            return SendResult(Outcome.NOT_TAKEN, reason=error.reason)
        except HttpError as error:
            return SendResult(Outcome.IN_DOUBT, reason=error.reason, retryable=False)
        if not 200 <= response.status < 300:
            return classify(response)
        return _taken(response)

    async def aclose(self) -> None:
        """Close the kept connections; the provider may be used again in another event loop."""
        await self._http.aclose()


def _taken(response: Response) -> SendResult:
    """The result for a 2xx: without a sid that can be read, nobody knows what was taken."""
    try:
        document = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return _UNREADABLE
    sid = document.get("sid") if isinstance(document, dict) else None
    if not isinstance(sid, str) or not _MESSAGE_SID.fullmatch(sid):
        return _UNREADABLE
    return SendResult(Outcome.TAKEN, provider_ref=sid)


class _Documented(NamedTuple):
    """Twilio's request to create a message. ``fields``: how its form names recipient, body, callback,
    sender and validity.
    """

    target: str
    headers: dict[str, str]
    fields: tuple[str, str, str, str, str]


class _Caught(Exception):
    """Carries a request of Twilio's library out of it, instead of to a socket."""

    def __init__(
        self, uri: str, headers: dict[str, str], auth: tuple[str, str] | None, form: dict[str, Any]
    ) -> None:
        super().__init__(uri)
        self.uri, self.headers, self.auth, self.form = uri, headers, auth, form


def _documented(
    account_sid: str, auth_token: str, api_key: tuple[str, str] | None, origin: str
) -> _Documented:
    from twilio.http import HttpClient as Transport
    from twilio.rest import Client

    class Catch(Transport):  # type: ignore[misc, unused-ignore]
        def request(self, _method: str, uri: str, **given: Any) -> Any:
            raise _Caught(uri, given["headers"], given["auth"], given["data"])

    client = Client(
        *(api_key or (account_sid, auth_token)),
        account_sid,
        http_client=Catch(None, False, None),
        # Without this the library takes region and edge from TWILIO_REGION and TWILIO_EDGE.
        environment={"TWILIO_REGION": "", "TWILIO_EDGE": ""},
    )
    client.api.base_url = origin
    wanted = ("to", "body", "callback", "sender", 1)
    try:
        client.messages.create(
            to=wanted[0],
            body=wanted[1],
            status_callback=wanted[2],
            from_=wanted[3],
            validity_period=wanted[4],
        )
    except _Caught as caught:
        names = {value: name for name, value in caught.form.items()}
        headers = dict(caught.headers)
        if caught.auth is not None:
            pair = base64.b64encode(":".join(caught.auth).encode()).decode("ascii")
            headers["Authorization"] = f"Basic {pair}"
        to, body, callback, sender, validity = (names[value] for value in wanted)
        return _Documented(
            caught.uri.removeprefix(origin),
            headers,
            (to, body, callback, sender, validity),
        )
    raise RuntimeError("Twilio's library asked for nothing")
