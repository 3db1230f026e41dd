"""Staff sign in: a password, then a second factor. Every way of being wrong looks the same and costs the same.

Nothing is known of whoever knocks, so what is counted and recorded must be committed whatever comes of it:
these functions answer, and raise nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import new_id
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.services import account_notices, factors, known_places, limits, sessions, staff
from app.services.factors import PER_ACCOUNT, WINDOW, Door, Shown, Way
from app.services.known_places import UNSEEN
from app.services.limits import Limit
from app.services.passwords import Verdict
from app.services.people import Address
from app.services.sessions import Whereabouts

# A stranger who types wrong passwords shuts out their own network, and not the officer: tries at an account are
# counted by network, and from everywhere together only so that many networks do not help. Where an officer has signed
# in before, what is tried elsewhere does not count.
PER_NETWORK, FROM_EVERYWHERE = 30, 200
# So many wrong codes in a day after the right password: its bearer is told.
ALARMING = 5


@dataclass(frozen=True, slots=True)
class Knock:
    """Somebody gave an e-mail address. ``limited``: too many tries, nothing may be compared any more."""

    limited: bool
    staff_id: UUID | None = None
    organisation_id: UUID | None = None
    password_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """``token`` of the session that opened, or None. ``limited``: too many tries."""

    token: str | None = None
    limited: bool = False


def knock(
    session: Session, address: Address, *, neighbours: str, network: str = UNSEEN, now: datetime
) -> Knock:
    """Count the try and find what its password is compared with: nothing, for who cannot sign in."""
    row = session.execute(
        sa.select(Staff.id, Staff.organisation_id, Staff.password_hash, Staff.state, Organisation.ended_at)
        .join(Organisation, Organisation.id == Staff.organisation_id)
        .where(Staff.digest == staff.digest(address))
    ).one_or_none()
    # Asks the database the same, whether or not the account is known.
    at_home = known_places.known(session, row.id if row else new_id(), network)
    tries = _of_account(address, neighbours)[: 1 if at_home else 2]
    if crowded(session, neighbours, now) or limits.take(session, tries, now=now):
        return Knock(limited=True)
    if row is None or row.state != "active" or row.ended_at is not None:
        return Knock(limited=False)
    return Knock(False, row.id, row.organisation_id, row.password_hash)


def _of_account(address: Address, neighbours: str) -> list[Limit]:
    return [
        Limit("sign-in", f"{address.form} {neighbours}", PER_ACCOUNT, WINDOW),
        Limit("sign-in-anywhere", address.form, FROM_EVERYWHERE, WINDOW),
    ]


def password(
    session: Session, knock: Knock, verdict: Verdict, *, neighbours: str, origin: str, now: datetime
) -> Answer:
    """After the comparison, which takes long and so happens between two transactions. Opens half a session."""
    found = session.get(Staff, knock.staff_id, with_for_update=True) if verdict.right else None
    # Another password may have been chosen while this one was compared.
    if found is None or found.state != "active" or found.password_hash != knock.password_hash:
        # Asks the database the same, whether or not the account is known.
        refuse(
            session,
            knock.staff_id,
            knock.organisation_id,
            "password",
            neighbours=neighbours,
            origin=origin,
            now=now,
        )
        return Answer()
    if verdict.renewed is not None:
        found.password_hash = verdict.renewed
    return Answer(sessions.begin(session, staff=found, half=True, now=now))


def second(
    session: Session, half: sessions.Visitor, shown: Shown, door: Door, where: Whereabouts, *, now: datetime
) -> Answer:
    """The second factor: ends the half session and opens a whole one under another token."""
    found = half.staff
    if found is None or not half.half:
        return Answer()
    tries = factors.limits_of("sign-in", shown.way, found.id, where.neighbours)
    if crowded(session, where.neighbours, now) or limits.take(session, tries, now=now):
        return Answer(limited=True)
    actor = audit.Actor(audit.ActorKind.STAFF, id=str(found.id), origin=where.network)
    if not factors.show(session, found.id, shown, door, actor=actor, now=now):
        refuse(
            session,
            found.id,
            found.organisation_id,
            str(shown.way),
            neighbours=where.neighbours,
            origin=where.network,
            now=now,
        )
        if shown.way is not Way.PASSKEY and limits.used(session, tries[-1], now=now) == ALARMING:
            _alarm(session, found.id, now)
        return Answer()
    sessions.end(session, half.digest)
    return Answer(enter(session, session.get_one(Staff, found.id), where, now=now))


def enter(session: Session, found: Staff, where: Whereabouts, *, now: datetime, by: str | None = None) -> str:
    """Both factors were shown: on the record, a session, and word to the bearer if they come from somewhere new."""
    audit.record(
        session,
        event="staff:sign-in",
        subject=f"staff:{found.id}",
        actor=audit.Actor(audit.ActorKind.STAFF, id=str(found.id), origin=where.network),
        organisation=found.organisation_id,
        detail={"by": by} if by else None,
    )
    known_places.notice(session, found.id, where, now=now)
    return sessions.begin(session, staff=found, where=where, now=now)


def sign_out(session: Session, who: sessions.Visitor, *, actor: audit.Actor) -> None:
    """Put it on the record; the session itself is ended by whoever holds its cookie."""
    if who.staff is not None:
        audit.record(
            session,
            event="staff:sign-out",
            subject=f"staff:{who.staff.id}",
            actor=actor,
            organisation=who.staff.organisation_id,
        )


def _of_network(neighbours: str) -> Sequence[Limit]:
    return [Limit("sign-in-network", neighbours, PER_NETWORK, WINDOW)]


def crowded(session: Session, neighbours: str, now: datetime) -> bool:
    """Whether a network has been wrong too often. A station whose officers are right is never shut out."""
    return any(limits.used(session, one, now=now) >= one.most for one in _of_network(neighbours))


def refuse(
    session: Session,
    staff_id: UUID | None,
    organisation: UUID | None,
    step: str,
    *,
    neighbours: str,
    origin: str,
    now: datetime,
) -> None:
    """Count a wrong try against its network, and put it on the record."""
    limits.take(session, _of_network(neighbours), now=now)
    audit.record(
        session,
        event="staff:refuse",
        subject=f"staff:{staff_id or 'unknown'}",
        actor=audit.Actor(audit.ActorKind.STAFF, origin=origin),
        organisation=organisation,
        detail={"step": step},
    )


def _alarm(session: Session, staff_id: UUID, now: datetime) -> None:
    account_notices.tell(
        session,
        staff_id,
        "Somebody may know your password",
        [
            f"Today somebody typed your password rightly and then {ALARMING} wrong codes. Nobody was let in by them.",
            "If it was you, there is nothing to do.",
        ],
        now=now,
    )
