"""Old addresses of wards and boroughs lead to what became of them, or ask."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from app.services.area_changes import application, making, plans, reversal
from app.services.area_changes.making import Named
from tests.app.services.area_changes.town import NOW, Town, build
from tests.app.web.conftest import Site
from tests.factories import ACTOR, Makes

PAGES = ("/ward/{}", "/ward/{}/alerts", "/ward/{}/feed.atom")


class Changed:
    """A town behind a site, and its changes."""

    def __init__(self, site: Site) -> None:
        self.site = site
        with site.registry.sessions.begin() as session:
            self.town: Town = build(Makes(session))

    def apply(self, make, **more):  # type: ignore[no-untyped-def]
        begin = self.site.registry.sessions.begin
        with begin() as session:
            plan = plans.create(
                session, title="A change", applies_on=NOW.date(), given=make(session), actor=ACTOR, **more
            ).id
            plans.schedule(session, plan, actor=ACTOR)
        application.run(begin, plan, actor=ACTOR, now=NOW)
        return plan


@pytest.fixture
def changed(site: Site) -> Iterator[Changed]:
    yield Changed(site)


def test_a_ward_with_one_successor_is_redirected_with_all_its_pages(changed: Changed) -> None:
    old = changed.town.wards[0].code
    plan = changed.apply(lambda session: making.recode(session, old, "E05000904"))
    client = changed.site.client
    for page in PAGES:
        answer = client.get(page.format(old))
        assert (answer.status_code, answer.location) == (301, page.format("E05000904"))
        assert "max-age=300" in answer.headers["Cache-Control"], "it can be reversed"
        assert client.get(page.format("E05000904")).status_code == 200
    with changed.site.registry.sessions.begin() as session:
        reversal.reverse(session, plan, actor=ACTOR, now=NOW)
    assert client.get(f"/ward/{old}").status_code == 200
    assert client.get("/ward/E05000904").location == f"/ward/{old}"


def test_a_ward_that_was_divided_asks_which_part_and_its_feed_follows_the_largest(changed: Changed) -> None:
    town = changed.town
    old = town.wards[0].code
    table = {town.postcode(0, q): "E05000902" if q == 3 else "E05000901" for q in range(4)}
    parts = [Named("E05000901", "West <b>"), Named("E05000902", "East")]
    changed.apply(lambda session: making.split(session, old, parts, table), table=table)
    page = changed.site.client.get(f"/ward/{old}")
    assert page.status_code == 300
    assert "Ward 0 is now several wards" in page.text and "West &lt;b&gt; ward" in page.text
    assert re.findall(r'href="(/ward/E050009[0-9]+)"', page.text) == ["/ward/E05000901", "/ward/E05000902"]
    assert page.text.count("<h1") == 1
    lists = changed.site.client.get(f"/ward/{old}/alerts")
    assert '"/ward/E05000902/alerts"' in lists.text
    feed = changed.site.client.get(f"/ward/{old}/feed.atom")
    assert (feed.status_code, feed.location) == (302, "/ward/E05000901/feed.atom")


def test_boroughs_and_changes_upon_changes_are_followed(changed: Changed) -> None:
    town = changed.town
    old = town.boroughs[0].code
    changed.apply(lambda session: making.recode(session, old, "E09000998"))
    changed.apply(lambda session: making.recode(session, "E09000998", "E09000999"))
    for page in ("/borough/{}", "/borough/{}/alerts", "/borough/{}/feed.atom"):
        answer = changed.site.client.get(page.format(old))
        assert (answer.status_code, answer.location) == (301, page.format("E09000999"))
    shown = changed.site.client.get("/borough/E09000999")
    assert shown.status_code == 200 and town.wards[0].name in shown.text


def test_what_never_was_a_ward_is_not_found(changed: Changed) -> None:
    for code in ("E05999999", "E09000001", "nonsense", "PATCH:west", "E05000904%00"):
        assert changed.site.client.get(f"/ward/{code}").status_code == 404, code


def test_the_newest_alerts_of_what_was_stay_on_the_page_of_what_is(changed: Changed) -> None:
    town = changed.town
    old = town.wards[0].code
    with changed.site.registry.sessions.begin() as session:
        makes = Makes(session)
        alert = makes.published(
            session.merge(town.police), [session.merge(town.wards[0])], at=NOW, headline="Before it changed"
        )
        reference = alert.reference
    changed.apply(lambda session: making.recode(session, old, "E05000904"))
    assert "Before it changed" in changed.site.client.get("/ward/E05000904").text
    said = changed.site.client.get(f"/alert/{reference}").text
    assert f"/ward/{old}" in said and "/ward/E05000904" not in said
