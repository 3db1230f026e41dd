"""The gate: may this person do this to this, here? Every route, command, job and template asks it, and nothing else.

It judges by ``app.permissions.TABLE`` and by the roles that were granted. An id in an address becomes a row by
``row`` alone: what is not there and what may not be seen are both Missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.errors import Missing
from app.models.access import Agreement, RoleGrant
from app.models.alerts import Alert
from app.models.audit import AuditEntry
from app.models.ledger import Dispatch
from app.models.misuse import MisuseReport
from app.models.organisations import Organisation
from app.models.register import CameraRequest, Investigation, RegisterSearch
from app.models.register_watch import SearchFinding, SearchReview
from app.models.replies import Reply
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import INVESTIGATE, TABLE, Permission, Role, Scope

__all__ = [
    "FRESH",
    "MINE",
    "PERSONAL",
    "Held",
    "Who",
    "codes_of",
    "everything_in",
    "fresh",
    "inside",
    "may",
    "may_on",
    "of",
    "of_case",
    "of_team",
    "outside",
    "reach",
    "row",
    "standing",
]

# How long a factor counts as just shown.
FRESH = timedelta(minutes=10)
Row = TypeVar(
    "Row",
    Agreement,
    Alert,
    AuditEntry,
    CameraRequest,
    Dispatch,
    Investigation,
    MisuseReport,
    RegisterSearch,
    Reply,
    RoleGrant,
    SearchFinding,
    SearchReview,
    Staff,
    Team,
)


@dataclass(frozen=True, slots=True)
class Held:
    """A role as it is held now: on an area and all below, on a team's areas, or (neither) everywhere."""

    role: Role
    area_id: int | None = None
    team_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody of staff who is active, with the roles they hold at this moment."""

    id: UUID
    organisation_id: UUID
    team_id: UUID | None
    name: str
    competent: bool  # the organisation is a competent authority
    held: tuple[Held, ...]

    def roles(self) -> frozenset[Role]:
        return frozenset(one.role for one in self.held)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a permission of somebody's holds: below these areas and these teams' areas, or everywhere."""

    everywhere: bool
    areas: tuple[int, ...]
    teams: tuple[UUID, ...]

    @property
    def values(self) -> dict[str, Any]:
        """What ``MINE`` is bound with."""
        return {"everywhere": self.everywhere, "roots": list(self.areas), "teams": list(self.teams)}


def of(session: Session, staff_id: UUID, *, now: datetime) -> Who:
    """Somebody by id, with the roles whose term runs. Missing when there is none, or they are not active."""
    rows = session.execute(
        sa.select(
            Staff, Organisation.competent_authority, RoleGrant.role, RoleGrant.area_id, RoleGrant.team_id
        )
        .join(Organisation, Organisation.id == Staff.organisation_id)
        .outerjoin(
            RoleGrant,
            sa.and_(RoleGrant.staff_id == Staff.id, RoleGrant.starts_at <= now, standing(now)),
        )
        .where(Staff.id == staff_id, Staff.state == "active", Organisation.ended_at.is_(None))
        .order_by(RoleGrant.id)
    ).all()
    if not rows:
        raise Missing("There is no such officer.")
    found, competent = rows[0][0], rows[0][1]
    held = tuple(Held(Role(role), area, team) for _, _, role, area, team in rows if role is not None)
    return Who(found.id, found.organisation_id, found.team_id, found.name, competent, held)


def standing(now: datetime) -> sa.ColumnElement[bool]:
    """Whether a grant has neither ended nor been taken back.

    Its beginning is not asked: whoever waited for a lock has an older clock than whoever granted before them.
    """
    return sa.and_(RoleGrant.taken_at.is_(None), RoleGrant.ends_at > now)


def fresh(shown_at: datetime | None, *, now: datetime) -> bool:
    """Whether a factor was shown a moment ago, as what needs a step-up asks."""
    return shown_at is not None and now - FRESH < shown_at <= now


def may(who: Who, permission: Permission) -> bool:
    """Whether somebody may do this anywhere at all: whether a page or a button is theirs."""
    rule = TABLE[permission]
    return rule.scope is Scope.OWN or not rule.roles.isdisjoint(who.roles())


def reach(who: Who, permission: Permission) -> Reach:
    """Where somebody may do this."""
    held = [one for one in who.held if one.role in TABLE[permission].roles]
    return Reach(
        any(one.area_id is None and one.team_id is None for one in held),
        tuple(one.area_id for one in held if one.area_id is not None),
        tuple(one.team_id for one in held if one.team_id is not None),
    )


