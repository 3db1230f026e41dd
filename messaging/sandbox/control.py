"""How a test or the demo steers the sandbox and looks inside: /control/…"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qsl

import orjson

from messaging.sandbox.faults import CHANNELS, DOORS, Faults
from messaging.sandbox.http import Answer, Connection, Request, json_reply
from messaging.sandbox.inbox import Inbox
from messaging.sandbox.judge import Tally
from messaging.sandbox.twilio import Twilio

_PIECE = 262_144
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_DISPATCH = re.compile(r"[0-9a-f]{32}")


class Control:
    """Answers everything under /control/."""

    def __init__(
        self,
        faults: Faults,
        account_of: Callable[[str], Twilio],
        inbox: Inbox,
        log: Path,
        gauge: Callable[[], dict[str, object]],
    ) -> None:
        self._inbox = inbox
        self._faults = faults
        self._account_of = account_of
        self._log = log
        self._gauge = gauge
        self._tallies: dict[str, Tally] = {}
        self._counting = asyncio.Lock()

    def answer(self, connection: Connection, request: Request) -> Answer:
        match request.method, request.path.removeprefix("/control/"):
            case "GET", "gauge":
                return json_reply(200, self._gauge())
            case "GET", "faults":
                return json_reply(200, self._faults.shown())
            case "POST", "faults":
                return self._set(request)
            case "DELETE", "faults":
                self._faults.clear()
                return json_reply(200, self._faults.shown())
            case "POST", "release":
                return self._release(request)
            case "GET", "inbox":
                return json_reply(200, {"messages": self._inbox.newest(request.query)})
            case "POST", "inbound":
                return self._inbound(request)
            case "GET", "counts":
                return self._counts(request)
            case "GET", "log":
                return self._stream(connection, request)
        return json_reply(404, {"message": f"There is no {request.method} {request.path} here."})

    def _set(self, request: Request) -> bytes:
        try:
            self._faults.apply(_object(request))
        except ValueError as error:
            return json_reply(400, {"message": str(error)})
        return json_reply(200, self._faults.shown())

    def _release(self, request: Request) -> bytes:
        """{"channel": a door, "email" and "sms" if left out, "stay": true keeps the hold for later calls}."""
        try:
            asked = _object(request) if request.body else {}
        except ValueError as error:
            return json_reply(400, {"message": str(error)})
        channel, stay = asked.get("channel"), asked.get("stay", False)
        if channel not in (None, *DOORS) or not isinstance(stay, bool):
            return json_reply(400, {"message": "channel must be email or sms, stay true or false"})
        wanted = CHANNELS if channel is None else (str(channel),)
        released = {c: self._faults.release(c, stay=stay) for c in wanted}
        return json_reply(200, {"released": released})

    def _inbound(self, request: Request) -> bytes:
        try:
            asked = _object(request)
        except ValueError as error:
            return json_reply(400, {"message": str(error)})
        theirs, ours, body = (asked.get(k) for k in ("from", "to", "body"))
        if not isinstance(theirs, str) or not _NUMBER.fullmatch(theirs):
            return json_reply(400, {"message": "from must be a number such as +447700900123"})
        if not isinstance(ours, str) or not ours or not isinstance(body, str) or len(body) > 1600:
            return json_reply(400, {"message": "to must be one of our senders, body a text of at most 1,600"})
        return json_reply(200, {"sid": self._account_of(ours).inbound(theirs, ours, body).sid})

    async def _counts(self, request: Request) -> bytes:
        """Per channel: accepted, distinct references and addresses, and what was accepted twice."""
        dispatch = dict(parse_qsl(request.query)).get("dispatch", "").replace("-", "").lower()
        if not _DISPATCH.fullmatch(dispatch):
            return json_reply(400, {"message": "dispatch must be 32 hexadecimal digits"})
        async with self._counting:
            tally = self._tallies.pop(dispatch, None) or Tally(dispatch)
            self._tallies[dispatch] = tally
            if len(self._tallies) > 8:
                del self._tallies[next(iter(self._tallies))]
            await asyncio.to_thread(tally.catch_up, self._log)
        shown: dict[str, object] = {"dispatch": dispatch}
        for name, channel in tally.channels.items():
            shown[name] = {
                "accepted": channel.accepted,
                "distinct_refs": len(channel.places),
                "distinct_addresses": len(channel.addresses),
                "twice_refs": channel.twice_places,
                "twice_addresses": channel.twice_addresses,
            }
        return json_reply(200, shown)

    async def _stream(self, connection: Connection, request: Request) -> bytes | None:
        """The acceptance log as it is now; ``?from=`` gives the first byte wanted."""
        text = dict(parse_qsl(request.query)).get("from", "0")
        if not re.fullmatch(r"[0-9]{1,15}", text):
            return json_reply(400, {"message": "from must be a number of bytes"})
        size = self._log.stat().st_size
        start = min(int(text), size)
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
        await connection.write(f"{head}Content-Length: {size - start}\r\n\r\n".encode())
        async for piece in _pieces(self._log, start, size):
            await connection.write(piece)
        return b""


async def _pieces(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    """A part of a file, read away from the event loop."""
    fd = os.open(path, os.O_RDONLY)
    try:
        while start < end:
            piece = await asyncio.to_thread(os.pread, fd, min(_PIECE, end - start), start)
            start += len(piece)
            yield piece
    finally:
        os.close(fd)


def _object(request: Request) -> dict[str, object]:
    try:
        asked = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise ValueError("the body must be JSON") from None
    if not isinstance(asked, dict):
        raise ValueError("the body must be a JSON object")
    return asked
