"""Urgent messages through GOV.UK Notify: the last way, when the others are down.

Notify sends one template a message: ours hold nothing but ((subject)) and ((body)). Its client is synchronous
and not safe between threads, so a few threads have one each.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
import urllib3.exceptions
from notifications_python_client.errors import APIError, HTTPError, InvalidResponse
from notifications_python_client.notifications import NotificationsAPIClient

from messaging.providers.base import SYNTHETIC, MayStart, is_loopback
from messaging.providers.single import filler, together
from messaging.types import DeliveryRef, EmailCall, EmailRecipient, Outcome, SendResult, SmsMessage

API_BASE = "https://api.notifications.service.gov.uk"
NAME = "notify"
THREADS = 8
_SHORTEST_KEY = 73  # a service id, a secret and the hyphens before and between them
_MESSAGE_IDS = 100  # characters of an id that are kept at most


class NotifyClient:
    """What the adapters of both channels share: a key, an address and the threads. Closed by either, once."""

    def __init__(self, api_key: str, base_url: str = API_BASE, *, threads: int = THREADS) -> None:
        if len(api_key) < _SHORTEST_KEY:
            raise ValueError("a Notify key is a name, a service id and a secret with hyphens between")
        self.loopback = is_loopback(base_url)
        self._key = api_key
        self._base_url = base_url
        self._threads = threads
        self._own = threading.local()
        self._pool: ThreadPoolExecutor | None = None

    async def call(
        self, ask: Callable[[NotificationsAPIClient], Any], timeout: float, may_start: MayStart | None
    ) -> SendResult:
        """One request in a thread; seconds of ``timeout`` hold for connecting and for each wait to read."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="notify")
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, self._ask, ask, timeout, may_start
        )

    def _ask(
        self, ask: Callable[[NotificationsAPIClient], Any], timeout: float, may_start: MayStart | None
    ) -> SendResult:
        client = getattr(self._own, "client", None)
        if client is None:
            client = NotificationsAPIClient(self._key, base_url=self._base_url)  # type: ignore[no-untyped-call]
            self._own.client = client
            client.request_session.trust_env = False  # no proxy comes between, and no .netrc
            client.request_session.max_redirects = 0
        client.timeout = timeout
        if may_start is not None and not may_start():
            return SendResult(Outcome.NOT_TAKEN, reason="deadline")
        try:
            return _taken(ask(client))
        except InvalidResponse:
            return SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)
        except HTTPError as error:
            return _refused(error)
        except (requests.RequestException, ValueError):
            return SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)

    async def aclose(self) -> None:
        """Let the threads go; those under way end by their time-out."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
            self._own = threading.local()


def _taken(answer: object) -> SendResult:
    found = answer.get("id") if isinstance(answer, dict) else None
    if not isinstance(found, str) or not found:
        return SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)
    return SendResult(Outcome.TAKEN, provider_ref=found[:_MESSAGE_IDS])


def _refused(error: APIError) -> SendResult:
    """What an answer other than 2xx, or none, means for one message."""
    if error.response is None:
        return _unanswered(error.__cause__)
    status = error.status_code
    match status:
        case 429:
            return SendResult(Outcome.NOT_TAKEN, reason="429", retry_after=_daily(error))
        case 401 | 403 | 404:
            return SendResult(Outcome.NOT_TAKEN, reason="account")
        case 400:
            return _bad_request(error)
    if 400 <= status < 500:
        return SendResult(Outcome.NOT_TAKEN, reason=str(status))
    return SendResult(Outcome.IN_DOUBT, reason=str(status), retryable=False)


def _daily(error: APIError) -> float | None:
    """Over the day's limit another minute does not help."""
    return 600.0 if "TooManyRequestsError" in str(error.message) else None


def _bad_request(error: APIError) -> SendResult:
    """The recipient, the template or the key. Only a bad recipient is this person's own."""
    words = str(error.message).lower()
    if any(w in words for w in ("team-only", "team only", "trial mode", "template", "service")):
        return SendResult(Outcome.NOT_TAKEN, reason="account")
    if any(w in words for w in ("email_address", "phone_number", "phone number", "international", "email")):
        return SendResult(Outcome.REFUSED, reason="bad-address", retryable=False)
    return SendResult(Outcome.REFUSED, reason="400", retryable=False)


