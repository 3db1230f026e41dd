"""E-mail through a mail server of one's own or a relay: one message a recipient, over one connection a call.

What may follow is decided by the step that failed. Up to the moment at which the end of the text is written
nothing was taken; from then on only the server's answer says what was. So of a call that goes wrong at most
one person is in doubt; whoever was not come to is not named in the result and waits.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.utils import formatdate
from urllib.parse import unquote, urlsplit

import aiosmtplib

from messaging.providers.base import SYNTHETIC, MayStart, is_loopback
from messaging.providers.single import filler, together
from messaging.types import DeliveryRef, EmailCall, EmailContent, EmailRecipient, Outcome, SendResult

_PORTS = {"smtps": 465, "smtp": 587}
_BREAK = re.compile(rb"\r\n|\r|\n")
_DOT = re.compile(rb"(?m)^\.")
_READY, _TAKEN, _CLOSING = 354, 250, 421
_POLICY = re.compile(r"5\.7\.[0-9]+\b")


class _Failed(Exception):
    """A step that failed before the end of a text was written. ``ends``: so would the next message."""

    def __init__(self, result: SendResult, *, ends: bool) -> None:
        super().__init__(result.reason)
        self.result = result
        self.ends = ends


class SmtpProvider:
    """Sends e-mail. ``url``: smtps://user:password@host:port; smtp:// begins TLS by STARTTLS or gives up,
    but for this machine itself, where it does without.
    """

    name = "smtp"

    def __init__(self, url: str, *, connect_timeout: float = 5.0, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("a mail server's address looks like smtps://user:password@host:port")
        self._host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._loopback = is_loopback(url)
        self._tls_at_once = parts.scheme == "smtps"
        self._tls = tls
        self._connect_timeout = connect_timeout

    def __repr__(self) -> str:
        return f"SmtpProvider({self._host}:{self._port})"

    async def send(self, call: EmailCall, timeout: float, *, may_start: MayStart | None = None) -> SendResult:
        """Send to one after the other; ``each`` of the result names those that were come to.

        No message begins after ``timeout`` seconds or once ``may_start`` says no; each step may take
        ``timeout`` seconds. Never raises for the server.
        """
        if not self._loopback:
            synthetic = {r.ordinal: SYNTHETIC for r in call.recipients if r.synthetic}
            if synthetic:
                return SendResult(Outcome.NOT_TAKEN, reason=SYNTHETIC, rejected=synthetic)
        if not call.recipients:
            raise ValueError("an e-mail call without recipients")
        ends = time.monotonic() + timeout
        client = self._client(call.content.from_email, timeout)
        try:
            await self._connect(client)
        except _Failed as failed:
            return failed.result
        each: dict[int, SendResult] = {}
        try:
            fill = filler(call.recipients[0].substitutions)
            for person in call.recipients:
                if time.monotonic() > ends or (may_start is not None and not may_start()):
                    break
                text = _message(call, person, fill)
                if text is None:
                    each[person.ordinal] = SendResult(Outcome.REFUSED, reason="bad-address", retryable=False)
                    continue
                try:
                    result = await _one(client, call.content.from_email, person, text, timeout)
                except _Failed as failed:
                    each[person.ordinal] = failed.result
                    if failed.ends:
                        break
                    continue
                each[person.ordinal] = result
                if result.outcome is Outcome.IN_DOUBT:
                    break
        finally:
            await _close(client)
        return together(each)

    async def aclose(self) -> None:
        """Nothing is kept between calls."""

    def _client(self, sender: str, timeout: float) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            local_hostname=sender.rpartition("@")[2],
            use_tls=self._tls_at_once,
            start_tls=not (self._tls_at_once or self._loopback),
            tls_context=self._tls,
            timeout=timeout,
        )

    async def _connect(self, client: aiosmtplib.SMTP) -> None:
        """Connect, greet, begin TLS, sign in. _Failed: nothing was written that could be taken."""
        try:
            async with asyncio.timeout(self._connect_timeout):
                await client.connect(timeout=self._connect_timeout)
                if self._user is not None:
                    await client.login(self._user, self._password or "")
        except Exception as error:
            client.close()
            raise _Failed(_unreached(error), ends=True) from None
        except BaseException:
            client.close()
            raise


def _unreached(error: Exception) -> SendResult:
    """What kept us from signing in. A code is the server's; a refused password is the account's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return SendResult(Outcome.NOT_TAKEN, reason="dns")
        if isinstance(cause, ssl.SSLError):
            return SendResult(Outcome.NOT_TAKEN, reason="tls")
        cause = cause.__cause__ or cause.__context__
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return SendResult(Outcome.NOT_TAKEN, reason="account")
        case aiosmtplib.SMTPResponseException(code=code):
            return SendResult(Outcome.NOT_TAKEN, reason=str(code))
        case TimeoutError():
            return SendResult(Outcome.NOT_TAKEN, reason="connect-timeout")
        case aiosmtplib.SMTPNotSupported():
            return SendResult(Outcome.NOT_TAKEN, reason="tls")
    return SendResult(Outcome.NOT_TAKEN, reason="connect")


