"""Each kind of change: everybody goes where they live, what points to an area follows, and all of it goes back."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.errors import Conflict, Invalid
from app.models.access import RoleGrant
from app.models.alerts import Alert
from app.models.area_changes import AreaPlan
from app.permissions import Role
from app.services import areas, roles, teams
from app.services.area_changes import application, making, plans, previews
from app.services.area_changes.making import Named
from tests.app.services.area_changes.town import LATER, NOW, Town, build
from tests.factories import ACTOR, Makes


@pytest.fixture
def town(makes: Makes) -> Town:
    return build(makes)


def settled(town: Town) -> dict[str, UUID]:
    """Somebody of each kind in the first ward, and one in the second."""
    return {
        "west": town.place("postcode", 0, 0),
        "east": town.place("postcode", 0, 3),
        "pin west": town.place("pin", 0, 0),
        "pin east": town.place("pin", 0, 3),
        "ward": town.place("ward", 0),
        "beside": town.place("postcode", 1),
    }


def in_halves(town: Town) -> dict[str, str]:
    """Three quarters of the first ward go west, the last goes east."""
    return {town.postcode(0, q): "E05000902" if q == 3 else "E05000901" for q in range(4)}


WEST, EAST = Named("E05000901", "West"), Named("E05000902", "East")


def test_a_ward_that_is_renamed_keeps_its_people_and_goes_back_by_its_old_name(town: Town) -> None:
    people = settled(town)
    before = town.where()
    plan = town.apply(making.rename(town.session, town.wards[0].code, "Weavers"))
    ward = town.area(town.wards[0].code)
    assert (ward.name, ward.former_name) == ("Weavers", "Ward 0")
    assert town.where() == before and len(before) == len(people)
    town.reverse(plan)
    ward = town.area(town.wards[0].code)
    assert (ward.name, ward.former_name) == ("Ward 0", None)


def test_a_split_sends_everybody_where_they_live_and_back(town: Town) -> None:
    people = settled(town)
    before = town.where()
    code = town.wards[0].code
    plan = town.apply(making.split(town.session, code, [WEST, EAST], in_halves(town)), table=in_halves(town))
    after = town.where()
    assert {name: after[place] for name, place in people.items()} == {
        "west": ["E05000901"],
        "east": ["E05000902"],
        "pin west": ["E05000901"],
        "pin east": ["E05000902"],
        "ward": ["E05000901"],  # the larger part
        "beside": [town.wards[1].code],
    }
    assert areas.find_ward(town.session, town.postcode(0, 3)).code == "E05000902"
    assert town.session.get_one(AreaPlan, plan).counts["moved"] == 5
    town.reverse(plan)
    assert town.where() == before
    assert areas.find_ward(town.session, town.postcode(0, 3)).code == code


def test_wards_that_merge_hold_the_people_of_both(town: Town) -> None:
    people = settled(town)
    before = town.where()
    plan = town.apply(
        making.merge(town.session, [w.code for w in town.wards[:2]], Named("E05000903", "Both"))
    )
    assert set(map(tuple, town.where().values())) == {("E05000903",)}
    assert len(town.where()) == len(people)
    town.reverse(plan)
    assert town.where() == before


def test_a_ward_that_another_takes_in_gives_it_its_people(town: Town) -> None:
    settled(town)
    before = town.where()
    first, second = town.wards[:2]
    plan = town.apply(making.merge(town.session, [first.code, second.code], Named(second.code, "")))
    assert set(map(tuple, town.where().values())) == {(second.code,)}
    assert town.area(second.code).id == second.id
    town.reverse(plan)
    assert town.where() == before


def test_who_signs_up_in_between_stays_when_a_plan_is_reversed(town: Town) -> None:
    settled(town)
    first, second = town.wards[:2]
    plan = town.apply(
        making.split(town.session, first.code, [WEST, EAST], in_halves(town)), table=in_halves(town)
    )
    came = [
        town.place("postcode", 0, 3, ward="E05000902"),
        town.place("pin", 0, 0, ward="E05000901"),
        town.place("ward", 0, ward="E05000902"),
        town.place("postcode", 1),
    ]
    town.reverse(plan)
    where = town.where()
    assert [where[place] for place in came] == [[first.code], [first.code], [first.code], [second.code]]
    assert all(len(codes) == 1 for codes in where.values())


def test_a_place_that_was_erased_in_between_is_not_missed(town: Town) -> None:
    people = settled(town)
    plan = town.apply(making.recode(town.session, town.wards[0].code, "E05000904"))
    town.session.execute(sa.text("DELETE FROM places WHERE id = :id"), {"id": people["west"]})
    town.reverse(plan)
    assert people["west"] not in town.where()
    assert town.where()[people["east"]] == [town.wards[0].code]


def test_who_comes_while_a_plan_is_prepared_moves_with_the_others(town: Town) -> None:
    settled(town)
    session = town.session
    plan = town.plan(
        making.split(session, town.wards[0].code, [WEST, EAST], in_halves(town)), table=in_halves(town)
    )
    plans.schedule(session, plan, actor=ACTOR)
    ground = application.begin(session, plan, now=NOW)
    application.batch(session, ground, application.remaining(session, plan, ground))
    late = town.place("postcode", 0, 3)
    application.finish(session, ground, actor=ACTOR, now=NOW)
    assert town.where()[late] == ["E05000902"]


def test_boroughs_that_move_to_another_command_take_their_wards_along(town: Town) -> None:
    settled(town)
    before = town.where()
    old, new = town.bcus
    plan = town.apply(making.move(town.session, [town.boroughs[0].code], new.code))
    assert town.area(town.boroughs[0].code).parent_id == new.id
    assert town.where() == before
    town.reverse(plan)
    assert town.area(town.boroughs[0].code).parent_id == old.id


def test_commands_that_merge_give_their_boroughs_and_roles_to_the_new_one(town: Town) -> None:
    officer = town.makes.officer(town.police, place=roles.Place(area_id=town.bcus[0].id))
    plan = town.apply(
        making.merge(town.session, [bcu.code for bcu in town.bcus], Named("BCU:TX", "Command X"))
    )
    new = town.area("BCU:TX")
    assert {town.area(b.code).parent_id for b in town.boroughs} == {new.id}
    assert held(town, officer.id) == {("officer", "BCU:TX")}
    town.reverse(plan)
    assert [town.area(b.code).parent_id for b in town.boroughs] == [bcu.id for bcu in town.bcus]
    assert held(town, officer.id) == {("officer", town.bcus[0].code)}


def held(town: Town, staff: UUID) -> set[tuple[str, str]]:
    rows = town.session.execute(
        sa.text(
            "SELECT g.role, a.code FROM role_grants g JOIN areas a ON a.id = g.area_id "
            "WHERE g.staff_id = :staff AND g.taken_at IS NULL"
        ),
        {"staff": staff},
    )
    return {(row[0], row[1]) for row in rows}


def test_a_role_on_a_ward_that_is_divided_holds_on_every_part(town: Town) -> None:
    code = town.wards[0].code
    stays = town.makes.officer(town.police, place=roles.Place(area_id=town.wards[0].id))
    loses = town.makes.officer(town.police, place=roles.Place(area_id=town.wards[0].id))
    plan = town.apply(making.split(town.session, code, [WEST, EAST], in_halves(town)), table=in_halves(town))
    assert held(town, stays.id) == {("officer", "E05000901"), ("officer", "E05000902")}
    # In between, one of them loses all of it, and gets a new role.
    town.session.execute(
        sa.text(
            "UPDATE role_grants SET taken_at = :now, taken_by = 'operator' WHERE staff_id = :staff AND taken_at IS NULL"
        ),
        {"now": NOW, "staff": loses.id},
    )
    town.session.add(
        RoleGrant(
            staff_id=loses.id,
            organisation_id=town.police.id,
            role=str(Role.LIAISON),
            area_id=town.area("E05000902").id,
            starts_at=NOW,
            ends_at=NOW + timedelta(days=100),
        )
    )
    town.session.flush()
    town.reverse(plan)
    assert held(town, stays.id) == {("officer", code)}
    assert held(town, loses.id) == {("coordinator-liaison", code)}


def test_roles_that_meet_are_one_as_long_as_the_longest_and_part_again(town: Town) -> None:
    session = town.session
    officer = town.makes.officer(town.police, place=roles.Place(area_id=town.wards[0].id))
    (long,) = session.scalars(sa.select(RoleGrant).where(RoleGrant.staff_id == officer.id))
    short = RoleGrant(
        staff_id=officer.id,
        organisation_id=town.police.id,
        role="officer",
        area_id=town.wards[1].id,
        starts_at=long.starts_at,
        ends_at=long.ends_at - timedelta(days=30),
    )
    session.add(short)
    session.flush()
    ends = {long.area_id: long.ends_at, short.area_id: short.ends_at}
    plan = town.apply(making.merge(session, [w.code for w in town.wards[:2]], Named(town.wards[1].code, "")))
    rows = session.execute(
        sa.select(RoleGrant.area_id, RoleGrant.ends_at).where(
            RoleGrant.staff_id == officer.id, RoleGrant.taken_at.is_(None)
        )
    ).all()
    assert [tuple(row) for row in rows] == [(town.wards[1].id, ends[town.wards[0].id])]
    town.reverse(plan)
    rows = session.execute(
        sa.select(RoleGrant.area_id, RoleGrant.ends_at).where(
            RoleGrant.staff_id == officer.id, RoleGrant.taken_at.is_(None)
        )
    ).all()
    assert dict(map(tuple, rows)) == ends  # type: ignore[arg-type]


def test_teams_and_drafts_follow_and_keep_what_changed_in_between(town: Town) -> None:
    makes, session = town.makes, town.session
    code, beside = town.wards[0].code, town.wards[1].code
    team = makes.team(town.police, [town.wards[0]])
    other = makes.team(town.police, [town.wards[1]])
    draft = makes.alert(town.police, [town.wards[0], town.wards[1]])
    plan = town.apply(making.split(session, code, [WEST, EAST], in_halves(town)), table=in_halves(town))
    assert codes_of(town, team.id) == {"E05000901", "E05000902"}
    assert session.get_one(Alert, draft.id).audience["areas"] == ["E05000901", "E05000902", beside]
    teams.alter(session, other.id, actor=ACTOR, areas=[beside, "E05000902"])
    new = makes.alert(town.police, [town.area("E05000901")])
    town.reverse(plan)
    assert codes_of(town, team.id) == {code}
    assert codes_of(town, other.id) == {code, beside}
    assert session.get_one(Alert, draft.id).audience["areas"] == [code, beside]
    assert session.get_one(Alert, new.id).audience["areas"] == [code]


def codes_of(town: Town, team: UUID) -> set[str]:
    found = sa.text(
        "SELECT a.code FROM team_areas t JOIN areas a ON a.id = t.area_id WHERE t.team_id = :team"
    )
    return set(town.session.execute(found, {"team": team}).scalars())


def test_a_plan_is_previewed_as_counts_and_changes_nothing(town: Town) -> None:
    settled(town)
    before = town.where()
    code = town.wards[0].code
    plan = town.plan(making.split(town.session, code, [WEST, EAST], in_halves(town)), table=in_halves(town))
    shown = previews.preview(town.session, plan)
    assert [
        (p.from_code, p.to_code, p.by_postcode, p.by_boundary, p.flagged, p.others) for p in shown.pairs
    ] == [(code, "E05000901", 1, 0, 2, 0), (code, "E05000902", 1, 0, 1, 0)]
    assert shown.postcodes == (4, 0, 0)
    assert town.where() == before
    assert town.area(code).valid_to is None


def test_a_plan_that_was_stopped_half_way_changes_nothing(town: Town) -> None:
    settled(town)
    before = town.where()
    session = town.session
    plan = town.plan(making.recode(session, town.wards[0].code, "E05000904"))
    plans.schedule(session, plan, actor=ACTOR)
    ground = application.begin(session, plan, now=NOW)
    plans.stop(session, plan, actor=ACTOR)
    with pytest.raises(Conflict):
        application.batch(session, ground, ground.sources[:1])
    with pytest.raises(Conflict):
        application.finish(session, ground, actor=ACTOR, now=NOW)
    assert town.where() == before
    with pytest.raises(Conflict):
        plans.schedule(session, plan, actor=ACTOR)


def test_a_plan_goes_on_where_it_was_and_is_applied_once(town: Town) -> None:
    settled(town)
    session = town.session
    plan = town.plan(making.merge(session, [w.code for w in town.wards[:2]], Named("E05000903", "Both")))
    plans.schedule(session, plan, actor=ACTOR)
    ground = application.begin(session, plan, now=NOW)
    application.batch(session, ground, ground.sources[:1])
    again = application.begin(session, plan, now=NOW)
    left = application.remaining(session, plan, again)
    assert left == list(again.sources[1:])
    assert town.carry_out(plan).moved == 6
    with pytest.raises(Conflict):
        town.carry_out(plan)


def test_what_is_due_is_found_on_its_day_and_not_before(town: Town) -> None:
    session = town.session
    plan = plans.create(
        session,
        title="Later",
        applies_on=date(2026, 3, 2),
        given=making.rename(session, town.wards[0].code, "Soon"),
        actor=ACTOR,
    )
    plans.schedule(session, plan.id, actor=ACTOR)
    assert application.due(session, now=NOW) is None
    with pytest.raises(Conflict):
        application.begin(session, plan.id, now=NOW)
    assert application.due(session, now=NOW + timedelta(days=1)) == plan.id


def test_a_plan_that_built_on_another_is_reversed_first(town: Town) -> None:
    first = town.apply(making.recode(town.session, town.wards[0].code, "E05000904"))
    second = town.apply(making.rename(town.session, "E05000904", "New"), now=LATER)
    with pytest.raises(Conflict, match="reverse"):
        town.reverse(first, now=LATER)
    town.reverse(second, now=LATER)
    town.reverse(first, now=LATER)
    assert town.area(town.wards[0].code).name == "Ward 0"


def test_the_same_change_can_be_made_again_after_its_reversal_on_the_same_day(town: Town) -> None:
    people = settled(town)
    for _ in range(2):
        plan = town.apply(making.recode(town.session, town.wards[0].code, "E05000904"))
        assert town.where()[people["west"]] == ["E05000904"]
        town.reverse(plan, now=NOW)
        assert town.where()[people["west"]] == [town.wards[0].code]


def test_what_cannot_be_is_refused_in_words(town: Town) -> None:
    session = town.session
    code, other = town.wards[0].code, town.wards[2].code
    for wrong in (
        lambda: making.rename(session, "E05999999", "Nowhere"),
        lambda: town.plan(making.rename(session, code, " ")),
        lambda: town.plan(making.recode(session, code, "E09000999")),
        lambda: town.plan(making.recode(session, code, other)),
        lambda: making.merge(session, [code, town.boroughs[0].code], Named("E05000903", "Both")),
        lambda: making.merge(session, [code, other], Named("E05000903", "Two boroughs")),
        lambda: town.plan(making.move(session, [town.bcus[0].code], town.boroughs[0].code)),
        lambda: town.plan([{"do": "end", "code": code, "into": {}}]),
        lambda: town.plan([{"do": "end", "code": town.boroughs[0].code, "into": {town.boroughs[1].code: 2}}]),
        lambda: making.split(session, code, [WEST, EAST], {town.postcode(0): "E05000901"}),
        lambda: town.plan([]),
    ):
        with pytest.raises(Invalid):
            wrong()
    divided = making.split(session, code, [WEST, EAST], in_halves(town))
    plan = town.plan(divided)  # without its table
    plans.schedule(session, plan, actor=ACTOR)
    with pytest.raises(Invalid, match="4 postcodes"):
        town.carry_out(plan)
    assert session.get_one(AreaPlan, plan).state == "draft"
    assert session.get_one(AreaPlan, plan).failed
