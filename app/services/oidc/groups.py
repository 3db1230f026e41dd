"""Roles by group: granted and ended at every sign-in, for a day, beside those that somebody granted."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.audit import record as audit
from app.errors import Conflict
from app.models.access import RoleGrant
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from app.services import roles
from app.services.oidc import mapping
from app.services.roles import Place

# Longer than any session, so that nobody loses a role at work; a provider is heard again every day.
TERM = timedelta(hours=24)


def bring_up_to_date(
    session: Session, found: Staff, held: Collection[str], *, origin: str, now: datetime
) -> None:
    """Somebody's roles by group become what their groups have today. Roles that were given stay as they are."""
    actor = audit.Actor(audit.ActorKind.PROVIDER, origin=origin)
    competent = session.get_one(Organisation, found.organisation_id).competent_authority
    wanted = mapping.roles_of(session, found.organisation_id, held, competent=competent)
    standing = session.scalars(
        sa.select(RoleGrant)
        .where(RoleGrant.staff_id == found.id, access.standing(now))
        .order_by(RoleGrant.id)
    ).all()
    given = set()
    for one in standing:
        what = (Role(one.role), Place(one.area_id, one.team_id))
        if one.source != "group":
            given.add(what)
        elif what not in wanted:
            roles.take(session, one.id, by=None, actor=actor, now=now)
    for role, place in wanted:
        if (role, place) in given:
            continue
        try:
            roles.grant(
                session, found, role, place, by=None, actor=actor, now=now, ends_at=now + TERM, source="group"
            )
        except Conflict:  # nobody has that many
            break
    _team(found, [place for _, place in wanted])
    session.flush()


def _team(found: Staff, places: Collection[Place]) -> None:
    """Whoever's groups have roles on teams works in one of them, and sees what is that team's."""
    teams = [place.team_id for place in places if place.team_id is not None]
    if teams and found.team_id not in teams:
        found.team_id = teams[0]
