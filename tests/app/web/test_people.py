"""Administrators' pages of people and roles: what one may do is there and works, what one may not is neither."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import utc_now
from app.models.access import RoleGrant
from app.models.audit import AuditEntry
from app.models.service_messages import ServiceMessage
from app.models.staff import Staff, WebSession
from app.permissions import Role
from app.services import organisation_end, roles, sessions, staff
from app.services.roles import Place
from tests.app.web import staged
from tests.app.web.conftest import Site
from tests.app.web.staged import Stage
from tests.conftest import Database
from tests.factories import ACTOR, Makes

LATER = {"ends_on-day": "1", "ends_on-month": "6", "ends_on-year": "2027"}


@dataclass
class Force:
    """A force with a chief, an administrator of one borough, officers here and there, and another force's officer."""

    site: Site
    chief: Staff
    local: Staff
    auditor: Staff
    ours: Staff
    theirs: Staff
    new: Staff
    other: Staff
    team: UUID
    team_elsewhere: UUID
    here: str
    there: str
    slug: str

    def by(self, who: Staff) -> Site:
        self.site.enter(staff=who)
        return self.site

    def person(self, one: Staff, act: str = "") -> str:
        return f"/staff/people/{one.id}{act}"

    def roles(self, one: Staff) -> list[str]:
        with self.site.registry.sessions() as session:
            held = roles.of_staff(session, one.id, now=utc_now())
        return [f"{role.role} {role.where}" for role in held]

    def grant_of(self, one: Staff) -> UUID:
        with self.site.registry.sessions() as session:
            return roles.of_staff(session, one.id, now=utc_now())[0].id

    def events(self, one: Staff) -> list[str]:
        with self.site.registry.sessions() as session:
            query = sa.select(AuditEntry.event).where(AuditEntry.subject == f"staff:{one.id}")
            return list(session.scalars(query.order_by(AuditEntry.id)))


@pytest.fixture(scope="module")
def stage(database: Database) -> Iterator[Stage]:
    opened = staged.stage(database)
    yield opened
    opened.app_registry.engine.dispose()


@pytest.fixture
def force(stage: Stage) -> Iterator[Force]:
    with stage.play() as site:
        yield make(site)


def make(site: Site) -> Force:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        (here, ward, _), (there, *_) = makes.borough(), makes.borough()
        team, elsewhere = makes.team(police, [ward], name="North"), makes.team(police, [there], name="South")
        new = makes.officer(police, team)
        new.state, new.password_hash = "invited", None
        people = {
            "chief": makes.officer(police, role=Role.FORCE_ADMINISTRATOR),
            "local": makes.officer(police, role=Role.BOROUGH_ADMINISTRATOR, place=Place(area_id=here.id)),
            "auditor": makes.officer(police, role=Role.AUDITOR),
            "ours": makes.officer(police, team),
            "theirs": makes.officer(police, elsewhere),
            "new": new,
            "other": makes.officer(makes.organisation()),
        }
        for name, one in people.items():
            one.name = f"PC {name.capitalize()}"
    return Force(site, **people, team=team.id, team_elsewhere=elsewhere.id, here=here.code, there=there.code,
                  slug=police.slug)  # fmt: skip


def test_the_list_shows_the_organisations_people_and_nobody_elses(force: Force) -> None:
    page = force.by(force.auditor).client.get("/staff/people").text
    for name in ("Chief", "Local", "Auditor", "Ours", "Theirs", "New"):
        assert f"PC {name}" in page
    assert "PC Other" not in page
    assert "Officer on North, until " in page
    assert "Invite somebody" not in page
    assert "Invite somebody" in force.by(force.local).client.get("/staff/people").text
    narrowed = force.site.client.get(f"/staff/people?role=officer&area={force.there}").text
    assert "PC Theirs" in narrowed
    assert "PC Ours" not in narrowed
    assert "There is nobody like that" in force.site.client.get("/staff/people?state=left").text
    assert force.site.client.get("/staff/people?role=x&area=%00&state=y&after=z&soon=2").status_code == 200


def test_somebody_is_found_by_exact_address_which_stands_in_no_address_of_ours(force: Force) -> None:
    site = force.by(force.chief)
    found = site.submit("/staff/people/find", {"email": force.ours.email.upper()}, page="/staff/people")
    assert (found.status_code, found.headers["Location"]) == (303, force.person(force.ours))
    said = set()
    for typed in (force.other.email, "nobody@police.example"):
        answer = site.submit("/staff/people/find", {"email": typed}, page="/staff/people")
        assert answer.status_code == 400
        said.add(re.sub(r'(?:value|nonce)="[^"]*"', "", answer.text))
    assert len(said) == 1


