"""Passkeys of staff (WebAuthn): added, listed, removed, and shown as a second factor.

A browser answers a challenge, which is kept as a digest, bound to the session that asked for it, and serves once.
What a browser answers is hostile until the library has checked it: these functions then say no, and raise nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import sqlalchemy as sa
import webauthn
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from webauthn.helpers import parse_client_data_json
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from app.audit import record as audit
from app.db import new_id
from app.errors import Conflict, Invalid
from app.models.sign_in import Ceremony, Passkey
from app.models.staff import Staff

MOST = 10  # passkeys of one person
LONGEST_NAME = 60
LONGEST_ANSWER = 16_384  # characters
LONGEST_ID = 1_023  # bytes of a credential's id, by the specification
LIFETIME = timedelta(minutes=5)
_REQUIRED = UserVerificationRequirement.REQUIRED


class Kind(StrEnum):
    """What a challenge was asked for; its answer serves for nothing else."""

    REGISTER = "register"
    SECOND = "second"
    STEP_UP = "step-up"


class Outcome(StrEnum):
    """What came of a passkey that was shown. ``COPIED``: it counted backwards, as the copy of a key would."""

    RIGHT = "right"
    WRONG = "wrong"
    COPIED = "copied"


@dataclass(frozen=True, slots=True)
class Party:
    """Who we are to a browser: the host, and the whole origin that answers must come from."""

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A passkey as its bearer sees it."""

    id: UUID
    name: str
    created_at: datetime
    used_at: datetime | None


def party(public_url: str) -> Party | None:
    """None where browsers know no passkeys: at an IP address, and without https elsewhere than on this machine."""
    found = urlsplit(public_url)
    host = found.hostname or ""
    try:
        ip_address(host)
    except ValueError:
        safe = found.scheme == "https" or host == "localhost"
        return Party(host, f"{found.scheme}://{found.netloc}") if host and safe else None
    return None


def ask_new(session: Session, staff_id: UUID, at: Party, *, bound: bytes, now: datetime) -> str:
    """The options of a new passkey, as JSON for the browser. Conflict when somebody has as many as one may."""
    found = session.get_one(Staff, staff_id)
    known = _of(session, staff_id)
    if len(known) >= MOST:
        raise Conflict(f"You have {MOST} passkeys. Remove one before you add another.")
    return webauthn.options_to_json(
        webauthn.generate_registration_options(
            rp_id=at.id,
            rp_name="Wardlink",
            user_id=staff_id.bytes,
            user_name=found.email,
            user_display_name=found.name,
            challenge=_challenge(session, Kind.REGISTER, staff_id, bound, now),
            timeout=int(LIFETIME.total_seconds() * 1000),
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED, user_verification=_REQUIRED
            ),
            exclude_credentials=_described(known),
        )
    )


def ask(session: Session, staff_id: UUID, kind: Kind, at: Party, *, bound: bytes, now: datetime) -> str:
    """The options by which one of somebody's passkeys is asked for, as JSON. Conflict when there is none."""
    known = _of(session, staff_id)
    if not known:
        raise Conflict("There is no passkey for this account.")
    return webauthn.options_to_json(
        webauthn.generate_authentication_options(
            rp_id=at.id,
            challenge=_challenge(session, kind, staff_id, bound, now),
            timeout=int(LIFETIME.total_seconds() * 1000),
            allow_credentials=_described(known),
            user_verification=_REQUIRED,
        )
    )


def check_name(name: str) -> str:
    """A passkey's name as it is kept. Invalid when it has none, or one that cannot be shown."""
    kept = " ".join(name.split())
    if not kept or len(kept) > LONGEST_NAME or not kept.isprintable():
        raise Invalid("name", f"The name must have 1 to {LONGEST_NAME} characters.")
    return kept


def add(
    session: Session,
    staff_id: UUID,
    at: Party,
    answer: str,
    *,
    name: str,
    bound: bytes,
    actor: audit.Actor,
    now: datetime,
) -> bool:
    """Keep the passkey that a browser made; whether it was one. ``name`` has been through ``check_name``."""
    found = _read(answer)
    challenge = _take(session, Kind.REGISTER, found, staff_id, bound, now)
    if found is None or challenge is None:
        return False
    try:
        made = webauthn.verify_registration_response(
            credential=found,
            expected_challenge=challenge,
            expected_rp_id=at.id,
            expected_origin=at.origin,
            require_user_verification=True,
        )
    except Exception:  # noqa: BLE001, RUF100  whatever a hostile answer makes the library stumble over
        return False
    owner = session.get_one(Staff, staff_id, with_for_update=True)  # two browsers may add at once
    if len(made.credential_id) > LONGEST_ID or len(_of(session, staff_id)) >= MOST:
        return False
    kept = session.execute(
        insert(Passkey)
        .values(
            id=new_id(),
            credential_id=made.credential_id,
            staff_id=staff_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            transports=_transports(found),
            name=name,
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Passkey.id)
    ).scalar_one_or_none()
    if kept is None:
        return False
    _record(session, "passkey:add", kept, owner.organisation_id, actor)
    return True


