"""Areas that are drawn: who lies in them, what they are an audience of, and what is refused."""

from __future__ import annotations

import json
from uuid import UUID

import pytest
import sqlalchemy as sa

from app import access
from app.errors import Invalid
from app.permissions import Permission, Role
from app.services import audience, consent, granting, people, roles, staff
from app.services.area_changes import making
from geo import shape
from tests.app.services.area_changes.town import EAST, LATER, NORTH, SIDE, Town, build
from tests.factories import ACTOR, TOPIC, Makes


@pytest.fixture
def town(makes: Makes) -> Town:
    return build(makes)


def box(west: float, east: float, *, hole: tuple[float, float] | None = None) -> shape.Shape:
    """From so many metres east of the town's corner to so many, over its whole height; with a hole."""

    def ring(a: float, b: float) -> list[list[float]]:
        return [
            [EAST + a, NORTH],
            [EAST + b, NORTH],
            [EAST + b, NORTH + SIDE],
            [EAST + a, NORTH + SIDE],
            [EAST + a, NORTH],
        ]

    rings = [ring(west, east)]
    if hole:
        a, b = hole
        rings.append([[x, y + (10 if y == NORTH else -10)] for x, y in ring(a, b)])
    return shape.read(json.dumps({"type": "Polygon", "coordinates": rings}), grid=True)


def inside(town: Town, code: str) -> set[UUID]:
    return {place for place, codes in town.where().items() if code in codes}


def test_who_lies_inside_belongs_to_a_patch_and_to_their_ward_as_well(town: Town) -> None:
    near, pin = town.place("postcode", 0, 3), town.place("pin", 1, 0)
    town.place("postcode", 0, 0)
    town.place("ward", 0)
    plan = town.apply(making.draw(town.session, "PATCH:middle", "The middle", box(70, 130)))
    assert inside(town, "PATCH:middle") == {near, pin}
    assert town.where()[near] == [town.wards[0].code, "PATCH:middle"]
    assert town.area("PATCH:middle").parent_id == town.boroughs[0].id
    town.reverse(plan)
    assert all(len(codes) == 1 for codes in town.where().values())


def test_a_hole_leaves_out_and_another_outline_takes_its_place(town: Town) -> None:
    first, second, third = (town.place("postcode", 0, q) for q in (0, 1, 2))
    town.apply(making.draw(town.session, "TOWN:centre", "Centre", box(0, 100, hole=(30, 50))))
    assert inside(town, "TOWN:centre") == {first, third}
    later = town.apply(making.draw(town.session, "TOWN:centre", "", box(0, 50)), now=LATER)
    assert inside(town, "TOWN:centre") == {first, second}
    town.reverse(later)
    assert inside(town, "TOWN:centre") == {first, third}


def test_who_signs_up_inside_belongs_to_it_from_then_on(town: Town) -> None:
    town.apply(making.draw(town.session, "PATCH:west", "West", box(0, 100)))
    town.makes.wording()
    place = people.subscribe(
        town.session,
        town.makes.contact(),
        town.police.id,
        postcode=town.postcode(0, 2),
        topics=[TOPIC],
        how="test",
        actor=ACTOR,
    )
    assert place.id in inside(town, "PATCH:west")


def test_a_drawn_area_is_an_audience_and_can_be_left_out_of_one(town: Town) -> None:
    town.makes.wording()
    for quarter in range(4):
        contact = town.makes.contact()
        people.subscribe(
            town.session, contact, town.police.id, postcode=town.postcode(0, quarter), topics=[TOPIC],
            how="test", actor=ACTOR,
        )  # fmt: skip
    town.apply(making.draw(town.session, "SHAPE:fair", "The fair", box(0, 50)))

    def reached(**expression: list[str]) -> int:
        who = audience.parse(expression, controller=town.police.id, topic=TOPIC, channels=["email"])
        return audience.count(town.session, who)["email"]

    ward, borough = town.wards[0].code, town.boroughs[0].code
    assert reached(areas=["SHAPE:fair"]) == 2
    assert reached(areas=[borough]) == 4
    assert reached(areas=[borough], except_areas=["SHAPE:fair"]) == 2
    assert reached(areas=["SHAPE:fair"], except_areas=[ward]) == 0
    assert consent.current_wording(town.session).version == 1


