"""Who watches those who search: auditors, stewards and supervisors, each only outside the searcher's line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Held, Who
from app.models.access import RoleGrant
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from app.services import alarms, people, post
from messaging.notices import notice

ALARM = "watching-unheard"
MOST = 200
_KEPT_TRYING = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Somebody who may be told, or asked to review."""

    who: Who
    email: str


def of(session: Session, organisation: UUID, roles: Iterable[Role], *, now: datetime) -> list[Watcher]:
    """Who of an organisation holds one of these roles now. Read column by column: a worker may not see the rest."""
    rows = session.execute(
        sa.select(
            Staff.id, Staff.team_id, Staff.name, Staff.email, sa.func.array_agg(RoleGrant.role.distinct())
        )
        .join(RoleGrant, RoleGrant.staff_id == Staff.id)
        .where(
            RoleGrant.organisation_id == organisation,
            RoleGrant.role.in_(sorted(map(str, roles))),
            RoleGrant.starts_at <= now,
            access.standing(now),
            Staff.state == "active",
        )
        .group_by(Staff.id)
        .order_by(Staff.id)
        .limit(MOST)
    )
    return [
        Watcher(Who(id, organisation, team, name, False, tuple(Held(Role(one)) for one in held)), email)
        for id, team, name, email, held in rows
    ]


def may_watch(session: Session, watcher: Watcher, searchers: Iterable[UUID]) -> set[UUID]:
    """Of these searchers, those in whose line somebody does not stand."""
    wanted = list(searchers)
    return set(
        session.scalars(
            sa.select(Staff.id).where(Staff.id.in_(wanted), access.outside(watcher.who, Staff.id))
        )
    )


def write(
    session: Session,
    organisation: UUID,
    address: str,
    subject: str,
    words: Sequence[str],
    button: tuple[str, str],
    *,
    kind: str,
    now: datetime,
) -> None:
    """One e-mail that names nobody and says nothing of any search: what there is to read lies behind its link."""
    name = session.scalars(sa.select(Organisation.name).where(Organisation.id == organisation)).one()
    post.queue_email(
        session,
        kind=kind,
        address=address,
        content=notice(
            subject,
            words,
            button=button,
            controller_name=name,
            closing=["Whom it is about is not in this message, and is not sent by any."],
        ),
        controller=organisation,
        expires_at=now + _KEPT_TRYING,
        synthetic=people.made_up(address),
        now=now,
    )


_UNHEARD = sa.text(
    """
    SELECT EXISTS (
            SELECT 1 FROM search_findings WHERE organisation_id = :organisation AND state = 'open' AND told = 0)
        OR EXISTS (
            SELECT 1 FROM search_reviews
            WHERE organisation_id = :organisation AND judged_at IS NULL AND reviewer_id IS NULL)
    """
)


def unheard(session: Session, organisation: UUID, *, now: datetime) -> bool:
    """Whether there is something of this organisation's that nobody may look at: an alarm, or the end of one."""
    slug = session.scalars(sa.select(Organisation.slug).where(Organisation.id == organisation)).one()
    nobody = bool(session.scalar(_UNHEARD, {"organisation": organisation}))
    if nobody:
        alarms.raise_(session, ALARM, f"organisation:{slug}", now=now)
    else:
        alarms.clear(session, ALARM, f"organisation:{slug}", now=now, calm=timedelta(0))
    return nobody
