"""The six kinds of processing that section 62 of the Data Protection Act 2018 says to log, and who must."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from app.audit.record import S62
from app.models.organisations import Organisation


def s62(session: Session, controller: UUID | None, kind: S62) -> S62 | None:
    """What a competent authority must log; nobody else processes for law enforcement.

    What belongs to no one controller (a contact point, a suppression) may be one's: it is logged.
    """
    if controller is None or session.get_one(Organisation, controller).competent_authority:
        return kind
    return None
