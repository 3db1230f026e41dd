"""A register to search: a force, cells, cameras, and people of it with the tokens of their sessions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from app.db import Pt, new_id, utc_now
from app.models.areas import Area, Postcode, Release
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from app.registry import Registry
from app.roles import libpq
from app.services import roles, sessions
from app.services.register.search import Answer, Wanted, open_search, run_search
from app.services.register.shapes import Shape
from messaging.types import Channel
from tests.conftest import Database
from tests.factories import Makes

# The south-western corner of ten by ten cells, 200 m wide each; the five western columns are one borough's.
WEST, SOUTH, SIDE, ACROSS = 520_000, 180_000, 200, 10
REASON = "Robbery on the corner on Tuesday evening"


@dataclass
class Town:
    """Everything is committed. ``admin`` writes what nobody of the service may."""

    database: Database
    registry: Registry
    admin: psycopg.Connection[Any]
    organisation_id: UUID
    borough: int  # of the western cells
    wards: tuple[str, str]  # western, eastern
    investigator: Staff
    supervisor: Staff
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def token(self, staff: Staff | None = None, **changes: Any) -> str:
        """A session of somebody's, both factors just shown; ``changes`` of its row."""
        with self.registry.sessions.begin() as session:
            token = sessions.begin(session, staff=staff or self.investigator, now=utc_now())
        for column, value in changes.items():
            self.admin.execute(
                psycopg.sql.SQL("UPDATE web_sessions SET {} = %s WHERE digest = %s").format(
                    psycopg.sql.Identifier(column)
                ),
                (value, sessions.digest(token)),
            )
        return token

    def person(
        self, role: Role, place: roles.Place = roles.EVERYWHERE, *, organisation: UUID | None = None
    ) -> Staff:
        with self.registry.sessions.begin() as session:
            makes = Makes(session, self.numbers)
            force = session.get_one(Organisation, organisation or self.organisation_id)
            return makes.officer(force, role=role, place=place)

    def owner(self, organisation: UUID | None = None) -> UUID:
        """Somebody with an address who agreed."""
        with self.registry.sessions.begin() as session:
            contact = Makes(session, self.numbers).contact(
                f"owner{next(self.numbers)}@people.example", Channel.EMAIL
            )
            contact_id = contact.id
        made = new_id()
        self.admin.execute(
            "INSERT INTO camera_owners (id, controller_id, contact_id, name_enc, state, confirmed_at) "
            "VALUES (%s, %s, %s, 'x', 'active', now())",
            (made, organisation or self.organisation_id, contact_id),
        )
        return made

    def cell(self, column: int, row: int) -> int:
        found = self.admin.execute(
            "SELECT id FROM register_cells WHERE west = %s AND south = %s",
            (WEST + SIDE * column, SOUTH + SIDE * row),
        ).fetchone()
        assert found is not None
        return int(found[0])

    def camera(self, owner: UUID, column: int, row: int, **changes: Any) -> UUID:
        """A camera in the middle of a cell, that looks north, keeps 30 days and may be matched."""
        values: dict[str, Any] = {
            "id": new_id(),
            "owner_id": owner,
            "kind": "doorbell",
            "postcode": "UB8 1UW",
            "at": f"({WEST + SIDE * column + SIDE // 2},{SOUTH + SIDE * row + SIDE // 2})",
            "bearing": 0,
            "field": 90,
            "reach": 20,
            "days_kept": 30,
            "cell_id": self.cell(column, row),
            "ward_code": self.wards[column >= ACROSS // 2],
            "live": True,
        } | changes
        columns = ", ".join(values)
        marks = ", ".join("%s" for _ in values)
        self.admin.execute(
            f"INSERT INTO cameras ({columns}, sector) VALUES ({marks}, '((0,0),(1,0),(1,1))')".encode(),
            list(values.values()),
        )
        return UUID(str(values["id"]))

    def wanted(self, shape: Shape | None = None, **changes: Any) -> Wanted:
        """A search of a disc of 150 m in the middle of the western half, for the last evening."""
        until = utc_now() - timedelta(hours=1)
        values: dict[str, Any] = {
            "reference": "0100001/26",
            "purpose": "investigation",
            "reason": REASON,
            "shape": shape or Shape("radius", centre=middle(2, 5), radius=150.0),
            "since": until - timedelta(hours=2),
            "until": until,
        }
        return Wanted(**(values | changes))

    def open(self, token: str, wanted: Wanted | None = None) -> UUID:
        with self.registry.sessions.begin() as session:
            return open_search(session, token, wanted or self.wanted())

    def run(self, ticket: UUID, token: str) -> Answer:
        with self.registry.sessions.begin() as session:
            return run_search(session, ticket, token)

    def search(self, token: str, wanted: Wanted | None = None) -> Answer:
        return self.run(self.open(token, wanted), token)

    def age(self, ticket: UUID, by: timedelta) -> None:
        """As if a search had been opened that much earlier."""
        self.admin.execute(
            "UPDATE register_searches SET opened_at = opened_at - %s WHERE id = %s", (by, ticket)
        )

    def one(self, query: str, *values: Any) -> Any:
        row = self.admin.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]


def middle(column: int, row: int) -> Pt:
    """The middle of a cell."""
    return Pt(float(WEST + SIDE * column + SIDE // 2), float(SOUTH + SIDE * row + SIDE // 2))


def build(database: Database, registry: Registry) -> Town:
    """A town on a database of its own. Close ``admin`` at the end."""
    admin = psycopg.connect(libpq(database.admin), autocommit=True)
    numbers = itertools.count(1)
    with registry.sessions.begin() as session:
        makes = Makes(session, numbers)
        police = makes.organisation("Test Police")
        police.competent_authority = True
        western, ward, _ = makes.borough()
        _, other, _ = makes.borough()
        _postcodes(makes, (ward, other))
        investigator = makes.officer(police, role=Role.INVESTIGATOR, place=roles.EVERYWHERE)
        supervisor = makes.officer(police, role=Role.SUPERVISOR, place=roles.EVERYWHERE)
        found = Town(
            database,
            registry,
            admin,
            police.id,
            western.id,
            (ward.code, other.code),
            investigator,
            supervisor,
            numbers,
        )
    with admin.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO register_cells (release_id, west, south, east, north, postcodes) "
            "VALUES ('test', %s, %s, %s, %s, 5)",
            [
                (west, south, west + SIDE, south + SIDE)
                for west in range(WEST, WEST + SIDE * ACROSS, SIDE)
                for south in range(SOUTH, SOUTH + SIDE * ACROSS, SIDE)
            ],
        )
    return found


def _postcodes(makes: Makes, wards: tuple[Area, Area]) -> None:
    assert makes.session.get(Release, "test") is not None
    letters = "ABDEFGHJLN"
    for column, row in itertools.product(range(ACROSS), repeat=2):
        makes.session.add(
            Postcode(
                postcode=f"UB{column + 1} {row}{letters[column]}{letters[row]}",
                at=middle(column, row),
                ward_code=wards[column >= ACROSS // 2].code,
                quality=1,
                live=True,
                release_id="test",
            )
        )
    makes.session.flush()


def hours(n: float) -> timedelta:
    return timedelta(hours=n)


def earlier(n: float) -> datetime:
    return utc_now() - hours(n)
