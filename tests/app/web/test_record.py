"""Auditors read the record: for a reason, on the record first, their own organisation's alone, and never in a loop."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from app.audit import record as audit
from app.db import new_contact_id, utc_now
from app.embedded.state import Endpoints
from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import TABLE, Permission, Role
from app.services import consent, roles
from app.services.record_search import tickets
from app.services.record_search.wanted import Wanted
from tests import conftest, replies
from tests.app.web.conftest import Site, open_site
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.record import Record

Numbers = itertools.count  # type: ignore[type-arg]
WHY = "A complaint about look-ups, number 4711"


@dataclass
class Desk:
    """An auditor everywhere, one on a borough, an officer, another organisation's auditor; and a resident."""

    site: Site
    database: Database
    makes_of: Organisation
    auditor: Staff
    local: Staff
    officer: Staff
    outsider: Staff
    resident: int
    address: str
    ward: str
    other_ward: str
    alert: str

    def search(self, why: str = WHY, **typed: str) -> Any:
        return self.site.submit("/staff/record", {"why": why, **typed})

    def look(self, **typed: str) -> tuple[str, str]:
        """Where a search led, and what it showed."""
        answer = self.search(**typed)
        assert answer.status_code == 303, answer.text
        where = answer.headers["Location"]
        return where, self.site.client.get(where).text

    def entries(self, event: str) -> list[AuditEntry]:
        with self.site.registry.sessions() as session:
            query = sa.select(AuditEntry).where(AuditEntry.event == event).order_by(AuditEntry.id)
            query = query.where(AuditEntry.organisation_id == self.makes_of.id)
            return list(session.scalars(query))

    def record(self, event: str, subject: str, **more: Any) -> int:
        with self.site.registry.sessions.begin() as session:
            values: dict[str, Any] = {"actor": ACTOR, "organisation": self.makes_of.id}
            return audit.record(session, event=event, subject=subject, **(values | more))


@pytest.fixture(scope="module")
def ground(cluster: Endpoints, template: str, worker_id: str) -> Iterator[tuple[Site, Database, Numbers]]:
    """One committed database for all tests here: each makes organisations of its own in it."""
    made = conftest._copy(cluster, template, f"test_{worker_id}_record")
    site = open_site(made)
    yield site, made, itertools.count(1)
    site.registry.engine.dispose()
    conftest._drop(cluster, made.name)


@pytest.fixture
def desk(ground: tuple[Site, Database, Numbers]) -> Iterator[Desk]:
    site, database, numbers = ground
    with site.registry.sessions.begin() as session:
        makes = Makes(session, numbers)
        address = f"ada{next(numbers)}@people.example"
        police, council = makes.organisation("Met Police"), makes.organisation("Council")
        police.competent_authority = True
        borough, ward, _ = makes.borough()
        _, elsewhere, _ = makes.borough()
        resident = makes.resident(police, ward, address=address)
        alert = makes.alert(police, [ward])
        found = Desk(
            site,
            database,
            police,
            makes.officer(police, role=Role.AUDITOR, place=roles.EVERYWHERE),
            makes.officer(police, role=Role.AUDITOR, place=roles.Place(area_id=borough.id)),
            replies.staff_row(makes, police, name="PC <Okoro>"),
            makes.officer(council, role=Role.AUDITOR, place=roles.EVERYWHERE),
            resident.id,
            address,
            ward.code,
            elsewhere.code,
            alert.reference,
        )
        session.flush()
    site.enter(staff=found.auditor)
    yield found


def ids(page: str) -> list[int]:
    """The entries that a page lists."""
    return [int(n) for n in re.findall(r'href="/staff/record/\d+/(\d+)"', page)]


# -- who may
def test_reading_the_record_and_taking_it_away_needs_an_auditor_who_just_showed_a_factor() -> None:
    for permission in (Permission.RECORD_SEARCH, Permission.RECORD_EXPORT):
        assert TABLE[permission].step_up
        assert TABLE[permission].roles == {Role.AUDITOR}


