"""The second factor of staff: six digits from an authenticator app (TOTP, RFC 6238), each of them once."""

from __future__ import annotations

import hmac
from datetime import datetime
from uuid import UUID

import pyotp
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.staff import Staff

STEP = 30  # seconds
# Phones and servers differ by some seconds, and people type slowly.
_EITHER_SIDE = 1
ISSUER = "Wardlink"


def new_secret() -> str:
    """160 random bits in base32, as authenticator apps take them."""
    return pyotp.random_base32()


def address(secret: str, email: str) -> str:
    """What the QR code holds."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def step_of(secret: str, code: str, *, now: datetime, last: int | None) -> int | None:
    """The time step whose code this is; None if it is of none that may still be used."""
    here = int(now.timestamp()) // STEP
    found = None
    for step in range(here - _EITHER_SIDE, here + _EITHER_SIDE + 1):
        same = hmac.compare_digest(pyotp.TOTP(secret).generate_otp(step).encode(), code.encode())
        if same and (last is None or step > last):
            found = step
    return found


def use(session: Session, staff_id: UUID, code: str, *, now: datetime) -> bool:
    """Use up a code of somebody's. False if it is wrong, or was used before, if only a moment ago."""
    found = session.get(Staff, staff_id)
    if found is None or found.totp_secret is None:
        return False
    step = step_of(found.totp_secret, code, now=now, last=found.totp_step)
    if step is None:
        return False
    free = sa.or_(Staff.totp_step.is_(None), Staff.totp_step < step)
    used = session.execute(
        sa.update(Staff).where(Staff.id == staff_id, free).values(totp_step=step).returning(Staff.id)
    )
    return used.scalar_one_or_none() is not None