def _unanswered(cause: BaseException | None) -> SendResult:
    """No answer was read: whether a byte may have left is told by what the library raised."""
    if isinstance(cause, requests.exceptions.ConnectTimeout):
        return SendResult(Outcome.NOT_TAKEN, reason="connect-timeout")
    if isinstance(cause, requests.exceptions.SSLError) and _wrong_certificate(cause):
        return SendResult(Outcome.NOT_TAKEN, reason="tls")
    if isinstance(cause, requests.exceptions.ConnectionError) and _never_connected(cause):
        return SendResult(Outcome.NOT_TAKEN, reason="connect")
    if isinstance(cause, requests.exceptions.Timeout):
        return SendResult(Outcome.IN_DOUBT, reason="timeout", retryable=False)
    return SendResult(Outcome.IN_DOUBT, reason="reset", retryable=False)


def _wrong_certificate(error: BaseException) -> bool:
    """Whether the other side was never trusted, and so told nothing. Any other trouble of TLS may come after the
    request was read.
    """
    inner: object = error
    for _ in range(5):  # requests wraps urllib3, which wraps ssl
        if isinstance(inner, ssl.SSLCertVerificationError):
            return True
        first = inner.args[0] if isinstance(inner, BaseException) and inner.args else None
        inner = getattr(inner, "reason", None) or first
        if not isinstance(inner, BaseException):
            return False
    return False


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", inner)
    return isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.NameResolutionError)


class NotifySms:
    """Texts, from the service's own sender. Nobody can answer them STOP: they hold a link instead."""

    name = NAME

    def __init__(self, client: NotifyClient, template: str) -> None:
        self._client = client
        self._template = template

    def __repr__(self) -> str:
        return "NotifySms()"

    async def send(
        self, message: SmsMessage, timeout: float, *, may_start: MayStart | None = None
    ) -> SendResult:
        """Send one message. Never raises for the provider. Notify takes no validity: see the decision record."""
        if message.synthetic and not self._client.loopback:
            return SendResult(Outcome.REFUSED, reason=SYNTHETIC, retryable=False)
        return await self._client.call(
            lambda client: client.send_sms_notification(  # type: ignore[no-untyped-call]
                phone_number=message.to,
                template_id=self._template,
                personalisation={"body": message.body},
                reference=str(message.ref),
            ),
            timeout,
            may_start,
        )

    async def aclose(self) -> None:
        await self._client.aclose()


class NotifyEmail:
    """E-mail, from the service's own address: one request a person, told apart in ``each``."""

    name = NAME

    def __init__(self, client: NotifyClient, template: str) -> None:
        self._client = client
        self._template = template

    def __repr__(self) -> str:
        return "NotifyEmail()"

    async def send(self, call: EmailCall, timeout: float, *, may_start: MayStart | None = None) -> SendResult:
        """Send to all of them at once. Never raises for the provider."""
        if not self._client.loopback:
            synthetic = {r.ordinal: SYNTHETIC for r in call.recipients if r.synthetic}
            if synthetic:
                return SendResult(Outcome.NOT_TAKEN, reason=SYNTHETIC, rejected=synthetic)
        if not call.recipients:
            raise ValueError("an e-mail call without recipients")
        results = await asyncio.gather(
            *(
                self._client.call(self._request(call, person), timeout, may_start)
                for person in call.recipients
            )
        )
        return together({p.ordinal: r for p, r in zip(call.recipients, results, strict=True)})

    def _request(self, call: EmailCall, person: EmailRecipient) -> Callable[[NotificationsAPIClient], Any]:
        ref = DeliveryRef(call.dispatch, call.batch, call.attempt, person.ordinal)
        fill, values = filler(person.substitutions), person.substitutions
        subject, body = fill(call.content.subject, values), fill(call.content.text, values)

        def ask(client: NotificationsAPIClient) -> Any:
            return client.send_email_notification(  # type: ignore[no-untyped-call]
                email_address=person.address,
                template_id=self._template,
                personalisation={"subject": subject, "body": body},
                reference=str(ref),
                # Notify takes https only; the text holds the link as well.
                one_click_unsubscribe_url=person.stop_url if person.stop_url.startswith("https:") else None,
            )

        return ask

    async def aclose(self) -> None:
        await self._client.aclose()