def test_an_officer_finds_no_such_page(desk: Desk) -> None:
    where, _ = desk.look()
    desk.site.enter(staff=desk.officer)
    for path in ("/staff/record", where, f"{where}/1", "/staff/record/heads"):
        assert desk.site.client.get(path).status_code == 404


# -- on the record first
def test_a_search_is_on_the_record_with_its_reason_and_filters_as_ids(desk: Desk) -> None:
    where, page = desk.look(resident=desk.address, event="consent:give", area=desk.ward, by="operator")
    (entry,) = desk.entries("record:search")
    assert where == f"/staff/record/{entry.id}"
    assert (entry.subject, entry.why, entry.s62) == (f"contact:{desk.resident}", WHY, "consultation")
    assert (entry.actor_kind, entry.actor_id) == ("staff", str(desk.auditor.id))
    assert (entry.organisation_id, entry.area_code) == (desk.makes_of.id, desk.ward)
    assert json.loads(entry.detail or "") == {
        "contact": desk.resident, "event": "consent:give", "area": desk.ward, "by": "operator",
    }  # fmt: skip
    assert desk.address not in page and desk.address not in where


def test_without_a_reason_nothing_is_searched(desk: Desk) -> None:
    for why, said in (("", "Say why you look."), ("because", "in 10 characters or more"), ("x" * 501, "500")):
        answer = desk.search(why=why)
        assert answer.status_code == 400
        assert "There is a problem" in answer.text and said in answer.text
    assert desk.entries("record:search") == []


def test_what_was_found_is_shown_only_for_a_search_that_is_committed(desk: Desk) -> None:
    """The answer's address is an entry of the record: another entry, or one that was taken back, opens nothing."""
    with desk.site.registry.sessions() as session:
        who = Makes(session).who(desk.auditor)
        ticket = tickets.begin(session, who, Wanted(), why=WHY, actor=ACTOR, now=utc_now())
        session.rollback()
    assert desk.site.client.get(f"/staff/record/{ticket}").status_code == 404
    other = desk.record("team:create", "team:7")
    assert desk.site.client.get(f"/staff/record/{other}").status_code == 404
    assert desk.site.client.get("/staff/record/9223372036854775807").status_code == 404
    assert desk.site.client.get("/staff/record/9223372036854775808").status_code == 404


def test_an_entry_that_is_opened_is_on_the_record_before_it_is_shown(desk: Desk) -> None:
    opened = desk.record(
        "alert:send", "alert:x", why="<b>urgent</b>", area=desk.ward, detail={"recipients": 1204}
    )
    where, _ = desk.look()
    page = desk.site.client.get(f"{where}/{opened}")
    assert page.status_code == 200
    (entry,) = desk.entries("record:consult")
    assert (entry.subject, entry.why, entry.s62) == (f"entry:{opened}", WHY, "consultation")
    assert (entry.area_code, entry.actor_id) == (desk.ward, str(desk.auditor.id))
    assert json.loads(entry.detail or "") == {"search": int(where.rpartition("/")[2])}
    assert "An alert was sent: a dispatch was frozen" in page.text
    assert "The operator, by a command on the server" in page.text
    assert "&lt;b&gt;urgent&lt;/b&gt;" in page.text and "<b>urgent" not in page.text
    assert "1,204" in page.text and "Not yet. The sealer does it within seconds" in page.text


def test_a_search_opens_its_answer_for_an_hour_and_to_nobody_else(desk: Desk) -> None:
    where, page = desk.look()
    listed = ids(page)
    Record(desk.database, Path()).tamper(
        f"UPDATE audit_entries SET at = at - interval '59 minutes' WHERE id = {where.rpartition('/')[2]}"
    )
    assert desk.site.client.get(where).status_code == 200
    Record(desk.database, Path()).tamper(
        f"UPDATE audit_entries SET at = at - interval '1 minute' WHERE id = {where.rpartition('/')[2]}"
    )
    assert desk.site.client.get(where).status_code == 404
    assert desk.site.client.get(f"{where}/{listed[0]}").status_code == 404
    where, _ = desk.look()
    desk.site.enter(staff=desk.local)
    assert desk.site.client.get(where).status_code == 404


