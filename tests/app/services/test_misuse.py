"""Reports of misuse reach somebody outside the reporter's line, and nobody else; an anonymous one leads nowhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.audit.record import Actor, ActorKind
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing, TooMany
from app.models.access import RoleGrant
from app.models.audit import AuditEntry
from app.models.misuse import MisuseReport
from app.models.organisations import Organisation
from app.models.service_messages import ServiceMessage
from app.models.staff import Staff
from app.models.teams import Team
from app.permissions import Permission, Role
from app.services import alarms, misuse, organisations
from tests.factories import ACTOR, Makes

SITE = "https://wardlink.example"
WORDS = "He looked up his former partner on the register."


@dataclass
class Force:
    """An organisation with two teams, an officer of one, and readers within and without it."""

    organisation: Organisation
    team: Team
    other: Team
    officer: Staff
    reader: Staff


@pytest.fixture
def force(session: Session, makes: Makes) -> Force:
    police = makes.organisation()
    police.competent_authority = True
    _, first, second = makes.borough()
    team, other = makes.team(police, [first]), makes.team(police, [second])
    officer = makes.officer(police, team)
    return Force(police, team, other, officer, reader(makes, police, other))


def reader(
    makes: Makes,
    police: Organisation,
    team: Team | None = None,
    role: Role = Role.AUDITOR,
    name: str = "Ann Reader",
) -> Staff:
    made = makes.officer(police, team, role=None)
    made.name = name
    makes.role(made, role)
    return made


def acting(one: Staff) -> Actor:
    return Actor(ActorKind.STAFF, id=str(one.id), origin="198.51.100.0/24")


def report(session: Session, makes: Makes, one: Staff, **changes: object) -> MisuseReport:
    values: dict[str, object] = {"what": WORDS, "happened": "On Monday", "public_url": SITE, "now": utc_now()}
    known = set(session.scalars(sa.select(MisuseReport.id)))
    misuse.report(session, makes.who(one), actor=acting(one), **(values | changes))  # type: ignore[arg-type]
    query = sa.select(MisuseReport).where(MisuseReport.id.not_in(known))
    return session.scalars(query).one()


def told(session: Session) -> dict[str, ServiceMessage]:
    rows = session.scalars(sa.select(ServiceMessage).where(ServiceMessage.kind == "misuse"))
    return {one.address or "": one for one in rows}


def may_read(session: Session, who: Who, found: MisuseReport) -> bool:
    listed = found.id in {line.id for line in misuse.listed(session, who).lines}
    try:
        misuse.read(session, who, found.id, actor=ACTOR)
    except Missing:
        assert not listed
        return False
    assert listed
    return True


# -- to whom
def test_a_report_goes_to_readers_outside_the_reporters_line_and_says_nothing_on_the_way(
    session: Session, makes: Makes, force: Force
) -> None:
    own = reader(makes, force.organisation, force.team, Role.SUPERVISOR)
    supervisor = reader(makes, force.organisation, None, Role.SUPERVISOR)
    elsewhere = reader(makes, makes.organisation("Another Force"))
    found = report(session, makes, force.officer)
    messages = told(session)
    assert set(messages) == {force.reader.email, supervisor.email}
    for message in messages.values():
        assert f"{SITE}/staff/misuse/{found.id}" in (message.text or "")
        assert WORDS not in (message.text or "") + (message.html or "") + (message.subject or "")
        assert "Monday" not in (message.text or "")
    assert found.told == 2
    for one, wanted in ((force.reader, True), (supervisor, True), (own, False), (elsewhere, False)):
        assert may_read(session, makes.who(one), found) is wanted
    assert alarms.opened(session) == []


def test_nobody_reads_a_report_of_their_own(session: Session, makes: Makes, force: Force) -> None:
    other = reader(makes, force.organisation)
    for anonymous in (False, True):
        found = report(session, makes, force.reader, anonymous=anonymous)
        assert not may_read(session, makes.who(force.reader), found)
        assert may_read(session, makes.who(other), found)
    assert set(told(session)) == {other.email}


def test_nobody_without_the_role_reads_any(session: Session, makes: Makes, force: Force) -> None:
    found = report(session, makes, force.officer)
    for role in set(Role) - {Role.AUDITOR, Role.SUPERVISOR}:
        who = makes.who(reader(makes, force.organisation, None, role))
        with pytest.raises(Missing):
            misuse.read(session, who, found.id, actor=ACTOR)
        with pytest.raises(Missing):
            misuse.close(session, who, found.id, note="Nothing.", actor=ACTOR, now=utc_now())


@pytest.mark.parametrize(
    "whom", ["Ann Reader", "READER, Ann", "a. reader of the audit team", "It is Inspector Reader!", "address"]
)
def test_nobody_reads_what_is_about_them(session: Session, makes: Makes, force: Force, whom: str) -> None:
    other = reader(makes, force.organisation, name="Ben Auditor")
    about = force.reader.email if whom == "address" else whom
    found = report(session, makes, force.officer, whom=about)
    assert set(told(session)) == {other.email}
    assert not may_read(session, makes.who(force.reader), found)
    assert may_read(session, makes.who(other), found)


def test_whoever_gets_the_role_later_may_read_it_and_whoever_loses_it_may_not(
    session: Session, makes: Makes, force: Force
) -> None:
    found = report(session, makes, force.officer)
    later = reader(makes, force.organisation)
    assert may_read(session, makes.who(later), found)
    session.execute(
        sa.update(RoleGrant).where(RoleGrant.staff_id == later.id).values(taken_at=utc_now(), taken_by="x")
    )
    assert not access.may_on(session, makes.who(later), Permission.MISUSE_READ, found)
    in_line = reader(makes, force.organisation, force.team)
    assert not may_read(session, makes.who(in_line), found)


def test_when_nobody_qualifies_professional_standards_are_told(
    session: Session, makes: Makes, force: Force
) -> None:
    misuse.set_standards(session, force.organisation, "standards@police.example", actor=ACTOR)
    found = report(session, makes, force.officer, whom="Reader")
    (address,) = told(session)
    assert address == "standards@police.example"
    message = told(session)[address]
    assert WORDS not in (message.text or "")
    assert str(found.id) not in (message.text or "")
    assert (found.told, alarms.opened(session)) == (1, [])


def test_when_there_are_none_either_the_operator_hears_an_alarm_until_it_is_closed(
    session: Session, makes: Makes, force: Force
) -> None:
    first = report(session, makes, force.officer, whom="Reader")
    second = report(session, makes, force.officer, whom="Reader")
    (alarm,) = alarms.opened(session)
    assert (alarm.code, alarm.subject) == ("misuse-unheard", f"organisation:{force.organisation.slug}")
    assert "Reader" not in str(alarm.detail)
    assert (first.told, told(session)) == (0, {})
    found = makes.who(reader(makes, force.organisation, name="Ben Auditor"))
    misuse.close(session, found, first.id, note="Done.", actor=ACTOR, now=utc_now())
    assert len(alarms.opened(session)) == 1
    misuse.close(session, found, second.id, note="Done.", actor=ACTOR, now=utc_now())
    assert alarms.opened(session) == []


def test_a_reader_who_left_is_not_told(session: Session, makes: Makes, force: Force) -> None:
    force.reader.state = "left"
    session.flush()
    assert report(session, makes, force.officer).told == 0


# -- anonymous
def test_nothing_that_is_kept_of_an_anonymous_report_leads_to_its_writer(
    session: Session, makes: Makes, force: Force
) -> None:
    before = session.scalar(sa.select(sa.func.coalesce(sa.func.max(AuditEntry.id), 0)))
    found = report(session, makes, force.officer, anonymous=True)
    (entry,) = session.scalars(
        sa.select(AuditEntry).where(AuditEntry.id > before, AuditEntry.event == "misuse:report")
    )
    assert (entry.actor_kind, entry.actor_id, entry.origin) == ("staff", None, None)
    row = session.execute(sa.text("SELECT to_jsonb(r)::text FROM misuse_reports r")).scalar_one()
    counters = session.scalars(sa.text("SELECT key FROM rate_counters")).all()
    for one in (force.officer.id, force.team.id):
        for shape in (str(one), one.hex, one.bytes.hex()):
            assert shape not in row
            assert shape not in str(entry.detail) + entry.subject
            assert all(shape not in bytes(key).hex() for key in counters)
    assert found.id.version == 4  # says nothing of the time
    shown = misuse.read(session, makes.who(force.reader), found.id, actor=ACTOR)
    assert shown.reporter is None
    assert shown.what == WORDS


def test_two_anonymous_reports_of_one_writer_share_nothing(
    session: Session, makes: Makes, force: Force
) -> None:
    reports = [
        report(session, makes, force.officer, anonymous=anonymous) for anonymous in (True, True, False)
    ]
    marks = [set(one.barred) for one in reports]
    assert all(marks)
    assert len(set().union(*marks)) == sum(map(len, marks))


def test_one_with_a_name_says_who_reported(session: Session, makes: Makes, force: Force) -> None:
    found = report(session, makes, force.officer)
    assert misuse.read(session, makes.who(force.reader), found.id, actor=ACTOR).reporter == force.officer.name
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "misuse:report")).one()
    assert entry.actor_id is None  # whom it is about may be an auditor
    assert WORDS not in str(entry.detail)


# -- its life
def test_a_report_is_closed_once_with_a_note_and_every_look_is_on_the_record(
    session: Session, makes: Makes, force: Force
) -> None:
    found, who = report(session, makes, force.officer), makes.who(force.reader)
    for note in ("", "  ", "x" * 2_001):
        with pytest.raises(Invalid):
            misuse.close(session, who, found.id, note=note, actor=ACTOR, now=utc_now())
    misuse.read(session, who, found.id, actor=acting(force.reader))
    misuse.close(session, who, found.id, note="Spoken to.", actor=acting(force.reader), now=utc_now())
    with pytest.raises(Conflict):
        misuse.close(session, who, found.id, note="Again.", actor=ACTOR, now=utc_now())
    events = session.execute(
        sa.select(AuditEntry.event, AuditEntry.s62)
        .where(AuditEntry.subject == f"misuse:{found.id}")
        .order_by(AuditEntry.id)
    ).all()
    assert events == [
        ("misuse:report", "collection"), ("misuse:consult", "consultation"), ("misuse:close", "alteration"),
    ]  # fmt: skip
    shown = misuse.read(session, who, found.id, actor=ACTOR)
    assert (shown.note, shown.closer) == ("Spoken to.", force.reader.name)
    assert misuse.listed(session, who).lines == ()
    assert [line.id for line in misuse.listed(session, who, closed=True).lines] == [found.id]


def test_what_is_empty_or_too_long_is_refused_and_more_than_five_a_day(
    session: Session, makes: Makes, force: Force
) -> None:
    for field, text in (("what", " "), ("happened", ""), ("what", "x" * 5_001), ("whom", "x" * 201)):
        with pytest.raises(Invalid) as caught:
            report(session, makes, force.officer, **{field: text})
        assert caught.value.field == field
    now = utc_now().replace(hour=12)
    for _ in range(5):
        report(session, makes, force.officer, now=now)
    with pytest.raises(TooMany):
        report(session, makes, force.officer, now=now)
    report(session, makes, force.officer, now=now + timedelta(days=1))


def test_the_list_is_paged_and_skips_what_is_not_the_readers(
    session: Session, makes: Makes, force: Force, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misuse, "MOST_A_DAY", 1_000)
    monkeypatch.setattr(misuse, "_BATCH", 7)
    wanted = set()
    for n in range(60):
        found = report(session, makes, force.officer, whom="Ann Reader" if n % 3 == 0 else "")
        if n % 3:
            wanted.add(found.id)
    who, seen, after = makes.who(force.reader), [], None
    sizes = []
    while True:
        page = misuse.listed(session, who, after=after)
        seen += [line.id for line in page.lines]
        sizes.append(len(page.lines))
        after = page.after
        if after is None:
            break
    assert set(seen) == wanted
    assert len(seen) == len(wanted) == 40
    assert sizes == [25, 15]


def test_the_standards_address_is_checked_and_its_change_is_on_the_record(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    with pytest.raises(Invalid):
        misuse.set_standards(session, police, "nobody", actor=ACTOR)
    for email in ("standards@police.example", None):
        misuse.set_standards(session, police, email, actor=ACTOR)
        assert organisations.by_slug(session, police.slug).standards_email == email  # type: ignore[union-attr]
    entries = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "organisation:alter")).all()
    assert [entry.detail for entry in entries] == ['{"standards":true}', '{"standards":false}']
