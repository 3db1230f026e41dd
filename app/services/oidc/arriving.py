"""Who comes from a provider: found by issuer and subject, linked by a verified address, or made by their groups.

What is refused must be on the record whatever comes of it: these functions answer, and raise nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.audit import record as audit
from app.errors import Invalid
from app.models.organisations import Organisation
from app.models.sign_in import IdentityProvider, Passkey, RecoveryCode
from app.models.staff import Staff, StaffInvitation, WebSession
from app.services import roles, sessions, sign_in, staff
from app.services.oidc import groups, mapping, providers, tokens
from app.services.oidc.providers import Provider
from app.services.oidc.refusals import Refused
from app.services.people import Address
from app.services.sessions import Whereabouts

MOST_GROUPS, LONGEST_NAME = 2_000, 100


@dataclass(frozen=True, slots=True)
class Arrival:
    """Whoever comes, as the provider has it. ``shown_at``: when they last showed their factors there."""

    subject: str
    email: Address | None
    verified: bool | None
    name: str
    groups: frozenset[str]
    sid: str | None
    shown_at: datetime | None


@dataclass(frozen=True, slots=True)
class Answer:
    """``token`` of the session that opened, or the code of a refusal."""

    token: str | None = None
    refusal: str | None = None


def read(provider: Provider, claims: tokens.Claims) -> Arrival:
    """What we take of the claims. Refused when there are more groups than the provider passes on."""
    listed = claims.get(provider.groups_claim)
    elsewhere = claims.get("_claim_names")
    if listed is None and isinstance(elsewhere, dict) and provider.groups_claim in elsewhere:
        raise Refused("groups")
    held = listed if isinstance(listed, list) else [listed]
    if len(held) > MOST_GROUPS:
        raise Refused("groups")
    email: Address | None = None
    if isinstance(claims.get("email"), str):
        try:
            email = staff.read_email(claims["email"])
        except Invalid:
            email = None
    verified = claims.get("email_verified")
    at = claims.get("auth_time")
    shown = datetime.fromtimestamp(at, UTC) if isinstance(at, int) and 0 < at < 2**33 else None
    return Arrival(
        subject=tokens.subject(claims),
        email=email,
        verified=verified if isinstance(verified, bool) else None,
        name=_name(claims),
        groups=frozenset(
            one for one in held if isinstance(one, str) and 0 < len(one) <= 200 and one.isprintable()
        ),
        sid=tokens.session_of(claims),
        shown_at=shown,
    )


def enter(
    session: Session, provider: Provider, arrival: Arrival, *, where: Whereabouts, now: datetime
) -> Answer:
    """Bring somebody's account and roles up to date, and open a session for who has any role."""
    origin = where.network
    who: UUID | None = None
    try:
        # What was begun for somebody who is refused after all is not kept: no account without a role.
        with session.begin_nested():
            found = _known(session, provider, arrival)
            if found is None:
                found = _first(session, provider, arrival, origin=origin, now=now)
        who = found.id
        groups.bring_up_to_date(session, found, arrival.groups, origin=origin, now=now)
        # Whoever came twice may have waited for themselves: a role that began meanwhile is theirs as well.
        if not roles.of_staff(session, found.id, now=now):
            raise Refused("no-role")
    except Refused as refusal:
        return _refuse(session, provider, refusal, who, origin=origin)
    except sa.exc.IntegrityError:  # somebody else took the address, or they came twice at the same moment
        return _refuse(session, provider, Refused("expired"), who, origin=origin)
    token = sign_in.enter(session, found, where, now=now, by="oidc")
    _mark(session, sessions.digest(token), arrival, now=now)
    return Answer(token)


def step_up(
    session: Session,
    provider: Provider,
    arrival: Arrival,
    who: sessions.Visitor,
    *,
    since: datetime,
    origin: str,
    now: datetime,
) -> str | None:
    """Somebody who is signed in showed their factors again, after ``since``; the code of a refusal, or None."""
    here = who.staff
    if here is None or (here.oidc_issuer, here.oidc_subject) != (provider.issuer, arrival.subject):
        return "somebody-else"
    shown = arrival.shown_at
    if shown is None or shown.timestamp() < int(since.timestamp()) - tokens.LEEWAY:
        return "stale"
    _mark(session, who.digest, arrival, now=now)
    audit.record(
        session,
        event="staff:step-up",
        subject=f"staff:{here.id}",
        actor=audit.Actor(audit.ActorKind.STAFF, id=str(here.id), origin=origin),
        organisation=here.organisation_id,
        detail={"way": "oidc"},
    )
    return None


def refuse(session: Session, provider: Provider, refusal: Refused, *, origin: str) -> None:
    """Put on the record that somebody was turned away before it was known who they are."""
    _refuse(session, provider, refusal, None, origin=origin)


def _mark(session: Session, key: bytes, arrival: Arrival, *, now: datetime) -> None:
    """When factors were last shown counts from there, not from here: the provider may not have asked today."""
    shown = min(arrival.shown_at, now) if arrival.shown_at else None
    session.execute(
        sa.update(WebSession)
        .where(WebSession.digest == key)
        .values(stepped_up_at=shown, oidc_sid=arrival.sid)
        .execution_options(synchronize_session=False)
    )