def test_roles_and_teams_reach_drawn_areas_as_they_do_wards(town: Town) -> None:
    session, makes = town.session, town.makes
    town.apply(making.draw(session, "PATCH:west", "West", box(0, 100)))
    patch = town.area("PATCH:west")
    alone = makes.who(makes.officer(town.police, place=roles.Place(area_id=patch.id)))
    assert access.inside(session, alone, Permission.ALERT_DRAFT, ["PATCH:west"])
    assert not access.inside(session, alone, Permission.ALERT_DRAFT, [town.wards[0].code])
    above = makes.who(makes.officer(town.police, place=roles.Place(area_id=town.boroughs[0].id)))
    assert access.inside(session, above, Permission.ALERT_DRAFT, ["PATCH:west"])
    team = makes.team(town.police, [patch])
    theirs = makes.who(makes.officer(town.police, team, role=Role.OFFICER))
    assert access.inside(session, theirs, Permission.ALERT_DRAFT, ["PATCH:west"])
    # A ward counts as its borough; what was drawn is all that is meant, or whoever may grant there could give more.
    assert not access.inside(session, theirs, Permission.ALERT_DRAFT, [town.wards[0].code])
    town_hall = makes.who(
        makes.officer(town.police, role=Role.BOROUGH_ADMINISTRATOR, place=roles.Place(area_id=patch.id))
    )
    assert granting.able(session, town_hall, Role.OFFICER, roles.Place(team_id=team.id))
    assert access.reach(theirs, Permission.ALERT_DRAFT).teams == (team.id,)
    shown = staff.areas_of(session, above, Permission.ALERT_DRAFT)
    assert [choice.code for one in shown for choice in one.wards].count("PATCH:west") == 1


def test_what_was_sent_to_a_ward_of_before_can_be_held_by_whoever_is_there_now(town: Town) -> None:
    session, makes = town.session, town.makes
    old = town.wards[0].code
    officer = makes.officer(town.police, place=roles.Place(area_id=town.wards[0].id))
    other = makes.officer(town.police, place=roles.Place(area_id=town.wards[1].id))
    town.apply(making.recode(session, old, "E05000904"))
    assert access.inside(session, makes.who(officer), Permission.ALERT_SEND, [old, "E05000904"])
    assert not access.inside(session, makes.who(other), Permission.ALERT_SEND, [old])
    assert not access.inside(session, makes.who(officer), Permission.ALERT_SEND, ["E05999999"])


def test_an_area_lies_in_the_smallest_that_holds_all_who_live_in_it(town: Town) -> None:
    across = making.draw(town.session, "PATCH:across", "Across", box(170, 230))
    assert across[0]["parent"] == "FORCE:town", "it reaches over two boroughs of two commands"
    with pytest.raises(Invalid, match="not all within"):
        making.draw(town.session, "PATCH:across", "Across", box(170, 230), parent=town.boroughs[0].code)
    empty = making.draw(town.session, "STATION:bank", "Bank", box(401, 460))
    assert empty[0]["parent"] == town.boroughs[1].code, "nobody lives there: where the nearest do"
    with pytest.raises(Invalid):
        making.draw(town.session, "E05000999", "A ward", box(0, 50))


def test_a_drawn_area_that_ends_leaves_its_people_in_their_wards(town: Town) -> None:
    town.place("postcode", 0, 0)
    town.apply(making.draw(town.session, "PATCH:west", "West", box(0, 100)))
    team = town.makes.team(town.police, [town.area("PATCH:west"), town.wards[0]])
    plan = town.apply(making.end(town.session, "PATCH:west"), now=LATER)
    assert all(len(codes) == 1 for codes in town.where().values())
    rows = sa.text("SELECT a.code FROM team_areas t JOIN areas a ON a.id = t.area_id WHERE t.team_id = :team")
    assert town.session.execute(rows, {"team": team.id}).scalars().all() == [town.wards[0].code]
    town.reverse(plan)
    assert len(inside(town, "PATCH:west")) == 1
    with pytest.raises(Invalid):
        making.end(town.session, town.wards[0].code)


def test_the_indexes_of_points_and_of_outlines_are_used_among_many(town: Town) -> None:
    """A hundred thousand places and a thousand outlines: neither is read from end to end."""
    session = town.session
    town.apply(making.draw(session, "PATCH:west", "West", box(0, 100)))
    patch = town.area("PATCH:west").id
    session.execute(
        sa.text(
            "INSERT INTO places (id, controller_id, kind, at) SELECT gen_random_uuid(), :police, 'pin', "
            "point(500000 + n % 300 * 100, 150000 + n / 300 * 100) FROM generate_series(1, 20000) n"
        ),
        {"police": town.police.id},
    )
    session.execute(
        sa.text(
            "INSERT INTO area_shapes (area_id, outline) SELECT :area, polygon(box(point(600000 + n * 10, 100000), "
            "point(600009 + n * 10, 100009))) FROM generate_series(1, 5000) n"
        ),
        {"area": patch},
    )
    plans = {
        "points": "SELECT p.id FROM area_shapes s JOIN places p ON p.at <@ s.outline AND p.kind = 'pin' "
        "WHERE s.id = (SELECT min(id) FROM area_shapes)",
        "outlines": "SELECT s.area_id FROM area_shapes s WHERE s.ended_by IS NULL "
        "AND s.outline && polygon(box(point(530015, 180050), point(530015, 180050))) "
        "AND s.outline @> point(530015, 180050)",
    }
    for name, query in plans.items():
        plan = "\n".join(session.execute(sa.text(f"EXPLAIN {query}")).scalars())
        assert {"points": "ix_places_at", "outlines": "ix_area_shapes_outline"}[name] in plan, plan
    found = session.execute(sa.text(plans["outlines"])).scalars().all()
    assert found == [patch]
