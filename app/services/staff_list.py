"""The staff of an organisation as its administrators see them: found, listed, and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.errors import Missing
from app.models.access import RoleGrant
from app.models.areas import Area
from app.models.sign_in import Passkey
from app.models.staff import Staff, WebSession
from app.models.teams import Team
from app.permissions import Permission, Role
from app.services import granting, roles, staff
from app.services.roles import Granted, Place

PAGE = 50
MOST_PAST = 200
STATES = ("here", "invited", "active", "left")


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list is narrowed to. ``area``: a borough's code; ``soon``: a role of theirs ends within 30 days."""

    role: Role | None = None
    area: str | None = None
    state: str = "here"  # here: invited or active
    soon: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One person of a list. ``factors``: kinds of ways in. ``seen_at``: in a session that is open, or at sign-in."""

    id: UUID
    name: str
    email: str
    team: str | None
    state: str
    factors: tuple[str, ...]
    seen_at: datetime | None
    roles: tuple[Granted, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """A role that somebody has or had. ``given_by`` and ``taken_by``: a name, "the operator", or how it ended."""

    role: Role
    where: str
    starts_at: datetime
    ends_at: datetime
    given_by: str
    taken_at: datetime | None
    taken_by: str | None


@dataclass(frozen=True, slots=True)
class Person:
    """One person as their page shows them, with what the administrator who looks may do."""

    line: Line
    team_id: UUID | None
    invited_at: datetime
    enrolled_at: datetime | None
    sessions: int
    past: tuple[Past, ...]
    may_grant: bool
    may_move: bool
    may_let_go: bool
    may_take: frozenset[UUID]  # of the roles, those that they may take back
    may_renew: frozenset[UUID]


_AREA = """
    staff.id IN (
        WITH RECURSIVE wanted AS (
            SELECT id FROM areas WHERE code = :area AND valid_to IS NULL
            UNION
            SELECT a.id FROM areas a JOIN wanted ON a.parent_id = wanted.id WHERE a.valid_to IS NULL
        )
        SELECT g.staff_id FROM role_grants g
        WHERE g.organisation_id = :organisation AND g.taken_at IS NULL AND g.ends_at > :now
          AND (g.area_id IN (SELECT id FROM wanted)
               OR g.team_id IN (SELECT t.team_id FROM team_areas t JOIN wanted ON wanted.id = t.area_id))
    )
"""


def people(
    session: Session, who: Who, wanted: Filter, *, now: datetime, after: UUID | None = None, most: int = PAGE
) -> tuple[list[Line], UUID | None]:
    """A page of one's organisation's staff in the order in which they were invited; the id to go on after."""
    query = sa.select(Staff.id).where(Staff.organisation_id == who.organisation_id)
    states = ("invited", "active") if wanted.state == "here" else (wanted.state,)
    query = query.where(Staff.state.in_(states))
    if wanted.role is not None or wanted.soon:
        held = sa.select(RoleGrant.staff_id).where(
            RoleGrant.organisation_id == who.organisation_id,
            access.standing(now),
        )
        if wanted.role is not None:
            held = held.where(RoleGrant.role == str(wanted.role))
        if wanted.soon:
            held = held.where(RoleGrant.ends_at <= now + roles.SOON)
        query = query.where(Staff.id.in_(held))
    if wanted.area is not None:
        values = {"area": wanted.area, "organisation": who.organisation_id, "now": now}
        query = query.where(sa.text(_AREA).bindparams(**values))
    if after is not None:
        query = query.where(Staff.id > after)
    ids = list(session.scalars(query.order_by(Staff.id).limit(most + 1)))
    further = ids[most - 1] if len(ids) > most else None
    return _lines(session, ids[:most], now), further


def by_email(session: Session, who: Who, typed: str) -> UUID:
    """Who of one's organisation signs in with exactly this address. Invalid for none; Missing for nobody here."""
    found = staff.by_address(session, staff.read_email(typed))
    if found is None or not access.may_on(session, who, Permission.STAFF_READ, found):
        raise Missing("Nobody of your organisation signs in with this e-mail address.")
    return found.id


def row(session: Session, who: Who, staff_id: UUID) -> Staff:
    """Somebody of one's organisation, for a service; Missing otherwise."""
    return access.row(session, who, Permission.STAFF_READ, Staff, staff_id)


