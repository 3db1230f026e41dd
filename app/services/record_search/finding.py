"""The search itself: each way into the record is one walk along one index, newest first, and only so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import PERSONAL, Who
from app.audit.encoding import COLUMNS
from app.audit.record import ActorKind
from app.permissions import Permission
from app.services.record_search.wanted import Wanted

PAGE = 50
MOST_SUBJECTS = 200  # of one person or one alert


class Cursor(NamedTuple):
    """Where a page ends."""

    at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as it was found. ``seq``, ``prev`` and ``hash``: its link in the chain, once it is sealed."""

    id: int
    at: datetime
    actor_kind: str
    actor_id: str | None
    organisation_id: UUID | None
    area_code: str | None
    subject: str
    event: str
    s62: str | None
    why: str | None
    origin: str | None
    detail: str | None
    seq: int | None
    sealed_at: datetime | None
    prev: bytes | None
    hash: bytes | None
    canonical: tuple[Any, ...]

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.at, self.id)


_WIDTH = 13  # of what the canonical encoding takes
SELECTED = f"{COLUMNS}, e.at AS moment, e.organisation_id AS organisation, s.seq, s.sealed_at, s.prev, s.hash"
_ENTRIES = (
    f"SELECT {SELECTED} FROM audit_entries e LEFT JOIN audit_seals s ON s.entry_id = e.id WHERE e.id = ANY(:ids) "
    "ORDER BY e.at DESC, e.id DESC"
)
_BELOW = """
    WITH RECURSIVE below AS (
        SELECT id, code FROM areas WHERE code = :code
        UNION
        SELECT a.id, a.code FROM areas a JOIN below b ON a.parent_id = b.id
    )
    SELECT DISTINCT code FROM below
"""
# What is the service's, and what is of a person whom the organisation's own record speaks of. Not EXISTS: PostgreSQL
# would hash all that the organisation has before it looks for one.
_SERVICE = f"""
    (split_part(e.subject, ':', 1) NOT IN ({", ".join(f"'{kind}'" for kind in PERSONAL)})
     OR (SELECT true FROM audit_entries o WHERE o.subject = e.subject AND o.organisation_id = :organisation
         AND o.event NOT LIKE 'record:%' LIMIT 1))
"""
_EACH_AREA = """
    (SELECT code, kind FROM unnest(CAST(:codes AS text[])) a(code), unnest(CAST(:kinds AS text[])) k(kind)) c
"""
_MINE, _NOBODYS = "e.organisation_id = :organisation", "e.organisation_id IS NULL"


@dataclass
class _Query:
    """What every way in must satisfy besides, and the values that are bound."""

    organisation: UUID
    codes: list[str] | None  # None: everywhere
    rest: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    ways: list[str] = field(default_factory=list)

    def must(self, condition: str, **values: Any) -> None:
        self.rest.append(condition)
        self.values |= values

    def way(self, conditions: Sequence[str], order: Sequence[str], *, each: str = "") -> None:
        """One walk along one index. ``order``: what stands in the index before (at, id), so that it gives the order;
        ``each``: a list of keys, and the walk is done for every one.
        """
        by = ", ".join(f"{column} DESC" for column in (*order, "e.at", "e.id"))
        where = " AND ".join([*conditions, *self.rest])
        walk = f"SELECT e.id, e.at FROM audit_entries e WHERE {where} ORDER BY {by} LIMIT :most"
        self.ways.append(
            f"(SELECT w.id, w.at FROM {each} CROSS JOIN LATERAL ({walk}) w ORDER BY w.at DESC, w.id DESC LIMIT :most)"
            if each
            else f"({walk})"
        )

    def ours(self, conditions: Sequence[str], order: Sequence[str]) -> None:
        """The organisation's, and for whoever looks everywhere the service's."""
        self.way([_MINE, *conditions], ["e.organisation_id", *order])
        if self.codes is None:
            self.way([_NOBODYS, _SERVICE, *conditions], ["e.organisation_id", *order])


def page(
    session: Session,
    who: Who,
    wanted: Wanted,
    *,
    below: int,
    before: Cursor | None = None,
    only: int | None = None,
    most: int = PAGE,
) -> list[Found]:
    """Up to ``most`` entries with an id below ``below`` that somebody may see, after the cursor ``before``.

    ``only``: whether this one is among them.
    """
    if wanted.nobody:
        return []
    codes = access.codes_of(session, who, Permission.RECORD_SEARCH)
    query = _Query(who.organisation_id, codes)
    query.values |= {"organisation": who.organisation_id, "most": most}
    query.must("e.id < :below", below=below)
    if only is not None:
        query.must("e.id = :only", only=only)
    if before is not None:
        query.must("(e.at, e.id) < (:at, :id)", at=before.at, id=before.id)
    if wanted.since is not None:
        query.must("e.at >= :since", since=datetime.fromisoformat(wanted.since))
    if wanted.until is not None:
        query.must("e.at < :until", until=datetime.fromisoformat(wanted.until))
    _ways(session, query, wanted)
    keys = sa.text(f"SELECT id FROM ({' UNION '.join(query.ways)}) k ORDER BY at DESC, id DESC LIMIT :most")
    ids = list(session.scalars(keys, query.values))
    return entries(session, ids)


