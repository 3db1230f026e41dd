"""How somebody who was invited becomes staff: a password, then a second factor of their own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.errors import Conflict, Missing
from app.models.organisations import Organisation
from app.models.staff import Staff, StaffInvitation
from app.services import invitations, limits, passkeys, second_factor, sign_in
from app.services.factors import WINDOW, Shown, Way
from app.services.limits import Limit
from app.services.passkeys import Party
from app.services.sessions import Whereabouts

LONGEST_TOKEN = 100
PER_INVITATION = 20  # tries in a WINDOW: each hashes a password, or compares a code


@dataclass(frozen=True, slots=True)
class Opened:
    """An invitation as its page shows it. ``secret``: of the authenticator, once there is a password."""

    staff_id: UUID
    name: str
    email: str
    organisation: str
    secret: str | None


def opened(session: Session, token: str, *, now: datetime) -> Opened:
    """Look at an invitation. Missing when there is none; Conflict when it was used or is too old."""
    found, _ = _find(session, token, now=now)
    name = session.get_one(Organisation, found.organisation_id).name
    return Opened(found.id, found.name, found.email, name, found.totp_secret)


def choose(session: Session, token: str, password_hash: str, *, now: datetime) -> None:
    """Keep the password, and the secret of the authenticator that comes next. Nobody can sign in yet."""
    found, _ = _find(session, token, now=now, locked=True)
    found.password_hash, found.totp_secret, found.totp_step = (
        password_hash,
        second_factor.new_secret(),
        None,
    )
    session.flush()


def start_again(session: Session, token: str, *, now: datetime) -> None:
    """Forget the password that was chosen, and the secret."""
    found, _ = _find(session, token, now=now, locked=True)
    found.password_hash = found.totp_secret = found.totp_step = None
    session.flush()


def limited(session: Session, token: str, *, neighbours: str, now: datetime) -> bool:
    """Count one try at an invitation, real or not, by itself and by network; whether there were too many."""
    tries = [
        Limit("invitation", invitations.digest(token), PER_INVITATION, WINDOW),
        Limit("invitation-network", neighbours, sign_in.FROM_EVERYWHERE, WINDOW),
    ]
    return sign_in.crowded(session, neighbours, now) or limits.take(session, tries, now=now) is not None


def ask_passkey(session: Session, token: str, at: Party, *, now: datetime) -> str:
    """The options of the passkey that an invitation is accepted with, as JSON. Conflict before there is a password."""
    found, invitation = _find(session, token, now=now)
    if found.password_hash is None:
        raise Conflict("Choose a password first.")
    return passkeys.ask_new(session, found.id, at, bound=invitation.digest, now=now)


def finish(
    session: Session, token: str, shown: Shown, *, at: Party | None = None, where: Whereabouts, now: datetime
) -> str | None:
    """A passkey was made, or the app shows the right code: they are staff from now on, and signed in.

    The token of the session; None when what was shown is wrong.
    """
    found, invitation = _find(session, token, now=now, locked=True)
    actor = audit.Actor(audit.ActorKind.STAFF, id=str(found.id), origin=where.network)
    if found.password_hash is None or not _second(session, found, invitation, shown, at, where, actor, now):
        sign_in.refuse(
            session,
            found.id,
            found.organisation_id,
            "invitation",
            neighbours=where.neighbours,
            origin=where.network,
            now=now,
        )
        return None
    found.state, found.enrolled_at, invitation.used_at = "active", now, now
    session.flush()
    audit.record(
        session,
        event="staff:enrol",
        subject=f"staff:{found.id}",
        actor=actor,
        organisation=found.organisation_id,
        detail={"way": str(shown.way)},
    )
    return sign_in.enter(session, found, where, now=now)


def _second(
    session: Session,
    found: Staff,
    invitation: StaffInvitation,
    shown: Shown,
    at: Party | None,
    where: Whereabouts,
    actor: audit.Actor,
    now: datetime,
) -> bool:
    if shown.way is not Way.PASSKEY:
        return second_factor.use(session, found.id, shown.typed, now=now)
    made = at is not None and passkeys.add(
        session,
        found.id,
        at,
        shown.signed,
        name=where.browser,
        bound=invitation.digest,
        actor=actor,
        now=now,
    )
    if made:  # the app that was offered was never connected
        found.totp_secret = found.totp_step = None
    return made


def _find(
    session: Session, token: str, *, now: datetime, locked: bool = False
) -> tuple[Staff, StaffInvitation]:
    missing = Missing("There is no such invitation.")
    if not token or len(token) > LONGEST_TOKEN:
        raise missing
    query = (
        sa.select(StaffInvitation, Staff)
        .join(Staff, Staff.id == StaffInvitation.staff_id)
        .where(StaffInvitation.digest == invitations.digest(token))
    )
    if locked:  # two browsers may have the same page open
        query = query.with_for_update().execution_options(populate_existing=True)
    row = session.execute(query).one_or_none()
    if row is None:
        raise missing
    invitation, found = row
    if invitation.used_at is not None or invitation.expires_at <= now or found.state != "invited":
        raise Conflict("This invitation was used, or is older than 48 hours.")
    return found, invitation