# A part of a query, after WITH RECURSIVE: ``mine`` are the areas of today within a ``Reach``. A team works in the
# boroughs that its wards lie in, and in what was drawn for it; where a role is granted on an area, in that and what
# lies below. ``services.granting`` reckons the same, or somebody could give more than they have.
MINE = """
    roots AS (
        SELECT a.id FROM areas a WHERE CAST(:everywhere AS boolean) AND a.valid_to IS NULL AND a.parent_id IS NULL
        UNION
        SELECT unnest(CAST(:roots AS integer[]))
        UNION
        SELECT CASE a.kind WHEN 'ward' THEN a.parent_id ELSE a.id END
        FROM team_areas t JOIN areas a ON a.id = t.area_id WHERE t.team_id = ANY(CAST(:teams AS uuid[]))
    ), mine AS (
        SELECT a.id FROM roots r JOIN areas a ON a.id = r.id WHERE a.valid_to IS NULL
        UNION
        SELECT a.id FROM areas a JOIN mine ON a.parent_id = mine.id WHERE a.valid_to IS NULL
    )
"""
# A code of before stands for all that its area became: what was sent there can still be held by whoever is there now.
_OUTSIDE = sa.text(
    f"""
    WITH RECURSIVE {MINE}, became AS (
        SELECT a.code AS wanted, a.id, a.valid_to IS NULL AS stands
        FROM unnest(CAST(:codes AS text[])) AS wanted(code) JOIN areas a ON a.code = wanted.code
        WHERE a.valid_to IS NULL
            OR NOT EXISTS (SELECT 1 FROM areas x WHERE x.code = a.code AND x.valid_from > a.valid_from)
        UNION
        SELECT b.wanted, n.id, n.valid_to IS NULL
        FROM became b JOIN area_successors s ON s.area_id = b.id JOIN areas n ON n.id = s.successor_id
        WHERE NOT b.stands
    )
    SELECT wanted.code FROM unnest(CAST(:codes AS text[])) AS wanted(code)
    WHERE NOT EXISTS (SELECT 1 FROM became b WHERE b.wanted = wanted.code AND b.stands)
        OR EXISTS (SELECT 1 FROM became b WHERE b.wanted = wanted.code AND b.stands AND b.id NOT IN (SELECT id FROM mine))
    LIMIT 1
    """
)


def inside(session: Session, who: Who, permission: Permission, codes: Collection[str]) -> bool:
    """Whether every one of these areas, by code, lies where somebody may do this. Of none, every one does."""
    if not may(who, permission):
        return False
    values = reach(who, permission).values | {"codes": list(codes)}
    return session.execute(_OUTSIDE, values).one_or_none() is None


def everything_in(session: Session, who: Who, permission: Permission, area_id: int | None) -> bool:
    """Whether an area (None: everywhere) lies where somebody may do this."""
    where = reach(who, permission)
    if area_id is None:
        return where.everywhere
    found = session.execute(
        sa.text(f"WITH RECURSIVE {MINE} SELECT EXISTS (SELECT 1 FROM mine WHERE id = :area)"),
        where.values | {"area": area_id},
    )
    return bool(found.scalar_one())


_CODES = sa.text(
    f"""
    WITH RECURSIVE {MINE}
    SELECT DISTINCT a.code FROM areas a
    WHERE a.id IN (SELECT id FROM mine) OR a.parent_id IN (SELECT id FROM mine)
    """
)


def codes_of(session: Session, who: Who, permission: Permission) -> list[str] | None:
    """The areas where somebody may do this, by code, those that ended below one of today's too; None: everywhere."""
    where = reach(who, permission)
    if where.everywhere:
        return None
    return list(session.scalars(_CODES, where.values))


def of_team(who: Who, controller: Any, team: Any) -> list[sa.ColumnElement[bool]]:
    """What ``Scope.TEAM`` lets somebody see in a list, as conditions on its columns that each follow one index."""
    whole = controller == who.organisation_id
    if who.team_id is None:
        return [whole]
    return [sa.and_(whole, team == who.team_id), sa.and_(whole, team.is_(None))]


def row(
    session: Session, who: Who, permission: Permission, kind: type[Row], id: UUID | int, *, lock: bool = False
) -> Row:
    """The only way from an id to a row as it stands. Missing when it is not there, or may not be had for this."""
    found = session.get(kind, id, with_for_update=lock, populate_existing=True)
    if found is None or not may_on(session, who, permission, found):
        raise Missing("There is no such thing.")
    return found


