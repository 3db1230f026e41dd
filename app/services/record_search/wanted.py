"""What an auditor looks for: what they typed becomes ids, and only the ids are kept."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.access import Who
from app.audit.events import EVENTS
from app.audit.record import S62, ActorKind, Detail
from app.errors import Invalid
from app.models.alerts import Alert
from app.models.areas import Area
from app.models.audit import AuditEntry
from app.services import people, staff
from messaging.types import Channel

LONDON = ZoneInfo("Europe/London")
LONGEST_SUBJECT = 100  # an entry's detail keeps no longer text
# An id or a code of ours; the service's own things have names. What somebody is called, or called at, must not get onto
# the record by being searched for.
_THINGS = "alarm|brake|heads|key|ledger|organisation|provider|release|sender|table|wording"
_SUBJECT = re.compile(
    r"[a-z][a-z-]*:(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]{1,20})"
    rf"|(?:{_THINGS}):[a-zA-Z0-9._/-]{{1,90}}"
)
_REFERENCE = re.compile(r"WL-[0-9A-Z]{4,12}", re.IGNORECASE)
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Typed:
    """A search as it was typed; whatever is empty says nothing."""

    resident: str = ""  # an e-mail address or a mobile number
    staff: str = ""  # an e-mail address
    by: str = ""  # a kind of actor
    area: str = ""  # a code, or the name of an area of today
    subject: str = ""  # kind:id, or an alert's reference
    event: str = ""
    s62: str = ""
    since: str = ""  # London's clock, as <input type="datetime-local"> writes it
    until: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search in ids. ``nobody``: an address was asked for that leads to nobody the organisation knows."""

    contact: int | None = None
    staff: UUID | None = None
    by: str | None = None
    area: str | None = None
    subject: str | None = None
    event: str | None = None
    s62: str | None = None
    since: str | None = None  # ISO, UTC
    until: str | None = None
    nobody: bool = False

    @property
    def detail(self) -> Detail:
        """As it stands on the record."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    @property
    def about(self) -> str | None:
        """The subject of the search's own entry, where it is one: whoever looks there later finds the look-up too."""
        if self.contact is not None:
            return f"contact:{self.contact}"
        if self.staff is not None:
            return f"staff:{self.staff}"
        return self.subject


def of_detail(detail: str | None) -> Wanted:
    """Back from the record."""
    found: dict[str, Any] = json.loads(detail or "{}")
    known = {one.name for one in fields(Wanted)}
    values = {name: value for name, value in found.items() if name in known}
    if "staff" in values:
        values["staff"] = UUID(values["staff"])
    return Wanted(**values)


def read(session: Session, who: Who, typed: Typed, *, regions: tuple[str, ...] = ("GB",)) -> Wanted:
    """From what was typed to ids. Invalid says which field cannot be used; that nobody is found is no error."""
    contact = _contact(session, who, typed.resident, regions) if typed.resident else None
    officer = _staff(session, who, typed.staff) if typed.staff else None
    since, until = _moment("since", typed.since, fold=0), _moment("until", typed.until, fold=1)
    if since is not None and until is not None and until <= since:
        raise Invalid("until", "The end must be after the beginning.")
    return Wanted(
        contact=contact,
        staff=officer,
        by=_one_of("by", typed.by, tuple(ActorKind)),
        area=_area(session, typed.area) if typed.area else None,
        subject=_subject(session, who, typed.subject) if typed.subject else None,
        event=_one_of("event", typed.event, tuple(EVENTS)),
        s62=_one_of("s62", typed.s62, tuple(S62)),
        since=since.isoformat() if since else None,
        until=until.isoformat() if until else None,
        nobody=bool(typed.resident and contact is None) or bool(typed.staff and officer is None),
    )


def _contact(session: Session, who: Who, text: str, regions: tuple[str, ...]) -> int | None:
    """A contact point by its exact address, where the organisation's own record speaks of it."""
    channel = Channel.EMAIL if "@" in text else Channel.SMS
    try:
        address = people.read_address(channel, text, regions=regions, fictional=True)
    except Invalid as error:
        raise Invalid("resident", error.message) from None
    found = people.find_contact(session, address)
    if found is None:
        return None
    known = sa.exists().where(
        AuditEntry.subject == f"contact:{found.id}", AuditEntry.organisation_id == who.organisation_id
    )
    return found.id if session.scalar(sa.select(known)) else None


def _staff(session: Session, who: Who, text: str) -> UUID | None:
    try:
        found = staff.by_address(session, staff.read_email(text))
    except Invalid as error:
        raise Invalid("staff", error.message) from None
    return found.id if found is not None and found.organisation_id == who.organisation_id else None


def _area(session: Session, text: str) -> str:
    """The code of an area, whether of today or ended; by name only one of today."""
    exact = session.scalar(sa.select(Area.code).where(Area.code == text.upper()).limit(1))
    if exact is not None:
        return exact
    named = session.scalars(
        sa.select(Area.code)
        .where(sa.func.lower(Area.name) == text.lower(), Area.valid_to.is_(None))
        .distinct()
        .limit(2)
    ).all()
    if not named:
        raise Invalid("area", "There is no such area. Give its code, or its whole name.")
    if len(named) > 1:
        raise Invalid("area", "More than one area has this name. Give its code.")
    return named[0]


def _subject(session: Session, who: Who, text: str) -> str:
    if _REFERENCE.fullmatch(text):
        found = session.scalar(
            sa.select(Alert.id).where(
                Alert.reference == text.upper(), Alert.controller_id == who.organisation_id
            )
        )
        if found is None:
            raise Invalid("subject", "Your organisation has no alert with this reference.")
        return f"alert:{found}"
    if len(text) > LONGEST_SUBJECT or not _SUBJECT.fullmatch(text):
        raise Invalid(
            "subject", "Give an alert’s reference, or a kind and an id with a colon between, such as team:…"
        )
    return text


def _one_of(field: str, text: str, values: tuple[str, ...]) -> str | None:
    if not text:
        return None
    if text not in values:
        raise Invalid(field, "Choose one of the list.")
    return str(text)


def _moment(field: str, text: str, *, fold: int) -> datetime | None:
    """London's clock; in the hour that comes twice, ``fold`` 0 is the first and 1 the second."""
    if not text:
        return None
    try:
        here = datetime.fromisoformat(text)
        at = here if here.tzinfo else here.replace(tzinfo=LONDON, fold=fold)
        found = at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(field, "Enter a date, or a date and a time, such as 2026-03-27T14:30.") from None
    if not _EARLIEST <= found < _LATEST:
        raise Invalid(field, "Enter a date from 2000 on.")
    return found