def test_an_administrator_invites_where_they_are_one(force: Force) -> None:
    site = force.by(force.local)
    page = site.client.get("/staff/people/invite").text
    assert "North" in page
    assert "South" not in page
    assert "Force administrator" not in page
    typed = {"name": "PC Kim New", "email": "kim@police.example", "role": "officer", "where": f"team:{force.team}",
             "team": str(force.team)} | LATER  # fmt: skip
    for wrong in (
        {"where": f"team:{force.team_elsewhere}"}, {"where": "all"}, {"role": "auditor"}, {"team": "none"},
        {"email": force.other.email}, {"email": force.theirs.email}, {"ends_on-year": "2031"}, {"ends_on-day": "31"},
        {"name": ""}, {"where": f"area:{force.there}"},
    ):  # fmt: skip
        answer = site.submit("/staff/people/invite", typed | wrong)
        assert answer.status_code == 400, wrong
        assert "There is a problem" in answer.text
    made = site.submit("/staff/people/invite", typed)
    assert made.status_code == 303, made.text
    with site.registry.sessions() as session:
        found = staff.by_address(session, staff.read_email("kim@police.example"))
        assert found is not None
        assert (found.state, found.team_id) == ("invited", force.team)
        (message,) = session.scalars(sa.select(ServiceMessage)).all()
    assert message.address == "kim@police.example"
    page = site.client.get(made.headers["Location"]).text
    assert "Officer on North" in page
    assert "until 1 June 2027" in page
    assert "/staff/invitation/" not in page  # the link is for whoever is invited alone


def test_who_has_not_come_yet_is_invited_again_and_the_old_link_is_dead(force: Force) -> None:
    for who, status in ((force.chief, 200), (force.local, 200)):
        assert force.by(who).client.get(force.person(force.new, "/invite-again")).status_code == status
    assert force.site.submit(force.person(force.new, "/invite-again")).status_code == 303
    assert force.site.submit(force.person(force.new, "/invite-again")).status_code == 303
    with force.site.registry.sessions() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM staff_invitations")) == 1
    assert force.roles(force.new) == ["officer North"]
    assert force.site.client.get(force.person(force.ours, "/invite-again")).status_code == 403


def test_a_role_is_granted_renewed_and_taken_back(force: Force) -> None:
    site = force.by(force.local)
    path = force.person(force.ours, "/roles/grant")
    typed = {"role": "approver", "where": f"area:{force.here}"} | LATER
    for wrong in (
        {"role": "auditor"},
        {"where": f"area:{force.there}"},
        {"where": "x"},
        {"ends_on-month": "x"},
    ):
        assert site.submit(path, typed | wrong).status_code == 400
    assert site.submit(path, typed).status_code == 303
    assert force.roles(force.ours)[0].startswith("approver Borough")
    grant = force.grant_of(force.ours)
    renew = force.person(force.ours, f"/roles/{grant}/end")
    assert site.submit(renew, LATER | {"ends_on-year": "2028"}).status_code == 303
    with site.registry.sessions() as session:
        assert session.get_one(RoleGrant, grant).ends_at.year == 2028
    assert site.submit(force.person(force.ours, f"/roles/{grant}/take")).status_code == 303
    assert force.roles(force.ours) == ["officer North"]
    assert force.events(force.ours)[-3:] == ["role:grant", "role:grant", "role:take"]
    assert site.client.get(renew).status_code == 404


def test_what_lies_outside_is_refused_however_it_is_asked_for(force: Force) -> None:
    """The pages of others' people are read-only; those of other organisations are not there."""
    site = force.by(force.local)
    grant, other = force.grant_of(force.theirs), force.grant_of(force.other)
    page = site.client.get(force.person(force.theirs)).text
    for words in ("Take it back", "Change its end", "Let leave", "Sign out everywhere", "Change the team"):
        assert words not in page
    acts = ("/leave", "/sign-out", "/team", f"/roles/{grant}/take", f"/roles/{grant}/end")
    token = site.fields(site.client.get(force.person(force.ours, "/leave")).text)
    for act in acts:
        assert site.client.get(force.person(force.theirs, act)).status_code == 403, act
        assert site.client.post(force.person(force.theirs, act), data=token | LATER).status_code == 403, act
    for act in ("", "/roles/grant", "/leave", f"/roles/{other}/take", f"/roles/{grant}/take"):
        assert site.client.get(force.person(force.other, act)).status_code == 404, act
    # A role of one person's under another's address.
    assert site.client.get(force.person(force.ours, f"/roles/{grant}/take")).status_code == 404
    own = force.grant_of(force.local)
    for act in ("/leave", "/sign-out", "/team", "/roles/grant", f"/roles/{own}/take", f"/roles/{own}/end"):
        assert site.client.get(force.person(force.local, act)).status_code == 403, act
    assert force.roles(force.theirs) == ["officer South"]


def test_an_auditor_and_an_officer_can_change_nothing(force: Force) -> None:
    grant = force.grant_of(force.ours)
    acts = ("/roles/grant", "/leave", "/sign-out", "/team", f"/roles/{grant}/take", f"/roles/{grant}/end")
    for who, listed in ((force.auditor, 200), (force.ours, 404)):
        site = force.by(who)
        assert site.client.get("/staff/people").status_code == listed
        assert site.client.get(force.person(force.theirs)).status_code == listed
        assert site.client.get("/staff/people/invite").status_code == 404
        for act in acts:
            assert site.client.get(force.person(force.ours, act)).status_code == 404
        if listed == 200:
            page = site.client.get(force.person(force.ours)).text
            assert not re.search("Grant a role|Let leave|Take it back|Change the team", page)


