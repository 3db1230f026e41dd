"""After a restore: erasing again all that the backup brought back, by the journal that was kept outside it.

Idempotent: what is gone and in the journal of the database already is passed over, so a run that was broken off is
simply started again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from app.audit import record as audit
from app.audit.journal import Line
from app.db import AWAY
from app.services.erasure import engine

__all__ = ["Replayed", "replay"]

TRIES = 5
WHY = "erased before the restore, and brought back by it"


@dataclass(slots=True)
class Replayed:
    """What a replay did. ``back``: erased again; ``noted``: not there, and now in the journal; ``unreadable``: lines."""

    read: int = 0
    unreadable: int = 0
    addresses: int = 0
    people: int = 0
    noted: int = 0


# What the restore brought back, and what its journal does not know yet.
_CONTACTS = sa.text(
    """
    SELECT r.id FROM unnest(CAST(:ids AS bigint[])) AS r(id)
    WHERE NOT EXISTS (SELECT 1 FROM erasures e WHERE e.contact_id = r.id)
       OR EXISTS (SELECT 1 FROM contact_points c WHERE c.id = r.id)
       OR EXISTS (SELECT 1 FROM consents k WHERE k.contact_id = r.id)
    """
)
_PEOPLE = sa.text(
    """
    SELECT r.id FROM unnest(CAST(:ids AS uuid[])) AS r(id)
    WHERE NOT EXISTS (SELECT 1 FROM erasures e WHERE e.person_id = r.id)
       OR EXISTS (SELECT 1 FROM people p WHERE p.id = r.id)
    """
)


def replay(sessions: sessionmaker[Session], lines: Iterable[Line | None], *, actor: audit.Actor) -> Replayed:
    """Erase again whatever of these lines is there, a block at a time, each in a transaction of its own."""
    done = Replayed()
    left = _counted(lines, done)
    while block := list(islice(left, engine.MOST)):
        addresses = {int(line.id): line.time for line in block if line.what == "contact"}
        people = {UUID(line.id): line.time for line in block if line.what == "person"}
        _again(sessions, addresses, people, actor, done)
    with sessions.begin() as session:
        audit.record(
            session,
            event="erasure:replay",
            subject="journal:erasures",
            actor=actor,
            s62=audit.S62.ERASURE,
            detail={
                "read": done.read,
                "addresses": done.addresses,
                "people": done.people,
                "noted": done.noted,
                "unreadable": done.unreadable,
            },
        )
    return done


def _counted(lines: Iterable[Line | None], done: Replayed) -> Iterator[Line]:
    for line in lines:
        done.read += 1
        if line is None or not _id(line):
            done.unreadable += 1
        else:
            yield line


def _id(line: Line) -> bool:
    try:
        return -(2**63) <= int(line.id) < 2**63 if line.what == "contact" else bool(UUID(line.id))
    except ValueError:
        return False


def _again(
    sessions: sessionmaker[Session],
    addresses: dict[int, datetime],
    people: dict[UUID, datetime],
    actor: audit.Actor,
    done: Replayed,
) -> None:
    tries = 0
    while True:
        try:
            with sessions.begin() as session:
                todo: list[Any] = session.execute(_CONTACTS, {"ids": list(addresses)}).scalars().all()  # type: ignore[assignment]
                some: list[Any] = session.execute(_PEOPLE, {"ids": list(people)}).scalars().all()  # type: ignore[assignment]
                named = engine.people(session, some, actor=actor, why=WHY, ats=people)
                gone = engine.contacts(session, todo, actor=actor, why=WHY, ats=addresses)
            break
        except AWAY:  # somebody else's locks, or a connection that was cut: the block is done again, whole
            tries += 1
            if tries == TRIES:
                raise
    done.addresses += gone.addresses
    done.people += named.people
    done.noted += len(todo) + len(some) - gone.addresses - named.people
