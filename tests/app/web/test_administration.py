"""Administrators' pages of teams, the organisation and its agreements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.models.access import Agreement
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import Role
from app.services import dispatch, team_entries, teams, terms
from app.services.roles import Place
from tests.app.web import staged
from tests.app.web.conftest import Site
from tests.app.web.staged import Stage
from tests.conftest import Database
from tests.factories import ACTOR, Makes


@dataclass
class Force:
    """A chief, a borough's administrator and an auditor, an officer here and there; a team here and there."""

    site: Site
    people: dict[str, Staff]
    organisation: UUID
    team: UUID
    elsewhere: UUID
    other: UUID
    here: list[str]
    there: list[str]
    alert: UUID
    sent: dict[str, UUID]

    def by(self, who: str) -> Site:
        self.site.enter(staff=self.people[who])
        return self.site


@pytest.fixture(scope="module")
def stage(database: Database) -> Iterator[Stage]:
    opened = staged.stage(database)
    yield opened
    opened.app_registry.engine.dispose()


@pytest.fixture
def force(stage: Stage) -> Iterator[Force]:
    with stage.play() as site, site.registry.sessions.begin() as session:
        makes = Makes(session)
        police, others = makes.organisation(), makes.organisation("Other Police")
        makes.sender(police)
        here, there = makes.borough(), makes.borough()
        team, elsewhere = (
            makes.team(police, [here[1]], name="North"),
            makes.team(police, there[:1], name="South"),
        )
        people = {
            "chief": makes.officer(police, role=Role.FORCE_ADMINISTRATOR),
            "local": makes.officer(police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=here[0].id)),
            "auditor": makes.officer(police, role=Role.AUDITOR),
            "officer": makes.officer(police, team),
        }
        sent, drafts = {}, {}
        for name, areas in (("here", here), ("there", there)):
            drafts[name] = makes.alert(police, [areas[1]], headline=f"News from {name}")
            running = makes.alert(police, [areas[1]], headline=f"Sent to {name}")
            makes.resident(police, areas[1])
            sent[name] = dispatch.send(
                session,
                running.id,
                token=f"administration-{name}",
                actor=ACTOR,
                public_url="https://x.example",
            ).id
        theirs = makes.team(others, [here[1]], name="Theirs")
        session.commit()
        yield Force(
            site, people, police.id, team.id, elsewhere.id, theirs.id, [a.code for a in here],
            [a.code for a in there], drafts["there"].id, sent,
        )  # fmt: skip


def entry(force: Force, team: UUID) -> team_entries.TeamView:
    with force.site.registry.sessions() as session:
        found = team_entries.view(session, team)
    assert found is not None
    return found


def test_teams_are_made_and_changed_within_ones_area(force: Force) -> None:
    site = force.by("local")
    listed = site.client.get("/staff/teams").text
    assert "North" in listed
    assert "South" not in listed
    assert "Theirs" not in listed
    assert "South" in force.by("chief").client.get("/staff/teams").text
    site = force.by("local")
    typed = {"name": "West", "areas": force.here[2], "phone": "101", "about": "On foot.\nAnd by bicycle."}
    for wrong in ({"areas": force.there[0]}, {"areas": "x"}, {"name": "North"}, {"name": ""}, {"phone": "no"},
                  {"url": "javascript:alert(1)"}, {"email": "nobody"}):  # fmt: skip
        answer = site.submit("/staff/teams/new", typed | wrong)
        assert answer.status_code == 400, wrong
    made = site.submit("/staff/teams/new", typed)
    assert made.status_code == 303
    page = site.client.get(made.headers["Location"]).text
    assert "The team is made" in page
    assert "On foot. And by bicycle." in page
    edit = f"/staff/teams/{force.team}/edit"
    assert f'value="{force.here[1]}" checked' in site.client.get(edit).text
    changed = {"name": "North-west", "areas": [force.here[1], force.here[2]], "phone": ""}
    assert site.submit(edit, changed).status_code == 303
    assert entry(force, force.team).name == "North-west"
    # What is not offered counts as not chosen, whatever was posted.
    assert site.submit(edit, changed | {"areas": [force.here[1], force.there[1]]}).status_code == 303
    with site.registry.sessions() as session:
        assert teams.codes_of(session, force.team) == [force.here[1]]


def test_teams_of_elsewhere_and_of_others_are_not_there(force: Force) -> None:
    site = force.by("local")
    token = site.fields(site.client.get(f"/staff/teams/{force.team}").text)
    for team in (force.elsewhere, force.other):
        for act in ("", "/edit", "/end"):
            assert site.client.get(f"/staff/teams/{team}{act}").status_code == 404
        for act in ("/edit", "/end", "/members", "/members/remove"):
            posted = site.client.post(f"/staff/teams/{team}{act}", data=token | {"role": "PC", "name": ""})
            assert posted.status_code == 404, act
    for who in ("officer", "auditor"):
        assert force.by(who).client.get("/staff/teams").status_code == 404


