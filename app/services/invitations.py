"""How somebody is invited to become staff: by e-mail, once or again. What they do with it is ``enrolment``."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access, crypto
from app.access import Who
from app.audit import record as audit
from app.errors import Conflict, Invalid, Missing
from app.models.organisations import Organisation
from app.models.staff import Staff, StaffInvitation
from app.models.teams import Team
from app.permissions import Permission, Role
from app.services import granting, organisations, people, post, roles, staff, teams
from messaging.notices import notice
from messaging.types import Channel

LIFETIME = timedelta(hours=48)
LONGEST_NAME = 100
_ONE_AT_A_TIME = sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:digest, 0))")


@dataclass(frozen=True, slots=True)
class Sent:
    """An invitation that is on its way. ``url`` opens it, so it is shown to whoever invited and kept nowhere."""

    staff_id: UUID
    url: str
    expires_at: datetime


def invite(
    session: Session,
    *,
    organisation: str | UUID,
    email: str,
    name: str,
    team: str | UUID | None = None,
    role: Role = Role.OFFICER,
    place: roles.Place | None = None,
    ends_at: datetime | None = None,
    public_url: str,
    fictional: bool = False,
    by: Who | None = None,
    actor: audit.Actor,
    now: datetime,
) -> Sent:
    """Invite somebody, or invite them again; earlier invitations of theirs open nothing any more.

    ``organisation`` is a short name or an id, and so is ``team``. They get one ``role``, on the areas of their team
    (without a team: everywhere) unless a ``place`` is given, and keep none that they had before. ``by``: who invites;
    None: the operator. ``fictional`` admits addresses that no network can reach. Raises Invalid, Missing, or Conflict
    when they are staff already.
    """
    controller, unit = _where(session, organisation, team)
    if by is not None and by.organisation_id != controller.id:
        raise Missing("There is no organisation with this short name.")
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise Invalid("name", f"The name must have 1 to {LONGEST_NAME} characters.")
    if by is not None and unit is not None and not granting.may_place(session, by, unit.id):
        raise Missing("The organisation has no team of this name.")
    address, synthetic = _reachable(email, fictional)
    # A double click, or two who invite one person: the second waits, and then finds them invited.
    session.execute(_ONE_AT_A_TIME, {"digest": staff.digest(address).hex()})
    found = staff.by_address(session, address)
    if found is None:
        found = Staff(digest=staff.digest(address), digest_key=crypto.keyring().index_id)
        session.add(found)
    else:
        _free(session, found, controller, by, now)
    # Pages show what somebody did long ago under the name that they have now: so it is seen who changed it.
    renamed = found.state == "left" and found.name != name.strip()
    found.organisation_id, found.team_id = controller.id, unit.id if unit else None
    found.email, found.name, found.state = address.as_sent, name.strip(), "invited"
    found.password_hash = found.totp_secret = found.totp_step = None
    session.flush()
    roles.take_all(session, found.id, actor=actor, now=now)
    place = place or roles.Place(team_id=found.team_id)
    roles.grant(session, found, role, place, by=by, actor=actor, now=now, ends_at=ends_at)
    return _send(
        session, found, controller, public_url, synthetic=synthetic, renamed=renamed, actor=actor, now=now
    )


def again(
    session: Session,
    by: Who,
    staff_id: UUID,
    *,
    public_url: str,
    fictional: bool = False,
    actor: audit.Actor,
    now: datetime,
) -> Sent:
    """Send somebody who has not come yet a new invitation, with the roles that they were given.

    Missing for whoever may not let go of them, Conflict for somebody who is staff already or has left.
    """
    found = access.row(session, by, Permission.STAFF_READ, Staff, staff_id, lock=True)
    if not granting.may_let_go(session, by, found, now=now):
        raise Missing("There is no such person.")
    if found.state != "invited":
        raise Conflict("They are not invited: they are staff already, or have left.")
    _, synthetic = _reachable(found.email, fictional)
    found.password_hash = found.totp_secret = found.totp_step = None
    controller = session.get_one(Organisation, found.organisation_id)
    return _send(session, found, controller, public_url, synthetic=synthetic, actor=actor, now=now)


def _free(session: Session, found: Staff, controller: Organisation, by: Who | None, now: datetime) -> None:
    """Conflict when somebody with this address cannot be invited here."""
    if found.organisation_id != controller.id:
        # An administrator learns no more than that it cannot be.
        said = "This e-mail address belongs to staff of another organisation."
        raise Conflict(
            said if by is None else "This address cannot be invited. Ask whoever runs the service."
        )
    if found.state == "active":
        raise Conflict("They are staff already. To let them choose a new password, let them leave first.")
    if by is not None and found.state == "invited" and not granting.may_let_go(session, by, found, now=now):
        raise Conflict("They are invited already, with roles that you cannot take back.")


def _send(
    session: Session,
    found: Staff,
    controller: Organisation,
    public_url: str,
    *,
    synthetic: bool,
    renamed: bool = False,
    actor: audit.Actor,
    now: datetime,
) -> Sent:
    """The one invitation that opens anything from now on."""
    session.execute(sa.delete(StaffInvitation).where(StaffInvitation.staff_id == found.id))
    token = secrets.token_urlsafe(32)
    session.add(
        StaffInvitation(digest=digest(token), staff_id=found.id, created_at=now, expires_at=now + LIFETIME)
    )
    session.flush()
    url = f"{public_url}/staff/invitation/{token}"
    post.queue_email(
        session,
        kind="invitation",
        address=found.email,
        content=notice(
            f"Your invitation to write alerts for {controller.name}",
            [
                f"Hello {found.name},",
                f"{controller.name} invites you to write alerts on Wardlink.",
                (
                    "You choose a password, and a second way to show that it is you: a passkey, or an app on your phone "
                    "that shows codes. It takes five minutes."
                ),
            ],
            button=("Accept the invitation", url),
            controller_name=controller.name,
            closing=[
                "The link works once, for 48 hours. Do not pass this message on.",
                "If you did not expect it, do nothing: without the link nobody gets in.",
            ],
        ),
        controller=controller.id,
        expires_at=now + LIFETIME,
        synthetic=synthetic,
        now=now,
    )
    audit.record(
        session,
        event="staff:invite",
        subject=f"staff:{found.id}",
        actor=actor,
        organisation=controller.id,
        detail={"team": found.team_id} | ({"renamed": True} if renamed else {}),
    )
    return Sent(found.id, url, now + LIFETIME)


def _where(
    session: Session, organisation: str | UUID, team: str | UUID | None
) -> tuple[Organisation, Team | None]:
    if isinstance(organisation, UUID):
        organisation = session.get_one(Organisation, organisation).slug
    controller = organisations.standing(session, organisation)
    if team is None:
        return controller, None
    if isinstance(team, str):
        return controller, teams.by_name(session, controller.id, team)
    unit = session.get(Team, team)
    if unit is None or unit.controller_id != controller.id or unit.ended_at is not None:
        raise Missing("The organisation has no such team.")
    return controller, unit


def _reachable(email: str, fictional: bool) -> tuple[people.Address, bool]:
    """The address, and whether it is one that only a sandbox may be given."""
    try:
        return people.read_address(Channel.EMAIL, email), False
    except Invalid as error:
        if not fictional:
            raise Invalid("email", error.message) from None
    return staff.read_email(email), True


def digest(token: str) -> bytes:
    """What is kept of an invitation's token."""
    return sha256(b"wardlink.invitation" + token.encode("utf-8", "replace")).digest()
