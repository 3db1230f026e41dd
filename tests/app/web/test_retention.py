"""The page of what is kept: for whom it is, and whose figures it shows."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from app.models.service_messages import ServiceMessage
from app.models.staff import Staff
from app.permissions import Role
from app.services import retention, roles
from config.fields import Part
from tests.app.web.conftest import Site
from tests.conftest import Database
from tests.factories import Makes

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NUMBERS = itertools.count(1)


def officer(site: Site, role: Role) -> tuple[Staff, object]:
    with site.registry.sessions.begin() as session:
        makes = Makes(session, NUMBERS)
        police = makes.organisation()
        made = makes.officer(police, role=role, place=roles.EVERYWHERE)
        controller = police.id
    return made, controller


def test_only_administrators_and_auditors_may_look(site: Site) -> None:
    assert site.client.get("/staff/retention").status_code == 302
    for role, status in ((Role.OFFICER, 404), (Role.AUDITOR, 200), (Role.FORCE_ADMINISTRATOR, 200)):
        site.enter(staff=officer(site, role)[0])
        assert site.client.get("/staff/retention").status_code == status, role


def test_it_shows_ones_own_organisations_figures_and_those_of_the_whole_service(
    site: Site, committed: Database
) -> None:
    mine, controller = officer(site, Role.AUDITOR)
    theirs, other = officer(site, Role.AUDITOR)
    site.enter(staff=mine)
    assert "Nothing has been looked through yet" in site.client.get("/staff/retention").text
    worker = committed.open(Part.WORKER)
    with site.registry.sessions.begin() as session:
        for owner, n in ((controller, 3), (other, 5)):
            at = NOW - timedelta(days=40)
            session.add_all(
                ServiceMessage(
                    kind="help",
                    channel="email",
                    state="sent",
                    controller_id=owner,
                    created_at=at,
                    expires_at=at,
                )
                for _ in range(n)
            )
    for days in (1, 0):
        for one in retention.CLASSES:
            with worker.sessions.begin() as session:
                gone = one.purge(session, now=NOW) if one.name == "service_messages" and days else 0
                retention.note_run(session, one, gone, now=NOW - timedelta(days=days))
    with worker.sessions.begin() as session:
        retention.note_run(session, retention.RAW_EVENTS, 1_777, now=NOW)
    worker.engine.dispose()
    page = site.client.get("/staff/retention").text
    assert "Sunday 22 November 2026" in page
    assert "Yours: 3 deleted that day" in page
    assert "5 deleted" not in page
    assert "8 deleted" not in page
    assert "Whole service: 1,777 deleted that day" in page
    assert 'href="/staff/retention?day=2026-11-21"' in page
    assert "Kept for 13 whole months besides the present one" in page
    assert page.count("<h1") == 1
    before = site.client.get("/staff/retention?day=2026-11-21").text
    assert 'href="/staff/retention?day=2026-11-22"' in before
    site.enter(staff=theirs)
    assert "Yours: 5 deleted that day" in site.client.get("/staff/retention").text


def test_a_day_that_is_none_leads_nowhere(site: Site) -> None:
    site.enter(staff=officer(site, Role.AUDITOR)[0])
    for day in ("x", "2026-02-30", "0", "-1", "9999-99-99", "%00"):
        assert site.client.get(f"/staff/retention?day={day}").status_code == 404, day
    assert site.client.get("/staff/retention?day=0001-01-01").status_code == 200
    assert site.client.get("/staff/retention?day=9999-12-31").status_code == 200
