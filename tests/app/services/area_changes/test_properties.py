"""Whatever the change and whoever lives there: applied and reversed, everything is as it was, apart from what happened
in between, and at no moment is anybody lost.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app.registry import Registry
from app.services import roles
from app.services.area_changes import making
from app.services.area_changes.making import Named
from app.services.area_changes.steps import Step
from tests.app.services.area_changes.town import Town, build
from tests.factories import Makes

WARDS = 4
CHANGES = ("rename", "recode", "merge", "absorb", "split", "move", "commands")

people = st.lists(
    st.tuples(st.sampled_from(["postcode", "pin", "ward"]), st.integers(0, WARDS - 1), st.integers(0, 3)),
    max_size=12,
)
# Which quarters of a ward that is divided go east; never none, never all.
halves = st.sets(st.integers(0, 3), min_size=1, max_size=3)


def state(town: Town) -> dict[str, Any]:
    """All that follows a change, as it stands."""
    queries = {
        "areas": "SELECT a.id, a.code, a.name, a.former_name, a.parent_id FROM areas a WHERE a.valid_to IS NULL",
        "postcodes": "SELECT postcode, ward_code, live, quality, CAST(at AS text), release_id FROM postcodes",
        "roles": "SELECT staff_id, role, area_id, ends_at FROM role_grants WHERE taken_at IS NULL",
        "teams": "SELECT team_id, area_id FROM team_areas",
        "groups": "SELECT organisation_id, group_name, role, area_id FROM group_roles",
        "alerts": "SELECT alert_id, area_id, sent_at FROM alert_areas",
        "drafts": "SELECT id, CAST(audience AS text) FROM alerts WHERE state = 'draft'",
        "successors": "SELECT s.area_id, s.successor_id FROM area_successors s JOIN areas a ON a.id = s.area_id "
        "WHERE a.valid_to IS NULL",
    }
    return {name: sorted(map(str, town.session.execute(sa.text(query)))) for name, query in queries.items()}


def change(town: Town, kind: str, nth: int, east: set[int]) -> tuple[list[Step], dict[str, Any]]:
    """The steps of one change, around the ``nth`` ward."""
    session, ward = town.session, town.wards[nth]
    beside = town.wards[nth ^ 1]  # of the same borough
    match kind:
        case "rename":
            return making.rename(session, ward.code, "Another name"), {}
        case "recode":
            return making.recode(session, ward.code, "E05000904"), {}
        case "merge":
            return making.merge(session, [ward.code, beside.code], Named("E05000903", "Both")), {}
        case "absorb":
            return making.merge(session, [ward.code], Named(beside.code, "")), {}
        case "move":
            return making.move(session, [town.boroughs[nth // 2].code], town.bcus[1 - nth // 2].code), {}
        case "commands":
            return making.merge(session, [one.code for one in town.bcus], Named("BCU:TX", "Command X")), {}
    table = {town.postcode(nth, q): "E05000902" if q in east else "E05000901" for q in range(4)}
    named = [Named("E05000901", "West"), Named("E05000902", "East")]
    return making.split(session, ward.code, named, table), {"table": table}


def lies(town: Town, kind: str, nth: int, quarter: int) -> str:
    """The ward of today in which somebody who comes now would be put."""
    code = town.session.execute(
        sa.text("SELECT ward_code FROM postcodes WHERE postcode = :postcode"),
        {"postcode": town.postcode(nth, quarter)},
    ).scalar_one()
    return str(code)


@pytest.mark.slow
@pytest.mark.long
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    kind=st.sampled_from(CHANGES), nth=st.integers(0, WARDS - 1), east=halves, first=people, between=people
)
def test_applied_and_reversed_everything_is_as_it_was_apart_from_what_happened_in_between(
    registry: Registry, kind: str, nth: int, east: set[int], first: list[Any], between: list[Any]
) -> None:
    with registry.engine.connect() as connection:
        outer = connection.begin()
        try:
            with Session(
                connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            ) as session:
                _walk(build(Makes(session), WARDS), kind, nth, east, first, between)
        finally:
            outer.rollback()


def _walk(town: Town, kind: str, nth: int, east: set[int], first: list[Any], between: list[Any]) -> None:
    makes, session = town.makes, town.session
    for one in first:
        town.place(*one)
    for ward in town.wards:
        makes.team(town.police, [ward])
        makes.officer(town.police, place=roles.Place(area_id=ward.id))
    makes.team(town.police, town.bcus)
    makes.officer(town.police, place=roles.Place(area_id=town.bcus[0].id))
    makes.alert(town.police, town.wards[:2])
    session.execute(
        sa.text(
            "INSERT INTO group_roles (id, organisation_id, group_name, role, area_id) "
            "SELECT gen_random_uuid(), :police, 'officers', 'officer', id FROM areas WHERE kind = 'ward'"
        ),
        {"police": town.police.id},
    )
    before, lived = state(town), town.where()
    given_steps, more = change(town, kind, nth, east)
    plan = town.apply(given_steps, **more)
    assert all(len(codes) == 1 for codes in town.where().values())
    assert town.where().keys() == lived.keys()
    came: dict[UUID, tuple[str, int, int]] = {}
    for who, where, quarter in between:
        came[town.place(who, where, quarter, ward=lies(town, who, where, quarter))] = (who, where, quarter)
    town.reverse(plan)
    after = town.where()
    assert {place: after[place] for place in lived} == lived
    assert after.keys() == lived.keys() | came.keys()
    for place, (who, where, _) in came.items():
        # Who gave only a ward that took in another cannot be told from those who were there before.
        if not (who == "ward" and kind in ("absorb", "merge")):
            assert after[place] == [town.wards[where].code], (who, where)
        assert len(after[place]) == 1
    assert state(town) == before
