"""Nobody ends up with more than whoever acted could give: not by a role, a team, a move or an invitation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app import access
from app.access import Held, Who
from app.audit import record as audit
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing, ServiceError
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import GRANTABLE, INVESTIGATE, WIDE, Permission, Role
from app.services import granting, invitations, roles, staff, teams
from app.services.granting import EVERYWHERE, Place
from tests.factories import ACTOR, Makes

SLOW = settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ADMINISTRATORS = (Role.BOROUGH_ADMINISTRATOR, Role.FORCE_ADMINISTRATOR)
READERS = {Role.OFFICER, Role.APPROVER}


@dataclass
class World:
    """Two boroughs of two wards each; teams on a ward, on the other borough, and on a ward of each."""

    session: Session
    makes: Makes
    police: Organisation
    areas: list[Area]
    teams: list[Team]
    numbers: Iterable[int] = field(default_factory=count)

    @property
    def places(self) -> list[Place]:
        return [
            EVERYWHERE,
            *(Place(area_id=one.id) for one in self.areas),
            *(Place(team_id=one.id) for one in self.teams),
        ]

    def below(self, area_id: int) -> frozenset[int]:
        """An area and what lies in it: our own words for the reach, not the service's."""
        inside = [one.id for one in self.areas if one.parent_id == area_id]
        return frozenset([area_id, *inside])

    def reach(self, place: Place) -> frozenset[int | None]:
        """What a role there reaches; None stands for all that is not in this world."""
        if place == EVERYWHERE:
            return frozenset([None, *(one.id for one in self.areas)])
        if place.area_id is not None:
            return self.below(place.area_id)
        rows = self.session.execute(
            sa.text("SELECT a.id, a.kind, a.parent_id FROM team_areas t JOIN areas a ON a.id = t.area_id "
                    "WHERE t.team_id = :t"),
            {"t": place.team_id},
        )  # fmt: skip
        roots = {parent if kind == "ward" else id for id, kind, parent in rows}
        return frozenset().union(*(self.below(one) for one in roots))

    def held(self, person: UUID) -> dict[Role, frozenset[int | None]]:
        """What somebody's roles reach, each on its own."""
        found: dict[Role, frozenset[int | None]] = {}
        rows = self.session.execute(
            sa.text("SELECT role, area_id, team_id FROM role_grants "
                    "WHERE staff_id = :s AND taken_at IS NULL AND ends_at > now()"),
            {"s": person},
        )  # fmt: skip
        for role, area, team in rows:
            found[Role(role)] = found.get(Role(role), frozenset()) | self.reach(Place(area, team))
        return found

    def who(self, person: Staff) -> Who:
        return access.of(self.session, person.id, now=utc_now())


@pytest.fixture
def world(session: Session, makes: Makes) -> World:
    police = makes.organisation()
    police.competent_authority = True
    first, second = makes.borough(), makes.borough()
    made = [
        makes.team(police, [first[1]]),
        makes.team(police, [second[0]]),
        makes.team(police, [first[2], second[1]]),
    ]
    return World(session, makes, police, [*first, *second], made)


def given_by(world: World, held: Iterable[Held], role: Role) -> list[frozenset[int | None]]:
    """Where each of these roles lets its bearer give another."""
    return [
        world.reach(Place(one.area_id, one.team_id))
        for one in held
        if role in GRANTABLE.get(one.role, ())
        and (role not in WIDE or Place(one.area_id, one.team_id) == Place())
    ]


def test_what_may_be_granted_is_what_one_role_of_the_granter_covers(world: World) -> None:
    """Every role, on every place, by every administrator of every place: against sets made by hand."""
    asked = allowed = 0
    for role, where in [(r, p) for r in (*ADMINISTRATORS, Role.AUDITOR) for p in world.places]:
        actor = world.makes.officer(world.police, role=role, place=where)
        who = world.who(actor)
        for wanted in (Role.OFFICER, Role.STEWARD, Role.SUPERVISOR, Role.FORCE_ADMINISTRATOR):
            for place in world.places:
                needed = world.reach(place)
                expected = any(needed <= one for one in given_by(world, who.held, wanted))
                assert granting.able(world.session, who, wanted, place) is expected, (
                    role,
                    where,
                    wanted,
                    place,
                )
                asked, allowed = asked + 1, allowed + expected
    assert 50 < allowed < asked


