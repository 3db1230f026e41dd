"""Where staff sign in from: of a network or a browser that is new for them, they are told once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app import crypto
from app.models.sign_in import KnownPlace
from app.services import account_notices
from app.services.sessions import Whereabouts

UNSEEN = "web"  # the network of whoever comes through a proxy that hides it


def known(session: Session, staff_id: UUID, network: str) -> bool:
    """Whether somebody has signed in from this network lately. One question, whoever it is asked about."""
    digest = _digest(staff_id, f"network {network}")
    found = session.scalar(
        sa.select(sa.exists().where(KnownPlace.staff_id == staff_id, KnownPlace.digest == digest))
    )
    return bool(found) and network != UNSEEN


def notice(session: Session, staff_id: UUID, where: Whereabouts, *, now: datetime) -> bool:
    """Remember where somebody just signed in from; whether they were told because it is new.

    The first of all places is where they enrolled: of that they are not told.
    """
    first = not session.scalar(sa.select(sa.exists().where(KnownPlace.staff_id == staff_id)))
    new = [
        word
        for word, value in (("network", where.network), ("browser", where.browser))
        if _remember(session, staff_id, f"{word} {value}", now)
    ]
    if first or not new:
        return False
    network = "a network that we do not know" if where.network == UNSEEN else f"the network {where.network}"
    account_notices.tell(
        session,
        staff_id,
        f"You signed in from a new {' and '.join(new)}",
        [
            (
                f"Somebody just signed in to Wardlink as you, with both factors: with {where.browser}, from {network}. "
                "This is the first time in half a year."
            ),
            "If it was you, there is nothing to do.",
        ],
        now=now,
    )
    return True


def _remember(session: Session, staff_id: UUID, place: str, now: datetime) -> bool:
    """Keep a digest of a place; whether it is new."""
    digest = _digest(staff_id, place)
    known = session.execute(
        sa.update(KnownPlace)
        .where(KnownPlace.staff_id == staff_id, KnownPlace.digest == digest)
        .values(seen_at=now)
        .returning(KnownPlace.staff_id)
    ).scalar_one_or_none()
    if known is not None:
        return False
    added = session.execute(
        insert(KnownPlace)
        .values(staff_id=staff_id, digest=digest, seen_at=now)
        .on_conflict_do_nothing()
        .returning(KnownPlace.staff_id)
    )
    return added.scalar_one_or_none() is not None


def _digest(staff_id: UUID, place: str) -> bytes:
    # Under our key, and not a plain hash: networks could be tried through.
    return crypto.keyring().digest("known place", f"{staff_id} {place}")
