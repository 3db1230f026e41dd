"""What everybody may read: wards, boroughs, alerts, feeds, whether a message is genuine, the statements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.models.alerts import Alert
from app.models.areas import Area
from app.models.organisations import Organisation
from app.services import dispatch, organisations, teams
from app.web.public import feed
from app.web.public.alerts import age
from tests.app.web.conftest import Site
from tests.app.web.test_ward import text_of
from tests.factories import ACTOR, Makes

ATOM = f"{{{feed.ATOM}}}"
HOSTILE = "<script>alert(1)</script> & \"x\" 'y'"


@dataclass
class Town:
    """A borough with two wards, one police force with a team, and a way to send there."""

    site: Site
    makes: Makes = field(init=False)
    police: Organisation = field(init=False)
    borough: Area = field(init=False)
    here: Area = field(init=False)
    there: Area = field(init=False)

    def __post_init__(self) -> None:
        with self.site.registry.sessions.begin() as session:
            self.makes = Makes(session)
            self.police = self.makes.organisation("Town Police")
            force = Area(code="FORCE:town", kind="force", name="Town Police", valid_from=date(2022, 5, 5))
            session.add(force)
            session.flush()
            self.force = force
            self.borough, self.here, self.there = self.makes.borough()
            self.borough.parent_id = force.id

    def sent(self, *places: Area, at: datetime | None = None, **more: object) -> Alert:
        with self.site.registry.sessions.begin() as session:
            self.makes.session = session
            return self.makes.published(self.police, places, at=at or utc_now() - timedelta(hours=1), **more)

    def get(self, path: str, **more: object) -> str:
        answer = self.site.client.get(path, **more)  # type: ignore[arg-type]
        assert answer.status_code == 200, path
        return answer.text


@pytest.fixture
def town(site: Site) -> Iterator[Town]:
    return Town(site)


def headlines(page: str) -> list[str]:
    return re.findall(r'href="/alert/[^"]+">([^<]+)</a>', page)


# Wards and boroughs --------------------------------------------------------------------------
def test_a_ward_page_shows_its_team_and_names_only_by_consent_and_links_to_reach_it(town: Town) -> None:
    with town.site.registry.sessions.begin() as session:
        made = teams.create(
            session, controller=town.police.id, name="Near <team>", areas=[town.here.code], phone="020 7946 0123",
            email="team@police.example", url="https://police.example/team", actor=ACTOR,
        )  # fmt: skip
        teams.add_member(session, made.id, role="PC", name="B Person", agreed=True, actor=ACTOR)
        teams.add_member(session, made.id, role="PCSO", actor=ACTOR)
    page = town.get(f"/ward/{town.here.code}")
    assert "Near &lt;team&gt;" in page
    assert "PC B Person PCSO" in text_of(page)
    for link in ("tel:02079460123", "mailto:team@police.example", "https://police.example/team"):
        assert f'href="{link}"' in page
    assert "No team has put its details here yet" in town.get(f"/ward/{town.there.code}")


def test_a_ward_page_asks_the_database_once(town: Town) -> None:
    for _ in range(3):
        town.sent(town.here, town.borough)
    asked: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(town.site.registry.engine, "before_cursor_execute", note)
    town.get(f"/ward/{town.here.code}")
    assert len(asked) == 1


def test_a_ward_shows_what_was_sent_to_it_and_to_all_around_it_and_nothing_else(town: Town) -> None:
    town.sent(town.here, headline="Ward")
    town.sent(town.borough, headline="Borough")
    town.sent(town.force, headline="Force")
    town.sent(town.there, headline="Other ward")
    town.sent(town.here, headline="Restricted", restricted=True)
    assert headlines(town.get(f"/ward/{town.here.code}")) == ["Force", "Borough", "Ward"]
    assert headlines(town.get(f"/borough/{town.borough.code}")) == ["Other ward", "Force", "Borough", "Ward"]


def test_an_area_that_an_alert_leaves_out_does_not_show_it(town: Town) -> None:
    expression = {"areas": [town.borough.code], "except_areas": [town.there.code]}
    town.sent(town.borough, headline="Not there", audience_expression=expression)
    assert headlines(town.get(f"/ward/{town.here.code}")) == ["Not there"]
    assert headlines(town.get(f"/ward/{town.there.code}")) == []


def test_with_a_postcode_sign_up_begins_with_it_and_without_one_it_is_asked_for(
    town: Town,
) -> None:
    with town.site.registry.sessions.begin() as session:
        session.execute(
            sa.text(
                "INSERT INTO postcodes (postcode, at, ward_code, quality, live, release_id) "
                "VALUES ('SW1A 1AA', point(1, 1), :ward, 1, true, 'test')"
            ),
            {"ward": town.here.code},
        )
    by_postcode = town.get("/postcode?postcode=sw1a1aa")
    assert re.search(r'href="/subscribe\?postcode=SW1A(\+|%20)1AA"', by_postcode)
    by_code = town.get(f"/ward/{town.here.code}")
    assert "/subscribe" not in by_code
    assert 'action="/postcode"' in by_code


def test_without_a_postcode_one_finds_the_ward_by_its_borough(town: Town) -> None:
    assert 'href="/boroughs"' in town.get("/")
    assert f'href="/borough/{town.borough.code}"' in town.get("/boroughs")
    page = town.get(f"/borough/{town.borough.code}")
    for ward in (town.here, town.there):
        assert f'href="/ward/{ward.code}"' in page


def test_all_alerts_are_paged_from_the_newest_to_the_oldest(town: Town) -> None:
    now = utc_now()
    for n in range(45):
        town.sent(town.here, at=now - timedelta(minutes=n + 1), headline=f"No {n}")
    path: str | None = f"/ward/{town.here.code}/alerts"
    found, pages = [], 0
    while path:
        page = town.get(path)
        found += headlines(page)
        pages += 1
        older = re.search(r'href="([^"]*before=[^"]*)"[^>]*rel="next"', page)
        path = older and older[1].replace("&amp;", "&")
    assert found == [f"No {n}" for n in range(45)]
    assert pages == 3
    assert headlines(town.get(f"/borough/{town.borough.code}/alerts")) == found[:20]


@pytest.mark.parametrize("code", ["E05999999", "E09999999", "BCU:CE", "FORCE:town", "x", "%00"])
def test_what_is_no_ward_or_borough_is_not_found(town: Town, code: str) -> None:
    for kind in ("ward", "borough"):
        for end in ("", "/alerts", "/feed.atom"):
            assert town.site.client.get(f"/{kind}/{code}{end}").status_code == 404
    for wrong in (f"/ward/{town.borough.code}", f"/borough/{town.here.code}", f"/borough/{town.force.code}"):
        assert town.site.client.get(wrong).status_code == 404


def test_a_page_that_is_none_is_not_found(town: Town) -> None:
    for before in ("x", "1-2", "%00", "9" * 40):
        assert town.site.client.get(f"/ward/{town.here.code}/alerts?before={before}").status_code == 404


# One alert -----------------------------------------------------------------------------------
def test_an_alert_shows_what_was_said_to_whom_by_whom_and_how_to_answer(town: Town) -> None:
    sent = town.sent(
        town.here, kind="appeal", urgency="urgent", headline=f"{HOSTILE} for ((name))", what_to_do="Look *well*.",
        body=f"Hello ((name)). {HOSTILE}\n\n[Site](https://police.example) [Bad](javascript:alert(1))",
        how_to_tell="Ask for **Tom**.",
    )  # fmt: skip
    page = town.get(f"/alert/{sent.reference}")
    assert "<script>alert" not in page and 'href="javascript' not in page
    shown = text_of(page)
    for words in (
        "for neighbour", "Hello neighbour.", "Town Police", sent.reference, "Urgent Appeal", town.here.name,
        f"({town.borough.name})", "call 999", "call 101", "use the reply link",
    ):  # fmt: skip
        assert words in shown, words
    for html in (
        "<em>well</em>",
        "<strong>Tom</strong>",
        '<a href="https://police.example" rel="noreferrer">Site</a>',
    ):
        assert html in page
    assert "((" not in page
    assert re.search(r"<title>[^<]*neighbour – Town Police – Wardlink</title>", page)
    assert "reply link" not in town.get(f"/alert/{town.sent(town.here).reference}")


def test_an_alert_is_found_however_its_reference_is_written(town: Town) -> None:
    sent = town.sent(town.here)
    for typed in (sent.reference.lower(), sent.reference.removeprefix("WL-")):
        answer = town.site.client.get(f"/alert/{typed}")
        assert (answer.status_code, answer.location) == (302, f"/alert/{sent.reference}")


def test_an_old_alert_says_how_old_it_is(town: Town) -> None:
    sent = town.sent(town.here, at=utc_now() - timedelta(days=430))
    assert "This was sent 14 months ago." in text_of(town.get(f"/alert/{sent.reference}"))
    assert "This was sent" not in text_of(town.get(f"/alert/{town.sent(town.here).reference}"))


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(seconds=-5), "less than an hour ago"),
        (timedelta(minutes=59), "less than an hour ago"),
        (timedelta(hours=1), "1 hour ago"),
        (timedelta(hours=23), "23 hours ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=59), "59 days ago"),
        (timedelta(days=62), "2 months ago"),
        (timedelta(days=430), "14 months ago"),
        (timedelta(days=760), "2 years ago"),
    ],
)
def test_ages_are_said_as_people_say_them(time: timedelta, words: str) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert age(now - time, now) == words


def test_what_is_not_public_looks_like_what_never_was(town: Town) -> None:
    with town.site.registry.sessions.begin() as session:
        town.makes.session = session
        draft = town.makes.alert(town.police, [town.here]).reference
        exercise = town.makes.alert(town.police, [town.here])
        town.makes.sender(town.police)
        dispatch.send(
            session,
            exercise.id,
            token="token-drill",
            actor=ACTOR,
            public_url="https://x.example",
            exercise=True,
        )
    restricted = town.sent(town.here, restricted=True).reference
    pages = set()
    for reference in (draft, exercise.reference, restricted, "WL-BCDFGHJ", "x", "%00", "W" * 300):
        answer = town.site.client.get(f"/alert/{reference}")
        assert answer.status_code == 404
        pages.add(re.sub(r'nonce="[^"]*"', "", answer.text))
    assert len(pages) == 1


# Genuine -------------------------------------------------------------------------------------
def test_a_message_is_ours_however_its_reference_is_typed(town: Town) -> None:
    sent = town.sent(town.here, headline="Bicycles")
    for typed in (sent.reference, f" {sent.reference.lower()} ", sent.reference[3:]):
        shown = text_of(town.get("/genuine", query_string={"reference": typed}))
        assert "Yes, this message is ours" in shown
        assert "Bicycles" in shown and "Town Police" in shown


def test_a_restricted_message_is_confirmed_without_what_it_says(town: Town) -> None:
    sent = town.sent(town.here, headline="A secret headline", restricted=True)
    page = town.get(f"/genuine?reference={sent.reference}")
    assert "Yes, this message is ours" in page
    assert "secret" not in page and f"/alert/{sent.reference}" not in page


def test_a_reference_that_is_none_says_what_to_do_and_gives_nothing_back_unescaped(town: Town) -> None:
    for typed in ("WL-BCDFGHJ", HOSTILE, "\x00", "x" * 5_000):
        page = town.get("/genuine", query_string={"reference": typed})
        assert "No message with this reference" in page
        assert "7726" in page and "call 101" in page
        assert "<script>alert" not in page
    assert "x" * 41 not in page


def test_the_check_always_lists_where_messages_come_from(town: Town) -> None:
    with town.site.registry.sessions.begin() as session:
        town.makes.session = session
        mail = town.makes.sender(town.police)
        few = town.makes.sender(town.police, "sms")
        many = organisations.create(
            session, slug="many", name="Many Numbers", kind="council", legal_basis="x", actor=ACTOR
        )
        numbers = [town.makes.sender(many, "sms") for _ in range(6)]
    for path in ("/genuine", "/genuine?reference=x"):
        shown = text_of(town.get(path))
        for one in (mail, few, *numbers):
            assert one.address in shown
        assert "Town Police" in shown and "The 6 numbers that Many Numbers texts from" in shown


def test_an_empty_reference_is_an_error_beside_its_field(town: Town) -> None:
    page = town.get("/genuine?reference=+")
    assert "<title>Error: " in page
    assert 'href="#reference"' in page and 'aria-invalid="true"' in page
    assert "<title>Error: " not in town.get("/genuine")


# Feeds ---------------------------------------------------------------------------------------
def test_a_feed_is_valid_atom_with_the_newest_thirty_and_nobodys_data(town: Town) -> None:
    now = utc_now()
    for n in range(31):
        town.sent(
            town.here,
            at=now - timedelta(minutes=31 - n),
            headline=f"{HOSTILE} {n}",
            body="A\x01b\uffff ((name))",
        )
    path = f"/ward/{town.here.code}/feed.atom"
    answer = town.site.client.get(path)
    assert answer.status_code == 200
    assert answer.content_type == "application/atom+xml; charset=utf-8"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert "Set-Cookie" not in answer.headers
    root = ET.fromstring(answer.data)
    assert root.tag == f"{ATOM}feed"
    own = {one.get("rel"): one.get("href") for one in root.findall(f"{ATOM}link")}
    assert own == {
        "self": f"https://wardlink.example{path}",
        "alternate": f"https://wardlink.example/ward/{town.here.code}/alerts",
    }
    assert root.findtext(f"{ATOM}id") == own["self"]
    entries = root.findall(f"{ATOM}entry")
    assert [one.findtext(f"{ATOM}title") for one in entries] == [f"{HOSTILE} {n}" for n in range(30, 0, -1)]
    ids = [one.findtext(f"{ATOM}id") or "" for one in entries]
    assert len(set(ids)) == 30 and all(re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", one) for one in ids)
    for one in entries:
        for needed in ("title", "updated", "published", "summary", "author/" + ATOM + "name"):
            assert one.findtext(f"{ATOM}{needed}"), needed
        assert re.fullmatch(r"[0-9-]{10}T[0-9:]{8}Z", one.findtext(f"{ATOM}updated") or "")
        assert one.findtext(f"{ATOM}summary") == "Ab neighbour"
        link = one.find(f"{ATOM}link")
        assert link is not None and (link.get("href") or "").startswith("https://wardlink.example/alert/WL-")
    assert root.findtext(f"{ATOM}updated") == entries[0].findtext(f"{ATOM}updated")


def test_a_feed_that_has_not_changed_is_not_sent_again(town: Town) -> None:
    path = f"/borough/{town.borough.code}/feed.atom"
    town.sent(town.there, at=utc_now() - timedelta(days=2))
    first = town.site.client.get(path)
    for header, value in (
        ("If-None-Match", first.headers["ETag"]),
        ("If-Modified-Since", first.headers["Last-Modified"]),
    ):
        again = town.site.client.get(path, headers={header: value})
        assert (again.status_code, again.data) == (304, b"")
    town.sent(town.there)
    assert town.site.client.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_an_empty_feed_is_valid_too_and_pages_point_to_their_feeds(town: Town) -> None:
    for kind, area in (("ward", town.here), ("borough", town.borough)):
        root = ET.fromstring(town.site.client.get(f"/{kind}/{area.code}/feed.atom").data)
        assert root.findtext(f"{ATOM}updated") == "2022-05-05T00:00:00Z"
        for end in ("", "/alerts"):
            page = town.get(f"/{kind}/{area.code}{end}")
            assert f'type="application/atom+xml" title="Alerts for {area.name}' in page
            assert f'href="/{kind}/{area.code}/feed.atom"' in page


# Statements ----------------------------------------------------------------------------------
def test_the_privacy_notice_names_every_controller_and_its_legal_basis(town: Town) -> None:
    with town.site.registry.sessions.begin() as session:
        organisations.create(
            session, slug="council", name="A <Council>", kind="council", legal_basis="public task, Article 6(1)(e)",
            actor=ACTOR,
        )  # fmt: skip
    page = town.get("/privacy")
    for words in (
        "Town Police",
        "A &lt;Council&gt;",
        "public task, Article 6(1)(e)",
        "after 7 days",
        "after 30 days",
    ):
        assert words in page


def test_reading_sets_no_cookie_and_the_cookies_page_names_the_one_that_there_is(town: Town) -> None:
    reference = town.sent(town.here).reference
    for path in (
        "/", "/boroughs", f"/ward/{town.here.code}", f"/alert/{reference}", "/genuine", "/privacy", "/cookies",
        "/accessibility",
    ):  # fmt: skip
        answer = town.site.client.get(path)
        assert (answer.status_code, answer.headers.get("Set-Cookie")) == (200, None)
    shown = text_of(town.get("/cookies"))
    assert "__Host-wardlink" in shown
    assert "after 30 minutes on your own page" in shown
    assert "60 minutes without a new page, and 12 hours in all" in shown


def test_every_public_page_has_one_heading_in_order_and_a_title_of_its_own(town: Town) -> None:
    town.sent(town.here)
    reference = town.sent(town.borough).reference
    titles = set()
    paths = (
        "/", "/boroughs", f"/borough/{town.borough.code}", f"/borough/{town.borough.code}/alerts",
        f"/ward/{town.here.code}", f"/ward/{town.here.code}/alerts", f"/alert/{reference}", "/genuine",
        f"/genuine?reference={reference}", "/genuine?reference=x", "/privacy", "/cookies", "/accessibility",
    )  # fmt: skip
    for path in paths:
        page = town.get(path)
        levels = [
            int(level)
            for level in re.findall(r"<h([1-6])", page.partition("<main")[2].partition("</main")[0])
        ]
        assert levels[0] == 1 and levels.count(1) == 1, path
        assert all(after <= before + 1 for before, after in pairwise(levels)), path
        titles.add(re.search("<title>([^<]+)</title>", page)[1])  # type: ignore[index]
        assert 'style="' not in page
    assert len(titles) == len(paths)