def test_two_roles_do_not_add_up_to_a_place_that_neither_covers(world: World) -> None:
    first, second = world.areas[0], world.areas[3]
    actor = world.makes.officer(world.police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=first.id))
    world.makes.role(actor, Role.OFFICER, Place(area_id=second.id))
    who = world.who(actor)
    assert granting.able(world.session, who, Role.OFFICER, Place(area_id=first.id))
    assert not granting.able(world.session, who, Role.OFFICER, Place(area_id=second.id))
    assert not granting.able(world.session, who, Role.OFFICER, Place(team_id=world.teams[2].id))


def test_nobody_grants_to_themselves_or_in_another_organisation(world: World) -> None:
    session, makes = world.session, world.makes
    actor = makes.officer(world.police, role=Role.FORCE_ADMINISTRATOR)
    others = makes.officer(makes.organisation("Other Police"))
    who = world.who(actor)
    for person in (actor, others):
        with pytest.raises(Missing):
            roles.grant(session, person, Role.AUDITOR, by=who, actor=ACTOR, now=utc_now())
        (held, *_) = roles.of_staff(session, person.id, now=utc_now())
        with pytest.raises(Missing):
            roles.take(session, held.id, by=who, actor=ACTOR, now=utc_now())
        with pytest.raises(Missing):
            roles.renew(session, held.id, utc_now() + timedelta(days=9), by=who, actor=ACTOR, now=utc_now())
    with pytest.raises(Missing):
        staff.let_leave(session, who, others.id, actor=ACTOR, now=utc_now())
    with pytest.raises(Missing):
        staff.cut_off(session, who, actor.id, actor=ACTOR, now=utc_now())


def test_only_a_competent_authority_has_investigators_and_supervisors(world: World) -> None:
    session, makes = world.session, world.makes
    council = makes.organisation("Council")
    actor, person = makes.officer(council, role=Role.FORCE_ADMINISTRATOR), makes.officer(council)
    for role in INVESTIGATE:
        with pytest.raises(Missing):
            roles.grant(session, person, role, by=makes.who(actor), actor=ACTOR, now=utc_now())
        with pytest.raises(Invalid):
            roles.grant(session, person, role, by=None, actor=ACTOR, now=utc_now())
    assert not INVESTIGATE & set(granting.grantable(makes.who(actor)))


def test_a_borough_administrator_gives_nobody_the_replies_of_everybody(world: World) -> None:
    """Whoever is in no team reads the replies of all teams: so that is not a borough's to give."""
    session, makes = world.session, world.makes
    borough = world.areas[0]
    actor = makes.officer(world.police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=borough.id))
    who, here = world.who(actor), Place(area_id=borough.id)
    nobody = makes.officer(world.police, role=None)
    elsewhere = makes.officer(world.police, world.teams[1], role=None)
    ours = makes.officer(world.police, world.teams[0], role=None)
    for person in (nobody, elsewhere):
        with pytest.raises(Missing):
            roles.grant(session, person, Role.OFFICER, here, by=who, actor=ACTOR, now=utc_now())
        roles.grant(session, person, Role.STEWARD, here, by=who, actor=ACTOR, now=utc_now())
    roles.grant(session, ours, Role.OFFICER, here, by=who, actor=ACTOR, now=utc_now())
    for team in (None, world.teams[1].id, world.teams[2].id):
        with pytest.raises(Missing):
            staff.move(session, who, ours.id, team, actor=ACTOR)


def test_a_team_is_not_widened_beyond_what_its_people_may_be_given(world: World) -> None:
    session, makes = world.session, world.makes
    first, second = world.areas[0], world.areas[3]
    team = world.teams[0]
    actor = makes.officer(world.police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=first.id))
    makes.role(actor, Role.BOROUGH_ADMINISTRATOR, Place(area_id=second.id))
    both = [world.areas[1].code, world.areas[4].code]

    def widen() -> None:
        teams.alter(session, team.id, areas=both, by=world.who(actor), actor=ACTOR)

    investigator = makes.officer(world.police, team, role=Role.INVESTIGATOR)
    with pytest.raises(Invalid, match="cannot grant"):
        widen()
    roles.take_all(session, investigator.id, actor=ACTOR, now=utc_now())
    makes.officer(world.police, team)
    widen()  # an officer's role is theirs to grant in both boroughs
    teams.alter(session, team.id, areas=both[:1], by=world.who(actor), actor=ACTOR)
    makes.role(actor, Role.OFFICER, Place(team_id=team.id))
    with pytest.raises(Invalid, match="cannot grant"):  # it would be their own
        widen()


