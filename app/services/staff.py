"""Staff: who may act, for which organisation and team, and for which areas. Asked here and nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access, crypto
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.organisations import Organisation
from app.models.sign_in import KnownPlace, Passkey, RecoveryCode
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import Permission
from app.services import granting, people, roles, sessions
from app.services.people import Address
from messaging.types import Channel

DIGEST_KIND = "staff"
PAGE = 100


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
    """A borough and those of its wards that may be chosen. ``whole``: all of it may be, by its own code."""

    code: str
    name: str
    wards: tuple[Choice, ...]
    whole: bool = True


def account(session: Session, who: Who) -> Account:
    """What is shown to the officer alone."""
    found, organisation, team = session.execute(
        sa.select(Staff, Organisation.name, Team.name)
        .join(Organisation, Organisation.id == Staff.organisation_id)
        .outerjoin(Team, Team.id == Staff.team_id)
        .where(Staff.id == who.id)
    ).one()
    return Account(found.name, found.email, organisation, team)


_BOROUGHS = sa.text(
    f"""
    WITH RECURSIVE {access.MINE}
    SELECT b.code, b.name, b.id IN (SELECT id FROM mine) AS whole,
        coalesce(json_agg(json_build_array(w.code, w.name) ORDER BY w.name, w.code) FILTER (WHERE w.id IS NOT NULL), '[]')
    FROM areas b
    -- Wards, and what is drawn within the borough.
    LEFT JOIN areas w ON w.parent_id = b.id AND w.valid_to IS NULL AND w.id IN (SELECT id FROM mine)
    WHERE b.kind = 'borough' AND b.valid_to IS NULL
    GROUP BY b.id HAVING b.id IN (SELECT id FROM mine) OR count(w.id) > 0
    ORDER BY b.name, b.code
    """
)
_NAMES = sa.text(
    """
    SELECT a.code, a.name FROM areas a
    WHERE a.code = ANY(CAST(:codes AS text[])) AND a.valid_to IS NULL ORDER BY a.name, a.code
    """
)


def areas_of(session: Session, who: Who, permission: Permission) -> list[BoroughChoice]:
    """The boroughs and wards where somebody may do this, by name; a ward stands below its borough."""
    rows = session.execute(_BOROUGHS, access.reach(who, permission).values)
    return [
        BoroughChoice(code, name, tuple(Choice(*ward) for ward in wards), whole)
        for code, name, whole, wards in rows
    ]


def require_areas(session: Session, who: Who, permission: Permission, codes: Collection[str]) -> None:
    """Invalid unless somebody may do this in every one of these areas."""
    if not access.inside(session, who, permission, codes):
        raise Invalid("areas", "Choose only areas of your own.")


def names_of(session: Session, codes: Sequence[str]) -> list[Choice]:
    """Areas of today by their codes, in the order of their names."""
    return [Choice(code, name) for code, name in session.execute(_NAMES, {"codes": list(codes)})]


def digest(address: Address) -> bytes:
    """What staff are found by: another kind than residents, so that nobody is both by looking."""
    return crypto.keyring().digest(DIGEST_KIND, address.form)


def departed(issuer: str, subject: str) -> bytes:
    """What is kept of whoever came by a provider and left: their groups must not make them staff again."""
    return crypto.keyring().digest("staff-oidc", f"{issuer} {subject}")


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


def leave(session: Session, email: str, *, actor: audit.Actor, now: datetime) -> Staff:
    """Somebody leaves: signed out everywhere, without a role or a way in; no invitation of theirs opens any more."""
    found = by_address(session, read_email(email))
    if found is None:
        raise Missing("Nobody of staff has this e-mail address.")
    let_go(session, found, actor=actor, now=now)
    return found


def let_leave(session: Session, by: Who, staff_id: UUID, *, actor: audit.Actor, now: datetime) -> None:
    """An administrator lets somebody leave. Missing unless all their roles are theirs to take; Conflict for the
    organisation's last force administrator, and for somebody who has left.
    """
    found = _theirs(session, by, staff_id, now)
    roles.keep_one(session, found, now=now)
    let_go(session, found, actor=actor, now=now)


def cut_off(session: Session, by: Who, staff_id: UUID, *, actor: audit.Actor, now: datetime) -> None:
    """An administrator signs somebody out everywhere; they may sign in again. Missing as for ``let_leave``."""
    found = _theirs(session, by, staff_id, now)
    sessions.end_all(session, staff_id=found.id)
    _record(session, "staff:cut-off", found, actor)


def move(session: Session, by: Who, staff_id: UUID, team_id: UUID | None, *, actor: audit.Actor) -> None:
    """Put somebody into another team, or into none. Missing unless both teams are the administrator's to fill."""
    found = access.row(session, by, Permission.STAFF_READ, Staff, staff_id, lock=True)
    if found.state == "left":
        raise Conflict("They have left.")
    if team_id is not None:
        team = session.get(Team, team_id, with_for_update={"read": True}, populate_existing=True)
        if team is None or team.controller_id != by.organisation_id or team.ended_at is not None:
            raise Missing("The organisation has no such team.")
    if found.id == by.id or not all(granting.may_place(session, by, one) for one in {found.team_id, team_id}):
        raise Missing("There is no such person.")
    if team_id != found.team_id:
        before, found.team_id = found.team_id, team_id
        session.flush()
        _record(session, "staff:alter", found, actor, team=team_id, before=before)


def _theirs(session: Session, by: Who, staff_id: UUID, now: datetime) -> Staff:
    found = access.row(session, by, Permission.STAFF_READ, Staff, staff_id, lock=True)
    if not granting.may_let_go(session, by, found, now=now):
        raise Missing("There is no such person.")
    return found


def let_go(session: Session, found: Staff, *, actor: audit.Actor, now: datetime) -> None:
    """What ``leave`` does, to somebody who was looked up otherwise. Conflict when they have left already."""
    if found.state == "left":
        raise Conflict("They have left already.")
    if found.oidc_issuer is not None and found.oidc_subject is not None:
        found.oidc_left = departed(found.oidc_issuer, found.oidc_subject)
    values: dict[str, Any] = {"state": "left", "password_hash": None, "totp_secret": None, "totp_step": None}
    for name, value in (values | {"oidc_issuer": None, "oidc_subject": None}).items():
        setattr(found, name, value)
    session.flush()
    sessions.end_all(session, staff_id=found.id)
    roles.take_all(session, found.id, actor=actor, now=now)
    for way in (Passkey, RecoveryCode, KnownPlace):
        session.execute(sa.delete(way).where(way.staff_id == found.id))
    _record(session, "staff:leave", found, actor)


def _record(session: Session, event: str, found: Staff, actor: audit.Actor, **detail: UUID | None) -> None:
    audit.record(
        session,
        event=event,
        subject=f"staff:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        detail=detail or None,
    )
