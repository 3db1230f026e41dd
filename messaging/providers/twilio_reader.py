"""What Twilio knows of messages, asked by its own library over our HTTP client: one by its sid, those to a number.

Used where a callback stayed away. ``twilio.rest`` is imported when the first reader is made.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from messaging.providers.connection import HttpError, Response
from messaging.providers.http import HttpClient, retry_after
from messaging.providers.twilio import API_BASE

if TYPE_CHECKING:
    from twilio.rest import Client

PAGE = 200  # messages in one answer
MOST_PAGES = 50
TIMEOUT = 30.0  # seconds, each question and its wait for its turn


class ReaderError(Exception):
    """Twilio did not answer the question. ``retry_after`` in seconds, where it said when to come back."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.retry_after = reason, retry_after


class Known(NamedTuple):
    """A message as Twilio shows it. Times are UTC; ``sent_at`` is None until it left."""

    sid: str
    status: str
    to: str
    sender: str
    body: str
    direction: str
    created_at: datetime
    sent_at: datetime | None
    error: str

    def form(self) -> dict[str, str]:
        """The same as a status callback says it."""
        return {"MessageSid": self.sid, "MessageStatus": self.status, "ErrorCode": self.error}


class TwilioReader:
    """Reads one account. At most ``limit`` questions at once; ``aclose()`` before its event loop ends."""

    def __init__(
        self, account_sid: str, auth_token: str, *, base_url: str = API_BASE, limit: int = 10
    ) -> None:
        self._http = HttpClient(base_url, limit=limit)
        self._client = _client(account_sid, auth_token, self._http)

    async def fetch(self, sid: str) -> Known | None:
        """One message; None if Twilio has none of that sid. Raises ReaderError."""
        try:
            return _known(await self._client.messages(sid).fetch_async())
        except _AnsweredError as answer:
            if answer.response.status == 404:
                return None
            raise _error(answer.response) from None
        except HttpError as error:
            raise ReaderError(error.reason) from None

    async def sent_to(self, number: str, *, since: datetime) -> list[Known]:
        """What this account wrote to a number since then, by the time of its making.

        No filter by date is used: what has not left yet has no date of sending. Raises ReaderError.
        """
        found = []
        async for one in self._pages({"to": number}):
            if one.created_at < since:
                break  # the newest come first
            if one.direction.startswith("outbound"):
                found.append(one)
        return found

    async def received(self, number: str, *, since: datetime) -> list[Known]:
        """The texts that people sent to a number of ours since then, the oldest first. Raises ReaderError."""
        asked = {"to": number, "date_sent_after": since.astimezone(UTC)}
        found = [one async for one in self._pages(asked) if one.direction == "inbound"]
        return sorted((one for one in found if _received_at(one) >= since), key=_received_at)

    async def _pages(self, asked: dict[str, Any]) -> AsyncIterator[Known]:
        try:
            page = await self._client.messages.page_async(page_size=PAGE, **asked)
            for _ in range(MOST_PAGES):
                for record in page:
                    yield _known(record)
                if page.next_page_url is None:
                    return
                page = await self._client.messages.get_page_async(page.next_page_url)
        except _AnsweredError as answer:
            raise _error(answer.response) from None
        except HttpError as error:
            raise ReaderError(error.reason) from None
        raise ReaderError("too many messages")

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._http.aclose()


def _received_at(one: Known) -> datetime:
    return one.sent_at or one.created_at


def _known(message: Any) -> Known:
    made = message.date_created
    if not isinstance(made, datetime):
        raise ReaderError("unreadable")
    sent = message.date_sent if isinstance(message.date_sent, datetime) else None
    return Known(
        sid=str(message.sid),
        status=str(message.status),
        to=message.to or "",
        sender=message.from_ or "",
        body=message.body or "",
        direction=str(message.direction),
        created_at=made,
        sent_at=sent,
        error="" if message.error_code is None else str(message.error_code),
    )


class _AnsweredError(Exception):
    """Twilio answered with something else than 2xx; carries what its own exception drops."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def _error(response: Response) -> ReaderError:
    return ReaderError(str(response.status), retry_after(response.headers))


def _client(account_sid: str, auth_token: str, http: HttpClient) -> Client:
    from twilio.http import AsyncHttpClient
    from twilio.http.response import Response as TwilioResponse
    from twilio.rest import Client

    class Transport(AsyncHttpClient):  # type: ignore[misc, unused-ignore]
        """Twilio's library above, our HTTP client below."""

        def __init__(self) -> None:
            super().__init__(logging.getLogger("wardlink.twilio"), True, None)

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
            if not uri.startswith(http.origin + "/"):
                raise ValueError("Twilio's library asked for another host than the configured one")
            parts = urlsplit(uri)
            query = "&".join(filter(None, (parts.query, urlencode(params or {}, doseq=True))))
            sent = dict(headers or {})
            if auth is not None:
                sent["Authorization"] = "Basic " + base64.b64encode(":".join(auth).encode()).decode("ascii")
            body = urlencode(data or {}, doseq=True).encode("ascii")
            target = f"{parts.path}?{query}" if query else parts.path
            response = await http.request(method, target, sent, body, timeout=TIMEOUT)
            if not 200 <= response.status < 300:
                raise _AnsweredError(response)
            return TwilioResponse(response.status, response.body.decode(), response.headers)

    client = Client(
        account_sid,
        auth_token,
        account_sid,
        http_client=Transport(),
        # Without this the library takes region and edge from TWILIO_REGION and TWILIO_EDGE.
        environment={"TWILIO_REGION": "", "TWILIO_EDGE": ""},
    )
    client.api.base_url = http.origin
    return client
