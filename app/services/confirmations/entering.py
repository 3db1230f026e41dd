"""A code as somebody types it: right, wrong, too late, or once too often."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy.orm import Session

from app.models.confirmations import Confirmation
from app.services.confirmations import rations, tokens
from app.services.confirmations.rations import MOST_TRIES, Terms


class Entered(StrEnum):
    """What became of a code. ``message`` says it to whoever typed it."""

    RIGHT = "right"
    WRONG = "wrong"
    SPENT = "spent"
    EXPIRED = "expired"

    @property
    def message(self) -> str:
        return _MESSAGES[self]


_MESSAGES = {
    Entered.RIGHT: "",
    Entered.WRONG: "That is not the code. Check the newest message that we sent you, and type its 6 digits.",
    Entered.SPENT: "A wrong code was typed 5 times, so the code no longer works. Ask for a new one.",
    Entered.EXPIRED: "The code no longer works: a code lasts 30 minutes. Ask for a new one.",
}


def matches(confirmation: Confirmation, code: str) -> bool:
    kept = confirmation.code_digest or b""
    return hmac.compare_digest(kept, tokens.code_digest(confirmation.id, code))


def enter(
    session: Session, waiting: Sequence[Confirmation], code: str, terms: Terms, *, now: datetime
) -> tuple[Entered, Confirmation | None]:
    """Try a code on confirmations that the caller has locked; which one it opens, if any. TooMany.

    A wrong one is a try at each of them. Whether a code was sent at all makes no difference to the answer.
    """
    rations.may_guess(session, terms, now=now)
    fresh = [c for c in waiting if c.code_expires_at is not None and c.code_expires_at > now]
    live = [c for c in fresh if c.tries < MOST_TRIES]
    if not live:
        return (Entered.SPENT if fresh else Entered.EXPIRED), None
    found = [c for c in live if matches(c, code)]
    if found:
        return Entered.RIGHT, found[0]
    for one in live:
        one.tries += 1
    rations.guessed_wrong(session, terms, now=now)
    session.flush()
    return (Entered.WRONG if any(c.tries < MOST_TRIES for c in live) else Entered.SPENT), None
