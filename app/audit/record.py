"""One call that puts an act on the record, inside the transaction that does it."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit.events import EVENTS
from app.models.audit import S62, ActorKind, AuditEntry

__all__ = ["S62", "SYSTEM", "Actor", "ActorKind", "network_prefix", "record"]

Scalar = str | int | bool | UUID | None
Detail = Mapping[str, Scalar | Sequence[Scalar]]

_SUBJECT = re.compile(r"[a-z][a-z-]*:[^\s\x00]{1,200}")
_WHY_LIMIT = 2000
_INSERT = sa.insert(AuditEntry.__table__).returning(AuditEntry.__table__.c.id)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, and from where.

    ``id`` is an id, never a name or an address. ``origin`` is ``web``, ``cli``,
    ``worker:send`` or a network (``network_prefix``), never the address of one machine.
    """

    kind: ActorKind
    id: str | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", ActorKind(self.kind))
        for name, value in (("id", self.id), ("origin", self.origin)):
            if value is not None:
                _plain(name, value, 200)
        if self.origin is not None and _is_address(self.origin):
            raise ValueError("origin is the address of one machine: record its network instead")


SYSTEM = Actor(ActorKind.SYSTEM)


def network_prefix(address: str) -> str:
    """The network an address lies in: /24 of IPv4, /48 of IPv6. ValueError if it is no address."""
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 48), strict=False))


def record(
    session: Session,
    *,
    event: str,
    subject: str,
    actor: Actor,
    organisation: UUID | None = None,
    area: str | None = None,
    s62: S62 | None = None,
    why: str | None = None,
    detail: Detail | None = None,
    at: datetime | None = None,
) -> int:
    """Insert one unchained entry in the caller's transaction; the sealer chains it after the commit.

    ``event`` is one of ``EVENTS`` (``alert:send``); ``subject`` is kind:id (``alert:0192…``);
    ``area`` a GSS code; ``detail`` ids and counts only. ``at`` is the database's clock unless
    given. Returns the entry's id. Raises KeyError for an event that is not registered and
    ValueError for anything that must not stand on the record: both are mistakes of the caller.
    """
    if event not in EVENTS:
        raise KeyError(f"{event!r} is not a registered audit event: add it to app/audit/events.py")
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"an audit subject is kind:id, not {subject!r}")
    _plain("subject", subject, 240)
    row: dict[str, object] = {
        "actor_kind": str(actor.kind),
        "actor_id": actor.id,
        "organisation_id": organisation,
        "area_code": None if area is None else _plain("area", area, 20),
        "subject": subject,
        "event": event,
        "s62": None if s62 is None else str(S62(s62)),
        "why": None if why is None else _printable("why", why, _WHY_LIMIT),
        "origin": actor.origin,
        "detail": None if detail is None else canonical_detail(detail),
    }
    if at is not None:
        if at.tzinfo is None:
            raise ValueError("the time of an audit entry needs a time zone")
        row["at"] = at.astimezone(UTC)
    return int(session.execute(_INSERT, row).scalar_one())


def canonical_detail(detail: Detail) -> str:
    """JSON text, keys sorted, no spaces. ValueError for anything but ids and counts."""
    return json.dumps(
        {_plain("detail", key, 60): _value(value) for key, value in detail.items()},
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=True,
        separators=(",", ":"),
    )


def _value(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str):
        return _plain("detail", value, 100)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_value(one) for one in value]
    raise ValueError(f"the detail of an audit entry holds ids and counts, not {type(value).__name__}")


def _plain(name: str, value: str, limit: int) -> str:
    """An id or a word. An @ would be an e-mail address: nothing erased may survive here."""
    if "@" in value:
        raise ValueError(f"{name} looks like an e-mail address: the record keeps ids only")
    return _printable(name, value, limit)


def _printable(name: str, value: str, limit: int) -> str:
    if len(value) > limit:
        raise ValueError(f"{name} is longer than {limit} characters")
    # PostgreSQL cannot store a NUL, UTF-8 cannot write half a surrogate pair.
    if "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(f"{name} holds a character that cannot be stored")
    return value


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
