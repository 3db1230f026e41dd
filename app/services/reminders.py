"""Told in time: roles whose term ends, and agreements that are due for review. By service message, once each.

What was told stands in a table of its own, so a run that is repeated tells nobody twice, and a new end is told anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Held, Who
from app.models.access import Agreement, RoleGrant
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import GRANTABLE, Role
from app.services import granting, people, post, terms
from app.services.granting import Place
from messaging.notices import notice

DAYS = (7, 30)  # the nearer first: whoever is told of seven days need not hear of thirty
REVIEW_DAYS = (0, 30)
MOST = 200
MOST_ADMINISTRATORS = 200
LIFETIME = timedelta(days=2)
KEPT = timedelta(days=60)

_ROLES = sa.text(
    """
    INSERT INTO reminders (kind, subject_id, ends_at, days, told_at)
    SELECT 'role', g.id, g.ends_at, :days, :now
    FROM role_grants g JOIN staff s ON s.id = g.staff_id
    WHERE g.taken_at IS NULL AND g.source = 'given' AND s.state = 'active'
      AND g.ends_at > :now AND g.ends_at <= CAST(:now AS timestamptz) + make_interval(days => :days)
      -- One that was granted for a shorter time comes as no surprise.
      AND g.starts_at < g.ends_at - make_interval(days => :days)
      AND NOT EXISTS (
        SELECT 1 FROM reminders r
        WHERE r.kind = 'role' AND r.subject_id = g.id AND r.ends_at = g.ends_at AND r.days <= :days)
    ORDER BY g.ends_at, g.id LIMIT :most
    ON CONFLICT DO NOTHING RETURNING subject_id
    """
)
_AGREEMENTS = sa.text(
    """
    INSERT INTO reminders (kind, subject_id, ends_at, days, told_at)
    SELECT 'agreement', a.id, d.at, :days, :now
    FROM agreements a
    CROSS JOIN LATERAL (SELECT CAST(a.review_on AS timestamp) AT TIME ZONE 'Europe/London' AS at) d
    WHERE a.ended_at IS NULL AND d.at <= CAST(:now AS timestamptz) + make_interval(days => :days)
      AND d.at > CAST(:now AS timestamptz) - interval '30 days'
      AND NOT EXISTS (
        SELECT 1 FROM reminders r
        WHERE r.kind = 'agreement' AND r.subject_id = a.id AND r.ends_at = d.at AND r.days <= :days)
    ORDER BY a.review_on, a.id LIMIT :most
    ON CONFLICT DO NOTHING RETURNING subject_id
    """
)
_FORGET = sa.text("DELETE FROM reminders WHERE ends_at < :before")


@dataclass(frozen=True, slots=True)
class _Person:
    id: UUID
    organisation_id: UUID
    team_id: UUID | None
    name: str
    email: str


def tell(session: Session, *, public_url: str, now: datetime, most: int | None = None) -> int:
    """Tell of up to ``most`` roles and agreements; how many. Again, in another transaction, while it returns any."""
    session.execute(_FORGET, {"before": now - KEPT})
    told = 0
    for days in DAYS:
        if due := list(session.scalars(_ROLES, {"days": days, "now": now, "most": most or MOST})):
            told += len(due)
            _tell_roles(session, due, public_url, now)
    for days in REVIEW_DAYS:
        if due := list(session.scalars(_AGREEMENTS, {"days": days, "now": now, "most": most or MOST})):
            told += len(due)
            _tell_agreements(session, due, public_url, now)
    return told


def _tell_roles(session: Session, due: Sequence[UUID], public_url: str, now: datetime) -> None:
    """Each bearer of their role; and, once for all of these, each administrator who is to renew some."""
    grants = session.scalars(
        sa.select(RoleGrant).where(RoleGrant.id.in_(due)).order_by(RoleGrant.ends_at, RoleGrant.id)
    ).all()
    bearers = _people(session, {one.staff_id for one in grants})
    names = _names(session, {one.organisation_id for one in grants})
    administrators = {id: _administrators(session, id, now) for id in names}
    renewals: dict[UUID, int] = defaultdict(int)
    for one in grants:
        bearer = bearers[one.staff_id]
        first = [who for who in administrators[one.organisation_id] if str(who.id) == one.given_by]
        asked = next(
            (
                who
                for who in (*first, *administrators[one.organisation_id])
                if granting.may_grant(session, who, bearer, Role(one.role), Place(one.area_id, one.team_id))
            ),
            None,
        )
        if asked is not None:
            renewals[asked.id] += 1
        end = terms.last_day(one.ends_at)
        _post(
            session,
            bearer,
            names[one.organisation_id],
            f"Your role ends on {end}",
            [
                f"Hello {bearer.name},",
                f"Your role as {Role(one.role).words.lower()} on Wardlink ends on {end}.",
                f"If you still need it, ask {asked.name} to renew it."
                if asked
                else "If you still need it, ask an administrator of your organisation to renew it.",
            ],
            None,
            now,
        )
    for id, administrator in _people(session, set(renewals)).items():
        count = renewals[id]
        what = "1 role ends" if count == 1 else f"{count:,} roles end"
        _post(
            session,
            administrator,
            names[administrator.organisation_id],
            f"{what} soon",
            [
                f"Hello {administrator.name},",
                f"{what} within 30 days that you may renew. Look who still needs theirs, and give it a new end.",
            ],
            ("See whose roles end", f"{public_url}/staff/people?soon=1"),
            now,
        )


def _tell_agreements(session: Session, due: Sequence[UUID], public_url: str, now: datetime) -> None:
    """Every administrator who may change the organisation's agreements."""
    found = session.scalars(
        sa.select(Agreement).where(Agreement.id.in_(due)).order_by(Agreement.review_on, Agreement.id)
    ).all()
    names = _names(session, {one.organisation_id for one in found})
    for organisation, name in names.items():
        mine = [one for one in found if one.organisation_id == organisation]
        ids = {
            who.id
            for who in _administrators(session, organisation, now)
            if Role.FORCE_ADMINISTRATOR in who.roles()
        }
        lines = [f"{one.title}: review on {terms.date(one.review_on)}" for one in mine]
        for administrator in _people(session, ids).values():
            _post(
                session,
                administrator,
                name,
                "Agreements are due for review",
                [f"Hello {administrator.name},", f"These agreements of {name} are due for review:", *lines],
                ("See the agreements", f"{public_url}/staff/organisation"),
                now,
            )