def test_whoever_searches_without_end_is_stopped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEARCHES", "OPENED", "EXPORTS"):
        monkeypatch.setattr(tickets, name, 2)
    where, page = desk.look()
    desk.look()
    refused = desk.search()
    assert refused.status_code == 429
    assert "You have done this 2 times within an hour" in refused.text
    opened = [desk.site.client.get(f"{where}/{one}").status_code for one in ids(page)[:3]]
    assert opened == [200, 200, 429]
    sent = [desk.site.submit(f"{where}/export", {"file": "csv"}, page=where) for _ in range(3)]
    assert [one.status_code for one in sent] == [200, 200, 429]
    for one in sent[:2]:
        one.close()
    assert len(desk.entries("record:search")) == len(desk.entries("record:export")) == 2
    # What one may no longer do, another may.
    desk.site.enter(staff=desk.local)
    desk.look()


# -- what is found
def test_an_auditor_everywhere_sees_their_organisations_entries_and_the_services(desk: Desk) -> None:
    ours = desk.record("team:create", "team:ours")
    service = desk.record("key:rotate", "key:7", organisation=None)
    stranger = desk.record("contact:create", "contact:77", organisation=None)
    known = desk.record("contact:confirm", f"contact:{desk.resident}", organisation=None)
    with desk.site.registry.sessions() as session:
        theirs = session.scalar(
            sa.select(AuditEntry.id).where(AuditEntry.organisation_id == desk.outsider.organisation_id)
        )
    where, page = desk.look()
    found = ids(page)
    assert {ours, service, known} <= set(found)
    assert not {theirs, stranger} & set(found)
    for seen, status in ((ours, 200), (service, 200), (known, 200), (theirs, 404), (stranger, 404)):
        assert desk.site.client.get(f"{where}/{seen}").status_code == status
    assert len(desk.entries("record:consult")) == 3


def test_an_auditor_on_a_borough_sees_what_lies_in_it_and_nothing_else(desk: Desk) -> None:
    inside = desk.record("place:alter", "place:a", area=desk.ward)
    outside = desk.record("place:alter", "place:77", area=desk.other_ward)
    nowhere = desk.record("team:create", "team:c")
    service = desk.record("key:rotate", "key:7", organisation=None)
    desk.site.enter(staff=desk.local)
    where, page = desk.look()
    assert inside in ids(page)
    assert not {outside, nowhere, service} & set(ids(page))
    assert [desk.site.client.get(f"{where}/{one}").status_code for one in (inside, outside, nowhere, service)] == [
        200, 404, 404, 404,
    ]  # fmt: skip
    _, page = desk.look(area=desk.other_ward)
    assert ids(page) == []


def test_what_a_local_auditor_sees_of_an_alert_for_one_area(desk: Desk) -> None:
    (drafted,) = desk.entries("alert:draft")
    desk.site.enter(staff=desk.local)
    _, page = desk.look(subject=desk.alert)
    assert ids(page) == [drafted.id] and drafted.area_code == desk.ward


def test_the_record_of_an_area_that_ended_stays_with_what_it_lay_below(desk: Desk) -> None:
    entry = desk.record("place:alter", "place:a", area=desk.ward)
    with desk.site.registry.sessions.begin() as session:
        session.execute(
            sa.text("UPDATE areas SET valid_to = '2026-05-01' WHERE code = :code"), {"code": desk.ward}
        )
    desk.site.enter(staff=desk.local)
    where, page = desk.look()
    assert entry in ids(page)
    assert desk.site.client.get(f"{where}/{entry}").status_code == 200


