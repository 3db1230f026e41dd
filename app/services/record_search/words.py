"""An entry in plain English, for display only: staff by name, areas by name, residents never."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.access import Who
from app.audit.events import EVENTS
from app.audit.record import S62, ActorKind
from app.models.alerts import Alert
from app.models.areas import Area
from app.models.staff import Staff
from app.models.teams import Team
from app.services.record_search.finding import Found

ACTORS: dict[str, str] = {
    ActorKind.STAFF: "somebody of staff",
    ActorKind.RESIDENT: "a resident",
    ActorKind.OWNER: "the owner of a camera",
    ActorKind.PROVIDER: "a message provider",
    ActorKind.OPERATOR: "the operator, by a command on the server",
    ActorKind.SYSTEM: "the service by itself",
}
KINDS: dict[str, str] = {
    S62.COLLECTION: "Collection: personal data came in",
    S62.ALTERATION: "Alteration: personal data was changed",
    S62.CONSULTATION: "Consultation: personal data was looked at",
    S62.DISCLOSURE: "Disclosure: personal data was handed on",
    S62.COMBINATION: "Combination: personal data was put together with other data",
    S62.ERASURE: "Erasure: personal data was erased",
}
# What a subject's kind is called; another is shown as it stands.
SUBJECTS = {
    "alarm": "Alarm",
    "alert": "Alert",
    "brake": "Complaint brake",
    "confirmation": "Confirmation of an address",
    "contact": "Resident’s contact point",
    "dispatch": "Sending",
    "entry": "Entry of the record",
    "finding": "Finding of unusual searching",
    "heads": "Signed heads",
    "key": "Key",
    "ledger": "Month of the ledger",
    "organisation": "Organisation",
    "person": "Person",
    "place": "Resident’s place",
    "provider": "Message provider",
    "release": "Release of geography",
    "reply": "Thread of replies",
    "review": "Review of a search",
    "search": "Search of the register",
    "sender": "Sender",
    "staff": "Member of staff",
    "table": "Table",
    "team": "Team",
    "wording": "Wording of a consent",
}


@dataclass(frozen=True, slots=True)
class Said:
    """An entry as a page shows it."""

    found: Found
    what: str
    actor: str
    subject: str
    area: str | None
    kind: str | None  # of section 62
    detail: tuple[tuple[str, str], ...]


def said(session: Session, who: Who, found: Sequence[Found]) -> list[Said]:
    """Each in words. Names are those of the auditor's own organisation, looked up now and never kept."""
    names = _Names(session, who, found)
    return [
        Said(
            one,
            _sentence(EVENTS.get(one.event, one.event)),
            names.actor(one),
            names.subject(one),
            names.areas.get(one.area_code, one.area_code) if one.area_code else None,
            KINDS[one.s62] if one.s62 else None,
            _detail(one.detail),
        )
        for one in found
    ]


class _Names:
    """What the ids of some entries are called: one question for each kind of thing."""

    def __init__(self, session: Session, who: Who, found: Sequence[Found]) -> None:
        about = [one.subject.partition(":") for one in found]
        staff = {id for kind, _, id in about if kind == "staff"}
        staff |= {one.actor_id for one in found if one.actor_kind == ActorKind.STAFF and one.actor_id}
        self.staff = {
            str(id): name
            for id, name in session.execute(
                sa.select(Staff.id, Staff.name).where(
                    Staff.id.in_(_uuids(staff)), Staff.organisation_id == who.organisation_id
                )
            )
        }
        self.others: dict[str, str] = {}
        for kind, name, table in (
            ("alert", Alert.reference, Alert),
            ("team", Team.name, Team),
        ):
            ids = _uuids({id for of, _, id in about if of == kind})
            rows = session.execute(
                sa.select(table.id, name).where(table.id.in_(ids), table.controller_id == who.organisation_id)
            )
            self.others |= {f"{kind}:{id}": called for id, called in rows}
        codes = {one.area_code for one in found if one.area_code}
        self.areas = {
            code: f"{name} ({code})"
            for code, name in session.execute(
                sa.select(Area.code, Area.name).where(Area.code.in_(codes)).order_by(Area.valid_from)
            )
        }

    def actor(self, one: Found) -> str:
        kind = _sentence(ACTORS.get(one.actor_kind, one.actor_kind))
        if one.actor_id is None:
            return kind
        if one.actor_kind == ActorKind.STAFF:
            return self.staff.get(one.actor_id, f"{kind} ({one.actor_id})")
        if one.actor_kind == ActorKind.RESIDENT:
            return f"{kind} (contact {one.actor_id})"
        return f"{kind} ({one.actor_id})"

    def subject(self, one: Found) -> str:
        kind, _, id = one.subject.partition(":")
        called = self.staff.get(id) if kind == "staff" else self.others.get(one.subject)
        return f"{SUBJECTS.get(kind, kind.capitalize())} {called or id}"


def _uuids(texts: set[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _detail(detail: str | None) -> tuple[tuple[str, str], ...]:
    try:
        values = json.loads(detail or "{}")
    except ValueError:
        return (("Detail", detail or ""),)
    if not isinstance(values, dict):
        return (("Detail", detail or ""),)
    return tuple((_sentence(str(key).replace("_", " ")), _value(value)) for key, value in values.items())


def _value(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, list):
        return ", ".join(_value(one) for one in value)
    return f"{value:,}" if isinstance(value, int) and abs(value) < 10**9 else str(value)
