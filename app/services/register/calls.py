"""Calling the register's functions, and what their refusals are to a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, Missing, ServiceError, TooMany

__all__ = ["call", "rows"]

_NEAR = "Put the pin nearer to the middle of the postcode, or use the postcode that the camera is at."
_REFUSALS: Mapping[str, ServiceError] = {
    "WR001": Missing("This page has run out. Ask for a new code."),
    "WR002": Conflict("The page was opened twice at once. Try again."),
    "WR003": Invalid("at", _NEAR),
    "WR004": TooMany("That is more cameras than one owner can have here."),
    "WR007": Missing("There is no such camera."),
    "WR008": Invalid("postcode", "Cameras at this postcode cannot be put on the register yet."),
}


def call(session: Session, function: str, **values: Any) -> Any:
    """What ``register.{function}`` returns for these arguments, by name. Raises what a refusal means."""
    return _run(session, f"SELECT register.{function}({_named(values)})", values).scalar_one()


def rows(session: Session, function: str, **values: Any) -> list[sa.Row[Any]]:
    """The rows of a function that returns some."""
    return list(_run(session, f"SELECT * FROM register.{function}({_named(values)})", values).all())


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} => {_typed(name, value)}" for name, value in values.items())


def _typed(name: str, value: Any) -> str:
    """A jsonb goes as text."""
    return f"CAST(:{name} AS jsonb)" if name.endswith("facts") else f":{name}"


def _run(session: Session, query: str, values: Mapping[str, Any]) -> sa.Result[Any]:
    try:
        return session.execute(sa.text(query), values)
    except sa.exc.DBAPIError as error:
        refusal = _REFUSALS.get(getattr(error.orig, "sqlstate", None) or "")
        if refusal is None:
            raise
        raise refusal from None