def test_another_organisation_finds_nothing_of_ours_by_any_way_in(desk: Desk) -> None:
    entry = desk.record("alert:send", f"alert:{desk.makes_of.id}", area=desk.ward, s62=audit.S62.DISCLOSURE)
    desk.site.enter(staff=desk.outsider)
    for typed in (
        {"resident": desk.address},
        {"staff": desk.auditor.email},
        {"subject": f"alert:{desk.makes_of.id}"},
        {"subject": f"contact:{desk.resident}"},
        {"area": desk.ward},
        {"s62": "disclosure"},
        {"event": "alert:send"},
        {"by": "operator", "event": "alert:send"},
        {},
    ):
        where, page = desk.look(**typed)
        with desk.site.registry.sessions() as session:
            whose = set(
                session.scalars(sa.select(AuditEntry.organisation_id).where(AuditEntry.id.in_(ids(page))))
            )
        assert desk.makes_of.id not in whose, typed
        assert desk.site.client.get(f"{where}/{entry}").status_code == 404
    refused = desk.search(subject=desk.alert)
    assert refused.status_code == 400 and "no alert with this reference" in refused.text


def test_to_look_for_a_stranger_makes_nobody_known(desk: Desk) -> None:
    stranger = new_contact_id()
    entry = desk.record("contact:create", f"contact:{stranger}", organisation=None)
    for _ in range(2):  # the first look is on the record when the second is taken
        where, page = desk.look(subject=f"contact:{stranger}")
        assert entry not in ids(page)
        assert desk.site.client.get(f"{where}/{entry}").status_code == 404


def test_a_search_opens_only_what_is_in_its_answer(desk: Desk) -> None:
    found, other = desk.record("team:create", "team:7001"), desk.record("team:create", "team:7002")
    where, _ = desk.look(subject="team:7001")
    later = desk.record("team:alter", "team:7001")
    assert desk.site.client.get(f"{where}/{found}").status_code == 200
    for entry in (other, later):
        assert desk.site.client.get(f"{where}/{entry}").status_code == 404


@pytest.mark.parametrize("subject", ["phone:+447700900123", "name:John-Smith", "contact:john.smith"])
def test_nothing_that_somebody_is_called_gets_onto_the_record_by_a_search(desk: Desk, subject: str) -> None:
    before = len(desk.entries("record:search"))
    assert desk.search(subject=subject).status_code == 400
    assert len(desk.entries("record:search")) == before


