"""London's boundary changes on 100,000 residents: everybody ends where their point lies, and all of it goes back.

Wards of 2014 → 2018 (by boundaries) → 2022 (by a release of postcodes, with the shares of a map of overlaps); three
borough commands become one, as in 2017; two wards of Tower Hamlets get other names. The postcodes are real, the people
made up. Then 500 people sign up or move, and every plan is reversed. (Issue 5, line 2.)
"""

from __future__ import annotations

import csv
import gzip
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.models.areas import Area
from app.services import people, subscriptions
from app.services.area_changes import importing, making, plans, previews, reversal
from app.services.area_changes.making import Named
from geo import boundaries, boundary_file, releases
from geo.boundaries import WardIndex
from tests.app.services.area_changes.london import (
    CLOCK,
    COMMANDS,
    DATA,
    EAST,
    IN_BETWEEN,
    RENAMES,
    RESIDENTS,
    London,
    as_in_2014,
    settle_residents,
    shapes_of,
    somebody,
    subscriptions_of_all,
    wards_of,
    wards_of_2014_by_postcode,
)
from tests.app.web.conftest import Site, open_site
from tests.factories import ACTOR, TOPIC, Makes

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def london(cluster, template, worker_id, tmp_path_factory) -> Iterator[London]:
    """Everything applied, in a database of its own."""
    from tests.conftest import _copy, _drop

    database = _copy(cluster, template, f"test_{worker_id}_then")
    registry = database.open()
    with registry.sessions.begin() as session:
        then = as_in_2014(session)
        makes = Makes(session)
        makes.wording()
        police = makes.organisation()
        makes.team(police, list(session.scalars(sa.select(Area).where(Area.kind == "bcu"))))
        settle_residents(session, police.id, then)
    opened = London(registry, database, police.id, {})
    opened.first = opened.where()
    yield opened
    registry.engine.dispose()
    _drop(cluster, database.name)


def new_boundaries_of_2018_send_everybody_where_their_point_lies(london: London) -> None:
    shapes, known = shapes_of(2018), wards_of(2018)
    with london.registry.sessions.begin() as session:
        given, packed = making.boundaries(
            session,
            {
                code: (shapes[code], {"name": name, "borough": borough})
                for code, (name, borough) in known.items()
            },
        )
        plan = plans.create(
            session,
            title="Boundaries of 2018",
            applies_on=CLOCK.date(),
            given=given,
            boundaries=packed,
            actor=ACTOR,
        ).id
    assert sum(step["do"] == "end" for step in given) == 87
    assert sum(step["do"] == "begin" for step in given) == 90
    with london.registry.sessions.begin() as session:
        shown = previews.preview(session, plan)
    before = london.where()
    london.apply("2018", plan, CLOCK)
    after = london.where()
    assert len(after) == RESIDENTS
    moved = Counter((before[place], after[place]) for place in before if before[place] != after[place])
    assert {(pair.from_code, pair.to_code): pair.places for pair in shown.pairs} == moved
    index = WardIndex(boundary_file.decode(packed))
    for kind in ("postcode", "pin"):
        points = london.points(kind)
        lies = index.wards_at([p[2] for p in points], [p[3] for p in points])
        wrong = [
            p[0] for p, ward in zip(points, lies, strict=True) if ward is not None and after[p[0]] != ward
        ]
        assert not wrong, (kind, len(wrong))
        assert sum(ward is None for ward in lies) < 10, "on the edge of London"


def three_commands_become_one(london: London) -> None:
    before = london.where()
    with london.registry.sessions.begin() as session:
        given = making.merge(session, list(COMMANDS.values()), Named(EAST, "East Area"))
        plan = plans.create(session, title="East Area", applies_on=CLOCK.date(), given=given, actor=ACTOR).id
    london.apply("command", plan, CLOCK + timedelta(hours=1))
    assert london.where() == before
    with london.registry.sessions() as session:
        below = session.execute(
            sa.text("SELECT b.code FROM areas b JOIN areas p ON p.id = b.parent_id WHERE p.code = :code"),
            {"code": EAST},
        )
        assert set(below.scalars()) == set(COMMANDS)
        teams = session.execute(
            sa.text(
                "SELECT count(*) FROM team_areas t JOIN areas a ON a.id = t.area_id WHERE a.valid_to IS NULL"
            )
        )
        assert teams.scalar_one() == 12


