"""How one setting is read: its name, what it means, its type, and who needs it.

A parser takes the text of an environment variable and returns the value, or raises ValueError with the
rest of a sentence ("must be …"); it never repeats the text, which may be a secret.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

PROJECT = Path(__file__).resolve().parent.parent
KEY_BYTES = 32
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
T = TypeVar("T")


class Part(StrEnum):
    """What a process is. It must have the settings that this part needs, and no others."""

    APP = "app"  # the site and the commands
    WORKER = "worker"
    SEALER = "sealer"
    OWNER = "owner"  # migrations


class Need(StrEnum):
    """When a setting must be there, in the parts that need it."""

    NEVER = "optional"
    SERVERS = "with your own servers"  # as soon as the services are not the embedded ones
    PRODUCTION = "in production"


@dataclasses.dataclass(frozen=True, slots=True)
class Spec(Generic[T]):
    """One setting, as data: the documentation is checked against it."""

    name: str
    about: str
    parse: Callable[[str], T]
    default: str
    need: Need
    parts: tuple[Part, ...]
    secret: bool


@dataclasses.dataclass(frozen=True)
class KeySet:
    """Secret keys by id (1–255), and the id that new values are made with."""

    keys: Mapping[int, bytes] = dataclasses.field(repr=False)
    current: int


def setting(
    name: str,
    about: str,
    parse: Callable[[str], object],
    default: str = "",
    *,
    need: Need = Need.NEVER,
    parts: tuple[Part, ...] = tuple(Part),
    secret: bool = False,
) -> Any:
    """A field of ``Settings`` that is read from the environment; a secret one stays out of repr."""
    spec = Spec(name, about, parse, default, need, parts, secret)
    return dataclasses.field(repr=not secret, metadata={"setting": spec})


def text(value: str) -> str:
    """Any text on one line."""
    if not value.isprintable():
        raise ValueError("must be one line of text")
    return value


def one_of(*choices: str) -> Callable[[str], str]:
    """One of a few words, in lower case."""

    def parse(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value.lower()

    return parse


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
            raise ValueError(f"must be a whole number from {least} to {most}")
        return int(value)

    return parse


def pence(value: str) -> Decimal:
    """An amount of money in pence, with up to four decimal places."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,4})?", value, re.ASCII):
        raise ValueError("must be an amount in pence like 4 or 3.75")
    return Decimal(value)


def folder(value: str) -> Path:
    """A path; a relative one lies below the project."""
    if not value.isprintable():
        raise ValueError("must be a path")
    return (PROJECT / Path(value).expanduser()).resolve()


def optional_folder(value: str) -> Path | None:
    """The same, or nothing."""
    return folder(value) if value else None


def address(*schemes: str) -> Callable[[str], str]:
    """An address with one of the schemes and a host; without the last slash. Empty stays empty."""

    def parse(value: str) -> str:
        if not value:
            return ""
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if not host or parts.scheme not in schemes or not value.isprintable() or " " in value:
            raise ValueError(f"must be an address like {schemes[0]}://host")
        return value.rstrip("/")

    return parse


def optional_uuid(value: str) -> str:
    """The id of something at a provider, as a UUID; empty stays empty."""
    try:
        return str(UUID(value)) if value else ""
    except ValueError:
        raise ValueError("must be an id like 0198c0de-0000-7000-8000-000000000001") from None


def database(value: str) -> str:
    """A PostgreSQL address with user, host and database, as SQLAlchemy with psycopg reads it."""
    if not value:
        return ""
    try:
        parts = urlsplit(value)
        complete = bool(parts.hostname and parts.username and parts.path.strip("/"))
    except ValueError:
        complete = False
    if not complete or parts.scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ValueError("must be an address like postgresql+psycopg://user:password@host/database")
    return f"postgresql+psycopg://{value.partition('://')[2]}"


def _bytes(value: str, length: int | None, what: str) -> bytes:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be {what} in base64") from None
    if not raw or (length is not None and len(raw) != length):
        raise ValueError(f"must be {what} in base64")
    return raw


def raw_key(value: str) -> bytes:
    """32 bytes in base64; empty stays empty."""
    return _bytes(value, KEY_BYTES, f"{KEY_BYTES} bytes") if value else b""


def public_key(value: str) -> str:
    """A public key in base64 of any length, kept as text; empty stays empty."""
    if value:
        _bytes(value, None, "a public key")
    return value


def key_set(value: str) -> KeySet | None:
    """``1:base64,2:base64``: the last key is the current one. Empty is None."""
    if not value:
        return None
    keys: dict[int, bytes] = {}
    for item in value.split(","):
        number, _, encoded = item.strip().partition(":")
        if not (number.isascii() and number.isdigit() and len(number) < 4 and 1 <= int(number) <= 255):
            raise ValueError("must be keys like 1:base64,2:base64, with ids from 1 to 255")
        if int(number) in keys:
            raise ValueError(f"has key {number} twice")
        keys[int(number)] = _bytes(
            encoded, KEY_BYTES, f"a list of keys like 1:base64, each {KEY_BYTES} bytes"
        )
    return KeySet(keys, current=int(number))


def single_key(value: str) -> KeySet | None:
    """``1:base64``: one key, for life. Empty is None."""
    found = key_set(value)
    if found and len(found.keys) != 1:
        raise ValueError("must be one key like 1:base64: what it made can never be made again")
    return found


def mailbox(value: str) -> str:
    """An e-mail address, in outline."""
    name, _, domain = value.rpartition("@")
    if not name or "." not in domain or not value.isprintable() or " " in value:
        raise ValueError("must be an e-mail address")
    return value


def contact(value: str) -> str:
    """An e-mail address, in outline, or an https address."""
    return mailbox(value) if "@" in value and "/" not in value else address("https")(value)


def regions(value: str) -> tuple[str, ...]:
    """Two-letter country codes with commas between."""
    codes = tuple(code.strip().upper() for code in value.split(","))
    if any(len(code) != 2 or not (code.isascii() and code.isalpha()) for code in codes):
        raise ValueError("must be two-letter country codes like GB,IE")
    return codes


def mailboxes(value: str) -> tuple[str, ...]:
    """E-mail addresses with commas between; none is a list of none."""
    return tuple(mailbox(one.strip()) for one in value.split(",") if one.strip())


def mobiles(value: str) -> tuple[str, ...]:
    """Numbers in E.164 with commas between; none is a list of none."""
    found = tuple(one.strip() for one in value.split(",") if one.strip())
    if not all(re.fullmatch(r"\+[1-9][0-9]{7,14}", one, re.ASCII) for one in found):
        raise ValueError("must be numbers like +447700900123 with commas between")
    return found


def shared_secret(value: str) -> str:
    """16 printable ASCII characters or more, without spaces; empty stays empty."""
    if value and not re.fullmatch(r"[!-~]{16,500}", value, re.ASCII):
        raise ValueError("must be 16 characters or more, without spaces")
    return value
