"""What staff are told by e-mail of their own account. No links: whoever wants to check signs in as always."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.organisations import Organisation
from app.models.staff import Staff
from app.services import people, post
from messaging.notices import notice

LIFETIME = timedelta(hours=24)
IF_NOT = (
    "If it was not you: sign in, open Your account, end all other sessions, and choose another password. "
    "If you cannot, tell an administrator of yours at once: they can sign you out everywhere."
)


def tell(session: Session, staff_id: UUID, subject: str, said: Sequence[str], *, now: datetime) -> None:
    """Queue one e-mail to somebody of staff, in the transaction of what it tells of."""
    row = session.execute(
        sa.select(Staff.email, Staff.name, Organisation.id, Organisation.name)
        .join(Organisation, Organisation.id == Staff.organisation_id)
        .where(Staff.id == staff_id)
    ).one()
    email, name, organisation, organisation_name = row
    post.queue_email(
        session,
        kind="account",
        address=email,
        content=notice(
            subject,
            [f"Hello {name},", *said, IF_NOT],
            button=None,
            controller_name=organisation_name,
            closing=["We never ask for your password, a code or a passkey by e-mail or by telephone."],
        ),
        controller=organisation,
        expires_at=now + LIFETIME,
        synthetic=people.made_up(email),
        now=now,
    )
