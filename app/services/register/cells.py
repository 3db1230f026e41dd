"""The cells of the register, built from the live postcodes of the release that is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.services import areas
from geo import cell

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('wardlink.register_cells'))")
_BUILT = sa.text("SELECT EXISTS (SELECT FROM register_cells WHERE release_id = :release)")
# Two arrays: a row for each of 180,000 would take Python longer than all the rest.
_LIVE = sa.text("SELECT array_agg(at[0]), array_agg(at[1]) FROM postcodes WHERE live")
_INSERT = sa.text(
    """
    INSERT INTO register_cells (release_id, west, south, east, north, postcodes)
    SELECT :release, c.* FROM unnest(CAST(:west AS integer[]), CAST(:south AS integer[]), CAST(:east AS integer[]),
        CAST(:north AS integer[]), CAST(:postcodes AS smallint[])) AS c
    """
)
_REASSIGN = sa.text("SELECT register.reassign(:release)")
_FORMER = sa.text("DELETE FROM register_cells WHERE release_id <> :release")


@dataclass(frozen=True, slots=True)
class Built:
    """What was built: of which release, how many cells, and how many of a former release they replaced."""

    release: str
    cells: int
    replaced: int
    reassigned: int


def build(session: Session, *, actor: audit.Actor) -> Built | None:
    """Build the cells of the loaded release in place of those of another. None when they are there already.

    Everything in the caller's transaction: whoever reads meanwhile sees the former cells, whole. None also when no
    release is loaded, or one of so few postcodes that there is no cell.
    """
    release = areas.loaded_release(session)
    if release is None or session.execute(_BUILT, {"release": release}).scalar_one():
        return None
    session.execute(_LOCK)  # two at once: the second waits, and then finds them built
    if session.execute(_BUILT, {"release": release}).scalar_one():
        return None
    eastings, northings = session.execute(_LIVE).one()
    made = cell.cells(eastings or [], northings or [])
    if not made:
        return None
    columns = dict(zip(cell.Cell._fields, map(list, zip(*made, strict=True)), strict=True))
    session.execute(_INSERT, {"release": release, **columns})
    reassigned = reassign(session, release)
    replaced = session.execute(_FORMER, {"release": release}).rowcount  # type: ignore[attr-defined]
    audit.record(
        session,
        event="register:cells",
        subject=f"release:{release}",
        actor=actor,
        detail={"cells": len(made), "replaced": replaced, "reassigned": reassigned},
    )
    return Built(release, len(made), replaced, reassigned)


def reassign(session: Session, release: str) -> int:
    """Move cameras and searches to the cells of ``release``; the former ones are still there. How many cameras moved.

    Raises DBAPIError when a camera lies in no cell of it: then nothing was built.
    """
    return int(session.execute(_REASSIGN, {"release": release}).scalar_one())
