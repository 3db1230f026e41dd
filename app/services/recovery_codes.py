"""Recovery codes of staff: ten, shown once, each of which stands in once for a second factor that is lost."""

from __future__ import annotations

import secrets
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.models.sign_in import RecoveryCode

MANY, FEW = 10, 3
# No 0 and o, no 1, i and l, no u: as somebody reads them from paper. Ten of them are 49 bits.
_LETTERS = "23456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 10


def form(typed: str) -> str:
    """A code without the spaces, hyphens and capitals that people type."""
    return "".join(c for c in typed.casefold() if c not in " -\t\u00a0")


def fits(typed: str) -> bool:
    """Whether this could be a recovery code."""
    kept = form(typed)
    return len(kept) == _LENGTH and set(kept) <= set(_LETTERS)


def make(session: Session, staff_id: UUID, *, now: datetime) -> list[str]:
    """New codes, to be shown this once; all that somebody had serve no more."""
    session.execute(sa.delete(RecoveryCode).where(RecoveryCode.staff_id == staff_id))
    made = ["".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)) for _ in range(MANY)]
    session.add_all(
        [RecoveryCode(digest=_digest(staff_id, code), staff_id=staff_id, created_at=now) for code in made]
    )
    session.flush()
    half = _LENGTH // 2
    return [f"{code[:half]}-{code[half:]}" for code in made]


def use(session: Session, staff_id: UUID, typed: str, *, now: datetime) -> bool:
    """Use up a code of somebody's; False if it is none, or was used before."""
    used = session.execute(
        sa.update(RecoveryCode)
        .where(
            RecoveryCode.digest == _digest(staff_id, form(typed)),
            RecoveryCode.staff_id == staff_id,
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now)
        .returning(RecoveryCode.staff_id)
    )
    return used.scalar_one_or_none() is not None


def left(session: Session, staff_id: UUID) -> int:
    """How many codes of somebody's still serve."""
    query = sa.select(sa.func.count()).select_from(RecoveryCode)
    return session.scalar(query.where(RecoveryCode.staff_id == staff_id, RecoveryCode.used_at.is_(None))) or 0


def _digest(staff_id: UUID, code: str) -> bytes:
    # Under our key, and not a plain hash: 49 bits could be tried through by whoever holds a copy of the table.
    return crypto.keyring().digest("staff recovery code", f"{staff_id} {code}")
