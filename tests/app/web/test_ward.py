"""From a postcode to its ward, through the page."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from html import unescape

import pytest

from geo import agreement, releases
from tests.app.web.conftest import Site, open_site
from tests.conftest import Database


@pytest.fixture(scope="module")
def london_site(london: Database) -> Iterator[Site]:
    """A site with the whole of London."""
    opened = open_site(london)
    yield opened
    opened.registry.engine.dispose()


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_1000_random_postcodes_give_the_ward_of_the_official_table_through_the_page(london_site):
    official = releases.live_postcodes()
    names = {area.code: area.name for area in releases.areas()}
    seed = random.randrange(2**32)
    for place in random.Random(seed).sample(range(len(official)), 1_000):
        postcode, ward, borough = (
            official.postcode[place],
            official.ward_code[place],
            official.borough_code[place],
        )
        page = london_site.client.get("/postcode", query_string={"postcode": postcode})
        assert page.status_code == 200, (postcode, seed)
        shown = text_of(page.text)
        assert f"{postcode} is in {names[ward]} ward" in shown, (postcode, seed)
        assert f"Ward code {ward} " in shown, (postcode, seed)
        assert f"Borough {names[borough]} Borough code {borough} " in shown, (postcode, seed)


def test_boundary_and_table_agree_on_at_least_998_in_1000_of_all_postcodes():
    everything = releases.live_postcodes()
    assert len(everything) == 180_792
    assert len(agreement.disagreements(everything)) <= 0.002 * len(everything)


def test_the_page_names_the_release_and_links_to_the_ward(london_site):
    page = london_site.client.get("/postcode?postcode=sw1a1aa")
    assert releases.release().id in page.text
    link = re.search(r'href="(/ward/E05[0-9]{6})"', page.text)
    assert link is not None
    assert london_site.client.get(link[1]).status_code == 200


@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [
        ("", 400, "Please give a postcode"),
        ("hello", 400, "That is not a postcode"),
        ("SW1A", 400, "only the first part"),
        ("M1 1AE", 404, "We do not know this postcode in London"),
    ],
)
def test_what_is_wrong_is_said_in_plain_english(london_site, typed, status, words):
    page = london_site.client.get("/postcode", query_string={"postcode": typed})
    assert page.status_code == status
    assert "<title>Error: " in page.text
    assert page.text.count(words) == 2  # in the summary on top and beside the field
    assert 'href="#postcode"' in page.text
    assert 'aria-invalid="true"' in page.text


def test_a_terminated_postcode_is_gone(london_site):
    ended = releases.terminated_postcodes().postcode[0]
    page = london_site.client.get("/postcode", query_string={"postcode": ended})
    assert page.status_code == 410
    assert "no longer in use" in page.text


def test_what_was_typed_comes_back_escaped(london_site):
    page = london_site.client.get("/postcode", query_string={"postcode": '"><script>alert(1)</script>\x00'})
    assert page.status_code == 400
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


def test_without_a_postcode_the_form_is_shown(london_site):
    answer = london_site.client.get("/postcode")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert 'autocomplete="postal-code"' in london_site.client.get("/").text


@pytest.mark.parametrize("code", ["E05999999", "E09000001", "x", "%00", "E05013991%20", "BCU:CE"])
def test_a_ward_that_is_none_is_not_found(london_site, code):
    assert london_site.client.get(f"/ward/{code}").status_code == 404


def test_before_london_is_loaded_the_page_says_so(site):
    page = site.client.get("/postcode?postcode=SW1A1AA")
    assert page.status_code == 503
    assert "have not been loaded" in page.text