def show(
    session: Session,
    staff_id: UUID,
    kind: Kind,
    at: Party,
    answer: str,
    *,
    bound: bytes,
    actor: audit.Actor,
    now: datetime,
) -> Outcome:
    """Whether a browser's answer was signed by a passkey of this person, now, here, and with their finger or PIN."""
    found = _read(answer)
    challenge = _take(session, kind, found, staff_id, bound, now)
    if found is None or challenge is None:
        return Outcome.WRONG
    try:
        credential = webauthn.base64url_to_bytes(found["id"])
    except (KeyError, TypeError, ValueError):
        return Outcome.WRONG
    kept = session.scalar(
        sa.select(Passkey)
        .where(Passkey.credential_id == credential, Passkey.staff_id == staff_id)
        .with_for_update()
    )
    if kept is None:
        return Outcome.WRONG
    try:
        proved = webauthn.verify_authentication_response(
            credential=found,
            expected_challenge=challenge,
            expected_rp_id=at.id,
            expected_origin=at.origin,
            credential_public_key=kept.public_key,
            # Compared below, after the signature: a count that nobody signed says nothing of a copy.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception:  # noqa: BLE001, RUF100  whatever a hostile answer makes the library stumble over
        return Outcome.WRONG
    if (proved.new_sign_count or kept.sign_count) and proved.new_sign_count <= kept.sign_count:
        owner = session.get_one(Staff, staff_id)
        _record(session, "passkey:refuse", kept.id, owner.organisation_id, actor)
        return Outcome.COPIED
    kept.sign_count, kept.used_at = proved.new_sign_count, now
    session.flush()
    return Outcome.RIGHT


def listed(session: Session, staff_id: UUID) -> list[Listed]:
    """Somebody's passkeys, the oldest first; never more than MOST."""
    return [Listed(one.id, one.name, one.created_at, one.used_at) for one in _of(session, staff_id)]


def count(session: Session, staff_id: UUID) -> int:
    query = sa.select(sa.func.count()).select_from(Passkey).where(Passkey.staff_id == staff_id)
    return session.scalar(query) or 0


def remove(session: Session, staff_id: UUID, passkey_id: UUID, *, actor: audit.Actor) -> str | None:
    """Take one of somebody's passkeys away; its name, or None when there is none. See ``factors.remove_passkey``."""
    gone = session.execute(
        sa.delete(Passkey)
        .where(Passkey.id == passkey_id, Passkey.staff_id == staff_id)
        .returning(Passkey.name)
    ).scalar_one_or_none()
    if gone is not None:
        owner = session.get_one(Staff, staff_id)
        _record(session, "passkey:remove", passkey_id, owner.organisation_id, actor)
    return gone


def _of(session: Session, staff_id: UUID) -> Sequence[Passkey]:
    return session.scalars(
        sa.select(Passkey).where(Passkey.staff_id == staff_id).order_by(Passkey.id).limit(MOST)
    ).all()


def _described(known: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=one.credential_id, transports=[AuthenticatorTransport(way) for way in one.transports]
        )
        for one in known
    ]


def _challenge(session: Session, kind: Kind, staff_id: UUID, bound: bytes, now: datetime) -> bytes:
    challenge = secrets.token_bytes(32)
    session.add(
        Ceremony(
            digest=_digest(challenge),
            kind=str(kind),
            data={"staff": str(staff_id), "bound": bound.hex()},
            expires_at=now + LIFETIME,
        )
    )
    session.flush()
    return challenge


def _digest(challenge: bytes) -> bytes:
    return sha256(b"wardlink.ceremony" + challenge).digest()


def _take(
    session: Session, kind: Kind, answer: dict[str, Any] | None, staff_id: UUID, bound: bytes, now: datetime
) -> bytes | None:
    """The challenge that this answers, used up; None when it is none of ours, too old, or somebody else's."""
    if answer is None:
        return None
    try:
        raw = webauthn.base64url_to_bytes(answer["response"]["clientDataJSON"])
        challenge = parse_client_data_json(raw).challenge
    except Exception:  # noqa: BLE001, RUF100  whatever a hostile answer makes the library stumble over
        return None
    data = session.execute(
        sa.delete(Ceremony)
        .where(Ceremony.digest == _digest(challenge), Ceremony.kind == str(kind), Ceremony.expires_at > now)
        .returning(Ceremony.data)
    ).scalar_one_or_none()
    return challenge if data == {"staff": str(staff_id), "bound": bound.hex()} else None


def _read(answer: str) -> dict[str, Any] | None:
    if len(answer) > LONGEST_ANSWER:
        return None
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _transports(answer: dict[str, Any]) -> list[str]:
    named = answer["response"].get("transports")
    known = {str(way.value) for way in AuthenticatorTransport}
    return (
        sorted({way for way in named if isinstance(way, str) and way in known})
        if isinstance(named, list)
        else []
    )


def _record(session: Session, event: str, passkey_id: UUID, organisation: UUID, actor: audit.Actor) -> None:
    audit.record(
        session, event=event, subject=f"passkey:{passkey_id}", actor=actor, organisation=organisation
    )
