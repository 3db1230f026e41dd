"""Unusual searching: each rule finds its case and spares honest work, and what somebody has explained stays explained."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import Pt
from app.models.areas import Area, AreaSuccessor
from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.register_watch import SearchFinding, StaffHome
from app.models.service_messages import ServiceMessage
from app.models.staff import Staff
from app.permissions import Role
from app.services import alarms
from app.services.register import unusual, watchers, watching
from app.services.register.unusual import BY_NAME
from tests import ledger
from tests.conftest import Database
from tests.factories import Makes
from tests.watching import Register

NOON = datetime(2026, 6, 18, 11, tzinfo=UTC)  # a Thursday, noon in London
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SITE = "https://w.example"


@dataclass
class Force:
    """Investigators of one organisation, whose searches a test makes."""

    session: Session
    makes: Makes
    register: Register
    police: Organisation
    one: Staff
    other: Staff

    def search(self, at: datetime, case: str = "1234567/26", by: Staff | None = None, **more: object) -> UUID:
        return self.register.search((by or self.one).id, at, case, **more).id  # type: ignore[arg-type]

    def usual(self, by: Staff, days: int = 20, each: int = 3, until: datetime = NOON - 4 * DAY) -> None:
        """Honest work of before: some searches a day, each for a case of its own that a colleague shares."""
        for n in range(days):
            for m in range(each):
                case = f"U{n}-{m}"
                cells = random.Random(f"{by.id}{n}{m}").sample(range(10_000), 8)
                self.search(until - n * DAY + m * HOUR / 2, case, by, cells=cells)

    def found(self, rule: str, now: datetime = NOON) -> dict[UUID, set[UUID]]:
        """Whose searches the rule finds: person → searches."""
        rows = unusual.find(self.session, BY_NAME[rule], self.police.id, now=now)
        return {one.staff_id: set(one.searches) for one in rows}


@pytest.fixture
def tables(database: Database, registry: object) -> Iterator[Session]:
    with ledger.by_anybody(database) as session:
        yield session


@pytest.fixture
def force(tables: Session) -> Force:
    makes = Makes(tables)
    police = makes.organisation()
    police.competent_authority = True
    one, other = makes.officer(police, role=None), makes.officer(police, role=None)
    tables.flush()
    return Force(tables, makes, Register(tables, police.id), police, one, other)


# -- volume
def test_many_searches_in_a_day_are_found_against_ones_own_usual(force: Force) -> None:
    force.usual(force.one)
    force.usual(force.other)
    made = {force.search(NOON - n * HOUR / 4, cells=(n,)) for n in range(24)}
    assert force.found("volume") == {force.one.id: made}


def test_who_always_searches_much_is_spared_until_it_is_far_beyond_everybody_else(force: Force) -> None:
    force.usual(force.one, each=16)
    force.usual(force.other, each=12)
    for n in range(26):
        force.search(NOON - n * HOUR / 4)
    assert force.found("volume") == {}
    for n in range(80):
        force.search(NOON - n * HOUR / 20)
    assert set(force.found("volume")) == {force.one.id}


def test_a_few_searches_are_never_many(force: Force) -> None:
    for n in range(20):
        force.search(NOON - n * HOUR / 4)
    assert force.found("volume") == {}


# -- hours
def test_searching_at_night_is_found_by_londons_clock(force: Force) -> None:
    force.usual(force.one)
    night = datetime(2026, 6, 16, 21, 10, tzinfo=UTC)  # ten past ten in the summer
    made = {force.search(night + n * 2 * HOUR) for n in range(3)}
    assert force.found("hours") == {force.one.id: made}
    force.session.execute(
        sa.text("UPDATE register_searches SET opened_at = opened_at - interval '20 minutes'")
    )
    assert force.found("hours") == {}  # the first was before ten


def test_on_the_nights_that_the_clocks_change_ten_is_ten(force: Force) -> None:
    for change in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        spring = change.month == 3
        begins = change - (
            2 * HOUR if spring else 3 * HOUR
        )  # ten in the evening before, of winter and of summer
        ends = change + (5 * HOUR if spring else 6 * HOUR)  # six in the morning after
        inside = {
            force.search(at, by=force.other)
            for at in (begins, begins + 3 * HOUR, ends - timedelta(minutes=1))
        }
        for at in (begins - timedelta(minutes=1), ends, ends + HOUR):
            force.search(at, by=force.other)
        assert force.found("hours", now=change + DAY) == {force.other.id: inside}


def test_who_works_at_night_is_spared(force: Force) -> None:
    force.usual(force.one, until=NOON - 4 * DAY + 12 * HOUR)
    for n in range(5):
        force.search(NOON - DAY + 12 * HOUR + n * HOUR / 4)
    assert force.found("hours") == {}


# -- no case
def test_one_case_again_and_again_that_leads_to_nothing_is_found(force: Force) -> None:
    made = {force.search(NOON - n * DAY, "MADE-UP/1", cells=(n,)) for n in range(12)}
    for n in range(12):
        force.search(NOON - n * DAY, "SHARED/1", cells=(n,))
        mine = force.register.search(force.one.id, NOON - n * DAY, "ASKED/1", cells=(n,))
    force.search(NOON - DAY, "SHARED/1", force.other)
    force.register.request(mine)
    assert force.found("lone-case") == {force.one.id: made}


def test_many_searches_for_a_case_of_these_days_are_work(force: Force) -> None:
    for n in range(15):
        force.search(NOON - n * HOUR, "BIG/1")
    assert force.found("lone-case") == {}


def test_many_references_that_were_each_used_once_are_found(force: Force) -> None:
    made = {force.search(NOON - n * DAY, f"MADE-UP/{n}", cells=(n,)) for n in range(4, 13)}
    assert force.found("many-cases") == {force.one.id: made}
    # An honest investigator: most of what they search for is asked about, or shared.
    for n in range(4, 24):
        mine = force.register.search(force.other.id, NOON - n * DAY, f"REAL/{n}", cells=(n,))
        if n % 2:
            force.register.request(mine)
    assert set(force.found("many-cases")) == {force.one.id}


# -- the same place
def test_the_same_place_for_one_case_after_another_is_found(force: Force) -> None:
    street = [101, 102, 103, 104, 105]
    made = {
        force.search(NOON - n * 5 * DAY, f"CASE/{n}", cells=[*street[n % 2 :], 900 + n, 950 + n][:6])
        for n in range(5)
    }
    force.usual(force.one)
    assert force.found("same-place") == {force.one.id: made}


def test_the_same_place_for_one_case_is_work(force: Force) -> None:
    for n in range(12):
        force.search(NOON - n * DAY, "CASE/1", cells=(1, 2, 3))
    assert force.found("same-place") == {}


def test_a_place_where_everybody_searches_is_a_place_where_much_happens(force: Force) -> None:
    for n in range(6):
        force.search(NOON - n * 3 * DAY, f"MINE/{n}", cells=(1, 2, 3))
        force.search(NOON - n * 3 * DAY, f"THEIRS/{n}", force.other, cells=(1, 2, 3))
    assert force.found("same-place") == {}


# -- home
def settle(force: Force) -> tuple[Area, Area]:
    """Two wards with a postcode each, 2 km apart."""
    _, here, there = force.makes.borough()
    force.makes.postcode(here, "UB8 1AA")
    force.makes.postcode(there, "UB8 2AA")
    force.session.execute(
        sa.text("UPDATE postcodes SET at = point(507000, 184000) WHERE ward_code = :there"),
        {"there": there.code},
    )
    force.session.add(StaffHome(staff_id=force.one.id, ward_code=here.code, since=NOON - 99 * DAY))
    force.session.flush()
    return here, there


HOME, AWAY = Pt(505_000, 184_000), Pt(507_000, 184_000)


def test_searching_where_one_lives_is_found_by_every_shape(force: Force) -> None:
    settle(force)
    box = [Pt(HOME.easting + x, HOME.northing + y) for x, y in ((-90, -90), (90, -90), (90, 90), (-90, 90))]
    bare: dict[str, object] = {"centre": None, "radius": None}
    made = {
        force.search(NOON, centre=Pt(505_150, 184_000)),
        force.search(NOON, kind="view", radius=None, centre=HOME),
        force.search(NOON, kind="area", outline=box, **bare),
        force.search(NOON, kind="route", **(bare | {"route": [Pt(504_000, 184_040), Pt(506_000, 184_040)], "radius": 50.0})),
    }  # fmt: skip
    force.search(NOON, centre=Pt(505_300, 184_000))
    force.search(NOON, centre=AWAY)
    force.search(NOON, kind="area", outline=[Pt(p.easting + 500, p.northing) for p in box], **bare)
    force.search(NOON, by=force.other)
    assert force.found("home") == {force.one.id: made}


def test_a_ward_of_before_counts_for_a_year_and_a_new_code_follows(force: Force) -> None:
    here, there = settle(force)
    mine = force.search(NOON, centre=HOME)
    ended = {"until": NOON - 300 * DAY}
    force.session.execute(sa.update(StaffHome).values(since=NOON - 900 * DAY, **ended))
    assert force.found("home") == {force.one.id: {mine}}
    force.session.execute(sa.update(StaffHome).values(until=NOON - 370 * DAY))
    assert force.found("home") == {}
    force.session.execute(sa.update(StaffHome).values(until=None))
    here.valid_to = date(2026, 5, 1)
    force.session.add(AreaSuccessor(area_id=here.id, successor_id=there.id, share=1.0))
    force.session.flush()
    assert force.found("home") == {}
    moved = force.search(NOON, centre=AWAY)
    assert force.found("home") == {force.one.id: {moved}}


# -- sweep
def test_much_ground_in_a_short_time_is_found(force: Force) -> None:
    made = {force.search(NOON - n * HOUR / 6, f"C/{n}", cells=range(n * 60, n * 60 + 60)) for n in range(6)}
    assert force.found("sweep") == {force.one.id: made}


def test_much_ground_in_a_day_or_the_same_ground_often_is_work(force: Force) -> None:
    for n in range(6):
        force.search(NOON - n * 2 * HOUR, f"C/{n}", cells=range(n * 60, n * 60 + 60))
        force.search(NOON - n * HOUR / 6, "ONE/1", force.other, cells=range(240))
    assert force.found("sweep") == {}


# -- the run
def findings(force: Force) -> list[SearchFinding]:
    force.session.expire_all()
    return list(force.session.scalars(sa.select(SearchFinding).order_by(SearchFinding.id)))


def look(force: Force, now: datetime = NOON) -> int:
    return watching.look(force.session, force.police.id, public_url=SITE, now=now)


def told(force: Force) -> list[ServiceMessage]:
    return list(force.session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.id)))


def watcher(force: Force, role: Role) -> Staff:
    """Somebody in no team who holds a role, and did in June."""
    made = force.makes.officer(force.police, role=None)
    force.makes.role(made, role).starts_at = NOON - DAY
    return made


def sweep(force: Force, at: datetime, first: int = 0) -> set[UUID]:
    return {
        force.search(at - n * HOUR / 6, f"S/{first + n}", cells=range(n * 60, n * 60 + 60)) for n in range(6)
    }


def test_a_run_raises_a_finding_once_and_it_grows_while_it_is_open(force: Force) -> None:
    first = sweep(force, NOON)
    assert look(force) == 1
    assert look(force) == 0
    (one,) = findings(force)
    assert (one.rule, one.staff_id, set(one.searches)) == ("sweep", force.one.id, first)
    second = sweep(force, NOON + 5 * HOUR, 10)
    assert look(force, NOON + 6 * HOUR) == 0
    (one,) = findings(force)
    assert set(one.searches) == first | second
    (entry,) = force.session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "finding:raise"))
    assert (entry.actor_kind, entry.organisation_id) == ("system", force.police.id)
    assert force.one.name not in str(entry.detail)


def test_what_was_explained_counts_no_more_and_new_searching_does(force: Force) -> None:
    sweep(force, NOON)
    look(force)
    (one,) = findings(force)
    one.state, one.closed_at, one.closed_by, one.note = "explained", NOON, force.other.id, "A series."
    force.session.flush()
    assert look(force) == 0
    assert look(force, NOON + HOUR) == 0
    again = sweep(force, NOON + 5 * HOUR, 10)
    assert look(force, NOON + 6 * HOUR) == 1
    assert set(findings(force)[1].searches) == again


def test_only_steward_and_auditor_outside_the_line_are_told_and_the_message_names_nobody(
    force: Force,
) -> None:
    borough, *_ = force.makes.borough()
    team = force.makes.team(force.police, [borough])
    force.one.team_id = team.id
    wanted = {watcher(force, role).email for role in (Role.STEWARD, Role.AUDITOR)}
    auditor = watcher(force, Role.AUDITOR)
    auditor.team_id = force.makes.team(force.police, [borough]).id  # of another team
    wanted.add(auditor.email)
    mate, giver, own = (watcher(force, Role.AUDITOR) for _ in range(3))
    watcher(force, Role.SUPERVISOR)
    watcher(force, Role.OFFICER)
    mate.team_id = team.id
    force.makes.role(force.one, Role.AUDITOR)  # nobody is told of themselves
    given = force.makes.role(force.one, Role.INVESTIGATOR)
    given.given_by = str(giver.id)
    own.state = "left"
    force.session.flush()
    sweep(force, NOON)
    look(force)
    look(force, NOON + HOUR)
    messages = told(force)
    assert {one.address for one in messages} == wanted
    assert len(messages) == 3
    (found,) = findings(force)
    assert found.told == 3
    for one in messages:
        words = f"{one.subject} {one.text} {one.html}"
        assert f"{SITE}/staff/register/findings/{found.id}" in words
        assert force.one.name not in words
        assert "S/1" not in words


def test_when_nobody_may_be_told_the_operator_hears_until_somebody_is(force: Force) -> None:
    sweep(force, NOON)
    look(force)
    assert watchers.unheard(force.session, force.police.id, now=NOON)
    assert [(one.code, one.subject) for one in alarms.opened(force.session)] == [
        ("watching-unheard", f"organisation:{force.police.slug}")
    ]
    steward = watcher(force, Role.STEWARD)
    look(force, NOON + HOUR)
    assert [one.address for one in told(force)] == [steward.email]
    assert not watchers.unheard(force.session, force.police.id, now=NOON + HOUR)
    assert alarms.opened(force.session) == []


def test_another_organisations_searches_are_its_own_business(force: Force) -> None:
    sweep(force, NOON)
    elsewhere = force.makes.organisation("Another Force")
    assert watching.look(force.session, elsewhere.id, public_url=SITE, now=NOON) == 0
    assert watching.organisations(force.session) == [force.police.id]


# -- a month of honest work
SQUARES, INVESTIGATORS = 3_000, 50


def honest_month(force: Force, seed: int) -> list[Staff]:
    """50 investigators on five beats of one borough for four weeks: shifts, hot spots, cases shared and cases alone."""
    dice = random.Random(seed)
    people = [force.makes.officer(force.police, role=None) for _ in range(INVESTIGATORS)]
    hot = dice.sample(range(SQUARES), 30)
    cases: list[str] = []
    for number, person in enumerate(people):
        beat, at_night = number % 5, number % 10 == 0
        for day in range(28):
            if (day + number) % 7 >= 5:
                continue
            for _ in range(min(dice.choices((0, 1, 2, 3, 6), (4, 4, 3, 2, 1))[0], 6)):
                shared = cases and dice.random() < 0.3
                case = dice.choice(cases[-60:]) if shared else f"H/{number}/{day}/{dice.random():.9f}"
                cases.append(case)
                middle = dice.choice(hot) if dice.random() < 0.25 else beat * 600 + dice.randrange(600)
                width = dice.choice((4, 8, 12, 40, 90))
                hour = dice.choice((22, 23, 1, 3, 5)) if at_night else dice.randrange(8, 20)
                at = NOON - 28 * DAY + day * DAY + (hour - 12) * HOUR + timedelta(minutes=dice.randrange(60))
                cells = [(middle + step) % SQUARES for step in range(-(width // 2), width - width // 2)]
                made = force.register.search(person.id, at, case, cells=cells)
                if dice.random() < 0.4:
                    force.register.request(made)
    return people


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_of_honest_work_of_fifty_investigators_raises_few_findings(force: Force, seed: int) -> None:
    people = honest_month(force, seed)
    crook = people[7]
    for day in range(29):
        look(force, NOON - 28 * DAY + day * DAY + 12 * HOUR)
    raised = [(one.rule, one.staff_id) for one in findings(force)]
    assert len(raised) <= 5, raised
    # One of them now looks for a former partner, as honest-looking as they can: it is found all the same.
    for n in range(5):
        force.search(NOON - n * 4 * DAY + 5 * HOUR, f"EX/{n}", crook, cells=[77, 78, 79, 80, 81 + n])
    look(force, NOON + 6 * HOUR)
    assert ("same-place", crook.id) in {(one.rule, one.staff_id) for one in findings(force)}
