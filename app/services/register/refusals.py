"""What the gate refuses of requests, boards and answers, in plain English. It says which by a word in its DETAIL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from app.errors import Conflict, Invalid, Missing, ServiceError


class TicketSpentError(Conflict):
    """The ticket of a first step no longer serves: it was used, is too old, or another's took its place."""


# Made anew each time: an exception that is raised carries where it was raised.
_WORDS: dict[str, tuple[type[ServiceError], tuple[str, ...]]] = {
    "search": (Conflict, ("Requests can be sent for 24 hours after your search. Search again.",)),
    "closed": (Conflict, ("This case is closed. Nobody is asked about it any more.",)),
    "cells": (Invalid, ("cells", "Choose parts of the map that your search covered.")),
    "look_for": (Invalid, ("look_for", "Say what owners should look for.")),
    "expires": (Invalid, ("days", "A request can be open for up to 14 days.")),
    "lift": (Conflict, ("There is no leave of a supervisor for this, or it was used or has ended.",)),
    "case": (Missing, ("There is no such case.",)),
    "request": (Conflict, ("This request is closed.",)),
}


def _said(state: str, detail: str | None) -> ServiceError | None:
    match state:
        case "WR001":
            return Missing("You may not do this.")
        case "WR011":
            return Conflict("Show again that it is you, then go on.")
        case "WR002":
            return TicketSpentError("This took too long, or was done already. Load the page again.")
        case _ if state.startswith("WR") and detail in _WORDS:
            kind, words = _WORDS[detail]
            return kind(*words)
        case _:
            return None


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the gate refuses inside into errors of ours. The transaction is lost with it."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        raised = error.orig
        if isinstance(raised, psycopg.Error):
            found = _said(raised.sqlstate or "", raised.diag.message_detail)
            if found is not None:
                raise found from None
        raise