def _known(session: Session, provider: Provider, arrival: Arrival) -> Staff | None:
    found = session.scalar(
        sa.select(Staff)
        .where(Staff.oidc_issuer == provider.issuer, Staff.oidc_subject == arrival.subject)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is not None and found.organisation_id != provider.organisation_id:
        raise Refused("elsewhere")
    return found if found is not None and found.state == "active" else None


def _first(session: Session, provider: Provider, arrival: Arrival, *, origin: str, now: datetime) -> Staff:
    """Whoever comes for the first time. One after the other, so that nobody is made twice."""
    session.get_one(IdentityProvider, provider.organisation_id, with_for_update=True)
    again = _known(session, provider, arrival)
    if again is not None:
        return again
    gone = session.scalar(
        sa.select(Staff)
        .where(Staff.oidc_left == staff.departed(provider.issuer, arrival.subject))
        .order_by((Staff.state == "left").cast(sa.Integer))
        .limit(1)
    )
    if gone is not None and gone.state == "invited" and gone.organisation_id == provider.organisation_id:
        return _link(session, provider, arrival, gone, origin=origin, now=now)  # the same person, asked back
    if gone is not None:
        raise Refused("left" if gone.state == "left" else "password")
    if arrival.email is None:
        raise Refused("email")
    found = staff.by_address(session, arrival.email)
    if found is None:
        return _make(session, provider, arrival, origin=origin, now=now)
    if found.organisation_id != provider.organisation_id:
        raise Refused("elsewhere")
    if arrival.verified is not True:
        raise Refused("unverified")
    if found.state == "left":
        raise Refused("left")
    if found.state == "active" and found.oidc_subject is None:
        raise Refused("password")
    if found.oidc_issuer == provider.issuer:  # the address is somebody else's there by now
        raise Refused("elsewhere")
    # Invited, or of the provider that the organisation had before.
    return _link(session, provider, arrival, found, origin=origin, now=now)


def _link(
    session: Session, provider: Provider, arrival: Arrival, found: Staff, *, origin: str, now: datetime
) -> Staff:
    """From now on they come by the provider, and no other way."""
    found.oidc_issuer, found.oidc_subject, found.oidc_left = provider.issuer, arrival.subject, None
    found.password_hash = found.totp_secret = found.totp_step = None
    found.state, found.enrolled_at = "active", found.enrolled_at or now
    session.flush()
    for way in (Passkey, RecoveryCode):
        session.execute(sa.delete(way).where(way.staff_id == found.id))
    session.execute(sa.delete(StaffInvitation).where(StaffInvitation.staff_id == found.id))
    sessions.end_all(session, staff_id=found.id)
    _enrolled(session, found, "staff:link", origin=origin)
    return found


def _make(session: Session, provider: Provider, arrival: Arrival, *, origin: str, now: datetime) -> Staff:
    """An account by groups alone, for an address that the provider speaks for."""
    assert arrival.email is not None
    if providers.domain_of(arrival.email.form) not in providers.domains(session, provider.organisation_id):
        raise Refused("email")
    if arrival.verified is False:
        raise Refused("unverified")
    competent = session.get_one(Organisation, provider.organisation_id).competent_authority
    if not mapping.roles_of(session, provider.organisation_id, arrival.groups, competent=competent):
        raise Refused("no-role")
    made = Staff(
        organisation_id=provider.organisation_id,
        email=arrival.email.as_sent,
        digest=staff.digest(arrival.email),
        digest_key=crypto.keyring().index_id,
        name=arrival.name or arrival.email.as_sent[:LONGEST_NAME],
        state="active",
        enrolled_at=now,
        oidc_issuer=provider.issuer,
        oidc_subject=arrival.subject,
    )
    session.add(made)
    session.flush()
    _enrolled(session, made, "staff:link", origin=origin)
    return made


def _enrolled(session: Session, found: Staff, event: str, *, origin: str) -> None:
    audit.record(
        session,
        event=event,
        subject=f"staff:{found.id}",
        actor=audit.Actor(audit.ActorKind.PROVIDER, origin=origin),
        organisation=found.organisation_id,
    )


def _refuse(
    session: Session, provider: Provider, refusal: Refused, who: UUID | None, *, origin: str
) -> Answer:
    audit.record(
        session,
        event="staff:refuse",
        subject=f"staff:{who or 'unknown'}",
        actor=audit.Actor(audit.ActorKind.STAFF, origin=origin),
        organisation=provider.organisation_id,
        detail={"step": "oidc", "reason": refusal.code},
    )
    return Answer(refusal=refusal.code)


def _name(claims: tokens.Claims) -> str:
    parts = [claims.get("name")]
    if not isinstance(parts[0], str) or not parts[0].strip():
        parts = [claims.get("given_name"), claims.get("family_name")]
    text = " ".join(" ".join(one.split()) for one in parts if isinstance(one, str))
    return "".join(c for c in text if c.isprintable())[:LONGEST_NAME].strip()