def person(session: Session, who: Who, staff_id: UUID, *, now: datetime) -> Person:
    """One person of one's organisation; Missing otherwise."""
    found = row(session, who, staff_id)
    (line,) = _lines(session, [found.id], now)
    count = sa.select(sa.func.count()).where(
        WebSession.staff_id == found.id, WebSession.half.is_(False), WebSession.expires_at > now
    )
    here = found.state != "left"
    return Person(
        line,
        found.team_id,
        found.created_at,
        found.enrolled_at,
        session.scalar(count) or 0,
        tuple(_past(session, found.id)),
        may_grant=here and found.id != who.id and bool(granting.grantable(who)),
        may_move=here and found.id != who.id and granting.may_place(session, who, found.team_id),
        may_let_go=here and granting.may_let_go(session, who, found, now=now),
        may_take=_theirs(session, who, found, Permission.ROLE_TAKE, now),
        may_renew=_theirs(session, who, found, Permission.ROLE_GRANT, now),
    )


def _theirs(
    session: Session, who: Who, found: Staff, permission: Permission, now: datetime
) -> frozenset[UUID]:
    grants = session.scalars(
        sa.select(RoleGrant).where(RoleGrant.staff_id == found.id, access.standing(now))
    ).all()
    renewing = permission is Permission.ROLE_GRANT
    return frozenset(
        one.id
        for one in grants
        if not (renewing and one.source != "given")
        and granting.may_grant(
            session, who, found, Role(one.role), Place(one.area_id, one.team_id), permission=permission
        )
    )


def _lines(session: Session, ids: Sequence[UUID], now: datetime) -> list[Line]:
    seen = (
        sa.select(sa.func.max(WebSession.seen_at))
        .where(WebSession.staff_id == Staff.id, WebSession.half.is_(False))
        .scalar_subquery()
    )
    keys = sa.exists().where(Passkey.staff_id == Staff.id)
    rows = session.execute(
        sa.select(Staff, Team.name, keys, sa.func.greatest(seen, Staff.signed_in_at))
        .outerjoin(Team, Team.id == Staff.team_id)
        .where(Staff.id.in_(ids))
        .order_by(Staff.id)
    ).all()
    held = roles.of_many(session, ids, now=now)
    return [
        Line(
            one.id, one.name, one.email, team, one.state, _factors(one, passkey), at,
            tuple(held.get(one.id, ())),
        )
        for one, team, passkey, at in rows
    ]  # fmt: skip


def _factors(one: Staff, passkey: bool) -> tuple[str, ...]:
    has = {
        "password": one.password_hash is not None,
        "app": one.totp_secret is not None,
        "passkey": passkey,
        "identity provider": one.oidc_subject is not None,
    }
    return tuple(name for name, there in has.items() if there) if one.state == "active" else ()


def _past(session: Session, staff_id: UUID) -> list[Past]:
    """All roles that somebody ever had here, the newest first."""
    rows = session.execute(
        sa.select(RoleGrant, Area.name, Team.name)
        .outerjoin(Area, Area.id == RoleGrant.area_id)
        .outerjoin(Team, Team.id == RoleGrant.team_id)
        .where(RoleGrant.staff_id == staff_id)
        .order_by(RoleGrant.starts_at.desc(), RoleGrant.id.desc())
        .limit(MOST_PAST)
    ).all()
    ids = {UUID(by) for one, *_ in rows for by in (one.given_by, one.taken_by) if _is_id(by)}
    names = {
        str(id): name
        for id, name in session.execute(sa.select(Staff.id, Staff.name).where(Staff.id.in_(ids)))
    }
    return [
        Past(
            Role(one.role),
            area or team or "everywhere",
            one.starts_at,
            one.ends_at,
            "their identity provider" if one.source == "group" else _named(one.given_by, names),
            one.taken_at,
            None if one.taken_at is None else _named(one.taken_by, names),
        )
        for one, area, team in rows
    ]


def _is_id(text: str | None) -> bool:
    try:
        UUID(text or "")
    except ValueError:
        return False
    return True


def _named(by: str | None, names: dict[str, str]) -> str:
    known = {"term": "its term", "operator": "the operator", "system": "the service"}
    return names.get(by or "", known.get(by or "", "somebody who is no longer known"))