def test_a_person_is_found_by_address_in_all_that_was_done_to_them_and_by_them(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        contact = session.scalar(
            sa.text("SELECT id FROM contact_points WHERE id = :id"), {"id": desk.resident}
        )
        actor = audit.Actor(audit.ActorKind.RESIDENT, id=str(contact))
        consent.leave(session, desk.resident, desk.makes_of.id, how="test", actor=actor)
    by_them = desk.record(
        "reply:receive", "reply:z", actor=audit.Actor(audit.ActorKind.RESIDENT, id=str(desk.resident))
    )
    other = desk.record("contact:consult", "contact:5")
    _, page = desk.look(resident=f" {desk.address.upper()} ")
    found = ids(page)
    events = [e.id for name in ("consent:give", "consent:withdraw") for e in desk.entries(name)]
    assert set(events) | {by_them} <= set(found) and other not in found
    assert found == sorted(found, reverse=True)
    assert desk.address not in page and f"contact {desk.resident}" in page


def test_a_look_up_of_a_person_is_found_by_the_next_one(desk: Desk) -> None:
    first, _ = desk.look(resident=desk.address)
    _, page = desk.look(resident=desk.address)
    assert int(first.rpartition("/")[2]) in ids(page)


@pytest.mark.parametrize("field", ["resident", "staff"])
def test_an_address_of_nobody_looks_like_one_without_entries(desk: Desk, field: str) -> None:
    _, page = desk.look(**{field: "nobody@people.example"})
    assert "Nothing was found." in page and "nobody whom your organisation" in page
    (entry,) = desk.entries("record:search")
    assert json.loads(entry.detail or "") == {"nobody": True}
    assert "people.example" not in f"{entry.why}{entry.detail}{entry.subject}"


def test_staff_are_found_by_their_address_and_shown_by_name(desk: Desk) -> None:
    actor = audit.Actor(audit.ActorKind.STAFF, id=str(desk.officer.id), origin="web")
    did = desk.record("alert:alter", "alert:x", actor=actor)
    suffered = desk.record("staff:refuse", f"staff:{desk.officer.id}")
    other = desk.record("alert:alter", "alert:y")
    _, page = desk.look(staff=desk.officer.email)
    assert {did, suffered} <= set(ids(page)) and other not in ids(page)
    assert "PC &lt;Okoro&gt;" in page
    _, page = desk.look(staff=desk.officer.email, resident=desk.address)
    assert ids(page) == []
    looked = desk.record("contact:consult", f"contact:{desk.resident}", actor=actor)
    _, page = desk.look(staff=desk.officer.email, resident=desk.address)
    assert ids(page) == [looked]


def test_an_alert_is_found_by_its_reference_with_its_sendings(desk: Desk) -> None:
    (drafted,) = desk.entries("alert:draft")
    _, page = desk.look(subject=desk.alert.lower())
    assert ids(page) == [drafted.id]
    assert f"Alert {desk.alert}" in page


def test_each_filter_narrows(desk: Desk) -> None:
    erased = desk.record("contact:erase", "contact:9", s62=audit.S62.ERASURE)
    raised = desk.record("alarm:raise", "alarm:x", actor=audit.SYSTEM, organisation=None)
    there = desk.record("place:alter", "place:77", area=desk.other_ward)
    for typed, wanted in (
        ({"s62": "erasure"}, [erased]),
        ({"event": "alarm:raise"}, [raised]),
        ({"by": "system", "event": "alarm:raise"}, [raised]),
        ({"area": desk.other_ward}, [there]),
        ({"subject": "place:77"}, [there]),
        ({"since": "2000-01-01", "until": "2000-01-02"}, []),
        ({"since": "2100-01-01T10:00"}, []),
    ):
        where, page = desk.look(**typed)
        (own,) = [int(where.rpartition("/")[2])]
        assert [one for one in ids(page) if one < own and one >= erased] == wanted, typed
    until, _ = desk.look(until="2100-01-01")
    assert until


def test_what_cannot_be_searched_for_is_said_beside_its_field(desk: Desk) -> None:
    for typed, said in (
        ({"resident": "x"}, "phone number"),
        ({"staff": "nonsense"}, "e-mail"),
        ({"area": "Nowhere"}, "There is no such area"),
        ({"subject": "WL-0000000"}, "no alert with this reference"),
        ({"subject": "ada@people.example"}, "a kind and an id"),
        ({"subject": "contact:ada@people.example"}, "a kind and an id"),
        ({"event": "no:event"}, "Choose one of the list"),
        ({"s62": "none"}, "Choose one of the list"),
        ({"by": "god"}, "Choose one of the list"),
        ({"since": "yesterday"}, "Enter a date"),
        ({"since": "0001-01-01"}, "Enter a date from 2000"),
        ({"since": "9999-12-31T23:59-14:00"}, "Enter a date"),
        ({"since": "2026-02-02", "until": "2026-02-01"}, "after the beginning"),
        ({"area": "a\x00b"}, "character that cannot be used"),
    ):
        answer = desk.search(**typed)
        assert answer.status_code == 400 and said in answer.text, (typed, answer.text[-3000:])
    assert desk.entries("record:search") == []


def test_pages_follow_each_other_and_show_the_record_as_it_stood(desk: Desk) -> None:
    made = [desk.record("team:alter", f"team:{n}") for n in range(120)]
    where, page = desk.look(event="team:alter")
    desk.record("team:alter", "team:late")
    found = ids(page)
    while older := re.search(r'href="([^"]+\?before=[^"]+)">Older', page):
        page = desk.site.client.get(older[1]).text
        found += ids(page)
    assert found == made[::-1]
    for nonsense in ("x", "1-", "99999999999999999-1", "1" * 40):
        assert ids(desk.site.client.get(f"{where}?before={nonsense}").text)[0] == made[-1]


def test_seals_are_shown(desk: Desk, tmp_path: Path) -> None:
    entry = desk.record("team:create", "team:7")
    Record(desk.database, tmp_path).seal()
    where, page = desk.look(subject="team:7")
    with desk.site.registry.sessions() as session:
        seq = session.scalar(sa.text("SELECT seq FROM audit_seals WHERE entry_id = :e"), {"e": entry})
    assert f"sealed as link {seq:,}" in page
    assert f"As link {seq:,} of the chain" in desk.site.client.get(f"{where}/{entry}").text


# -- taken away
def test_an_export_is_a_disclosure_on_the_record_and_holds_what_was_found(desk: Desk) -> None:
    for n in range(60):
        desk.record(
            "team:alter", f"team:{n}", why=("=1+1", "+44", "-2", "@x", "\tx", 'ok, "so"\nit is')[n % 6]
        )
    where, _ = desk.look(event="team:alter")
    answer = desk.site.submit(f"{where}/export", {"file": "csv"}, page=where)
    assert answer.status_code == 200 and answer.mimetype == "text/csv"
    (entry,) = desk.entries("record:export")
    assert f'attachment; filename="record-{entry.id}.csv"' == answer.headers["Content-Disposition"]
    assert (entry.s62, entry.why) == ("disclosure", WHY)
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 60
    assert {row["why"] for row in rows} == {"'=1+1", "'+44", "'-2", "'@x", "'\tx", 'ok, "so"\nit is'}
    assert [row["subject"] for row in rows[:2]] == ["team:59", "team:58"]
    assert desk.officer.email not in answer.text


def test_an_export_holds_no_more_than_the_search_showed(desk: Desk) -> None:
    desk.record("place:alter", "place:77", area=desk.other_ward)
    inside = desk.record("place:alter", "place:a", area=desk.ward)
    desk.site.enter(staff=desk.local)
    where, _ = desk.look(event="place:alter")
    answer = desk.site.submit(f"{where}/export", {"file": "jsonl"}, page=where)
    assert [json.loads(line)["id"] for line in answer.text.splitlines()] == [inside]


def test_a_long_export_is_cut_where_it_says(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tickets, "MOST_EXPORTED", 25)
    monkeypatch.setattr(tickets, "_BATCH", 10)
    for n in range(30):
        desk.record("team:alter", f"team:{n}")
    where, page = desk.look(event="team:alter")
    assert "up to 25 entries" in page
    answer = desk.site.submit(f"{where}/export", {"file": "jsonl"}, page=where)
    assert [json.loads(line)["subject"] for line in answer.text.splitlines()] == [
        f"team:{n}" for n in range(29, 4, -1)
    ]


def test_a_file_of_no_kind_is_refused(desk: Desk) -> None:
    where, _ = desk.look()
    for kind in ("", "exe"):
        answer = desk.site.submit(f"{where}/export", {"file": kind}, page=where)
        assert answer.status_code == 400 and "Choose a kind of file." in answer.text
    assert desk.entries("record:export") == []


def test_heads_that_are_not_here_are_said_to_be_elsewhere(desk: Desk, tmp_path: Path) -> None:
    site = open_site(desk.database, HEADS_DIR=str(tmp_path / "none"))
    site.enter(staff=desk.auditor)
    page = site.client.get("/staff/record/heads")
    assert page.status_code == 200 and "There are no heads on this machine" in page.text
    token = site.fields(site.client.get("/staff/record").text)
    assert site.client.post("/staff/record/heads", data=token).status_code == 409
    assert desk.entries("record:export") == []
    site.registry.engine.dispose()
