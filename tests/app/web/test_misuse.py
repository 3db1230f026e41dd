"""Reporting misuse: a link on every page of staff, a form, and a reading room for those outside the line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from app.models.misuse import MisuseReport
from app.models.staff import Staff
from app.permissions import Role
from app.web.guards import Guard, guard_of
from tests.app.web.conftest import Site
from tests.factories import Makes
from tests.populated import Populated, populate

FORM = "/staff/misuse/report"
SAID = {"what": "He looked up his neighbour.\n\nTwice.", "happened": "On <Monday>", "whom": "Sgt Example"}


@pytest.fixture
def filled(site: Site) -> Populated:
    with site.registry.sessions.begin() as session:
        return populate(Makes(session), site.registry)


@dataclass
class Force:
    """An organisation with an officer and, outside any team of theirs, an auditor."""

    colleague: Staff
    auditor: Staff


@pytest.fixture
def force(site: Site) -> Force:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        made = Force(makes.officer(police), makes.officer(police, role=None))
        made.colleague.name, made.auditor.name = "PC Robin Colleague", "Sam Okafor"
        makes.role(made.auditor, Role.AUDITOR)
        return made


def newest(site: Site, known: set[object]) -> MisuseReport:
    with site.registry.sessions() as session:
        return session.scalars(sa.select(MisuseReport).where(MisuseReport.id.not_in(known))).one()


def ids(site: Site) -> set[object]:
    with site.registry.sessions() as session:
        return set(session.scalars(sa.select(MisuseReport.id)))


def test_every_page_of_staff_has_the_link(site: Site, filled: Populated) -> None:
    site.enter(staff=filled.staff(site.registry))
    app, seen = site.client.application, 0
    for endpoint, paths in filled.paths.items():
        for path in paths:
            answer = site.client.get(path)
            if guard_of(app, endpoint) is not Guard.STAFF or answer.mimetype != "text/html":
                continue
            if answer.status_code == 200:
                assert f'href="{FORM}">Report misuse</a>' in answer.text, path
                seen += 1
    assert seen > 20
    assert (
        'href="/staff/misuse/report"' in site.client.get("/staff/nowhere").text
    )  # on what is not there as well


def test_residents_do_not_see_it(still_site: Site) -> None:
    assert "Report misuse" not in still_site.client.get("/").text


def test_a_report_is_sent_read_and_closed(site: Site, force: Force) -> None:
    before = ids(site)
    site.enter(staff=force.colleague)
    answer = site.submit(FORM, SAID)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/staff/misuse/sent")
    assert "Report sent" in site.client.get("/staff/misuse/sent").text
    made = newest(site, before)
    assert made.reporter_id == force.colleague.id
    path = f"/staff/misuse/{made.id}"
    assert site.client.get(path).status_code == 404  # an officer is no reader
    assert site.client.get("/staff/misuse").status_code == 404
    assert '/staff/misuse"' not in site.client.get(FORM).text  # and no page offers it

    site.enter(staff=force.auditor)
    assert path in site.client.get("/staff/misuse").text
    assert '/staff/misuse"' in site.client.get(FORM).text
    page = site.client.get(path).text
    assert "He looked up his neighbour.\n\nTwice." in page
    assert "On &lt;Monday&gt;" in page
    assert force.colleague.name in page
    assert site.submit(f"{path}/close", {"note": " "}, page=path).status_code == 400
    assert site.submit(f"{path}/close", {"note": "Spoken to."}, page=path).status_code == 303
    page = site.client.get(path).text
    assert "Spoken to." in page
    assert "<textarea" not in page
    assert path in site.client.get("/staff/misuse?state=closed").text
    assert path not in site.client.get("/staff/misuse").text


def test_an_anonymous_report_says_nowhere_who_wrote_it(site: Site, force: Force) -> None:
    before = ids(site)
    site.enter(staff=force.colleague)
    with capture_logs() as lines:
        assert site.submit(FORM, SAID | {"anonymous": "yes"}).status_code == 303
    made = newest(site, before)
    assert made.reporter_id is None
    with site.registry.sessions() as session:
        record = session.execute(
            sa.text("SELECT to_jsonb(e)::text FROM audit_entries e WHERE subject = :s"),
            {"s": f"misuse:{made.id}"},
        ).scalar_one()
    for trace in (str(force.colleague.id), force.colleague.id.hex, "198.51"):
        assert trace not in record
        assert trace not in str(lines)
    site.enter(staff=force.auditor)
    page = site.client.get(f"/staff/misuse/{made.id}").text
    assert force.colleague.name not in page
    assert "Not said" in page


def test_a_report_about_a_reader_is_not_there_for_them(site: Site, force: Force) -> None:
    before = ids(site)
    site.enter(staff=force.colleague)
    site.submit(FORM, SAID | {"whom": "PC Okafor of Uxbridge"})
    made = newest(site, before)
    site.enter(staff=force.auditor)  # PC Sam Okafor, an auditor
    path = f"/staff/misuse/{made.id}"
    gone = site.client.get("/staff/misuse/00000000-0000-4000-8000-000000000000")
    answer = site.client.get(path)
    strip = re.compile(r"[0-9a-f]{32}|nonce=\"[^\"]+\"|value=\"[^\"]+\"")
    assert (answer.status_code, strip.sub("", answer.text)) == (404, strip.sub("", gone.text))
    assert path not in site.client.get("/staff/misuse").text


def test_what_is_wrong_is_said_beside_its_field_and_what_was_typed_stays(site: Site, force: Force) -> None:
    site.enter(staff=force.colleague)
    for spoilt, words in (
        ({"what": ""}, "Say what happened."),
        ({"happened": " "}, "Say when it happened."),
        ({"what": "x" * 5_001}, "must be 5,000 characters or fewer"),
        ({"whom": "\x00"}, "a character that cannot be used"),
    ):
        answer = site.submit(FORM, SAID | spoilt)
        assert answer.status_code == 400
        assert "There is a problem" in answer.text
        assert words in answer.text
        assert ("He looked up his neighbour." in answer.text) == ("what" not in spoilt)
    assert ids(site) == set()


def test_what_was_written_is_given_back_when_the_session_ended_meanwhile(site: Site, force: Force) -> None:
    site.enter(staff=force.colleague)
    fields = site.fields(site.client.get(FORM).text)
    site.client.delete_cookie("__Host-wardlink")
    answer = site.client.post(FORM, data=fields | SAID)
    assert answer.status_code == 403
    assert "He looked up his neighbour." in answer.text


def test_an_address_that_was_spoilt_breaks_nothing(site: Site, force: Force) -> None:
    site.enter(staff=force.auditor)
    for query, status in (("?state=x", 404), ("?after=x", 200), ("?after=2026-99-99_" + "0" * 32, 200)):
        assert site.client.get(f"/staff/misuse{query}").status_code == status
