"""The monthly review: who is drawn and asked, what is read on the record, verdicts, what is late; withholding; figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app import access
from app.audit.record import Actor, ActorKind
from app.db import Pt, new_id
from app.errors import Conflict, Invalid, Missing
from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.register import SearchWithholding
from app.models.register_watch import FIGURES, RegisterFigure, SearchFinding, SearchReview, StaffHome
from app.models.service_messages import ServiceMessage
from app.models.staff import Staff
from app.permissions import Permission, Role
from app.services.register import drawing, findings, homes, places, reviews, shown, watchers, withholding
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.watching import Register

NOW = datetime(2026, 7, 1, 9, tzinfo=UTC)
JUNE = date(2026, 6, 1)
DAY = timedelta(days=1)
SITE = "https://w.example"


@dataclass
class Force:
    """An organisation with searchers, and reviewers whose roles began long ago."""

    session: Session
    makes: Makes
    register: Register
    police: Organisation

    def person(self, *roles: Role, name: str = "Sam Officer") -> Staff:
        made = self.makes.officer(self.police, role=None)
        made.name = name
        for role in roles:
            self.makes.role(made, role).starts_at = NOW - 300 * DAY
        self.session.flush()
        return made

    def drawn(self) -> list[SearchReview]:
        self.session.expire_all()
        return list(self.session.scalars(sa.select(SearchReview).order_by(SearchReview.search_id)))

    def who(self, one: Staff) -> access.Who:
        return access.of(self.session, one.id, now=NOW)

    def entries(self, event: str) -> list[AuditEntry]:
        return list(self.session.scalars(sa.select(AuditEntry).where(AuditEntry.event == event)))


@pytest.fixture
def force(database: Database, registry: object) -> Iterator[Force]:
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        police = makes.organisation()
        police.competent_authority = True
        session.flush()
        yield Force(session, makes, Register(session, police.id), police)


def acting(one: Staff) -> Actor:
    return Actor(ActorKind.STAFF, id=str(one.id), origin="198.51.100.0/24")


# -- the draw
@given(searches=st.integers(1, 200_000), people=st.integers(1, 400))
def test_the_size_keeps_its_bounds_and_everybody_has_one(searches: int, people: int) -> None:
    people = min(people, searches)
    size = drawing.size(searches, people)
    assert people <= size <= searches
    assert size >= min(5, searches)
    assert size <= max(100, people)
    assert drawing.size(searches + 1, people) >= size


def test_a_month_is_drawn_once_and_everybody_who_searched_is_in_it(force: Force) -> None:
    auditor, supervisor = force.person(Role.AUDITOR), force.person(Role.SUPERVISOR)
    people = [force.person() for _ in range(6)]
    for number, one in enumerate(people):
        for n in range(1 if number else 60):
            force.register.search(one.id, datetime(2026, 6, 1 + n % 29, 10, tzinfo=UTC))
    # The month is London's: the first begins at eleven in the evening of May, and July's does so in June.
    inside = force.register.search(people[0].id, datetime(2026, 5, 31, 23, tzinfo=UTC))
    outside = [
        force.register.search(people[0].id, at)
        for at in (datetime(2026, 5, 31, 22, 59, tzinfo=UTC), datetime(2026, 6, 30, 23, tzinfo=UTC))
    ]
    assert drawing.draw(force.session, force.police.id, now=NOW) == drawing.size(66, 6) == 17
    assert drawing.draw(force.session, force.police.id, now=NOW + DAY) == 0
    drawn = force.drawn()
    assert {one.staff_id for one in drawn} == {one.id for one in people}
    assert {one.id for one in outside}.isdisjoint({one.search_id for one in drawn})
    assert {one.month for one in drawn} == {JUNE}
    assert {one.due_at for one in drawn} == {NOW + drawing.DUE}
    share = Counter(one.reviewer_id for one in drawn)
    assert set(share) == {auditor.id, supervisor.id}
    assert max(share.values()) - min(share.values()) <= 1
    (entry,) = force.entries("review:draw")
    assert '"drawn":17' in (entry.detail or "")
    assert inside.opened_at < datetime(2026, 6, 1, tzinfo=UTC)


def test_the_draw_can_be_repeated_and_is_another_in_another_month(force: Force) -> None:
    one = force.person()
    searches = [force.register.search(one.id, NOW - n * DAY / 3) for n in range(1, 80)]

    def draw(now: datetime) -> set[UUID]:
        force.session.execute(sa.delete(SearchReview))
        drawing.draw(force.session, force.police.id, now=now)
        return {review.search_id for review in force.drawn()}

    first = draw(NOW)
    assert draw(NOW + 5 * DAY) == first
    assert len(first) == drawing.size(79, 1)
    force.session.execute(sa.text("UPDATE register_searches SET opened_at = opened_at + interval '31 days'"))
    second = draw(NOW + 31 * DAY)
    assert second != first
    assert second <= {search.id for search in searches}


def test_nobody_reviews_their_own_search_nor_their_lines(force: Force) -> None:
    borough, *_ = force.makes.borough()
    team = force.makes.team(force.police, [borough])
    boss, mate, giver = (force.person(Role.SUPERVISOR) for _ in range(3))
    searcher = force.person(Role.SUPERVISOR)
    boss_search = force.register.search(boss.id, NOW - 3 * DAY)
    mine = force.register.search(searcher.id, NOW - 3 * DAY)
    mate.team_id = searcher.team_id = team.id
    given_role = force.makes.role(searcher, Role.INVESTIGATOR)
    given_role.given_by = str(giver.id)
    force.session.flush()
    drawing.draw(force.session, force.police.id, now=NOW)
    asked = {one.search_id: one.reviewer_id for one in force.drawn()}
    assert asked[mine.id] == boss.id
    assert asked[boss_search.id] != boss.id
    found = next(one for one in force.drawn() if one.search_id == mine.id)
    for one, may in ((boss, True), (mate, False), (giver, False), (searcher, False)):
        who = force.who(one)
        assert access.may_on(force.session, who, Permission.REVIEW_JUDGE, found) is may
        listed, _ = reviews.listed(force.session, who, "all", now=NOW)
        assert (found.id in {line.id for line in listed}) is may
        if not may:
            with pytest.raises(Missing):
                reviews.consult(force.session, who, found.id, actor=ACTOR)
            with pytest.raises(Missing):
                reviews.judge(force.session, who, found.id, verdict="proper", note="", actor=ACTOR, now=NOW)


def test_what_a_reviewer_left_goes_to_another_and_what_nobody_may_review_is_heard_of(force: Force) -> None:
    searcher, auditor = force.person(), force.person(Role.AUDITOR)
    force.register.search(searcher.id, NOW - 3 * DAY)
    drawing.draw(force.session, force.police.id, now=NOW)
    assert [one.reviewer_id for one in force.drawn()] == [auditor.id]
    other = force.person(Role.AUDITOR)
    auditor.state = "left"
    force.session.flush()
    drawing.draw(force.session, force.police.id, now=NOW + DAY)
    assert [one.reviewer_id for one in force.drawn()] == [other.id]
    assert not watchers.unheard(force.session, force.police.id, now=NOW)
    force.session.execute(sa.delete(SearchReview))
    other.state = "left"
    force.session.flush()
    drawing.draw(force.session, force.police.id, now=NOW + 2 * DAY)
    assert [one.reviewer_id for one in force.drawn()] == [None]
    assert watchers.unheard(force.session, force.police.id, now=NOW)


# -- late
def test_reviewers_are_reminded_once_and_what_is_late_is_reported(force: Force) -> None:
    searcher, auditor = force.person(name="DC Secret"), force.person(Role.AUDITOR)
    steward = force.person(Role.STEWARD)
    for n in range(1, 4):
        force.register.search(searcher.id, NOW - n * DAY)
    drawing.draw(force.session, force.police.id, now=NOW)
    due, seen = NOW + drawing.DUE, set()

    def told(at: datetime) -> list[tuple[str, str]]:
        drawing.remind(force.session, public_url=SITE, now=at)
        rows = force.session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.id)).all()
        new = [one for one in rows if one.id not in seen]
        seen.update(one.id for one in new)
        assert all("DC Secret" not in f"{one.subject}{one.text}" for one in new)
        return sorted((one.address or "", one.subject or "") for one in new)

    assert told(due - 8 * DAY) == []
    assert told(due - 7 * DAY) == [(auditor.email, "3 reviews of searches: due within a week")]
    assert told(due - 6 * DAY) == []
    assert told(due) == sorted(
        [
            (auditor.email, "3 reviews of searches: late"),
            (auditor.email, "3 reviews of searches are late"),
            (steward.email, "3 reviews of searches are late"),
        ]
    )
    assert told(due + DAY) == []


def test_a_review_that_is_done_is_not_reminded_of(force: Force) -> None:
    searcher, auditor = force.person(), force.person(Role.AUDITOR)
    force.register.search(searcher.id, NOW - DAY)
    drawing.draw(force.session, force.police.id, now=NOW)
    (one,) = force.drawn()
    reviews.judge(force.session, force.who(auditor), one.id, verdict="proper", note="", actor=ACTOR, now=NOW)
    assert drawing.remind(force.session, public_url=SITE, now=NOW + 90 * DAY) == 0


# -- reading and judging
def test_a_verdict_is_given_once_with_a_reason_and_all_of_it_is_on_the_record(force: Force) -> None:
    searcher, auditor = force.person(name="DC Lee Searcher"), force.person(Role.AUDITOR, name="Ann Auditor")
    made = force.register.search(
        searcher.id, NOW - DAY, "4711/26", cells=(1, 2), kind="area", centre=None, radius=None,
        outline=[Pt(505_000, 184_000), Pt(505_400, 184_000), Pt(505_400, 184_400)],
    )  # fmt: skip
    _, ward, _ = force.makes.borough()
    force.makes.postcode(ward, "UB8 1AA")
    force.session.execute(sa.text("UPDATE postcodes SET at = point(505300, 184100)"))
    request = force.register.request(made)
    review = force.register.review(made, NOW, auditor.id)
    who, actor = force.who(auditor), acting(auditor)
    reviews.consult(force.session, who, review, actor=actor)
    found = reviews.read(force.session, who, review, now=NOW)
    line = found.search.line
    shown_as = (line.searcher, line.case, line.purpose, line.kind)
    assert shown_as == (
        "DC Lee Searcher",
        "4711/26",
        "investigation",
        "Drawn area",
    )
    assert line.reason == "A burglary was seen by the neighbours."
    assert [(spot.postcode, spot.inside) for spot in found.search.ground.spots] == [("UB8 1AA", True)]
    (followed,) = found.search.followed
    assert (followed.opened_at, followed.asked) == (request.opened_at, "3 to 5")
    assert (followed.answered, followed.disclosed) == ("none", "none")
    for verdict, note, field in (
        ("fine", "", "verdict"),
        ("improper", " ", "note"),
        ("proper", "x" * 2_001, "note"),
    ):
        with pytest.raises(Invalid) as caught:
            reviews.judge(force.session, who, review, verdict=verdict, note=note, actor=actor, now=NOW)
        assert caught.value.field == field
    reviews.judge(force.session, who, review, verdict="explain", note="Why so large?", actor=actor, now=NOW)
    with pytest.raises(Conflict):
        reviews.judge(force.session, who, review, verdict="proper", note="", actor=actor, now=NOW)
    after = reviews.read(force.session, who, review, now=NOW)
    assert (after.line.verdict, after.judge, after.note) == ("explain", "Ann Auditor", "Why so large?")
    for event, kind in (("review:consult", "consultation"), ("review:judge", "alteration")):
        (entry,) = force.entries(event)
        assert (entry.subject, entry.actor_id, entry.s62) == (f"review:{review}", str(auditor.id), kind)
        assert "Why so large" not in str(entry.detail)


def test_answers_are_told_in_bands(force: Force) -> None:
    searcher = force.person()
    made = force.register.search(searcher.id, NOW - DAY)
    request = force.register.request(made)
    answered(force, request.id, 4, disclosed=2)
    (followed,) = shown.whole(force.session, made.id).followed
    assert (followed.answered, followed.disclosed) == ("3 to 5", "fewer than 3")


def answered(force: Force, request: UUID, many: int, *, disclosed: int = 0) -> None:
    """Owners who were asked and answered, and some who became known."""
    for n in range(many):
        contact = force.makes.contact()
        owner = {
            "id": new_id(),
            "controller": force.police.id,
            "contact": contact.id,
            "request": request,
            "now": NOW,
        }
        force.session.execute(
            sa.text(
                "INSERT INTO camera_owners (id, controller_id, contact_id, name_enc) "
                "VALUES (:id, :controller, :contact, 'x')"
            ),
            owner,
        )
        force.session.execute(
            sa.text(
                "INSERT INTO request_recipients (id, request_id, owner_id, camera_ids, asked_at, answer, answered_at) "
                "VALUES (gen_random_uuid(), :request, :id, '{}', :now, 'have-it', :now)"
            ),
            owner,
        )
        if n < disclosed:
            force.session.execute(
                sa.text(
                    "INSERT INTO disclosures (id, request_id, investigation_id, organisation_id, owner_id, answer, channel, "
                    "name_enc, address_enc, facts, entry_id, made_xid, at) SELECT gen_random_uuid(), r.id, "
                    "r.investigation_id, r.organisation_id, :id, 'have-it', 'email', 'x', 'x', '{}', :entry, '3', :now "
                    "FROM camera_requests r WHERE r.id = :request"
                ),
                owner | {"entry": 9_000_000 + int(owner["id"].int % 900_000)},
            )


def test_lists_are_paged_and_another_organisations_are_not_in_them(force: Force) -> None:
    searcher, auditor = force.person(), force.person(Role.AUDITOR)
    for n in range(30):
        search = force.register.search(searcher.id, NOW - n * timedelta(hours=1))
        force.register.review(search, NOW, auditor.id, due_at=NOW + (n % 7) * DAY)
    who = force.who(auditor)
    first, after = reviews.listed(force.session, who, "mine", now=NOW)
    second, end = reviews.listed(force.session, who, "mine", now=NOW, after=after)
    assert (len(first), len(second), end) == (25, 5, None)
    assert len({line.id for line in (*first, *second)}) == 30
    assert [line.due_at for line in (*first, *second)] == sorted(line.due_at for line in (*first, *second))
    elsewhere = force.makes.organisation("Another Force")
    theirs = force.makes.officer(elsewhere, role=None)
    force.makes.role(theirs, Role.AUDITOR).starts_at = NOW - DAY
    force.session.flush()
    stranger = force.who(theirs)
    assert reviews.listed(force.session, stranger, "all", now=NOW) == ([], None)
    with pytest.raises(Missing):
        reviews.consult(force.session, stranger, first[0].id, actor=ACTOR)


# -- findings
def test_a_finding_is_read_on_the_record_and_closed_once(force: Force) -> None:
    searcher, auditor = force.person(name="DC Lee Searcher"), force.person(Role.STEWARD, name="Ann Steward")
    searches = [force.register.search(searcher.id, NOW - n * timedelta(hours=1)) for n in range(30)]
    finding = force.register.finding(searches, NOW)
    who, actor = force.who(auditor), acting(auditor)
    findings.consult(force.session, who, finding, actor=actor)
    found = findings.read(force.session, who, finding)
    again = findings.read(force.session, who, finding, after=found.after)
    assert [line.id for line in (*found.searches, *again.searches)] == [one.id for one in searches]
    assert found.line.searcher == "DC Lee Searcher"
    with pytest.raises(Invalid):
        findings.close(force.session, who, finding, verdict="explained", note=" ", actor=actor, now=NOW)
    with pytest.raises(Invalid):
        findings.close(force.session, who, finding, verdict="open", note="x", actor=actor, now=NOW)
    findings.close(
        force.session, who, finding, verdict="referred", note="To standards.", actor=actor, now=NOW
    )
    with pytest.raises(Conflict):
        findings.close(force.session, who, finding, verdict="explained", note="x", actor=actor, now=NOW)
    row = force.session.get_one(SearchFinding, finding)
    assert (row.state, row.closed_by, row.note) == ("referred", auditor.id, "To standards.")
    assert findings.listed(force.session, who) == ([], None)
    assert [line.id for line in findings.listed(force.session, who, closed=True)[0]] == [finding]
    assert [entry.s62 for entry in force.entries("finding:consult")] == ["consultation"]
    assert [entry.detail for entry in force.entries("finding:close")] == ['{"verdict":"referred"}']
    for role in set(Role) - {Role.AUDITOR, Role.STEWARD, Role.SUPERVISOR}:
        with pytest.raises(Missing):
            findings.consult(force.session, force.who(force.person(role)), finding, actor=ACTOR)


# -- withholding
def test_a_supervisor_withholds_a_search_once_for_a_reason_and_never_their_own(force: Force) -> None:
    supervisor, searcher = force.person(Role.SUPERVISOR), force.person(Role.SUPERVISOR)
    made = force.register.search(searcher.id, NOW - DAY, "4711/26")
    who, actor, until = force.who(supervisor), acting(supervisor), NOW + 90 * DAY
    case = withholding.case(force.session, who, " 4711/26 ")
    reference, (line,), _ = withholding.of_case(force.session, who, case)
    assert (reference, line.id) == ("4711/26", made.id)

    def withhold(who: access.Who, until: datetime | None, reason: str = "A suspect lives there.") -> None:
        withholding.withhold(force.session, who, made.id, until=until, reason=reason, actor=actor, now=NOW)

    for at, reason, field in (
        (None, "A suspect lives there.", "until"),
        (NOW, "A suspect lives there.", "until"),
        (NOW + 731 * DAY, "A suspect lives there.", "until"),
        (until, "short", "reason"),
        (until, "x" * 501, "reason"),
    ):
        with pytest.raises(Invalid) as caught:
            withhold(who, at, reason)
        assert caught.value.field == field
    for other in (searcher, force.person(Role.AUDITOR), force.person(Role.INVESTIGATOR)):
        with pytest.raises(Missing):
            withhold(force.who(other), until)
    withhold(who, until)
    with pytest.raises(Conflict):
        withhold(who, until + DAY)
    row = force.session.get_one(SearchWithholding, made.id)
    assert (row.given_by, row.until) == (supervisor.id, until)
    (entry,) = force.entries("register:withhold")
    assert (entry.subject, entry.why) == (f"search:{made.id}", "A suspect lives there.")
    assert withholding.one(force.session, who, made.id).withheld_until == until
    with pytest.raises(Invalid):
        withholding.case(force.session, who, "9999/99")
    elsewhere = force.makes.organisation("Another Force")
    elsewhere.competent_authority = True
    theirs = force.makes.officer(elsewhere, role=None)
    force.makes.role(theirs, Role.SUPERVISOR).starts_at = NOW - DAY
    force.session.flush()
    with pytest.raises(Missing):
        withholding.of_case(force.session, force.who(theirs), case)


# -- homes
def test_somebody_says_where_they_live_and_of_the_postcode_only_the_ward_is_kept(force: Force) -> None:
    _, ward, other = force.makes.borough()
    force.makes.postcode(ward, "UB8 1AA")
    force.makes.postcode(other, "UB8 2AA")
    one = force.person(Role.OFFICER)
    who = force.who(one)
    for text, at in (("ub8 1aa", NOW), ("UB8 1AA", NOW + DAY), ("UB8 2AA", NOW + 2 * DAY)):
        homes.say_own(force.session, who, text, actor=acting(one), now=at)
    assert homes.of(force.session, one.id) == other.name
    kept = force.session.execute(
        sa.select(StaffHome.ward_code, StaffHome.since, StaffHome.until).order_by(StaffHome.since)
    ).all()
    assert kept == [(ward.code, NOW, NOW + 2 * DAY), (other.code, NOW + 2 * DAY, None)]
    with pytest.raises(Invalid):
        homes.say_own(force.session, who, "UB8", actor=acting(one), now=NOW)
    homes.say_own(
        force.session, who, "M1 1AE", actor=acting(one), now=NOW + 3 * DAY
    )  # they moved out of London
    assert homes.of(force.session, one.id) is None
    entries = force.entries("staff:home")
    assert len(entries) == 3
    assert all(entry.detail is None for entry in entries)


def test_an_administrator_says_it_of_others_and_nobody_else_does(force: Force) -> None:
    _, ward, _ = force.makes.borough()
    force.makes.postcode(ward, "UB8 1AA")
    chief, one = force.person(Role.FORCE_ADMINISTRATOR), force.person(Role.OFFICER)
    homes.say_of(force.session, force.who(chief), one.id, "UB8 1AA", actor=acting(chief), now=NOW)
    assert homes.of(force.session, one.id) == ward.name
    for by in (force.person(Role.AUDITOR), force.person(Role.OFFICER), one):
        with pytest.raises(Missing):
            homes.say_of(force.session, force.who(by), one.id, "UB8 1AA", actor=ACTOR, now=NOW)
    with pytest.raises(Missing):
        homes.say_of(force.session, force.who(chief), chief.id, "UB8 1AA", actor=ACTOR, now=NOW)


# -- figures
def test_figures_are_counted_by_borough_and_quarter_and_small_numbers_are_not_given(force: Force) -> None:
    borough, ward, _ = force.makes.borough()
    force.makes.postcode(ward, "UB8 1UW")
    searcher, auditor = force.person(), force.person(Role.AUDITOR)
    square = [Pt(504_900, 183_900), Pt(505_100, 183_900), Pt(505_100, 184_100), Pt(504_900, 184_100)]
    shapes: list[dict[str, object]] = [
        {},
        {"kind": "area", "centre": None, "radius": None, "outline": square},
        {"kind": "route", "centre": None, "route": square},
    ]
    june = [force.register.search(searcher.id, NOW - (n + 2) * DAY, **shapes[n % 3]) for n in range(13)]
    force.register.search(
        searcher.id, NOW - timedelta(hours=9)
    )  # the first of July in London: another quarter
    answered(force, force.register.request(june[0]).id, 7, disclosed=4)
    for search, verdict in zip(june, ["proper"] * 6 + ["improper"] * 4, strict=False):
        force.register.review(
            search, NOW, auditor.id, verdict=verdict, note="", judged_by=auditor.id, judged_at=NOW
        )
    for _ in range(3):
        places.place(force.session, now=NOW)
    assert places.count(force.session, now=NOW) > 0
    found = places.figures(force.session, None)
    assert found is not None
    assert (found.quarter, found.later) == (date(2026, 4, 1), None)
    (line,) = (one for one in found.lines if one.code == borough.code)
    assert line.borough == borough.name
    assert dict(zip(FIGURES, line.numbers, strict=True)) == {
        "searches": 15, "requests": None, "answers": 5, "disclosures": None, "withholdings": None, "reviews": 10,
        "proper": 5, "explain": None, "improper": None,
    }  # fmt: skip
    assert places.count(force.session, now=NOW + timedelta(hours=1)) == 0


def test_late_answers_are_counted_for_four_months_and_then_a_quarter_stands(force: Force) -> None:
    _, ward, _ = force.makes.borough()
    force.makes.postcode(ward, "UB8 1UW")
    searcher = force.person()
    for n in range(9):
        force.register.search(searcher.id, NOW - (n + 2) * DAY)
    places.place(force.session, now=NOW)
    places.count(force.session, now=NOW)

    def searches() -> int | None:
        query = sa.select(sa.func.max(RegisterFigure.searches)).where(
            RegisterFigure.quarter == date(2026, 4, 1)
        )
        return force.session.scalar(query)

    assert searches() == 10
    for n in range(9):
        force.register.search(searcher.id, NOW - (n + 2) * DAY)
    places.place(force.session, now=NOW + 29 * DAY)
    places.count(force.session, now=NOW + 29 * DAY)
    assert searches() == 20
    for n in range(9):
        force.register.search(searcher.id, NOW - (n + 2) * DAY)
    places.place(force.session, now=NOW + 28 * DAY)
    places.count(force.session, now=NOW + 200 * DAY)
    assert searches() == 20
