"""Staff sign in: a password, then a code. Every way of being wrong looks the same and costs the same.

Nothing is known of whoever knocks, so what is counted and recorded must be committed whatever comes of it:
these functions answer, and raise nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit import record as audit
from app.models.staff import Staff
from app.services import limits, second_factor, sessions, staff
from app.services.limits import Limit
from app.services.passwords import Verdict
from app.services.people import Address

WINDOW = timedelta(minutes=15)
# A stranger who types wrong passwords shuts out their own network, and not the officer: tries at an account are
# counted by network, and from everywhere together only so that many networks do not help.
PER_ACCOUNT, PER_NETWORK, FROM_EVERYWHERE = 10, 30, 200
# With a stolen password a code of six digits must not be ground down over months.
CODES_PER_DAY = 40


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


def knock(session: Session, address: Address, *, neighbours: str, now: datetime) -> Knock:
    """Count the try and find what its password is compared with: nothing, for who cannot sign in."""
    if _crowded(session, neighbours, now) or limits.take(session, _of_account(address, neighbours), now=now):
        return Knock(limited=True)
    found = staff.by_address(session, address)
    if found is None or found.state != "active":
        return Knock(limited=False)
    return Knock(False, found.id, found.organisation_id, found.password_hash)


def _of_account(address: Address, neighbours: str) -> list[Limit]:
    return [
        Limit("sign-in", f"{address.form} {neighbours}", PER_ACCOUNT, WINDOW),
        Limit("sign-in-anywhere", address.form, FROM_EVERYWHERE, WINDOW),
    ]


def _of_code(staff_id: UUID) -> list[Limit]:
    return [
        Limit("sign-in-code", str(staff_id), PER_ACCOUNT, WINDOW),
        Limit("sign-in-code", str(staff_id), CODES_PER_DAY, timedelta(days=1)),
    ]


def password(
    session: Session, knock: Knock, verdict: Verdict, *, neighbours: str, origin: str, now: datetime
) -> Answer:
    """After the comparison, which takes long and so happens between two transactions. Opens half a session."""
    found = session.get(Staff, knock.staff_id) if verdict.right else None
    if found is None or found.state != "active":
        # Asks the database the same, whether or not the account is known.
        _refuse(
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


def code(
    session: Session, half: sessions.Visitor, typed: str, *, neighbours: str, origin: str, now: datetime
) -> Answer:
    """The second factor: ends the half session and opens a whole one under another token."""
    found = half.staff
    if found is None or not half.half:
        return Answer()
    if _crowded(session, neighbours, now) or limits.take(session, _of_code(found.id), now=now):
        return Answer(limited=True)
    if not second_factor.use(session, found.id, typed, now=now):
        _refuse(
            session, found.id, found.organisation_id, "code", neighbours=neighbours, origin=origin, now=now
        )
        return Answer()
    sessions.end(session, half.digest)
    audit.record(
        session,
        event="staff:sign-in",
        subject=f"staff:{found.id}",
        actor=audit.Actor(audit.ActorKind.STAFF, id=str(found.id), origin=origin),
        organisation=found.organisation_id,
    )
    return Answer(sessions.begin(session, staff=session.get_one(Staff, found.id), now=now))


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


def _crowded(session: Session, neighbours: str, now: datetime) -> bool:
    """Whether a network has been wrong too often. A station whose officers are right is never shut out."""
    return any(limits.used(session, one, now=now) >= one.most for one in _of_network(neighbours))


def _refuse(
    session: Session,
    staff_id: UUID | None,
    organisation: UUID | None,
    step: str,
    *,
    neighbours: str,
    origin: str,
    now: datetime,
) -> None:
    limits.take(session, _of_network(neighbours), now=now)
    audit.record(
        session,
        event="staff:refuse",
        subject=f"staff:{staff_id or 'unknown'}",
        actor=audit.Actor(audit.ActorKind.STAFF, origin=origin),
        organisation=organisation,
        detail={"step": step},
    )
