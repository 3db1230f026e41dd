"""The pages of whoever watches the register: findings, reviews, withholding, homes, and the figures for anybody."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import pytest
import sqlalchemy as sa

from app.audit.record import Actor, ActorKind
from app.db import utc_now
from app.models.areas import Postcode
from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.register_watch import SearchFinding, SearchReview, StaffHome
from app.models.staff import Staff
from app.permissions import Role
from app.services import roles
from tests.app.web.conftest import Site
from tests.factories import Makes
from tests.watching import UXBRIDGE, Watched, watched


@dataclass
class Force:
    """An organisation whose searches are watched, and people with one role each."""

    seen: Watched
    people: dict[str, Staff]
    ward: str


@pytest.fixture
def force(site: Site) -> Force:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        police.competent_authority = True
        borough, ward, _ = makes.borough()
        makes.postcode(ward, "UB8 1UW")
        session.execute(sa.update(Postcode).values(at=UXBRIDGE))
        seen = watched(makes, site.registry, police.id, borough.code, utc_now())
        elsewhere = makes.organisation("Another Force")
        elsewhere.competent_authority = True
        people = {str(role): _person(makes, police, role) for role in Role}
        people["elsewhere"] = _person(makes, elsewhere, Role.AUDITOR)
        return Force(seen, people, ward.name)


def _person(makes: Makes, police: Organisation, role: Role) -> Staff:
    made = makes.officer(police, role=None)
    makes.role(made, role)
    return made


def entries(site: Site, event: str) -> list[AuditEntry]:
    with site.registry.sessions() as session:
        return list(session.scalars(sa.select(AuditEntry).where(AuditEntry.event == event)))


def test_a_review_is_read_on_the_record_first_and_judged(site: Site, force: Force) -> None:
    site.enter(staff=force.people["supervisor"])
    assert "A search of DC Lee Searcher" in site.client.get("/staff/register/reviews?state=all").text
    path = f"/staff/register/reviews/{force.seen.reviews[0]}"
    page = site.client.get(path)
    for words in (
        "DC Lee Searcher",
        "1234567/26",
        "A burglary was seen",
        "UB8 1UW",
        "No owner was asked",
        "<svg",
    ):
        assert words in page.text
    (entry,) = entries(site, "review:consult")
    assert (entry.subject, entry.actor_id) == (
        f"review:{force.seen.reviews[0]}",
        str(force.people["supervisor"].id),
    )
    for form, words in (
        ({}, "Choose a verdict."),
        ({"verdict": "improper"}, "Say why."),
        ({"verdict": "x"}, "Choose a"),
    ):
        answer = site.submit(f"{path}/judge", form, page=path)
        assert (answer.status_code, words in answer.text) == (400, True)
    answer = site.submit(
        f"{path}/judge", {"verdict": "improper", "note": "No <b>reason</b> fits."}, page=path
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    shown = site.client.get(path).text
    assert "Improper" in shown and "No &lt;b&gt;reason&lt;/b&gt; fits." in shown
    assert 'name="verdict"' not in shown
    with site.registry.sessions() as session:
        assert session.get_one(SearchReview, force.seen.reviews[0]).verdict == "improper"


def test_every_shape_is_drawn_and_its_postcodes_listed(site: Site, force: Force) -> None:
    site.enter(staff=force.people["auditor"])
    for review, shape in zip(force.seen.reviews, ("<circle", "<polygon", "<polyline"), strict=True):
        page = site.client.get(f"/staff/register/reviews/{review}").text
        assert shape + ' class="wl-ground__' in page
        assert "NaN" not in page


def test_a_finding_is_read_and_closed_with_a_verdict(site: Site, force: Force) -> None:
    site.enter(staff=force.people["register-steward"])
    listed = site.client.get("/staff/register/findings").text
    assert "Many searches in a day" in listed and "What counts as unusual" in listed
    path = f"/staff/register/findings/{force.seen.findings[0]}"
    assert "A burglary was seen" in site.client.get(path).text
    assert len(entries(site, "finding:consult")) == 1
    answer = site.submit(f"{path}/close", {"verdict": "explained"}, page=path)
    assert answer.status_code == 400
    answer = site.submit(f"{path}/close", {"verdict": "referred", "note": "To standards."}, page=path)
    assert answer.status_code == 303
    assert "To standards." in site.client.get(path).text
    assert "Referred on" in site.client.get("/staff/register/findings?state=closed").text
    with site.registry.sessions() as session:
        assert session.get_one(SearchFinding, force.seen.findings[0]).state == "referred"


def test_whoever_has_no_business_here_sees_nothing(site: Site, force: Force) -> None:
    paths = [
        f"/staff/register/findings/{force.seen.findings[0]}",
        f"/staff/register/reviews/{force.seen.reviews[0]}",
        f"/staff/register/withholding/searches/{force.seen.searches[0]}",
        f"/staff/register/withholding/{force.seen.case_id}",
    ]
    watchers = {"auditor", "register-steward", "supervisor"}
    for name, person in force.people.items():
        site.enter(staff=person)
        wanted = [name in watchers, name in watchers, name == "supervisor", name == "supervisor"]
        assert [site.client.get(path).status_code == 200 for path in paths] == wanted, name
    assert all(
        entry.actor_id != str(force.people["elsewhere"].id) for entry in entries(site, "review:consult")
    )


def test_the_searcher_and_their_line_see_neither_finding_nor_review(site: Site, force: Force) -> None:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        review = session.get_one(SearchReview, force.seen.reviews[0])
        searcher = session.get_one(Staff, review.staff_id)
        makes.role(searcher, Role.AUDITOR)
        giver = session.get_one(Staff, force.people["auditor"].id)
        actor = Actor(ActorKind.STAFF, id=str(giver.id))
        roles.grant(session, searcher, Role.INVESTIGATOR, by=None, actor=actor, now=utc_now())
    for person in (searcher, giver):
        site.enter(staff=person)
        assert "DC Lee Searcher" not in site.client.get("/staff/register/reviews?state=all").text
        assert "DC Lee Searcher" not in site.client.get("/staff/register/findings").text
        for path in (f"findings/{force.seen.findings[0]}", f"reviews/{force.seen.reviews[0]}"):
            assert site.client.get(f"/staff/register/{path}").status_code == 404


def test_a_supervisor_withholds_a_search(site: Site, force: Force) -> None:
    site.enter(staff=force.people["supervisor"])
    answer = site.submit("/staff/register/withholding", {"reference": "1234567/26"})
    case = f"/staff/register/withholding/{force.seen.case_id}"
    assert (answer.status_code, answer.headers["Location"]) == (303, case)
    assert site.submit("/staff/register/withholding", {"reference": "0"}).status_code == 400
    path = f"/staff/register/withholding/searches/{force.seen.searches[0]}"
    assert path in site.client.get(case).text
    day = {"until-day": "1", "until-month": "2", "until-year": str(utc_now().year + 1)}
    for form in ({}, day, {"reason": "A suspect lives there."}, day | {"reason": "x", "until-year": "2020"}):
        assert site.submit(path, form).status_code == 400
    assert site.submit(path, day | {"reason": "A suspect lives there."}).status_code == 303
    assert f"Until 1 February {utc_now().year + 1}" in site.client.get(path).text
    assert "Withheld until" in site.client.get(case).text
    assert len(entries(site, "register:withhold")) == 1


def test_staff_say_where_they_live(site: Site, force: Force) -> None:
    site.enter(staff=force.people["officer"])
    assert site.submit("/staff/account/home", {"postcode": "nowhere"}).status_code == 400
    assert site.submit("/staff/account/home", {"postcode": "ub81uw"}).status_code == 303
    page = site.client.get("/staff/account/home").text
    assert force.ward in page
    assert "UB8" not in page
    with site.registry.sessions() as session:
        (home,) = session.scalars(sa.select(StaffHome))
        assert home.staff_id == home.said_by == force.people["officer"].id
    site.enter(staff=force.people["force-administrator"])
    theirs = f"/staff/people/{force.people['approver'].id}/home"
    assert site.submit(theirs, {"postcode": "UB8 1UW"}).status_code == 303
    assert force.ward in site.client.get(theirs).text
    assert site.client.get(f"/staff/people/{force.people['elsewhere'].id}/home").status_code == 404


def test_anybody_reads_the_figures_by_quarter_and_as_csv(site: Site, force: Force) -> None:
    page = site.client.get("/register/figures").text
    assert "July to September 2026" in page and "180" in page and "fewer than 5" in page
    assert 'href="/register/figures?quarter=2026-q2"' in page
    earlier = site.client.get("/register/figures?quarter=2026-q2").text
    assert "April to June 2026" in earlier and "125" in earlier
    for wrong in ("2026-q5", "x", "2019-q1", "2026-q2&quarter=x"):
        assert site.client.get(f"/register/figures?quarter={wrong}").status_code in (
            (404,) if "&" not in wrong else (200,)
        )
    answer = site.client.get("/register/figures.csv?quarter=2026-q3")
    assert 'filename="register-2026-q3.csv"' in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.data.decode("utf-8-sig"))))
    assert [(row["quarter"], row["searches"], row["improper"]) for row in rows] == [("2026-q3", "180", "<5")]
