"""The queries of public pages use their indexes on tables of tens of thousands of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from app.models.alerts import Alert
from app.models.areas import Area
from app.models.organisations import Organisation
from app.services import areas, published, team_entries, wards
from geo.area_codes import AreaKind
from tests import ledger, plans
from tests.conftest import Database
from tests.factories import Makes

MANY = 30_000
NOW = datetime(2026, 6, 1, tzinfo=UTC)

# Every alert to two of 600 wards, 3,000 teams of five, and 10,000 sendings: a city after some years.
_SEED = """
INSERT INTO areas (code, kind, name, parent_id, valid_from)
    SELECT 'E05' || lpad(n::text, 6, '0'), 'ward', 'Ward ' || n, :borough, '2022-05-05'
    FROM generate_series(910000, 913999) n;
INSERT INTO alerts (id, reference, controller_id, kind, urgency, topic, headline, body, channels, audience, state,
        created_by, sent_at)
    SELECT md5('alert' || n)::uuid, 'WL-' || n, :controller, 'alert', 'routine', 'events', 'x', 'x', '{email}',
        '{"areas": []}', 'sent', 'seed', CAST(:now AS timestamptz) - n * interval '1 hour'
    FROM generate_series(1, :many) n;
INSERT INTO alert_areas (alert_id, area_id, sent_at)
    SELECT md5('alert' || n)::uuid, a.id, CAST(:now AS timestamptz) - n * interval '1 hour'
    FROM generate_series(1, :many) n, generate_series(0, 1) o
    JOIN areas a ON true
    WHERE a.code = 'E05' || lpad((910000 + (n + 300 * o) % 600)::text, 6, '0');
INSERT INTO teams (id, controller_id, name)
    SELECT md5('team' || n)::uuid, :controller, 'Team ' || n FROM generate_series(1, 4000) n;
INSERT INTO team_areas (team_id, area_id)
    SELECT md5('team' || (substr(code, 4)::int - 910000 + 1))::uuid, id FROM areas WHERE code LIKE 'E0591%';
INSERT INTO team_members (id, team_id, role)
    SELECT md5('member' || n || '.' || m)::uuid, md5('team' || n)::uuid, 'PC'
    FROM generate_series(1, 4000) n, generate_series(1, 5) m;
INSERT INTO dispatches (id, alert_id, controller_id, send_token, urgency, lane, topic, state, recipients, not_before,
        expires_at, finished_at)
    SELECT md5('sending' || n)::uuid, md5('alert' || n)::uuid, :controller, 'sending' || n, 'routine', 1, 'events', 'done',
        3, now(), now(), now() FROM generate_series(1, 10000) n;
"""


@dataclass
class City:
    session: Session
    police: Organisation
    ward: Area
    alert: Alert
    large: frozenset[str]


@pytest.fixture(scope="module")
def city(database: Database, registry: object) -> Iterator[City]:
    """In one transaction that ends with the module."""
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.sender(police)
        borough, ward, _ = makes.borough()
        alert = makes.published(police, [ward, borough], at=NOW)
        makes.team(police, [ward])
        values = {
            "borough": borough.id,
            "many": MANY,
            "controller": makes.organisation("Another").id,
            "now": NOW,
        }
        large = plans.filled(session, _SEED, values)
        yield City(session, police, ward, alert, large)


def _line(s: City) -> areas.AreaLine:
    found = areas.line(s.session, s.ward.code, AreaKind.WARD)
    assert found is not None
    return found


def _newest(s: City) -> None:
    line = _line(s)
    assert len(published.listed(s.session, line.ids, before=None, most=5, left_out=line.codes, now=NOW)) == 1
    busy = areas.line(s.session, "E05910000", AreaKind.WARD)
    assert busy is not None
    found = published.listed(s.session, busy.ids, before=None, most=20, left_out=busy.codes, now=NOW)
    assert len(found) == 20
    assert len(published.listed(s.session, busy.ids, before=found[-1].cursor, most=20, now=NOW)) == 20


def _ward(s: City) -> None:
    found = wards.view(s.session, s.ward.code, most=5, now=NOW)
    assert found is not None and len(found.recent) == len(found.teams) == 1
    busy = wards.view(s.session, "E05910000", most=5, now=NOW)
    assert busy is not None and len(busy.recent) == 5


def _of_borough(s: City) -> None:
    codes = [f"E05{n}" for n in range(910_000, 910_025)]
    ids = [one.area.area_id for c in codes if (one := areas.line(s.session, c, AreaKind.WARD))]
    assert len(published.listed(s.session, ids, before=None, most=30, now=NOW)) == 30


def _teams(s: City) -> None:
    assert len(team_entries.of_ward(s.session, s.ward.id)) == 1
    assert team_entries.controllers_of_ward(s.session, s.ward.id) == [(s.police.id, s.police.name)]


def _alert(s: City) -> None:
    assert published.alert(s.session, s.alert.reference).areas
    assert published.genuine(s.session, s.alert.reference) is not None


@pytest.mark.parametrize(
    "act", [_line, _newest, _ward, _of_borough, _teams, _alert], ids=lambda act: act.__name__
)
def test_no_query_of_a_public_page_reads_a_big_table_from_end_to_end(
    city: City, act: Callable[[City], object]
) -> None:
    with plans.noting(city.session) as noted:
        act(city)
    assert noted
    for statement, parameters in noted:
        assert plans.scans(city.session, city.large, statement, parameters) == [], statement


def test_the_tables_are_large_enough_for_that_to_say_something(city: City) -> None:
    assert city.large >= {
        "alerts",
        "alert_areas",
        "teams",
        "team_areas",
        "team_members",
        "dispatches",
        "areas",
    }
    assert plans.scans(city.session, city.large, "SELECT 1 FROM alerts WHERE headline = 'y'", None) == [
        "alerts"
    ]


def test_a_list_of_a_busy_ward_touches_a_page_of_rows_not_all_of_them(city: City) -> None:
    busy = areas.line(city.session, "E05910000", AreaKind.WARD)
    assert busy is not None
    with plans.noting(city.session) as noted:
        published.listed(city.session, busy.ids, before=None, most=5, now=NOW)
    (statement, parameters), *_ = noted
    found = plans.explained(city.session, statement, parameters, "ANALYZE, TIMING OFF, ")
    read = max(n["Actual Rows"] * n["Actual Loops"] for n in found if n.get("Relation Name") == "alert_areas")
    assert 0 < read <= 5 * len(busy.ids)