def may_on(session: Session, who: Who, permission: Permission, thing: Row) -> bool:
    """Whether somebody may do this to this."""
    if isinstance(thing, AuditEntry):
        return may(who, permission) and _of_entry(session, who, permission, thing)
    if isinstance(thing, MisuseReport) and thing.bars(who.id, who.team_id, who.name):
        return False
    if isinstance(thing, SearchFinding | SearchReview) and not _outside_of(session, who, thing.staff_id):
        return False
    # Nobody keeps a search of their own from owners.
    if (
        isinstance(thing, RegisterSearch)
        and thing.staff_id == who.id
        and permission is Permission.WITHHOLD_SEARCH
    ):
        return False
    if isinstance(thing, CameraRequest | Investigation) and not of_case(session, who, thing):
        return False
    if (
        isinstance(thing, RegisterSearch)
        and permission in {Permission.REQUEST_OPEN, Permission.REGISTER_SEARCH}
        and thing.staff_id != who.id
    ):
        return False  # who asks owners knows what they searched for
    if isinstance(thing, _OF_ORGANISATION):
        organisation = thing.organisation_id
    else:
        organisation = thing.controller_id
    if organisation != who.organisation_id or not may(who, permission):
        return False
    match TABLE[permission].scope:
        case Scope.OWN:
            return isinstance(thing, Staff) and thing.id == who.id
        case Scope.TEAM:
            return who.team_id is None or _TEAM[type(thing)](thing) in (None, who.team_id)
        case Scope.AREA:
            codes = _AREAS[type(thing)](session, thing)
            return codes is not None and inside(session, who, permission, codes)
        case _:
            return True


_OF_ORGANISATION = (
    Agreement, CameraRequest, Investigation, MisuseReport, RegisterSearch, RoleGrant, SearchFinding, SearchReview, Staff,
)  # fmt: skip


def outside(who: Who, searcher: Any) -> sa.ColumnElement[bool]:
    """Whether somebody stands outside the line of whoever searched (a column of staff ids), as a condition of a list.

    In it are the searcher, their team, and whoever gave them the role that they search by.
    """
    gave = sa.select(RoleGrant.id).where(
        RoleGrant.staff_id == searcher,
        RoleGrant.given_by == str(who.id),
        RoleGrant.role.in_(sorted(INVESTIGATE)),
    )
    found = sa.and_(searcher != who.id, ~gave.exists())
    if who.team_id is None:
        return found
    mate = aliased(Staff)
    return sa.and_(
        found, ~sa.select(mate.id).where(mate.id == searcher, mate.team_id == who.team_id).exists()
    )


def _outside_of(session: Session, who: Who, searcher: UUID) -> bool:
    return bool(session.scalar(sa.select(outside(who, sa.literal(searcher, sa.Uuid)))))


def of_case(session: Session, who: Who, thing: CameraRequest | Investigation) -> bool:
    """Whether a case, or the one that a request belongs to, is somebody's: they searched for it, or supervise."""
    if Role.SUPERVISOR in who.roles():
        return True
    case = thing.id if isinstance(thing, Investigation) else thing.investigation_id
    mine = sa.exists().where(RegisterSearch.investigation_id == case, RegisterSearch.staff_id == who.id)
    return bool(session.scalar(sa.select(mine)))


# Whom or what an entry of no organisation may be about so that it is a person's, and not the service's.
PERSONAL = ("confirmation", "contact", "person", "place", "reply")


def _of_entry(session: Session, who: Who, permission: Permission, entry: AuditEntry) -> bool:
    """Their organisation's, where they look; everywhere also what is the service's, or of a person known to it."""
    codes = codes_of(session, who, permission)
    if codes is not None:
        return entry.organisation_id == who.organisation_id and entry.area_code in codes
    if entry.organisation_id is not None:
        return entry.organisation_id == who.organisation_id
    if entry.subject.partition(":")[0] not in PERSONAL:
        return True
    # That somebody looked for a person makes nobody known.
    known = sa.exists().where(
        AuditEntry.subject == entry.subject,
        AuditEntry.organisation_id == who.organisation_id,
        AuditEntry.event.not_like("record:%"),
    )
    return bool(session.scalar(sa.select(known)))


def _of_alert(session: Session, alert: Alert) -> Sequence[str]:
    codes: Sequence[str] = alert.audience.get("areas", [])
    return codes


def _of_dispatch(session: Session, dispatch: Dispatch) -> Sequence[str] | None:
    if dispatch.alert_id is None:  # a digest, of many alerts for many areas: nobody's to hold
        return None
    return _of_alert(session, session.get_one(Alert, dispatch.alert_id))


def _of_team(session: Session, team: Team) -> Sequence[str]:
    found = sa.text(
        "SELECT a.code FROM team_areas t JOIN areas a ON a.id = t.area_id WHERE t.team_id = :team"
    )
    return list(session.execute(found, {"team": team.id}).scalars())


# What a thing's areas are, and what team it belongs to: one entry for each kind that has such permissions.
_AREAS: dict[type[Any], Callable[[Session, Any], Sequence[str] | None]] = {
    Alert: _of_alert,
    RegisterSearch: lambda session, thing: (),  # the register itself judged where, before it answered
    Dispatch: _of_dispatch,
    Team: _of_team,
}
_TEAM: dict[type[Any], Callable[[Any], UUID | None]] = {Reply: lambda reply: reply.team_id}