def test_a_name_stands_on_an_entry_by_consent_and_comes_off(force: Force) -> None:
    site, page = force.by("local"), f"/staff/teams/{force.team}"
    named = {"role": "PCSO", "name": "Alex Morgan"}
    refused = site.submit(f"{page}/members", named, page=page)
    assert refused.status_code == 400
    assert "only if its bearer agreed" in refused.text
    assert entry(force, force.team).members == ()
    assert site.submit(f"{page}/members", named | {"agreed": "y"}, page=page).status_code == 303
    assert [(m.role, m.name) for m in entry(force, force.team).members] == [("PCSO", "Alex Morgan")]
    assert (
        site.submit(f"{page}/members/remove", {"role": "PCSO", "name": "Nobody"}, page=page).status_code
        == 404
    )
    assert site.submit(f"{page}/members/remove", named, page=page).status_code == 303
    assert entry(force, force.team).members == ()


def test_a_team_ends_when_nobody_is_in_it(force: Force) -> None:
    site = force.by("local")
    refused = site.submit(f"/staff/teams/{force.team}/end")
    assert refused.status_code == 409
    assert "Move them to other teams" in refused.text
    with site.registry.sessions.begin() as session:
        empty = teams.create(
            session, controller=force.organisation, name="Empty", areas=[force.here[1]], actor=ACTOR
        ).id
    assert site.submit(f"/staff/teams/{empty}/end").status_code == 303
    with site.registry.sessions() as session:
        assert session.get_one(Team, empty).ended_at is not None
    assert site.client.get(f"/staff/teams/{empty}").status_code == 404


def test_the_organisation_is_seen_by_who_may_and_changed_by_its_chief(force: Force) -> None:
    for who, sees, changes in (
        ("chief", 200, 200),
        ("local", 200, 404),
        ("auditor", 200, 404),
        ("officer", 404, 404),
    ):
        site = force.by(who)
        assert site.client.get("/staff/organisation").status_code == sees
        for act in ("edit", "agreements/new"):
            assert site.client.get(f"/staff/organisation/{act}").status_code == changes, (who, act)
        page = site.client.get("/staff/organisation").text
        assert ("Add an agreement" in page) is (changes == 200)
    site = force.by("chief")
    assert "alerts" in page or "E-mail from" in site.client.get("/staff/organisation").text
    assert site.submit("/staff/organisation/edit", {"name": "", "legal_basis": "consent"}).status_code == 400
    renamed = site.submit("/staff/organisation/edit", {"name": "New Police", "legal_basis": "public\r\ntask"})
    assert renamed.status_code == 303
    page = site.client.get("/staff/organisation").text
    assert "New Police" in page
    assert "public task" in page


def test_agreements_are_kept_marked_changed_and_ended(force: Force) -> None:
    site, today = force.by("chief"), terms.today(utc_now())
    review = today + timedelta(days=9)
    typed = {
        "kind": "sharing", "title": "With the council", "reference": "DSA-7",
        "signed_on-day": "6", "signed_on-month": "1", "signed_on-year": "2025",
        "review_on-day": str(review.day), "review_on-month": str(review.month), "review_on-year": str(review.year),
    }  # fmt: skip
    new = "/staff/organisation/agreements/new"
    for wrong in ({"kind": "x"}, {"title": ""}, {"signed_on-year": "2100"}, {"review_on-year": "2020"},
                  {"signed_on-month": "13"}, {"review_on-day": "٣"}):  # fmt: skip
        assert site.submit(new, typed | wrong).status_code == 400, wrong
    assert site.submit(new, typed).status_code == 303
    assert "Review soon" in site.client.get("/staff/organisation").text
    with site.registry.sessions.begin() as session:
        made = session.scalars(sa.select(Agreement)).one()
        one = f"/staff/organisation/agreements/{made.id}"
        session.execute(sa.update(Agreement).values(review_on=today - timedelta(days=1)))
    assert "Review overdue" in site.client.get("/staff/organisation").text
    later = {"title": "With the council, again", "reference": "", "review_on-day": "1", "review_on-month": "2",
             "review_on-year": str(today.year + 2)}  # fmt: skip
    assert site.submit(one, later).status_code == 303
    page = site.client.get("/staff/organisation").text
    assert "With the council, again" in page
    assert "Review overdue" not in page
    assert force.by("local").client.get(one).status_code == 404
    site = force.by("chief")
    assert site.submit(f"{one}/end", page=one).status_code == 303
    assert "Agreements that ended" in site.client.get("/staff/organisation").text
    assert site.client.get(one).status_code == 200
    assert "End this agreement" not in site.client.get(one).text


def test_what_policy_denies_is_on_no_page_of_an_alert(force: Force) -> None:
    """Buttons that hold a dispatch, write, and send: only for whom they work."""
    for who, where, holds in (
        ("officer", "here", True), ("officer", "there", False), ("local", "here", True), ("local", "there", False),
        ("chief", "there", True), ("auditor", "here", False),
    ):  # fmt: skip
        page = force.by(who).client.get(f"/staff/dispatches/{force.sent[where]}").text
        assert (">\n  Stop it" in page, "Pause it" in page) == (holds, holds), (who, where)
        assert ("Replies</a>" in page) is (who == "officer")
    for who, writes in (("officer", True), ("local", False), ("auditor", False)):
        home = force.by(who).client.get("/staff").text
        assert ("Write an alert" in home) is writes
        assert ("new replies" in home) is writes
        assert "News from there" in home
    draft = force.by("auditor").client.get(f"/staff/alerts/{force.alert}").text
    assert "Your role does not send alerts" in draft
    assert "Change the alert" not in draft