def entries(session: Session, ids: Sequence[int]) -> list[Found]:
    """Whole entries by their ids, newest first."""
    if not ids:
        return []
    return [found(row) for row in session.execute(sa.text(_ENTRIES), {"ids": list(ids)})]


def found(row: sa.Row[Any]) -> Found:
    """A row of what ``_ENTRIES`` selects."""
    return Found(
        row.id, row.moment.astimezone(UTC), row.actor_kind, row.actor_id, row.organisation, row.area_code, row.subject,
        row.event, row.s62, row.why, row.origin, row.detail, row.seq, row.sealed_at,
        bytes(row.prev) if row.prev is not None else None,
        bytes(row.hash) if row.hash is not None else None, tuple(row[:_WIDTH]),
    )  # fmt: skip


def _ways(session: Session, query: _Query, wanted: Wanted) -> None:
    """Choose the ways in by what narrows most, and leave the rest to be looked at along them."""
    query.values["codes"] = query.codes
    codes = query.codes
    if wanted.area is not None:
        below = set(session.scalars(sa.text(_BELOW), {"code": wanted.area}))
        codes = sorted(below if codes is None else below & set(codes))
        query.codes, query.values["codes"] = codes, codes
    if wanted.event is not None:
        query.must("e.event = :event", event=wanted.event)
    if wanted.s62 is not None:
        query.must("e.s62 = :s62", s62=wanted.s62)
    acting: list[tuple[str, str]] = []  # (kind, id) of those whose own acts count
    subjects: list[str] = []
    if wanted.subject is not None:
        subjects = _of_subject(session, wanted.subject)
    if wanted.contact is not None:
        person = _of_contact(session, query.organisation, wanted.contact)
        if subjects:
            query.must(
                "(e.subject = ANY(:person) OR (e.actor_kind = 'resident' AND e.actor_id = :resident))",
                person=person,
                resident=str(wanted.contact),
            )
        else:
            subjects, acting = person, [("resident", str(wanted.contact))]
    if wanted.staff is not None:
        officer = f"staff:{wanted.staff}"
        if subjects:
            query.must(
                "(e.subject = :officer OR (e.actor_kind = 'staff' AND e.actor_id = :staff))",
                officer=officer,
                staff=str(wanted.staff),
            )
        else:
            subjects, acting = [officer], [("staff", str(wanted.staff))]
    _walk(query, subjects, acting, wanted, codes)


def _walk(
    query: _Query, subjects: list[str], acting: list[tuple[str, str]], wanted: Wanted, codes: list[str] | None
) -> None:
    narrowed = ["e.area_code = ANY(:codes)"] if codes is not None else []
    kind = []
    if wanted.by is not None:
        query.values["kind"] = wanted.by
        kind = ["e.actor_kind = :kind"]
    if subjects:
        query.values["subjects"] = subjects
        whose = _MINE if codes is not None else f"({_MINE} OR ({_NOBODYS} AND {_SERVICE}))"
        each = "unnest(CAST(:subjects AS text[])) s(subject)"
        query.way(["e.subject = s.subject", whose, *narrowed, *kind], ["e.subject"], each=each)
        for n, (of, id) in enumerate(acting):
            query.values |= {f"actor_kind_{n}": of, f"actor_{n}": id}
            actor = [f"e.actor_kind = :actor_kind_{n}", f"e.actor_id = :actor_{n}"]
            query.ours([*actor, *narrowed, *kind], ["e.actor_kind", "e.actor_id"])
    elif codes is not None and wanted.event is None and wanted.s62 is None:
        query.values["kinds"] = [wanted.by] if wanted.by else [str(one) for one in ActorKind]
        query.way(
            [_MINE, "e.area_code = c.code", "e.actor_kind = c.kind"],
            ["e.organisation_id", "e.area_code", "e.actor_kind"],
            each=_EACH_AREA,
        )
    elif wanted.event is not None:
        query.ours([*narrowed, *kind], ["e.event"])
    elif wanted.s62 is not None:
        query.ours([*narrowed, *kind], ["e.s62"])
    else:
        query.ours([*narrowed, *kind], [])


def _of_contact(session: Session, organisation: UUID, contact: int) -> list[str]:
    """A person as the record knows them: their contact point and their threads of replies."""
    threads = session.scalars(
        sa.text(
            "SELECT id FROM replies WHERE contact_id = :contact AND controller_id = :organisation "
            "ORDER BY last_at DESC LIMIT :most"
        ),
        {"contact": contact, "organisation": organisation, "most": MOST_SUBJECTS},
    )
    return [f"contact:{contact}", *(f"reply:{one}" for one in threads)]


def _of_subject(session: Session, subject: str) -> list[str]:
    """An alert goes with its sendings."""
    kind, _, id = subject.partition(":")
    try:
        alert = UUID(id) if kind == "alert" else None
    except ValueError:
        alert = None
    if alert is None:
        return [subject]
    sendings = session.scalars(
        sa.text("SELECT id FROM dispatches WHERE alert_id = :alert ORDER BY id DESC LIMIT :most"),
        {"alert": alert, "most": MOST_SUBJECTS},
    )
    return [f"alert:{alert}", *(f"dispatch:{one}" for one in sendings)]
