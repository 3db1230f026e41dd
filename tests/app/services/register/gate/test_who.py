"""Only an investigator, by their own session, within the caps, gets a ticket and an answer."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.db import utc_now
from app.permissions import Role
from app.services import sessions
from tests.gating import CAP, TICKET, WHO, answer, connected, refused, ticket
from tests.searching import WEST, Town, hours


@pytest.fixture
def opened(town: Town, app: psycopg.Connection[Any]) -> UUID:
    given = ticket(app, town.token())
    app.commit()
    return given


def both_steps_refuse(connection: psycopg.Connection[Any], given: UUID, token: str, *states: str) -> None:
    for act in (lambda: ticket(connection, token), lambda: answer(connection, given, token)):
        with refused(*states):
            act()
        connection.rollback()


def test_a_forged_actor_is_nobody(town: Town, app: psycopg.Connection[Any], opened: UUID) -> None:
    token = town.token()
    kept = sessions.digest(token)
    for forged in (
        "",
        str(town.investigator.id),
        kept.hex(),
        kept.decode("latin-1").replace("\x00", "0"),  # no text of PostgreSQL's holds that
        token[:-1],
        token + "x",
        token.upper(),
        "x" * 10_000,
        "' OR true --",
    ):
        both_steps_refuse(app, opened, forged, WHO)
    assert answer(app, opened, token)["total"] == "3-5"  # another session of the same person's


NOBODY = {
    "half a session": {"half": True},
    "an expired session": {"expires_at": "2020-01-01"},
    "one that lay idle": {"seen_at": "2020-01-01"},
}


@pytest.mark.parametrize("why", NOBODY)
def test_a_session_that_does_not_stand_is_nobodys(
    town: Town, app: psycopg.Connection[Any], opened: UUID, why: str
) -> None:
    both_steps_refuse(app, opened, town.token(**NOBODY[why]), WHO)


@pytest.mark.parametrize("shown", [None, "2020-01-01", "2199-01-01"])
def test_without_a_factor_just_shown_there_is_no_answer(
    town: Town, app: psycopg.Connection[Any], opened: UUID, shown: str | None
) -> None:
    both_steps_refuse(app, opened, town.token(stepped_up_at=shown), "WR011")


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.INVESTIGATOR])
def test_no_other_role_searches(town: Town, app: psycopg.Connection[Any], opened: UUID, role: Role) -> None:
    both_steps_refuse(app, opened, town.token(town.person(role)), WHO)


def test_another_investigators_ticket_is_theirs(
    town: Town, app: psycopg.Connection[Any], opened: UUID
) -> None:
    with refused(TICKET):
        answer(app, opened, town.token(town.person(Role.INVESTIGATOR)))
    app.rollback()
    assert answer(app, opened, town.token())["total"] == "3-5"


ENDS = {
    "the role ended": "UPDATE role_grants SET starts_at = '2020-01-01', ends_at = '2021-01-01' WHERE staff_id = %s",
    "the role was taken back": "UPDATE role_grants SET taken_at = now() WHERE staff_id = %s",
    "the role has not begun": "UPDATE role_grants SET starts_at = now() + interval '1 h' WHERE staff_id = %s",
    "the role is another organisation's": (
        "UPDATE role_grants SET organisation_id = (SELECT id FROM organisations WHERE slug = 'incompetent') "
        "WHERE staff_id = %s"
    ),
    "they left": "UPDATE staff SET state = 'left' WHERE id = %s",
    "they signed out": "DELETE FROM web_sessions WHERE staff_id = %s",
}  # fmt: skip


@pytest.mark.parametrize("why", ENDS)
def test_whoever_may_no_more_between_the_steps_gets_no_answer(
    town: Town, app: psycopg.Connection[Any], why: str
) -> None:
    town.admin.execute(
        "INSERT INTO organisations (id, slug, name, kind, legal_basis) "
        "VALUES (gen_random_uuid(), 'incompetent', 'Council', 'council', 'consent') ON CONFLICT DO NOTHING"
    )
    searcher = town.person(Role.INVESTIGATOR)
    token = town.token(searcher)
    given = ticket(app, token)
    app.commit()
    town.admin.execute(ENDS[why].encode(), (searcher.id,))
    both_steps_refuse(app, given, token, WHO)


@pytest.mark.parametrize("column", ["competent_authority = false", "ended_at = now()"])
def test_an_organisation_that_is_not_competent_or_has_ended_searches_nothing(
    town: Town, app: psycopg.Connection[Any], opened: UUID, column: str
) -> None:
    token = town.token()
    town.admin.execute(f"UPDATE organisations SET {column} WHERE id = %s".encode(), (town.organisation_id,))
    try:
        both_steps_refuse(app, opened, token, WHO)
    finally:
        town.admin.execute(
            "UPDATE organisations SET competent_authority = true, ended_at = NULL WHERE id = %s",
            (town.organisation_id,),
        )


def test_a_residents_session_is_no_investigators(
    town: Town, app: psycopg.Connection[Any], opened: UUID
) -> None:
    owner = town.owner()
    contact = town.one("SELECT contact_id FROM camera_owners WHERE id = %s", owner)
    with town.registry.sessions.begin() as session:
        token = sessions.begin(session, contact_id=contact, now=utc_now())
    both_steps_refuse(app, opened, token, WHO)


WIDE = f"(({WEST},180000),({WEST + 1200},180000),({WEST + 1200},181200),({WEST},181200))"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"radius": 644.0}, CAP),
        ({"radius": 1e300}, "WR003"),
        ({"radius": float("inf")}, "WR003"),
        ({"radius": float("nan")}, "WR003"),
        ({"radius": -150.0}, "WR003"),
        ({"radius": None}, "WR003"),
        ({"centre": None}, "WR003"),
        ({"centre": "(NaN,NaN)"}, "WR003"),
        ({"kind": None}, "WR003"),
        ({"kind": "RADIUS"}, "WR003"),
        ({"kind": "area", "outline": WIDE}, CAP),
        ({"kind": "view", "outline": WIDE}, CAP),
        ({"kind": "route", "route": f"[({WEST},180000),({WEST + 1900},181900)]", "radius": 300.0}, CAP),
        ({"kind": "route", "route": f"[({WEST},180000)]", "radius": 100.0}, "WR003"),
        ({"since": utc_now() - hours(14)}, CAP),
        ({"since": "-infinity"}, "WR006"),
        ({"until": "infinity"}, "WR006"),
        ({"since": None}, "WR006"),
        ({"until": utc_now() - hours(9)}, "WR006"),
        ({"reference": None}, "WR005"),
        ({"reference": "0100001/26\n"}, "WR005"),
        ({"reason": None}, "WR005"),
        ({"purpose": None}, "WR005"),
    ],
)  # fmt: skip
def test_no_cap_is_exceeded_by_calling_the_function(
    town: Town, app: psycopg.Connection[Any], changes: dict[str, Any], state: str
) -> None:
    with refused(state):
        ticket(app, town.token(), **changes)


def test_two_at_once_do_not_both_take_the_last_search_of_the_hour(town: Town) -> None:
    token = town.token(town.person(Role.INVESTIGATOR))
    with connected(town, autocommit=True) as connection:
        for _ in range(59):
            ticket(connection, token)
    found: list[str | None] = []
    start = threading.Barrier(4)

    def open_one() -> None:
        with connected(town, autocommit=True) as connection:
            start.wait()
            try:
                ticket(connection, token)
                found.append("opened")
            except psycopg.Error as error:
                found.append(error.sqlstate)

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [CAP, CAP, CAP, "opened"]