def _administrators(session: Session, organisation: UUID, now: datetime) -> list[Who]:
    """Those of an organisation who may grant anything. Read column by column: a worker may not see the rest."""
    roles = [str(role) for role in GRANTABLE]
    rows = session.execute(
        sa.select(
            Staff.id,
            Staff.team_id,
            Staff.name,
            Organisation.competent_authority,
            RoleGrant.role,
            RoleGrant.area_id,
            RoleGrant.team_id,
        )
        .join(RoleGrant, RoleGrant.staff_id == Staff.id)
        .join(Organisation, Organisation.id == Staff.organisation_id)
        .where(
            RoleGrant.organisation_id == organisation,
            RoleGrant.role.in_(roles),
            access.standing(now),
            Staff.state == "active",
            Organisation.ended_at.is_(None),
        )
        .order_by(RoleGrant.role, Staff.id)
        .limit(MOST_ADMINISTRATORS)
    )
    found: dict[UUID, Who] = {}
    for id, team, name, competent, role, area, of_team in rows:
        held = Held(Role(role), area, of_team)
        before = found[id].held if id in found else ()
        found[id] = Who(id, organisation, team, name, competent, (*before, held))
    return list(found.values())


def _people(session: Session, ids: set[UUID]) -> dict[UUID, _Person]:
    rows = session.execute(
        sa.select(Staff.id, Staff.organisation_id, Staff.team_id, Staff.name, Staff.email).where(
            Staff.id.in_(ids)
        )
    )
    return {row[0]: _Person(*row) for row in rows}


def _names(session: Session, ids: set[UUID]) -> dict[UUID, str]:
    rows = session.execute(sa.select(Organisation.id, Organisation.name).where(Organisation.id.in_(ids)))
    return dict(rows.all())


def _post(
    session: Session,
    to: _Person,
    organisation: str,
    subject: str,
    words: Sequence[str],
    button: tuple[str, str] | None,
    now: datetime,
) -> None:
    post.queue_email(
        session,
        kind="reminder",
        address=to.email,
        content=notice(subject, words, button=button, controller_name=organisation),
        controller=to.organisation_id,
        expires_at=now + LIFETIME,
        synthetic=people.made_up(to.email),
        now=now,
    )
