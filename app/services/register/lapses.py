"""Tickets of the register that nobody used: it is put on the record that nothing was shown for their entries."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

MOST = 1_000
_LAPSE = sa.text("SELECT register.lapse(:most)")


def settle(session: Session) -> int:
    """Settle tickets that are past their time, used or lapsed, ``MOST`` of a kind at most; how many. For workers."""
    found: int = session.execute(_LAPSE, {"most": MOST}).scalar_one()
    return found