def test_a_ward_of_a_team_counts_as_its_borough(world: World) -> None:
    """A role on a team reaches the whole borough that its ward lies in: so who has but the ward may not give it."""
    ward = world.areas[1]
    actor = world.makes.officer(world.police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=ward.id))
    who = world.who(actor)
    assert access.may_on(world.session, who, Permission.TEAM_MANAGE, world.teams[0])
    assert granting.able(world.session, who, Role.OFFICER, Place(area_id=ward.id))
    assert not granting.able(world.session, who, Role.OFFICER, Place(team_id=world.teams[0].id))


def test_somebody_leaves_only_by_whom_all_their_roles_are_to_take(world: World) -> None:
    session, makes = world.session, world.makes
    first, second = world.areas[0], world.areas[3]
    actor = makes.officer(world.police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=first.id))
    person = makes.officer(world.police, world.teams[0], place=Place(area_id=first.id))
    who = world.who(actor)
    assert granting.may_let_go(session, who, person, now=utc_now())
    more = makes.role(person, Role.OFFICER, Place(area_id=second.id))
    with pytest.raises(Missing):
        staff.let_leave(session, who, person.id, actor=ACTOR, now=utc_now())
    roles.take(session, more.id, by=None, actor=ACTOR, now=utc_now())
    staff.let_leave(session, who, person.id, actor=ACTOR, now=utc_now())
    assert person.state == "left"


def test_an_organisation_keeps_a_force_administrator(world: World) -> None:
    session, makes = world.session, world.makes
    only = makes.officer(world.police, role=Role.FORCE_ADMINISTRATOR)
    other = makes.officer(world.police, role=Role.FORCE_ADMINISTRATOR)
    who, theirs = world.who(other), roles.of_staff(session, only.id, now=utc_now())[0]
    own = roles.of_staff(session, other.id, now=utc_now())[0]
    roles.take(
        session, own.id, by=None, actor=ACTOR, now=utc_now()
    )  # by the operator, since the page was opened
    with pytest.raises(Conflict, match="at least one"):
        roles.take(session, theirs.id, by=who, actor=ACTOR, now=utc_now())
    with pytest.raises(Conflict, match="at least one"):
        staff.let_leave(session, who, only.id, actor=ACTOR, now=utc_now())
    makes.role(other, Role.FORCE_ADMINISTRATOR)
    staff.let_leave(session, who, only.id, actor=ACTOR, now=utc_now())


def test_an_invitation_reaches_no_further_than_who_invites(world: World) -> None:
    session, makes = world.session, world.makes
    first, second = world.areas[0], world.areas[3]
    actor = makes.officer(world.police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=first.id))
    who = world.who(actor)

    def invite(email: str, **more: object) -> invitations.Sent:
        return invitations.invite(
            session, organisation=world.police.id, email=email, name="PC New", public_url="http://x", fictional=True,
            by=who, actor=ACTOR, now=utc_now(), **more,
        )  # type: ignore[arg-type]  # fmt: skip

    ours = {"team": world.teams[0].id}
    assert invite("a@police.example", **ours)
    for wrong in (
        {"team": world.teams[1].id},
        {"place": Place(area_id=first.id)},  # an officer without a team
        ours | {"place": Place(area_id=second.id)},
        ours | {"place": EVERYWHERE},
        ours | {"role": Role.AUDITOR},
        {"role": Role.STEWARD},
    ):
        with pytest.raises(Missing), session.begin_nested():
            invite("b@police.example", **wrong)
    theirs = makes.officer(world.police, world.teams[1])
    theirs.state = "invited"
    others = makes.officer(makes.organisation("Other Police"))
    for taken in (theirs, others):
        with pytest.raises(Conflict), session.begin_nested():
            invite(taken.email, **ours)
    with pytest.raises(Missing):
        invitations.again(session, who, theirs.id, public_url="http://x", actor=ACTOR, now=utc_now())
    assert [one.where for one in roles.of_staff(session, theirs.id, now=utc_now())] == [world.teams[1].name]


