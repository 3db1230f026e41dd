"""What arrived, for people to look at: the newest messages, and one plain page that shows them.

A mail call is kept once, as the bytes that came; a recipient's text is put together when it is
looked at.
"""

from __future__ import annotations

import html
import re
import time
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import orjson

from messaging.sandbox.messages import Message

PAGE = 50
_LINK = re.compile(r"(https?://[^\s<>\"']+)")


class _Mail(NamedTuple):
    at: float
    id: str
    to: list[str]
    body: bytes


class Shown(NamedTuple):
    """One message as the page shows it."""

    at: float
    channel: str
    to: str
    sender: str
    subject: str
    text: str
    note: str


class Inbox:
    """The newest ``size`` messages, give or take one mail call."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: deque[_Mail | Message] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add_mail(self, message_id: str, to: list[str], body: bytes) -> None:
        self._entries.append(_Mail(time.time(), message_id, to, body))
        self._trim(len(to))

    def add_text(self, message: Message) -> None:
        self._entries.append(message)
        self._trim(1)

    def _trim(self, added: int) -> None:
        self._count += added
        while self._count > self._size and len(self._entries) > 1:
            first = self._entries.popleft()
            self._count -= len(first.to) if isinstance(first, _Mail) else 1

    def newest_first(self, channel: str = "", recipient: str = "") -> Iterator[tuple[_Mail | Message, int]]:
        """(entry, place in it) of each message on a channel ("" for all) whose recipient holds a text."""
        wanted = recipient.lower()
        for entry in reversed(self._entries):
            if isinstance(entry, Message):
                if channel != "email" and wanted in f"{entry.to} {entry.sender}".lower():
                    yield entry, 0
            elif channel != "sms":
                for n in range(len(entry.to) - 1, -1, -1):
                    if wanted in entry.to[n].lower():
                        yield entry, n

    def newest(self, query: str) -> list[dict[str, object]]:
        """The newest messages as JSON has them; ``query``: channel, to (a part of the recipient)."""
        asked = dict(parse_qsl(query))
        found = self.newest_first(asked.get("channel", ""), asked.get("to", "")[:254])
        return [_show(entry, place)._asdict() for entry, place in islice(found, PAGE)]

    def page(self, query: str) -> bytes:
        """The inbox as a whole HTML page; ``query``: channel, to, page."""
        asked = dict(parse_qsl(query))
        channel = asked.get("channel", "") if asked.get("channel") in ("email", "sms") else ""
        recipient = asked.get("to", "")[:254]
        number = int(asked["page"]) if re.fullmatch(r"[0-9]{1,6}", asked.get("page", "")) else 0
        found = []
        for n, (entry, place) in enumerate(self.newest_first(channel, recipient)):
            if n >= (number + 1) * PAGE + 1:
                break
            if n >= number * PAGE:
                found.append(_show(entry, place))
        return _page(found[:PAGE], channel, recipient, number, len(found) > PAGE, self._count).encode()


@lru_cache(maxsize=4)
def _parsed(body: bytes) -> dict[str, Any]:
    mail: dict[str, Any] = orjson.loads(body)
    return mail


def _person(mail: dict[str, Any], address: str) -> dict[str, Any]:
    for person in mail["personalizations"]:
        for field in ("to", "cc", "bcc"):
            if any(one["email"] == address for one in person.get(field, [])):
                found: dict[str, Any] = person
                return found
    return {}


def _show(entry: _Mail | Message, place: int) -> Shown:
    if isinstance(entry, Message):
        note = f"{entry.status}, {entry.segments} segment{'s' if entry.segments != 1 else ''}"
        sender = entry.sender or entry.service or ""
        return Shown(entry.created, "sms", entry.to, sender, "", entry.body, note)
    mail, address = _parsed(entry.body), entry.to[place]
    person = _person(mail, address)
    subject = person.get("subject") or mail.get("subject", "")
    plain = [part["value"] for part in mail["content"] if part["type"].startswith("text/plain")]
    text = plain[0] if plain else mail["content"][0]["value"]
    substitutions = person.get("substitutions") or {}
    return Shown(
        entry.at,
        "email",
        address,
        mail["from"]["email"],
        substituted(subject, substitutions),
        substituted(text, substitutions),
        "",
    )


def substituted(text: str, substitutions: dict[str, str]) -> str:
    """Every tag replaced at once; what a value brings in is not looked at again."""
    tags = [re.escape(tag) for tag in sorted(substitutions, key=len, reverse=True) if tag]
    if not tags:
        return text
    return re.sub("|".join(tags), lambda match: substitutions[match[0]], text)


_STYLE = """
body{font:19px/1.4 system-ui,sans-serif;color:#0b0c0c;margin:0;background:#fff}
header{background:#1d3c5c;color:#fff;padding:.8rem 1rem}header h1{font-size:1.3rem;margin:0}
main{max-width:60rem;margin:0 auto;padding:1rem}
form{display:flex;flex-wrap:wrap;gap:.8rem;align-items:end;margin-bottom:1.5rem}
label{display:block;font-weight:700}input,select,button{font:inherit;padding:.35rem .5rem;border:2px solid #0b0c0c}
button{background:#00703c;color:#fff;border-color:#00703c}
article{border-top:1px solid #b1b4b6;padding:.8rem 0}article h2{font-size:1.1rem;margin:0}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:.5rem 0 0}
.quiet{color:#505a5f;font-size:1rem;margin:.1rem 0;overflow-wrap:anywhere}
a{color:#1d70b8}a:focus,input:focus,select:focus,button:focus{outline:3px solid #fd0}
"""


def _page(found: list[Shown], channel: str, recipient: str, number: int, more: bool, count: int) -> str:
    def option(value: str, label: str) -> str:
        chosen = " selected" if value == channel else ""
        return f'<option value="{value}"{chosen}>{label}</option>'

    def link(page: int, label: str) -> str:
        target = html.escape(urlencode({"channel": channel, "to": recipient, "page": page}))
        return f'<a href="/?{target}">{label}</a> '

    options = option("", "All") + option("email", "E-mail") + option("sms", "Text")
    messages = "".join(map(_article, found)) or "<p>No messages.</p>"
    pages = (link(number - 1, "Newer") if number else "") + (link(number + 1, "Older") if more else "")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Sandbox inbox</title><style>{_STYLE}</style></head><body>"
        "<header><h1>Sandbox inbox</h1></header><main>"
        f"<p>Nothing here left this computer. The newest {count:,} messages are kept.</p>"
        f'<form method="get" action="/"><div><label for="channel">Channel</label>'
        f'<select id="channel" name="channel">{options}</select></div>'
        f'<div><label for="to">Recipient</label><input id="to" name="to" value="{html.escape(recipient)}">'
        f'</div><button>Show</button></form>{messages}<nav aria-label="Pages">{pages}</nav></main></body></html>'
    )


def _article(one: Shown) -> str:
    when = time.strftime("%H:%M:%S", time.gmtime(one.at))
    kind = "E-mail" if one.channel == "email" else "Text"
    subject = f"<p><strong>{html.escape(one.subject)}</strong></p>" if one.subject else ""
    note = f" · {html.escape(one.note)}" if one.note else ""
    return (
        f"<article><h2>{kind} to {html.escape(one.to)}</h2>"
        f'<p class="quiet">from {html.escape(one.sender)} · {when} UTC{note}</p>'
        f"{subject}<pre>{_linked(one.text)}</pre></article>"
    )


def _linked(text: str) -> str:
    """Escaped, with its links to press."""
    pieces = _LINK.split(text)
    for n, piece in enumerate(pieces):
        safe = html.escape(piece)
        pieces[n] = f'<a href="{safe}" rel="noreferrer">{safe}</a>' if n % 2 else safe
    return "".join(pieces)
