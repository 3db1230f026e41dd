"""How to tell us of a hole: a page for people, and security.txt as RFC 9116 wants it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from app.web.public import security
from config.settings import Settings, SettingsError
from tests.app.web.conftest import PUBLIC_URL, Site, open_site
from tests.conftest import Database

TEXT = "/.well-known/security.txt"


def fields(site: Site) -> dict[str, str]:
    answer = site.client.get(TEXT)
    assert answer.status_code == 200
    assert answer.content_type == "text/plain; charset=utf-8"
    lines = answer.text.splitlines()
    assert answer.text.endswith("\n")
    found = dict(re.fullmatch(r"([A-Z][A-Za-z-]+): (\S+)", line).groups() for line in lines)  # type: ignore[union-attr]
    assert len(found) == len(lines)
    return found


def test_security_txt_has_every_field_of_rfc_9116(still_site: Site) -> None:
    found = fields(still_site)
    assert found == {
        "Contact": "mailto:security@wardlink.example",
        "Expires": found["Expires"],
        "Policy": f"{PUBLIC_URL}/security",
        "Preferred-Languages": "en",
        "Canonical": f"{PUBLIC_URL}{TEXT}",
    }


def test_it_expires_within_a_year_of_the_release_and_not_before_ten_months(still_site: Site) -> None:
    until = datetime.strptime(fields(still_site)["Expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    released = datetime.combine(security.RELEASED, datetime.min.time(), UTC)
    assert timedelta(days=300) < until - released < timedelta(days=365)


@pytest.mark.parametrize(
    ("contact", "line", "words"),
    [
        ("holes@met.example", "mailto:holes@met.example", 'href="mailto:holes@met.example"'),
        ("https://met.example/holes", "https://met.example/holes", 'href="https://met.example/holes"'),
    ],
)
def test_the_contact_is_a_setting(database: Database, contact: str, line: str, words: str) -> None:
    site = open_site(database, SECURITY_CONTACT=contact)
    try:
        assert fields(site)["Contact"] == line
        assert words in site.client.get("/security").text
    finally:
        site.registry.engine.dispose()


@pytest.mark.parametrize("contact", ["x", "http://met.example", "a@b", "ftp://x.example", "a b@c.example"])
def test_a_contact_that_reaches_nobody_is_no_setting(contact: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"SECURITY_CONTACT": contact})
    assert set(caught.value.problems) == {"SECURITY_CONTACT"}


def test_the_page_says_how_to_report_and_every_page_leads_there(still_site: Site) -> None:
    page = still_site.client.get("/security").text
    for words in (
        "Report a security problem",
        "In an emergency call 999",
        "90 days",
        "Within 10 working days",
    ):
        assert words in page
    assert 'href="/security"' in still_site.client.get("/").text