async def _one(
    client: aiosmtplib.SMTP, sender: str, person: EmailRecipient, text: bytes, timeout: float
) -> SendResult:
    """One message. Raises _Failed for what went wrong before its end was written."""
    await _step(client, f"MAIL FROM:<{sender}>", timeout)
    await _step(client, f"RCPT TO:<{_ascii(person.address)}>", timeout, about_recipient=True)
    await _step(client, "DATA", timeout)
    protocol = client.protocol
    if protocol is None or not protocol.is_connected:
        raise _Failed(SendResult(Outcome.NOT_TAKEN, reason="reset"), ends=True)
    try:
        # From here on the whole text may arrive, whatever we hear.
        protocol.write(text)
        answer = await protocol.read_response(timeout=timeout)
    except TimeoutError:
        return SendResult(Outcome.IN_DOUBT, reason="timeout", retryable=False)
    except aiosmtplib.SMTPResponseException:
        return SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)
    except (aiosmtplib.SMTPException, OSError, RuntimeError):
        return SendResult(Outcome.IN_DOUBT, reason="reset", retryable=False)
    match answer.code:
        case code if code == _TAKEN:
            return SendResult(Outcome.TAKEN)
        case code if code == _CLOSING:
            raise _Failed(SendResult(Outcome.NOT_TAKEN, reason="421"), ends=True)
        case code if 400 <= code < 500:
            return SendResult(Outcome.NOT_TAKEN, reason=str(code))
        case code if 500 <= code < 600 and _POLICY.match(answer.message):
            raise _Failed(SendResult(Outcome.NOT_TAKEN, reason="account"), ends=True)
        case code if 500 <= code < 600:
            return SendResult(Outcome.REFUSED, reason=str(code), retryable=False)
    return SendResult(Outcome.IN_DOUBT, reason="unreadable", retryable=False)


async def _step(
    client: aiosmtplib.SMTP, command: str, timeout: float, *, about_recipient: bool = False
) -> None:
    """One command and its answer, before the text. A refusal of the recipient leaves the connection well."""
    try:
        answer = await client.execute_command(*command.encode("ascii").split(b" ", 1), timeout=timeout)
    except TimeoutError:
        raise _Failed(SendResult(Outcome.NOT_TAKEN, reason="timeout"), ends=True) from None
    except (aiosmtplib.SMTPException, OSError, RuntimeError):
        raise _Failed(SendResult(Outcome.NOT_TAKEN, reason="reset"), ends=True) from None
    code = answer.code
    if 200 <= code < 300 or code == _READY:
        return
    if not about_recipient or code == _CLOSING or not 400 <= code < 600:
        reason = "account" if 500 <= code < 600 else str(code)
        raise _Failed(SendResult(Outcome.NOT_TAKEN, reason=reason), ends=True)
    if _POLICY.match(answer.message):  # we may not send: so it is for everybody
        raise _Failed(SendResult(Outcome.NOT_TAKEN, reason="account"), ends=True)
    if code < 500:
        refused = SendResult(Outcome.NOT_TAKEN, reason=f"rcpt-{code}")
    else:
        refused = SendResult(Outcome.REFUSED, reason=f"rcpt-{code}", retryable=False)
    try:
        await client.rset(timeout=timeout)
    except (aiosmtplib.SMTPException, OSError, RuntimeError):
        raise _Failed(refused, ends=True) from None
    raise _Failed(refused, ends=False)


async def _close(client: aiosmtplib.SMTP) -> None:
    """Take leave where the connection still stands; what became of the messages is known already."""
    if client.is_connected:
        try:
            async with asyncio.timeout(1.0):
                await client.quit()
        except (aiosmtplib.SMTPException, OSError, RuntimeError, TimeoutError):
            client.close()
    client.close()


# -- the text
def _message(
    call: EmailCall, person: EmailRecipient, fill: Callable[[str, Mapping[str, str]], str]
) -> bytes | None:
    """A message as it is written after DATA, its end included; None for an address that cannot be written."""
    content: EmailContent = call.content
    address = _ascii(person.address)
    if address is None:
        return None
    ref = DeliveryRef(call.dispatch, call.batch, call.attempt, person.ordinal)
    values = person.substitutions
    local, _, domain = content.from_email.rpartition("@")
    made = EmailMessage(policy=POLICY)
    made["From"] = Address(" ".join(content.from_name.split()), local, domain)
    made["To"] = Address("", *_halves(address))
    made["Subject"] = " ".join(fill(content.subject, values).split())
    made["Date"] = formatdate(usegmt=True)
    made["Message-ID"] = f"<{ref}@{domain}>"
    if content.reply_to is not None:
        made["Reply-To"] = content.reply_to
    if person.stop_url:
        made["List-Unsubscribe"] = f"<{person.stop_url}>"
        made["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    made.set_content(fill(content.text, values), cte="quoted-printable")
    made.add_alternative(fill(content.html, values), subtype="html", cte="quoted-printable")
    return _DOT.sub(b"..", _BREAK.sub(b"\r\n", made.as_bytes()).removesuffix(b"\r\n")) + b"\r\n.\r\n"


def _halves(address: str) -> tuple[str, str]:
    local, _, domain = address.rpartition("@")
    return local, domain


def _ascii(address: str) -> str | None:
    """An address as every mail server takes it; None where there is no such form."""
    local, domain = _halves(address)
    try:
        written = f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return None
    plain = local.isascii() and local and not re.search(r"[\s<>\x00-\x1f\x7f]", written)
    return written if plain else None