def a_release_of_2022_sends_everybody_to_the_ward_of_its_table(london: London, tmp_path: Path) -> None:
    live = releases.live_postcodes()
    product = tmp_path / "codepoint.csv"
    with product.open("w", newline="") as lines:
        writer = csv.writer(lines, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerows(
            (code, 10, east, north, "E92000001", "E19000003", "E18000007", "", borough, ward)
            for code, east, north, ward, borough, _ in live.rows()
        )
    names = {one.code: one.former_name or one.name for one in releases.wards()}
    shares: dict[str, dict[str, float]] = {}
    with gzip.open(DATA / "overlap_2018_2022.csv.gz", "rt", newline="") as lines:
        for row in csv.DictReader(lines):
            shares.setdefault(row["old"], {})[row["new"]] = float(row["share"])
    before = london.where()
    with london.registry.sessions.begin() as session:
        report = importing.read(
            session,
            product,
            release=("cpo-now", "Code-Point Open of now", date(2025, 10, 1)),
            applies_on=CLOCK.date(),
            actor=ACTOR,
            names=names,
            shares=shares,
        )
    assert (len(report.ended), len(report.begun)) == (483, 530)
    assert report.live == len(live) and report.gone == 0 and report.moved > 100_000
    london.apply("2022", report.plan_id, CLOCK + timedelta(hours=2))
    after = london.where()
    assert after.keys() == before.keys()
    table = dict(zip(live.postcode, live.ward_code, strict=True))
    assert all(after[place] == table[code] for place, code, _, _ in london.points("postcode"))
    pins = london.points("pin")
    lies = boundaries.london().wards_at([p[2] for p in pins], [p[3] for p in pins])
    assert all(ward is None or after[p[0]] == ward for p, ward in zip(pins, lies, strict=True))
    for place, _, _, _ in london.points("ward"):
        old = before[place]
        into = shares.get(old, {old: 1.0})
        assert after[place] == (max(into, key=into.__getitem__) if old in report.ended else old)


def two_wards_of_tower_hamlets_are_renamed(london: London) -> None:
    before = london.where()
    now = {one.code: one.name for one in releases.wards()}
    with london.registry.sessions.begin() as session:
        given = [step for code in RENAMES for step in making.rename(session, code, now[code])]
        plan = plans.create(
            session, title="Tower Hamlets", applies_on=CLOCK.date(), given=given, actor=ACTOR
        ).id
    london.apply("renames", plan, CLOCK + timedelta(hours=3))
    assert london.where() == before
    with london.registry.sessions() as session:
        for code, old in RENAMES.items():
            ward = session.scalars(sa.select(Area).where(Area.code == code, Area.valid_to.is_(None))).one()
            assert (ward.name, ward.former_name) == (now[code], old)


@pytest.fixture
def site(london: London) -> Iterator[Site]:
    opened = open_site(london.database)
    yield opened
    opened.registry.engine.dispose()


def every_old_address_leads_on(london: London, site: Site) -> None:
    today = {ward.code for ward in releases.wards()}
    old = sorted({*wards_of(2014), *wards_of(2018)} - today)
    assert len(old) > 500
    asked = 0
    for code in random.Random(5).sample(old, 120):
        page = site.client.get(f"/ward/{code}")
        if page.status_code == 301:
            assert page.location.rpartition("/")[2] in today
            assert site.client.get(page.location).status_code == 200
        else:
            asked += 1
            assert page.status_code == 300, code
            assert sum(f'href="/ward/{ward}"' in page.text for ward in today) > 1, code
    assert 0 < asked < 120
    for code in sorted(today)[:20]:
        assert site.client.get(f"/ward/{code}").status_code == 200


def reversed_with_500_sign_ups_and_moves_in_between_kept(london: London) -> None:
    chance = random.Random(6)
    live = releases.live_postcodes()
    then = wards_of_2014_by_postcode(london)
    came: dict[UUID, str] = {}  # place → postcode
    for half in range(2):
        with london.registry.sessions.begin() as session:
            makes, movers = Makes(session), chance.sample(somebody(session), IN_BETWEEN // 2)
            for nth in range(IN_BETWEEN // 2):
                postcode = live.postcode[chance.randrange(len(live))]
                if half:
                    (place, *_) = subscriptions.mine(session, movers[nth])
                    new = subscriptions.move(session, movers[nth], place.place, postcode, actor=ACTOR)
                else:
                    contact = makes.contact(f"in-between-{nth}@people.example")
                    new = people.subscribe(
                        session,
                        contact,
                        london.police,
                        postcode=postcode,
                        topics=[TOPIC],
                        how="test",
                        actor=ACTOR,
                    ).id
                came[new] = postcode
    assert len(came) == IN_BETWEEN
    with london.registry.sessions() as session:
        held = subscriptions_of_all(session)
    for nth, plan in enumerate(reversed(london.plans)):
        began = datetime.now(UTC)
        with london.registry.sessions.begin() as session:
            reversal.reverse(session, plan, actor=ACTOR, now=CLOCK + timedelta(days=1, hours=nth))
        london.seconds[f"back {nth}"] = (datetime.now(UTC) - began).total_seconds()
    after = london.where()
    assert {place: after[place] for place in london.first} == london.first
    assert after.keys() - london.first.keys() == came.keys()
    assert all(after[place] == then[postcode] for place, postcode in came.items())
    with london.registry.sessions() as session:
        assert subscriptions_of_all(session) == held
        today = set(session.scalars(sa.select(Area.code).where(Area.kind == "ward", Area.valid_to.is_(None))))
        parents = session.execute(
            sa.text(
                "SELECT b.code, p.code FROM areas b JOIN areas p ON p.id = b.parent_id WHERE b.code = ANY(:codes)"
            ),
            {"codes": list(COMMANDS)},
        )
        assert dict(map(tuple, parents)) == COMMANDS  # type: ignore[arg-type]
    assert today == set(wards_of(2014))


def addresses_of_what_was_reversed_lead_back(london: London, site: Site) -> None:
    then = set(wards_of(2014))
    for code in random.Random(7).sample(sorted({ward.code for ward in releases.wards()} - then), 40):
        page = site.client.get(f"/ward/{code}")
        assert page.status_code in (300, 301), code
        if page.status_code == 301:
            assert page.location.rpartition("/")[2] in then
    assert site.client.get(f"/ward/{sorted(then)[0]}").status_code == 200


def test_boundary_changes_of_london_and_back(london: London, site: Site, tmp_path: Path) -> None:
    """One story: each part begins where the one before ended."""
    new_boundaries_of_2018_send_everybody_where_their_point_lies(london)
    three_commands_become_one(london)
    a_release_of_2022_sends_everybody_to_the_ward_of_its_table(london, tmp_path)
    two_wards_of_tower_hamlets_are_renamed(london)
    every_old_address_leads_on(london, site)
    reversed_with_500_sign_ups_and_moves_in_between_kept(london)
    addresses_of_what_was_reversed_lead_back(london, site)
    print({name: round(seconds, 1) for name, seconds in london.seconds.items()})
