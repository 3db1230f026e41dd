"""From a search through the gate to the owners of its exact shape: fewer than its blind answer counts."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from app.db import new_id, utc_now
from app.errors import Conflict, Missing
from app.permissions import Role
from app.services.register import board, requests
from app.services.register.shapes import Shape
from tests.gating import connected
from tests.searching import Town, middle

LOOK_FOR = "A person in a red coat on a black bicycle."


def ask(town: Town, token: str, search: UUID, cells: list[int] | None = None) -> UUID:
    with town.registry.sessions.begin() as session:
        return requests.ask(
            session,
            token,
            new_id(),
            search,
            look_for=LOOK_FOR,
            cells=cells,
            days=3,
            lift_id=None,
            now=utc_now(),
        )


def picked(town: Town, request: UUID) -> int:
    with connected(town, "WORKER_DATABASE_URL") as worker:
        found = worker.execute("SELECT * FROM register.pick(%s, %s)", (request, new_id())).fetchall()
        worker.commit()
        return len(found)


def test_the_exact_shape_is_asked_and_the_blind_answer_says_no_more_than_cells(town: Town) -> None:
    token = town.token()
    search = town.open(token, town.wanted(Shape("radius", centre=middle(2, 5), radius=60.0)))
    seen = [cell.id for cell in town.run(search, token).cells]
    assert town.cell(2, 5) in seen
    assert picked(town, ask(town, token, search)) == 1
    assert picked(town, ask(town, token, search, [town.cell(2, 5)])) == 1
    # Two of this case have reached its owner.
    assert picked(town, ask(town, token, search)) == 0


def test_a_search_that_was_taken_back_or_is_anothers_asks_nobody(town: Town) -> None:
    token = town.token()
    with town.registry.sessions() as session:
        search = new_id()
        with pytest.raises(Conflict):
            requests.ask(
                session,
                token,
                new_id(),
                search,
                look_for=LOOK_FOR,
                cells=None,
                days=3,
                lift_id=None,
                now=utc_now(),
            )
    search = town.open(token)
    colleague = town.person(Role.INVESTIGATOR)
    with pytest.raises(Conflict):
        ask(town, town.token(colleague), search)
    for changes in ({"half": True}, {"expires_at": utc_now() - timedelta(seconds=1)}):
        with pytest.raises(Missing):
            ask(town, town.token(**changes), search)


def test_what_is_not_the_apps_to_call_is_refused_inside_any_transaction(
    town: Town, app: psycopg.Connection[object]
) -> None:
    token = town.token()
    search = town.open(token)
    request = ask(town, token, search)
    for statement in ("SELECT * FROM register.pick(%s, gen_random_uuid())", "SELECT register.expire(now())"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute(statement.encode(), (request,) if "%s" in statement else None)
        app.rollback()
    case = town.one("SELECT investigation_id FROM camera_requests WHERE id = %s", request)
    with town.registry.sessions.begin() as session:
        ticket = board.begin(session, token, case)
    with town.registry.sessions.begin() as session:
        assert board.show(session, token, ticket, case).answers == ()
