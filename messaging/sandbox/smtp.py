"""A mail server's stand-in: RFC 5321 as far as a sender needs it, its faults, and the same acceptance log.

Faults strike at the step that decides what the sender may conclude: *status* answers RCPT with its code,
*drop* before closes at DATA, *hang* and *hold* before leave the end of the text without an answer, *drop*
after closes once the message was taken.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
import secrets
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import orjson

from messaging.sandbox.faults import AFTER, BEFORE, Faults
from messaging.sandbox.identity import Identity
from messaging.sandbox.inbox import Inbox
from messaging.sandbox.log import AcceptanceLog
from messaging.sandbox.mail import is_address

DOOR = "smtp"
_LONGEST_LINE = 8_192
_LARGEST = 30_000_000
_PATH = re.compile(r"(?:FROM|TO):\s*<([^<>\s]*)>(?:\s.*)?", re.IGNORECASE)
_REF = re.compile(r"<([0-9a-f]{32}\.[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9})@[^<>\s]+>")
_LINK = re.compile(r"<https?://[^<>\s]+>")
_EXTENSIONS = ("PIPELINING", "8BITMIME", f"SIZE {_LARGEST}", "AUTH PLAIN LOGIN")


class _Gone(Exception):
    """The client left, or is thrown out."""


class Smtp:
    """One account on a mail server. ``accepted`` counts recipients taken since the start."""

    def __init__(self, identity: Identity, faults: Faults, log: AcceptanceLog, inbox: Inbox) -> None:
        self.user, self._password = identity.smtp_user, identity.smtp_password
        self._faults = faults
        self._log = log
        self._inbox = inbox
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.refused = 0
        self.open = 0  # messages whose end was read and not answered yet
        self.port = 0

    async def start(self, host: str) -> None:
        self._server = await asyncio.start_server(self._connected, host, 0, limit=_LARGEST)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for session in list(self._sessions):
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        await self._server.wait_closed()

    def url(self, host: str) -> str:
        return f"smtp://{self.user}:{self._password}@{host}:{self.port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._sessions.add(task)
        try:
            await _Session(self, reader, writer).run()
        except (_Gone, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            self.refused += 1
        except asyncio.CancelledError:
            pass  # the sandbox stops: this task ends here, and nobody waits for its result
        finally:
            self._sessions.discard(task)
            writer.transport.abort()

    # -- what a session asks
    def signs_in(self, user: bytes, password: bytes) -> bool:
        return hmac.compare_digest(user, self.user.encode()) and hmac.compare_digest(
            password, self._password.encode()
        )

    def refusal(self, address: str) -> str | None:
        """Why a recipient is refused, as a whole reply."""
        faults = self._faults.channels[DOOR]
        if faults.status and faults.status.hits(self.accepted):
            return f"{faults.status.code} refused on request"
        if not is_address(address):
            return "553 5.1.3 that is not an address"
        if address.lower().endswith(faults.recipients["refuse"] or ("\n",)):
            return "550 5.1.1 no such mailbox here"
        return None

    def drops_at_data(self) -> bool:
        drop = self._faults.channels[DOOR].drop
        return bool(drop and drop.when == BEFORE and drop.hits(self.accepted))

    async def take(self, sender: str, to: list[str], data: bytes) -> str | None:
        """The reply to a whole message; None: the connection is dropped without one."""
        faults = self._faults.channels[DOOR]
        self.open += 1
        try:
            if faults.latency_ms:
                await asyncio.sleep(faults.latency_ms / 1000)
            if faults.hang and faults.hang.hits(self.accepted):
                await asyncio.Event().wait()
            hold = faults.hold if faults.hold and faults.hold.hits(self.accepted) else None
            if hold and hold.when == BEFORE:
                await self._faults.hold(DOOR)
            message = message_from_bytes(data, policy=policy.SMTP)
            problem = _problem(message, sender, to)
            if problem:
                self.refused += 1
                return f"550 5.6.0 {problem}"
            self._accept(message, sender, to)
            if hold and hold.when == AFTER:
                await self._faults.hold(DOOR)
            drop = faults.drop
            if drop and drop.when == AFTER and drop.hits(self.accepted):
                return None
            return "250 2.0.0 taken"
        finally:
            self.open -= 1

    def _accept(self, message: EmailMessage, sender: str, to: list[str]) -> None:
        found = _REF.fullmatch(str(message["Message-ID"]).strip())
        ref = found[1] if found else ""
        message_id = secrets.token_urlsafe(16)
        self._log.append("email", message_id, sender, [ref] * len(to), to)
        self.accepted += len(to)
        self._inbox.add_mail(message_id, to, _as_call(message, sender, to))


class _Session:
    """One connection, from the greeting to its end."""

    def __init__(self, server: Smtp, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._known = False  # signed in
        self._sender: str | None = None
        self._to: list[str] = []

    async def run(self) -> None:
        await self._say("220 sandbox ESMTP")
        while True:
            line = await self._line()
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO":
                    await self._say("\r\n".join([*(f"250-{e}" for e in ("sandbox", *_EXTENSIONS)), "250 OK"]))
                case "HELO":
                    await self._say("250 sandbox")
                case "AUTH":
                    await self._auth(rest)
                case "NOOP":
                    await self._say("250 OK")
                case "RSET":
                    self._sender, self._to = None, []
                    await self._say("250 OK")
                case "QUIT":
                    await self._say("221 goodbye")
                    return
                case "MAIL" | "RCPT" | "DATA" if not self._known:
                    await self._say("530 5.7.0 sign in first")
                case "MAIL":
                    await self._mail(rest)
                case "RCPT":
                    await self._rcpt(rest)
                case "DATA":
                    await self._data()
                case _:
                    await self._say("500 5.5.1 what is that")

    async def _mail(self, rest: str) -> None:
        found = _PATH.fullmatch(rest)
        if self._sender is not None or found is None or not is_address(found[1]):
            await self._say("503 5.5.1 not now" if self._sender is not None else "553 5.1.7 bad sender")
            return
        self._sender = found[1]
        await self._say("250 OK")

    async def _rcpt(self, rest: str) -> None:
        found = _PATH.fullmatch(rest)
        if self._sender is None or found is None:
            await self._say("503 5.5.1 MAIL first" if self._sender is None else "501 5.5.4 TO:<address>")
            return
        refusal = self._server.refusal(found[1])
        if refusal is None:
            self._to.append(found[1])
        else:
            self._server.refused += 1
        await self._say(refusal or "250 OK")

    async def _data(self) -> None:
        if self._sender is None or not self._to:
            await self._say("503 5.5.1 RCPT first")
            return
        if self._server.drops_at_data():
            raise _Gone
        await self._say("354 go on, end with a dot")
        data = await self._reader.readuntil(b"\r\n.\r\n")
        sender, to, self._sender, self._to = self._sender, self._to, None, []
        text = re.sub(rb"(?m)^\.\.", b".", data.removesuffix(b".\r\n"))
        reply = await self._server.take(sender, to, text)
        if reply is None:
            raise _Gone
        await self._say(reply)

    async def _auth(self, rest: str) -> None:
        method, _, initial = rest.partition(" ")
        try:
            if method.upper() == "PLAIN":
                raw = base64.b64decode(initial or await self._ask(""), validate=True)
                _, user, password = raw.split(b"\0")
            elif method.upper() == "LOGIN":
                user = base64.b64decode(initial or await self._ask("VXNlcm5hbWU6"), validate=True)
                password = base64.b64decode(await self._ask("UGFzc3dvcmQ6"), validate=True)
            else:
                await self._say("504 5.5.4 PLAIN or LOGIN")
                return
        except (binascii.Error, ValueError):
            await self._say("501 5.5.2 that is not base64")
            return
        self._known = self._server.signs_in(user, password)
        await self._say("235 2.7.0 welcome" if self._known else "535 5.7.8 wrong user or password")

    async def _ask(self, challenge: str) -> str:
        await self._say(f"334 {challenge}")
        return await self._line()

    async def _line(self) -> str:
        line = await self._reader.readuntil(b"\r\n")
        if len(line) > _LONGEST_LINE:
            raise _Gone
        return line[:-2].decode("ascii")

    async def _say(self, reply: str) -> None:
        self._writer.write(reply.encode("ascii") + b"\r\n")
        await self._writer.drain()


def _problem(message: EmailMessage, sender: str, to: list[str]) -> str | None:
    """The sandbox's own rules: what we promise of every e-mail."""
    if len(to) != 1:
        return "one message a recipient"
    if str(message["To"]).strip("<> ") != to[0]:
        return "To is somebody else"
    if sender not in str(message["From"]):
        return "From is somebody else"
    if (
        not message["Subject"]
        or not message["Date"]
        or _REF.fullmatch(str(message["Message-ID"]).strip()) is None
    ):
        return "Subject, Date and a Message-ID of ours are needed"
    link, click = message["List-Unsubscribe"], message["List-Unsubscribe-Post"]
    if (link is None) != (click is None):
        return "one click is promised with a link for it, or not at all"
    if link is not None and (not _LINK.search(str(link)) or click != "List-Unsubscribe=One-Click"):
        return "List-Unsubscribe holds an address in <>, its Post header the one click"
    kinds = {p.get_content_type() for p in message.walk()}
    if not {"multipart/alternative", "text/plain", "text/html"} <= kinds:
        return "a text and an HTML part are needed"
    return None


def _as_call(message: EmailMessage, sender: str, to: list[str]) -> bytes:
    """The message as the inbox keeps mail: like a call of SendGrid's."""
    parts = {p.get_content_type(): p for p in message.walk() if not p.is_multipart()}
    link = message["List-Unsubscribe"]
    return orjson.dumps(
        {
            "personalizations": [
                {
                    "to": [{"email": address}],
                    "headers": {} if link is None else {"List-Unsubscribe": str(link)},
                }
                for address in to
            ],
            "from": {"email": sender},
            "subject": str(message["Subject"]),
            "content": [
                {"type": kind, "value": parts[kind].get_content()} for kind in ("text/plain", "text/html")
            ],
        }
    )