def test_somebody_is_signed_out_moved_and_let_go(force: Force) -> None:
    with force.site.registry.sessions.begin() as session:
        token = sessions.begin(session, staff=force.ours, now=utc_now())
    site = force.by(force.local)
    assert "Signed in now" in site.client.get(force.person(force.ours)).text
    assert site.submit(force.person(force.ours, "/sign-out")).status_code == 303
    with site.registry.sessions() as session:
        assert sessions.find(session, token, now=utc_now()) is None
    refused = site.submit(force.person(force.ours, "/team"), {"team": "none"})
    assert refused.status_code == 400
    site = force.by(force.chief)
    assert (
        site.submit(force.person(force.ours, "/team"), {"team": str(force.team_elsewhere)}).status_code == 303
    )
    site = force.by(force.local)
    assert site.client.get(force.person(force.ours, "/team")).status_code == 403  # not theirs any more
    assert site.submit(force.person(force.ours, "/leave")).status_code == 303
    with site.registry.sessions() as session:
        assert session.get_one(Staff, force.ours.id).state == "left"
    assert force.events(force.ours)[-4:] == ["staff:cut-off", "staff:alter", "role:take", "staff:leave"]
    assert "They have left" in site.client.get(force.person(force.ours)).text


def test_the_menu_holds_what_one_may_do(force: Force) -> None:
    def menu(who: Staff) -> list[str]:
        page = force.by(who).client.get("/staff").text
        nav = page[page.index("<nav") : page.index("</nav>")]
        links = re.findall(r"<a[^>]*>(.*?)</a>", nav, re.DOTALL)
        return [" ".join(re.sub("<[^>]*>", "", text).split()) for text in links]

    every = [
        "Alerts",
        "Inbox",
        "Add a camera",
        "People",
        "Teams",
        "Organisation",
        "Retention",
        "Your account",
    ]
    assert menu(force.ours) == ["Alerts", "Inbox", "Add a camera", "Your account"]
    assert menu(force.chief) == ["Alerts", "People", "Teams", "Organisation", "Retention", "Your account"]
    assert menu(force.auditor) == [
        "Alerts", "People", "Organisation", "Record", "Retention", "Findings", "Reviews", "Misuse",
        "Your account",
    ]  # fmt: skip
    with force.site.registry.sessions.begin() as session:
        for role in (Role.OFFICER, Role.STEWARD):
            made = session.get_one(Staff, (force.chief if role is Role.OFFICER else force.ours).id)
            if role is Role.STEWARD:
                roles.take_all(session, made.id, actor=ACTOR, now=utc_now())
            roles.grant(session, made, role, by=None, actor=ACTOR, now=utc_now())
    assert menu(force.chief) == every
    assert menu(force.ours) == ["Add a camera", "Findings", "Reviews", "Your account"]
    assert "Your role has no alerts to show" in force.site.client.get("/staff").text


def test_a_page_opened_by_somebody_of_an_organisation_that_ended_is_no_error(force: Force) -> None:
    site = force.by(force.chief)
    with site.registry.sessions.begin() as session:
        organisation_end.end(session, force.slug, why="over", actor=ACTOR, now=utc_now())
    # All sessions went with it. One that came in at that very moment opens nothing.
    assert site.client.get("/staff").status_code == 302
    with site.registry.sessions.begin() as session:
        session.execute(sa.text("UPDATE staff SET state = 'active', password_hash = 'x' WHERE id = :id"),
                        {"id": force.chief.id})  # fmt: skip
    site.enter(staff=force.chief)
    for path in ("/staff", "/staff/people", "/"):
        assert site.client.get(path).status_code in (200, 302)


def test_a_role_ends_at_its_minute_on_the_pages_too(force: Force) -> None:
    site = force.by(force.ours)
    assert site.client.get("/staff/inbox").status_code == 200

    def end(session: Session, ago: timedelta) -> None:
        session.execute(
            sa.update(RoleGrant).where(RoleGrant.staff_id == force.ours.id).values(ends_at=utc_now() - ago)
        )

    with site.registry.sessions.begin() as session:
        end(session, timedelta(0))
    assert site.client.get("/staff/inbox").status_code == 404
    assert site.client.get("/staff/account").status_code == 200


def test_who_signs_in_is_seen(force: Force) -> None:
    force.by(force.ours)
    with force.site.registry.sessions.begin() as session:
        session.execute(sa.delete(WebSession))
        assert session.get_one(Staff, force.ours.id).signed_in_at is not None
    page = force.by(force.chief).client.get(force.person(force.ours)).text
    assert "Last seen" in page
