"""The register's two steps, each a transaction of its own: on the record and committed, then done or shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.services.register.refusals import TicketSpentError
from app.web import context

Result = TypeVar("Result")
TRIES = 3


def two_steps(opens: Callable[[Session], UUID], runs: Callable[[Session, UUID], Result]) -> Result:
    """What the second step gives for the first one's ticket.

    Tickets share a few places to be marked as used in; when somebody else's was used there in between, ours is refused,
    and both steps are taken again. Raises whatever they raise, and Conflict after the third refusal.
    """
    for _ in range(TRIES - 1):
        try:
            return _once(opens, runs)
        except TicketSpentError:
            continue
    return _once(opens, runs)


def _once(opens: Callable[[Session], UUID], runs: Callable[[Session, UUID], Result]) -> Result:
    with context.transaction() as session:
        ticket = opens(session)
    with context.transaction() as session:
        return runs(session, ticket)
