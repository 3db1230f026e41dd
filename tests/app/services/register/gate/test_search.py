"""Searching the register: what is found where, what is said of it, and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from app.db import Pt, utc_now
from app.errors import Conflict, Invalid, Missing, TooMany
from app.permissions import Role
from app.services import roles
from app.services.register import lifts
from app.services.register.search import Band, Left
from app.services.register.shapes import Shape
from tests.factories import Makes
from tests.searching import SIDE, SOUTH, WEST, Town, middle


@pytest.fixture(autouse=True)
def empty(town: Town) -> None:
    """Each test has cameras of its own."""
    town.admin.execute("DELETE FROM camera_owners")


def box(column: int, row: int) -> tuple[int, int, int, int]:
    west, south = WEST + SIDE * column, SOUTH + SIDE * row
    return west, south, west + SIDE, south + SIDE


def test_counts_are_bands_of_cells_and_facts_stand_only_where_there_are_three(town: Town) -> None:
    one, many = town.owner(), town.owner()
    town.camera(one, 2, 5)
    for _ in range(4):
        town.camera(many, 2, 6, kind="fixed", night=True)
    town.camera(many, 2, 6, kind="ptz")
    town.camera(many, 2, 6, live=False)
    town.camera(many, 9, 9)
    found = town.search(town.token())
    assert found.total is Band.SIX
    first, second = found.cells
    assert (first.box, first.total) == (box(2, 6), Band.THREE)
    assert first.facts == {"fixed": Band.THREE, "ptz": Band.FEW, "night": Band.THREE}
    assert first.by_left == {Left.MORE: Band.THREE}
    assert (second.box, second.total, second.facts, second.by_left) == (box(2, 5), Band.FEW, {}, {})


def test_cells_come_in_the_order_of_the_hours_left(town: Town) -> None:
    owner = town.owner()
    for row, days in ((4, 30), (5, 0), (6, 1)):
        town.camera(owner, 2, row, days_kept=days)
    town.camera(owner, 1, 5, days_kept=3)
    town.camera(owner, 3, 5, days_kept=5)
    found = town.search(town.token())
    assert [(one.box, one.soonest) for one in found.cells] == [
        (box(2, 6), Left.DAY),
        (box(1, 5), Left.THREE_DAYS),
        (box(3, 5), Left.WEEK),
        (box(2, 4), Left.MORE),
        (box(2, 5), Left.GONE),
    ]


def test_where_in_its_cell_a_camera_stands_changes_nothing(town: Town) -> None:
    owner, (x, y) = town.owner(), middle(2, 5)
    answers = []
    for dx, dy in ((-99, -99), (0, 0), (99, 99)):
        camera = town.camera(owner, 2, 5, at=f"({x + dx},{y + dy})")
        shapes = (
            Shape("radius", centre=Pt(x, y), radius=10.0),
            Shape("view", centre=Pt(x, y + 150)),
            Shape("route", route=(Pt(x - 80, y), Pt(x + 80, y)), radius=5.0),
            Shape("area", outline=(Pt(x - 50, y - 50), Pt(x + 50, y - 50), Pt(x, y + 50))),
        )
        token = town.token()
        answers.append([town.search(token, town.wanted(shape)) for shape in shapes])
        town.admin.execute("DELETE FROM cameras WHERE id = %s", (camera,))
    assert answers[0] == answers[1] == answers[2]
    assert [one.total for one in answers[0]] == [Band.FEW] * 4


def test_view_finds_whoever_may_look_there_from_somewhere_in_their_cell(town: Town) -> None:
    owner, (x, y) = town.owner(), middle(2, 5)
    town.camera(owner, 2, 5, bearing=0, reach=200)  # looks north
    town.camera(owner, 2, 7, bearing=0, reach=200)  # away from it
    found = town.search(town.token(), town.wanted(Shape("view", centre=Pt(x + 50, y + 150))))
    assert [one.box for one in found.cells] == [box(2, 5)]
    area = (Pt(x, y + 100), Pt(x + 50, y + 100), Pt(x + 50, y + 150))
    assert town.search(town.token(), town.wanted(Shape("view", outline=area))).total is Band.FEW


def test_who_agreed_with_another_controller_is_not_found(town: Town) -> None:
    other = town.one("SELECT gen_random_uuid()")
    town.admin.execute(
        "INSERT INTO organisations (id, slug, name, kind, legal_basis) VALUES (%s, %s, 'Other', 'police', 'consent')",
        (other, f"other-{other}"),
    )
    town.camera(town.owner(other), 2, 5)
    assert town.search(town.token()).total is Band.NONE


def test_a_search_is_on_the_record_as_a_consultation_with_its_reason(town: Town) -> None:
    ticket = town.open(town.token(), town.wanted(origin="192.0.2.0/24"))
    row = town.admin.execute(
        "SELECT a.event, a.subject, a.s62, a.actor_kind, a.actor_id, a.why, a.origin, a.area_code, a.detail, "
        "a.organisation_id, s.cells FROM audit_entries a JOIN register_searches s ON s.entry_id = a.id WHERE s.id = %s",
        (ticket,),
    ).fetchone()
    assert row is not None
    event, subject, s62, kind, actor, why, origin, area, detail, organisation, cells = row
    assert (event, subject, s62) == ("register:search", f"search:{ticket}", "consultation")
    assert (kind, actor, organisation) == ("staff", str(town.investigator.id), town.organisation_id)
    assert (why, origin, area) == ("Robbery on the corner on Tuesday evening", "192.0.2.0/24", town.wards[0])
    said = json.loads(detail)
    assert detail == json.dumps(said, separators=(",", ":"), sort_keys=True)
    assert (said["kind"], said["purpose"], said["cells"]) == ("radius", "investigation", len(cells))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reference": "x"}, "reference"),
        ({"reference": "0100001/26; DROP"}, "reference"),
        ({"purpose": "curiosity"}, "purpose"),
        ({"reason": "   short   "}, "reason"),
        ({"reason": "x" * 501}, "reason"),
        ({"until": utc_now() - timedelta(days=2)}, "until"),
        ({"until": utc_now() + timedelta(hours=1)}, "until"),
        ({"since": utc_now() - timedelta(days=400), "until": utc_now() - timedelta(days=399.9)}, "since"),
        ({"since": utc_now() - timedelta(hours=14)}, "until"),
        ({"shape": Shape("radius", centre=middle(2, 5), radius=700.0)}, "shape"),
        ({"shape": Shape("radius", centre=middle(2, 5), radius=float("nan"))}, "shape"),
        ({"shape": Shape("radius", centre=Pt(float("inf"), 0), radius=10.0)}, "shape"),
        ({"shape": Shape("radius")}, "shape"),
        ({"shape": Shape("everything")}, "shape"),
        ({"shape": Shape("radius", centre=Pt(400_000, 400_000), radius=50.0)}, "shape"),
        ({"shape": Shape("route", route=(Pt(WEST, SOUTH), Pt(WEST + 9_000, SOUTH)), radius=10.0)}, "shape"),
    ],
)  # fmt: skip
def test_what_is_not_a_lawful_search_is_refused(town: Town, changes: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        town.open(town.token(), town.wanted(**changes))
    assert refused.value.field == field


def test_a_part_that_its_kind_does_not_use_widens_nothing(town: Town) -> None:
    everywhere = (
        Pt(WEST, SOUTH),
        Pt(WEST + 2_000, SOUTH),
        Pt(WEST + 2_000, SOUTH + 2_000),
        Pt(WEST, SOUTH + 2_000),
    )
    for kind in ("radius", "view"):
        shape = Shape(kind, centre=middle(2, 5), radius=10.0, route=everywhere, outline=None)
        plain = Shape(kind, centre=middle(2, 5), radius=10.0 if kind == "radius" else None)
        first, second = (town.open(town.token(), town.wanted(one)) for one in (shape, plain))
        query = "SELECT cells FROM register_searches WHERE id = %s"
        assert town.one(query, first) == town.one(query, second)
    wide = Shape("radius", centre=middle(2, 5), radius=10.0, outline=everywhere)
    assert (
        len(
            town.one(
                "SELECT cells FROM register_searches WHERE id = %s",
                town.open(town.token(), town.wanted(wide)),
            )
        )
        <= 4
    )


def test_nobody_searches_where_they_are_no_investigator(town: Town) -> None:
    local = town.person(Role.INVESTIGATOR, roles.Place(area_id=town.borough))
    token = town.token(local)
    inside = town.wanted(Shape("radius", centre=middle(2, 5), radius=150.0))
    assert town.search(token, inside).total is Band.NONE
    for column in (4.6, 6):
        spot = Pt(WEST + SIDE * column, middle(2, 5).northing)
        with pytest.raises(Invalid) as refused:
            town.open(token, town.wanted(Shape("radius", centre=spot, radius=150.0)))
        assert refused.value.field == "shape"
        assert "outside" in refused.value.message
    # A spot at the edge is seen from beyond it: that is said, for the spot is theirs.
    owner = town.owner()
    town.camera(owner, 5, 5, bearing=270, reach=200)
    edge = Pt(float(WEST + SIDE * 5 - 50), middle(2, 5).northing)
    assert [one.box for one in town.search(token, town.wanted(Shape("view", centre=edge))).cells] == [
        box(5, 5)
    ]


def test_sixty_searches_an_hour_and_no_more(town: Town) -> None:
    searcher = town.person(Role.INVESTIGATOR)
    token = town.token(searcher)
    tickets = [town.open(token) for _ in range(60)]
    with pytest.raises(TooMany):
        town.open(token)
    town.age(tickets[0], timedelta(hours=1))
    town.open(token)


def test_a_supervisor_lifts_one_cap_for_one_case_once(town: Town) -> None:
    token, boss = town.token(), town.token(town.supervisor)
    wide = Shape("radius", centre=middle(5, 5), radius=700.0)
    long = {"since": utc_now() - timedelta(hours=20)}
    with town.registry.sessions.begin() as session:
        lifts.give(
            session,
            boss,
            staff=town.investigator.id,
            reference="0200001/26",
            cap="area",
            reason="Long pursuit, DI told",
        )
    for refused in (
        town.wanted(wide),  # another case
        town.wanted(reference="0200001/26", **long),  # another cap
        town.wanted(wide, reference="0200001/26", **long),  # both
    ):
        with pytest.raises(Invalid):
            town.open(token, refused)
    other = town.token(town.person(Role.INVESTIGATOR))
    with pytest.raises(Invalid):
        town.open(other, town.wanted(wide, reference="0200001/26"))
    ticket = town.open(token, town.wanted(wide, reference="0200001/26"))
    assert town.one("SELECT lift_id IS NOT NULL FROM register_searches WHERE id = %s", ticket)
    with pytest.raises(Invalid):
        town.open(token, town.wanted(wide, reference="0200001/26"))


def test_only_a_supervisor_lifts_and_never_for_themselves(town: Town) -> None:
    both = town.person(Role.SUPERVISOR)
    with town.registry.sessions.begin() as session:
        Makes(session, town.numbers).role(both, Role.INVESTIGATOR)
    given = {"reference": "0300001/26", "cap": "window", "reason": "Long pursuit, DI told"}
    for token, staff, error in (
        (town.token(), town.investigator.id, Missing),
        (town.token(both), both.id, Invalid),
        (town.token(town.supervisor), town.supervisor.id, Invalid),
    ):
        with pytest.raises(error), town.registry.sessions.begin() as session:
            lifts.give(session, token, staff=staff, **given)
    with town.registry.sessions.begin() as session:
        lifts.give(session, town.token(town.supervisor), staff=both.id, **given)


def test_an_answer_is_given_once(town: Town) -> None:
    token = town.token()
    ticket = town.open(token)
    town.run(ticket, token)
    with pytest.raises(Conflict):
        town.run(ticket, token)
