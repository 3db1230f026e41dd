"""Investigators search by a page: on the record first, answered once, in the same words on the map and in the list."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from app.db import utc_now
from app.embedded.state import Endpoints
from app.permissions import Role
from app.services import roles
from app.web.frame import LONDON
from tests import conftest
from tests.app.web.conftest import Site, open_site
from tests.searching import REASON, Town, build, middle

SEARCH, LIFTS = "/staff/register/search", "/staff/register/lifts"


@dataclass
class Desk:
    site: Site
    town: Town

    def look(self, **changes: str) -> Any:
        until = utc_now().astimezone(LONDON) - timedelta(hours=1)
        spot = middle(2, 5)
        data = {
            "reference": "0100001/26",
            "purpose": "investigation",
            "reason": REASON,
            "shape": "radius",
            "places": f"{spot.easting:.0f}, {spot.northing:.0f}",
            "metres": "150",
            "since": f"{until - timedelta(hours=2):%Y-%m-%dT%H:%M}",
            "until": f"{until:%Y-%m-%dT%H:%M}",
        }
        return self.site.submit(SEARCH, data | changes)

    def entries(self) -> int:
        return int(self.town.one("SELECT count(*) FROM audit_entries WHERE event = 'register:search'"))


@pytest.fixture(scope="module")
def built(cluster: Endpoints, template: str, worker_id: str) -> Iterator[Desk]:
    made = conftest._copy(cluster, template, f"test_{worker_id}_looking")
    site = open_site(made)
    town = build(made, site.registry)
    owner = town.owner()
    town.camera(owner, 2, 5, days_kept=1)
    for _ in range(3):
        town.camera(owner, 2, 6, kind="fixed", night=True)
    yield Desk(site, town)
    town.admin.close()
    site.registry.engine.dispose()
    conftest._drop(cluster, made.name)


@pytest.fixture
def desk(built: Desk) -> Desk:
    built.site.enter(staff=built.town.investigator)
    return built


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_a_search_is_answered_in_bands_by_parts_in_the_order_of_the_hours_left(desk: Desk) -> None:
    before = desk.entries()
    page = desk.look()
    assert page.status_code == 200
    words = text(page.text)
    assert "3 to 5 cameras may have seen it" in words and REASON in words
    first, second = re.findall(r"<li id=\"part-\d+\".*?</li>", page.text, re.DOTALL)
    assert "Fewer than 3 cameras. First footage goes in: less than 24 hours ." in text(first)
    assert "fixed" not in first
    assert "3 to 5 cameras. First footage goes in: more than 7 days" in text(second).replace(
        "3 to 5 cameras", "3 to 5 cameras"
    )
    assert "fixed cameras: 3 to 5, that see by night: 3 to 5" in text(second)
    assert re.search(r"Ward .*: UB3 5", text(first))
    corners = [re.search(r'data-corners="([^"]+)"', one) for one in (first, second)]
    assert all(found and len(found[1].split()) == 4 for found in corners)
    assert desk.entries() == before + 1


def test_what_is_typed_wrongly_is_said_beside_its_field_and_nothing_is_on_the_record(desk: Desk) -> None:
    before = desk.entries()
    for changes, words in (
        ({"reference": ""}, "Enter the case reference."),
        ({"reference": "?"}, "as your organisation writes it"),
        ({"purpose": ""}, "Choose a purpose."),
        ({"purpose": "fun"}, "Choose a purpose."),
        ({"reason": "short"}, "in 10 to 500 characters"),
        ({"shape": "moon"}, "Choose what to search."),
        ({"places": "Nowhere Street"}, "neither a postcode nor"),
        ({"places": "SW1A 1AA"}, "not a postcode in London that we know"),
        ({"places": "90, 181"}, "not in Great Britain"),
        ({"places": "51.5, -0.1\n51.5, -0.2"}, "Enter one place only."),
        ({"places": "\n".join(["51.5, -0.1"] * 61)}, "60 places or fewer"),
        ({"metres": "a few"}, "Enter a distance"),
        ({"metres": "700"}, "larger than 1.3 square kilometres"),
        ({"shape": "route"}, "two or more places"),
        ({"shape": "area", "places": "51.5, -0.1\n51.5, -0.2"}, "three or more different corners"),
        ({"since": "yesterday"}, "Enter a date and a time"),
        ({"since": "0001-01-01T00:00"}, "Enter a date from 2000 on."),
        ({"since": "2001-01-01T00:00"}, "longer than a year"),
        ({"until": "2150-01-01T00:00"}, "must not be in the future"),
        ({"places": "56.5, -3.2"}, "It covers London."),
    ):
        page = desk.look(**changes)
        assert page.status_code == 400, changes
        assert words in html.unescape(page.text) and "There is a problem" in page.text, (
            changes,
            text(page.text),
        )
    assert desk.entries() == before


@pytest.mark.parametrize(
    ("shape", "places", "metres"),
    [
        ("radius", "UB3 5DG", "100 m"),
        ("view", "UB3 5DG", ""),
        ("view", "520500, 181000\n520600, 181000\n520600, 181200", ""),
        ("area", "520400, 181000\n520600, 181000\nUB3 6DH\n520400, 181000", ""),
        ("route", "UB3 5DG\nUB3 6DH", "20"),
    ],
)
def test_each_kind_of_shape_is_searched(desk: Desk, shape: str, places: str, metres: str) -> None:
    page = desk.look(shape=shape, places=places, metres=metres)
    assert page.status_code == 200, text(page.text)
    kind = "SELECT kind FROM register_searches ORDER BY number DESC LIMIT 1"
    assert desk.town.one(kind) == shape


def test_ones_searches_are_listed_and_told_without_what_was_found(desk: Desk) -> None:
    desk.look(reference="0400001/26")
    page = desk.site.client.get("/staff/register/searches").text
    (path,) = re.findall(r'href="(/staff/register/searches/[0-9a-f-]{36})">0400001/26<', page)
    told = desk.site.client.get(path).text
    assert REASON in told and "settled within the hour" in told
    assert "part-1" not in told
    desk.site.enter(staff=desk.town.person(Role.INVESTIGATOR))
    assert desk.site.client.get(path).status_code == 404
    assert "0400001/26" not in desk.site.client.get("/staff/register/searches").text


def test_a_page_of_searches_leads_to_the_next(desk: Desk) -> None:
    searcher = desk.town.person(Role.INVESTIGATOR)
    token = desk.town.token(searcher)
    for n in range(27):
        desk.town.open(token, desk.town.wanted(reference=f"05{n:05d}/26"))
    desk.site.enter(staff=searcher)
    page = desk.site.client.get("/staff/register/searches").text
    assert len(re.findall(r">05\d{5}/26<", page)) == 25
    older = re.search(r'href="(/staff/register/searches\?before=[^"]+)"', page)
    assert older
    assert len(re.findall(r">05\d{5}/26<", desk.site.client.get(older[1]).text)) == 2
    for odd in ("x", "99999999999999999-" + "0" * 32):
        assert desk.site.client.get(f"/staff/register/searches?before={odd}").status_code == 200


def test_whoever_is_no_investigator_has_no_such_page(desk: Desk) -> None:
    officer = desk.town.person(Role.OFFICER)
    desk.site.enter(staff=officer)
    for path in (SEARCH, "/staff/register/searches", "/staff/register/wards.json?box=0,51,1,52", LIFTS):
        assert desk.site.client.get(path).status_code == 404
    assert SEARCH not in desk.site.client.get("/staff/account").text
    desk.site.enter(staff=desk.town.investigator)
    assert f'href="{SEARCH}"' in desk.site.client.get(SEARCH).text


def test_an_area_that_is_not_theirs_is_refused(desk: Desk) -> None:
    desk.site.enter(staff=desk.town.person(Role.INVESTIGATOR, roles.Place(area_id=desk.town.borough)))
    assert desk.look().status_code == 200
    spot = middle(7, 5)
    page = desk.look(places=f"{spot.easting:.0f}, {spot.northing:.0f}")
    assert page.status_code == 400
    assert "outside the area where you are an investigator" in page.text


def test_a_factor_is_asked_for_again_first_and_the_form_goes_along(desk: Desk) -> None:
    shown = desk.site.client.get(SEARCH).text
    desk.town.admin.execute("UPDATE web_sessions SET stepped_up_at = now() - interval '11 minutes'")
    assert "/staff/step-up?back=" in desk.site.client.get(SEARCH).headers["Location"]
    answer = desk.site.client.post(SEARCH, data=desk.site.fields(shown) | {"reference": "1"})
    assert (answer.status_code, "/staff/step-up" in answer.headers["Location"]) == (307, True)


def test_the_sixty_first_search_of_an_hour_is_told_to_wait(desk: Desk) -> None:
    searcher = desk.town.person(Role.INVESTIGATOR)
    token = desk.town.token(searcher)
    for _ in range(60):
        desk.town.open(token)
    desk.site.enter(staff=searcher)
    page = desk.look()
    assert page.status_code == 429 and "60 times within an hour" in page.text


def test_wards_are_outlined_in_degrees(desk: Desk) -> None:
    answer = desk.site.client.get("/staff/register/wards.json?box=-0.49,51.53,-0.46,51.56")
    assert answer.mimetype == "application/geo+json"
    features = answer.get_json(force=True)["features"]
    assert 1 <= len(features) < 30
    corners = [corner for one in features for line in one["geometry"]["coordinates"] for corner in line]
    assert all(-0.7 < x < 0.4 and 51.2 < y < 51.8 for x, y in corners)
    for box in ("", "x", "1,2,3", "0,52,0,51", "-9,50,2,60", "nan,51,1,52", "0,51,1,52;"):
        assert (
            desk.site.client.get("/staff/register/wards.json", query_string={"box": box}).status_code == 404
        )


def test_a_supervisor_lifts_a_cap_by_a_page_and_sees_what_was_lifted(desk: Desk) -> None:
    desk.site.enter(staff=desk.town.supervisor)
    investigator = desk.town.person(Role.INVESTIGATOR)
    data = {
        "staff": str(investigator.id),
        "reference": "0600001/26",
        "cap": "area",
        "reason": "Long pursuit, DI told",
    }
    for changes, words in (
        ({"staff": ""}, "Choose an investigator."),
        ({"staff": str(desk.town.supervisor.id)}, "Choose one of the list."),
        ({"reference": "?"}, "as your organisation writes it"),
        ({"cap": "all"}, "Choose which cap to lift."),
        ({"reason": "short"}, "in 10 to 500 characters"),
    ):
        page = desk.site.submit(LIFTS, data | changes)
        assert page.status_code == 400 and words in html.unescape(page.text), (changes, text(page.text))
    answer = desk.site.submit(LIFTS, data)
    assert answer.status_code == 303
    page = text(desk.site.client.get(answer.headers["Location"]).text)
    assert "lifted, once" in page and "Long pursuit, DI told" in page and "not used yet" in page
    desk.site.enter(staff=investigator)
    assert desk.look(reference="0600001/26", metres="700").status_code == 200
    assert desk.look(reference="0600001/26", metres="700").status_code == 400
