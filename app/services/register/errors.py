"""What the register's gate refuses, in plain English: its SQLSTATEs become errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from app.errors import Conflict, Invalid, Missing, ServiceError, TooMany

__all__ = ["StepUp", "gate", "said"]


class StepUp(Conflict):
    """A factor must be shown again first."""

    code = "step-up"


_CAPS = {
    "area": (
        "shape",
        "That is larger than 1.3 square kilometres. Make it smaller, or ask a supervisor to lift this cap once.",
    ),
    "window": (
        "until",
        "That is longer than 12 hours. Make it shorter, or ask a supervisor to lift this cap once.",
    ),
    "both": (
        "shape",
        "Make it smaller or shorter: a supervisor can lift one cap, not both, and never for more than 7 days.",
    ),
}
_WORDS = {
    "reference": ("reference", "Enter the case reference as your organisation writes it."),
    "closed": ("reference", "This case is closed. Use the reference of an open case."),
    "reason": ("reason", "Say why, in 10 to 500 characters."),
    "purpose": ("purpose", "Choose a purpose."),
    "cap": ("cap", "Choose which cap to lift."),
    "staff": ("staff", "Choose an investigator other than yourself."),
    "order": ("until", "The end must be after the beginning."),
    "future": ("until", "The end must not be in the future."),
    "old": ("since", "No camera keeps footage for longer than a year. Choose a later beginning."),
    "outside": ("shape", "Part of that is outside the area where you are an investigator."),
    "nowhere": ("shape", "The register covers nothing there. It covers London."),
}


def said(state: str | None, detail: str | None) -> ServiceError | None:
    """The error for what the gate raised; None when it is none of the gate's."""
    match state:
        case "WR001":
            return Missing("You may not do this.")
        case "WR011":
            return StepUp("Show again that it is you.")
        case "WR002":
            return Conflict("This answer was shown, or its time is over. Search again.")
        case "WR004" if detail == "searches":
            return TooMany("You have searched 60 times within an hour. Wait, then go on.")
        case "WR004":
            return Invalid(*_CAPS.get(detail or "", _CAPS["both"]))
        case "WR003" | "WR005" | "WR006" | "WR007":
            return Invalid(*_WORDS.get(detail or "", ("shape", "That is no shape that can be searched.")))
        case _:
            return None


@contextmanager
def gate() -> Iterator[None]:
    """Turn what the gate refuses inside into errors of ours. The transaction is lost with it."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raised = error.orig
        if isinstance(raised, psycopg.Error):
            found = said(raised.sqlstate, raised.diag.message_detail)
            if found is not None:
                raise found from None
        raise
