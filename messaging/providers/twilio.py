"""Text messages through Twilio's own asynchronous client, over our HTTP client.

Twilio's library writes the documented request and reads the documented answer; the socket is
ours, because the library's ignores its own timeout, hides Retry-After and keeps at most 100
connections. ``twilio.rest`` is costly to import (about 30 MiB), so it is imported when the
first client is made; the web process uses :mod:`messaging.providers.twilio_hooks` alone.
"""

from __future__ import annotations

import base64
import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from messaging.providers.base import SYNTHETIC, MayStart, is_loopback
from messaging.providers.connection import HttpError, NotSentError, Response
from messaging.providers.http import HttpClient
from messaging.providers.twilio_errors import classify
from messaging.types import Outcome, SendResult, SmsMessage

if TYPE_CHECKING:
    from twilio.rest import Client

API_BASE = "https://api.twilio.com"
STATUS_PATH = "/hooks/twilio/status"
# Asks Twilio to repeat a status callback that met a closed door, a silence or a 5xx: by default
# it tries again only where no connection was made, and once.
CALLBACK_OVERRIDES = "#rc=3&rp=ct,rt,5xx"
MAX_VALIDITY = 36_000  # seconds: Twilio's longest
_ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
_MESSAGE_SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")


class _AnsweredError(Exception):
    """Twilio answered with something else than 2xx; carries what its own exception drops."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class _Call:
    """What one ``send`` says to the transport below the library, and hears back."""

    __slots__ = ("answered", "may_start", "timeout")

    def __init__(self, timeout: float, may_start: MayStart | None) -> None:
        self.timeout = timeout
        self.may_start = may_start
        self.answered = False  # a 2xx was read


_call: ContextVar[_Call] = ContextVar("wardlink_twilio_call")


class TwilioProvider:
    """Sends text messages. ``public_url``: https address under which Twilio reaches our webhooks.

    ``username`` and ``password`` are an API key and its secret where the account's SID and
    token are not to be used. ``limit``: calls in flight.
    """

    name = "twilio"

    def __init__(
        self,
        account_sid: str,
        auth_token: str,
        *,
        public_url: str,
        base_url: str = API_BASE,
        api_key: tuple[str, str] | None = None,
        limit: int = 400,
        connect_timeout: float = 5.0,
    ) -> None:
        if not _ACCOUNT_SID.fullmatch(account_sid):
            raise ValueError("a Twilio account SID is AC followed by 32 hexadecimal digits")
        self._http = HttpClient(base_url, limit=limit, connect_timeout=connect_timeout)
        self._loopback = is_loopback(base_url)
        self._callback = f"{public_url.rstrip('/')}{STATUS_PATH}?ref="
        self._client = _client(account_sid, auth_token, api_key, self._http)
        self._messages = self._client.messages

    def __repr__(self) -> str:
        return f"TwilioProvider({self._http.origin})"

    async def send(
        self, message: SmsMessage, timeout: float, *, may_start: MayStart | None = None
    ) -> SendResult:
        """Send one message; seconds of ``timeout`` hold for the whole call. Never raises for the provider."""
        if message.synthetic and not self._loopback:
            return SendResult(Outcome.REFUSED, reason=SYNTHETIC, retryable=False)
        if not 1 <= message.validity_seconds <= MAX_VALIDITY:
            raise ValueError("a text message's validity is 1 to 36,000 seconds")
        call = _Call(timeout, may_start)
        token = _call.set(call)
        try:
            made = await self._messages.create_async(
                to=message.to,
                from_=message.sender,
                body=message.body,
                status_callback=f"{self._callback}{message.ref}{CALLBACK_OVERRIDES}",
                validity_period=message.validity_seconds,
            )
        except _AnsweredError as answer:
            return classify(answer.response)
        except NotSentError as error:
            return SendResult(Outcome.NOT_TAKEN, reason=error.reason)
        except HttpError as error:
            return SendResult(Outcome.IN_DOUBT, reason=error.reason, retryable=False)
        except Exception:
            # The library stumbles in its own ways over an answer that is not what it expects;
            # once a 2xx was read, each of them means the same.
            if not call.answered:
                raise
            return SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)
        finally:
            _call.reset(token)
        if not isinstance(made.sid, str) or not _MESSAGE_SID.fullmatch(made.sid):
            return SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)
        return SendResult(Outcome.TAKEN, provider_ref=made.sid)

    async def aclose(self) -> None:
        """Close the kept connections; the provider may be used again in another event loop."""
        await self._http.aclose()


def _client(account_sid: str, auth_token: str, api_key: tuple[str, str] | None, http: HttpClient) -> Client:
    from twilio.http import AsyncHttpClient
    from twilio.http.response import Response as TwilioResponse
    from twilio.rest import Client

    class Transport(AsyncHttpClient):  # type: ignore[misc, unused-ignore]
        """Twilio's library above, our HTTP client below."""

        def __init__(self) -> None:
            super().__init__(logging.getLogger("wardlink.twilio"), True, None)
            self._authorization: dict[tuple[str, str], str] = {}

        async def request(
            self,
            method: str,
            uri: str,
            params: dict[str, object] | None = None,
            data: dict[str, object] | None = None,
            headers: dict[str, str] | None = None,
            auth: tuple[str, str] | None = None,
            timeout: float | None = None,
            allow_redirects: bool = False,
        ) -> Any:
            call = _call.get()
            target = _target(uri, http.origin, params)
            sent = dict(headers or {})
            if auth is not None:
                sent["Authorization"] = self._basic(auth)
            body = urlencode(data or {}, doseq=True).encode("ascii")
            response = await http.request(
                method, target, sent, body, timeout=call.timeout, may_start=call.may_start
            )
            if not 200 <= response.status < 300:
                raise _AnsweredError(response)
            call.answered = True
            return TwilioResponse(response.status, response.body.decode(), response.headers)

        def _basic(self, auth: tuple[str, str]) -> str:
            known = self._authorization.get(auth)
            if known is None:
                pair = base64.b64encode(f"{auth[0]}:{auth[1]}".encode()).decode("ascii")
                known = self._authorization[auth] = f"Basic {pair}"
            return known

    username, password = api_key or (account_sid, auth_token)
    client = Client(
        username,
        password,
        account_sid,
        http_client=Transport(),
        # Without this the library takes region and edge from TWILIO_REGION and TWILIO_EDGE.
        environment={"TWILIO_REGION": "", "TWILIO_EDGE": ""},
    )
    client.api.base_url = http.origin
    return client


def _target(uri: str, origin: str, params: dict[str, object] | None) -> str:
    """The path to ask for; the library may lead to no other host than the one configured."""
    if not uri.startswith(origin + "/"):
        raise ValueError("Twilio's library asked for another host than the configured one")
    parts = urlsplit(uri)
    query = "&".join(filter(None, (parts.query, urlencode(params or {}, doseq=True))))
    return f"{parts.path}?{query}" if query else parts.path
