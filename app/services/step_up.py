"""Step-up: somebody who is signed in shows a second factor again, before what must not be done from a desk left open."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from app.audit import record as audit
from app.services import factors, limits, sessions, sign_in
from app.services.factors import Door, Shown
from app.services.sessions import Visitor, Whereabouts
from app.services.sign_in import Answer


def show(
    session: Session, who: Visitor, shown: Shown, door: Door, where: Whereabouts, *, now: datetime
) -> Answer:
    """The same session under another token, fresh. Counted like sign-in, but apart: neither closes the other.

    Raises nothing: what was counted must be committed.
    """
    found = who.staff
    if found is None or who.half:
        return Answer()
    tries = factors.limits_of("step-up", shown.way, found.id, where.neighbours)
    if limits.take(session, tries, now=now):
        return Answer(limited=True)
    actor = audit.Actor(audit.ActorKind.STAFF, id=str(found.id), origin=where.network)
    if not factors.show(session, found.id, shown, door, actor=actor, now=now):
        sign_in.refuse(
            session,
            found.id,
            found.organisation_id,
            f"step-up {shown.way}",
            neighbours=where.neighbours,
            origin=where.network,
            now=now,
        )
        return Answer()
    token = sessions.renew(session, who.digest, where, now=now)
    if token is not None:
        audit.record(
            session,
            event="staff:step-up",
            subject=f"staff:{found.id}",
            actor=actor,
            organisation=found.organisation_id,
            detail={"way": str(shown.way)},
        )
    return Answer(token)