ACTS = ("widen", "widen", "grant", "take", "move", "invite", "new team", "renew")


@SLOW
@given(data=st.data())
def test_whatever_an_administrator_does_nobody_gets_more_than_they_could_give(
    world: World, data: st.DataObject
) -> None:
    """Random administrators and acts: each person's reach by each role stays within what it was, or could be given."""
    session, makes = world.session, world.makes
    point = session.begin_nested()
    try:
        _random_acts(world, session, makes, data)
    finally:
        point.rollback()
        session.expire_all()


def _random_acts(world: World, session: Session, makes: Makes, data: st.DataObject) -> None:
    of_teams = st.sampled_from([Place(team_id=one.id) for one in world.teams])
    places = st.one_of(of_teams, st.sampled_from(world.places))
    some_team = st.sampled_from([None, *world.teams])
    actor = makes.officer(world.police, data.draw(some_team), role=None)
    # Often of both boroughs, where a team of one may be given areas of the other.
    for borough in data.draw(st.sampled_from([[0, 3], [0, 3], [0], []])):
        makes.role(actor, Role.BOROUGH_ADMINISTRATOR, Place(area_id=world.areas[borough].id))
    for role in data.draw(st.lists(st.sampled_from([*ADMINISTRATORS, Role.OFFICER]), max_size=2)):
        makes.role(actor, role, data.draw(places))
    people = [actor]
    for _ in range(2):
        person = makes.officer(world.police, data.draw(some_team), role=None)
        for role in data.draw(st.lists(st.sampled_from(list(Role)), min_size=1, max_size=3)):
            makes.role(person, role, data.draw(places))
        people.append(person)
    own = world.who(actor).held
    could = {role: given_by(world, own, role) for role in Role}
    before = {person.id: world.held(person.id) for person in people}
    for kind in data.draw(st.lists(st.sampled_from(ACTS), min_size=1, max_size=6)):
        act = _act(world, kind, actor, people, data)
        try:
            with session.begin_nested():
                act()
        except ServiceError:
            continue
    everybody = session.scalars(sa.select(Staff).where(Staff.organisation_id == world.police.id)).all()
    for person in everybody:
        for role, reach in world.held(person.id).items():
            had = before.get(person.id, {}).get(role, frozenset())
            more = reach - had
            if person.id == actor.id:
                assert not more, "nobody gives to themselves"
            given = frozenset().union(*could[role])
            assert more <= given, (role, more, given)


def _act(
    world: World, kind: str, actor: Staff, people: list[Staff], data: st.DataObject
) -> Callable[[], object]:
    session, who, now = world.session, world.who(actor), utc_now()
    person, role = data.draw(st.sampled_from(people)), data.draw(st.sampled_from(list(Role)))
    place, team = data.draw(st.sampled_from(world.places)), data.draw(st.sampled_from(world.teams))
    codes = data.draw(st.lists(st.sampled_from([one.code for one in world.areas]), min_size=1, max_size=2))
    by = audit.Actor(audit.ActorKind.STAFF, id=str(actor.id), origin="test")
    held = roles.of_staff(session, person.id, now=now)
    match kind:
        case "grant":
            return lambda: roles.grant(session, person, role, place, by=who, actor=by, now=now)
        case "take" if held:
            return lambda: roles.take(session, held[0].id, by=who, actor=by, now=now)
        case "renew" if held:
            until = now + timedelta(days=700)
            return lambda: roles.renew(session, held[0].id, until, by=who, actor=by, now=now)
        case "widen":
            return lambda: teams.alter(session, team.id, areas=codes, by=who, actor=by)
        case "new team":
            name = f"New {next(iter(world.numbers))}"
            return lambda: teams.create(
                session, controller=world.police.id, name=name, areas=codes, by=who, actor=by
            )
        case "move":
            return lambda: staff.move(session, who, person.id, team.id, actor=by)
        case _:
            email = f"new{next(iter(world.numbers))}@police.example"
            return lambda: invitations.invite(
                session, organisation=world.police.id, email=email, name="PC New", team=team.id, role=role, place=place,
                public_url="http://x", fictional=True, by=who, actor=by, now=now,
            )  # fmt: skip
