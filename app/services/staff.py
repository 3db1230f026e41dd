"""Staff: who may act, for which organisation and team, and for which areas. Asked here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.models.teams import Team
from app.services import people, sessions
from app.services.errors import Conflict, Invalid, Missing
from app.services.people import Address
from messaging.types import Channel

DIGEST_KIND = "staff"
PAGE = 100


@dataclass(frozen=True, slots=True)
class Officer:
    """Somebody of staff who is active, as far as it matters for what they may do."""

    id: UUID
    organisation_id: UUID
    team_id: UUID | None
    name: str


@dataclass(frozen=True, slots=True)
class Account:
    """What an officer's own page shows."""

    name: str
    email: str
    organisation: str
    team: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """An area that may be chosen."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class BoroughChoice:
    """A borough that may be chosen as a whole, and its wards."""

    code: str
    name: str
    wards: tuple[Choice, ...]


def officer(session: Session, staff_id: UUID) -> Officer:
    """An officer by id. Missing when there is none, or who has not enrolled yet or has left."""
    found = session.get(Staff, staff_id)
    if found is None or found.state != "active":
        raise Missing("There is no such officer.")
    return Officer(found.id, found.organisation_id, found.team_id, found.name)


def account(session: Session, who: Officer) -> Account:
    """What is shown to the officer alone."""
    found, organisation, team = session.execute(
        sa.select(Staff, Organisation.name, Team.name)
        .join(Organisation, Organisation.id == Staff.organisation_id)
        .outerjoin(Team, Team.id == Staff.team_id)
        .where(Staff.id == who.id)
    ).one()
    return Account(found.name, found.email, organisation, team)


# A team works in the boroughs that its areas lie in; whoever is in no team, everywhere.
_MINE = """
    WITH RECURSIVE roots AS (
        SELECT CASE a.kind WHEN 'ward' THEN a.parent_id ELSE a.id END AS id
        FROM team_areas t JOIN areas a ON a.id = t.area_id WHERE t.team_id = :team
    ), mine AS (
        SELECT a.id FROM areas a WHERE a.valid_to IS NULL
            AND CASE WHEN CAST(:team AS uuid) IS NULL THEN a.parent_id IS NULL ELSE a.id IN (SELECT id FROM roots) END
        UNION
        SELECT a.id FROM areas a JOIN mine ON a.parent_id = mine.id WHERE a.valid_to IS NULL
    )
"""
_BOROUGHS = sa.text(
    _MINE
    + """
    SELECT b.code, b.name, w.code, w.name
    FROM mine JOIN areas b ON b.id = mine.id AND b.kind = 'borough'
    LEFT JOIN areas w ON w.parent_id = b.id AND w.kind = 'ward' AND w.valid_to IS NULL
    ORDER BY b.name, b.code, w.name, w.code
    """
)
_OUTSIDE = sa.text(
    _MINE
    + """
    SELECT wanted.code FROM unnest(CAST(:codes AS text[])) AS wanted(code)
    WHERE NOT EXISTS (SELECT 1 FROM mine JOIN areas a ON a.id = mine.id WHERE a.code = wanted.code)
    LIMIT 1
    """
)
_NAMES = sa.text(
    """
    SELECT a.code, a.name FROM areas a
    WHERE a.code = ANY(CAST(:codes AS text[])) AND a.valid_to IS NULL ORDER BY a.name, a.code
    """
)


def areas_of(session: Session, who: Officer) -> list[BoroughChoice]:
    """The boroughs and wards that an officer may choose, by name."""
    found: dict[tuple[str, str], list[Choice]] = {}
    for code, name, ward_code, ward_name in session.execute(_BOROUGHS, {"team": who.team_id}):
        wards = found.setdefault((code, name), [])
        if ward_code is not None:
            wards.append(Choice(ward_code, ward_name))
    return [BoroughChoice(code, name, tuple(wards)) for (code, name), wards in found.items()]


def may_choose(session: Session, who: Officer, codes: Collection[str]) -> bool:
    """Whether every one of these areas is the officer's to write to."""
    values = {"team": who.team_id, "codes": list(codes)}
    return session.execute(_OUTSIDE, values).one_or_none() is None


def require_areas(session: Session, who: Officer, codes: Collection[str]) -> None:
    """Invalid unless the officer may write to every one of these areas."""
    if not may_choose(session, who, codes):
        raise Invalid("areas", "Choose only areas of your own team.")


def names_of(session: Session, codes: Sequence[str]) -> list[Choice]:
    """Areas of today by their codes, in the order of their names."""
    return [Choice(code, name) for code, name in session.execute(_NAMES, {"codes": list(codes)})]


def digest(address: Address) -> bytes:
    """What staff are found by: another kind than residents, so that nobody is both by looking."""
    return crypto.keyring().digest(DIGEST_KIND, address.form)


def read_email(typed: str) -> Address:
    """An address to look somebody up by; whether it may be written to is asked when it is added."""
    try:
        return people.read_address(Channel.EMAIL, typed, fictional=True)
    except Invalid as error:
        raise Invalid("email", error.message) from None


def by_address(session: Session, address: Address) -> Staff | None:
    return session.scalar(sa.select(Staff).where(Staff.digest == digest(address)))


def listed(
    session: Session, organisation: UUID, *, after: UUID | None = None, most: int = PAGE
) -> list[tuple[Staff, str | None]]:
    """An organisation's staff with the names of their teams, in the order in which they were invited."""
    query = sa.select(Staff, Team.name).outerjoin(Team, Team.id == Staff.team_id)
    query = query.where(Staff.organisation_id == organisation)
    if after is not None:
        query = query.where(Staff.id > after)
    return [(one, team) for one, team in session.execute(query.order_by(Staff.id).limit(most))]


def leave(session: Session, email: str, *, actor: audit.Actor) -> Staff:
    """Somebody leaves: every browser of theirs is signed out, and no invitation of theirs opens any more."""
    found = by_address(session, read_email(email))
    if found is None:
        raise Missing("Nobody of staff has this e-mail address.")
    if found.state == "left":
        raise Conflict("They have left already.")
    values: dict[str, Any] = {"state": "left", "password_hash": None, "totp_secret": None, "totp_step": None}
    for name, value in values.items():
        setattr(found, name, value)
    session.flush()
    sessions.end_all(session, staff_id=found.id)
    audit.record(
        session,
        event="staff:leave",
        subject=f"staff:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
    )
    return found
