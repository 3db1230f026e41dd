"""Sessions: opened by a token of which only the digest is kept, ended in one place, and never for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.staff import Staff, WebSession
from app.services import sessions
from tests.factories import ACTOR

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def officer(session, makes, n: int = 1) -> Staff:
    staff = Staff(
        organisation_id=makes.organisation().id,
        email=f"officer{n}@force.example",
        digest=bytes([n]) * 32,
        digest_key=1,
        name="Sam Officer",
        password_hash="x",
        totp_secret="y",
        state="active",
    )
    session.add(staff)
    session.flush()
    return staff


def test_a_token_opens_its_session_and_only_its_digest_is_kept(session, makes):
    staff = officer(session, makes)
    token = sessions.begin(session, staff=staff, now=NOW)
    found = sessions.find(session, token, now=NOW)
    assert found is not None
    assert (found.staff_id, found.contact) == (staff.id, None)
    kept = session.scalars(sa.select(WebSession.digest)).one()
    assert token.encode() not in kept
    for wrong in ("", token[:-1], token + "x", "é", "\x00", "x" * 1_000):
        assert sessions.find(session, wrong, now=NOW) is None


def test_the_holder_of_an_address_is_not_staff(session, makes):
    contact = makes.contact()
    token = sessions.begin(session, contact_id=contact.id, now=NOW)
    found = sessions.find(session, token, now=NOW)
    assert found is not None
    assert found.contact is not None
    assert (found.contact.id, found.staff, found.staff_id) == (contact.id, None, None)
    assert sessions.find(session, token, now=NOW + sessions.RESIDENT_LONGEST) is None


def test_with_the_second_factor_still_to_come_nobody_is_signed_in(session, makes):
    token = sessions.begin(session, staff=officer(session, makes), half=True, now=NOW)
    found = sessions.find(session, token, now=NOW)
    assert found is not None
    assert found.half
    assert found.staff_id is None
    assert sessions.find(session, token, now=NOW + sessions.HALF_LONGEST) is None


def test_staff_stay_while_they_work_but_not_over_twelve_hours(session, makes):
    token = sessions.begin(session, staff=officer(session, makes), now=NOW)
    at = NOW
    while at + timedelta(minutes=50) < NOW + sessions.STAFF_LONGEST:
        at += timedelta(minutes=50)
        assert sessions.find(session, token, now=at) is not None, at
    assert sessions.find(session, token, now=NOW + sessions.STAFF_LONGEST) is None


def test_an_hour_without_a_page_ends_a_staff_session(session, makes):
    token = sessions.begin(session, staff=officer(session, makes), now=NOW)
    assert sessions.find(session, token, now=NOW + sessions.STAFF_IDLE) is None
    assert sessions.find(session, token, now=NOW + timedelta(minutes=59)) is not None


def test_who_has_left_is_out_at_the_next_page(session, makes):
    staff = officer(session, makes)
    token = sessions.begin(session, staff=staff, now=NOW)
    staff.state = "left"
    session.flush()
    assert sessions.find(session, token, now=NOW) is None


def test_an_ended_session_opens_nothing_and_all_of_one_end_together(session, makes):
    one, other = officer(session, makes, 1), officer(session, makes, 2)
    tokens = [sessions.begin(session, staff=one, now=NOW) for _ in range(3)]
    theirs = sessions.begin(session, staff=other, now=NOW)
    for _ in range(2):  # twice is once
        sessions.end(session, sessions.digest(tokens[0]))
    assert [sessions.find(session, t, now=NOW) is None for t in tokens] == [True, False, False]
    sessions.end_all(session, staff_id=one.id)
    assert all(sessions.find(session, t, now=NOW) is None for t in tokens)
    assert sessions.find(session, theirs, now=NOW) is not None


def test_with_an_erased_address_its_sessions_go(session, makes):
    contact = makes.contact()
    token = sessions.begin(session, contact_id=contact.id, now=NOW)
    session.delete(contact)
    session.flush()
    session.expire_all()
    assert sessions.find(session, token, now=NOW) is None


DESK = sessions.Whereabouts("192.0.2.0/24", "192.0.2.0/24", "Firefox on Linux")
PHONE = sessions.Whereabouts("198.51.100.0/24", "198.51.100.0/24", "Safari on an iPhone")


def test_a_step_up_puts_another_token_in_the_place_of_the_first_and_prolongs_nothing(session, makes):
    one = officer(session, makes)
    old = sessions.begin(session, staff=one, where=DESK, now=NOW)
    before = sessions.find(session, old, now=NOW)
    later = NOW + timedelta(minutes=30)
    new = sessions.renew(session, sessions.digest(old), PHONE, now=later)
    assert new is not None
    assert sessions.find(session, old, now=later) is None
    found = sessions.find(session, new, now=later)
    assert (found.id, found.shown_at) == (before.id, later)
    row = session.scalars(sa.select(WebSession)).one()
    assert (row.created_at, row.expires_at) == (NOW, NOW + sessions.STAFF_LONGEST)
    assert (row.network, row.agent) == ("198.51.100.0/24", "Safari on an iPhone")
    assert sessions.renew(session, sessions.digest(old), DESK, now=later) is None


def test_half_a_session_cannot_step_up(session, makes):
    half = sessions.begin(session, staff=officer(session, makes), half=True, now=NOW)
    assert sessions.renew(session, sessions.digest(half), DESK, now=NOW) is None
    assert sessions.find(session, half, now=NOW) is not None


def test_the_list_shows_what_is_open_and_nobody_elses(session, makes):
    one, other = officer(session, makes, 1), officer(session, makes, 2)
    here = sessions.begin(session, staff=one, where=DESK, now=NOW)
    sessions.begin(session, staff=one, where=PHONE, now=NOW - timedelta(minutes=5))
    sessions.begin(session, staff=one, where=PHONE, now=NOW - sessions.STAFF_IDLE)
    sessions.begin(session, staff=one, half=True, now=NOW)
    sessions.begin(session, staff=other, where=PHONE, now=NOW)
    mine = sessions.find(session, here, now=NOW)
    shown = sessions.listed(session, one.id, here=mine.id, now=NOW)
    assert [(s.browser, s.network, s.here) for s in shown] == [
        ("Firefox on Linux", "192.0.2.0/24", True),
        ("Safari on an iPhone", "198.51.100.0/24", False),
    ]


def test_one_ends_sessions_of_ones_own_and_of_nobody_else(session, makes):
    one, other = officer(session, makes, 1), officer(session, makes, 2)
    tokens = [sessions.begin(session, staff=one, now=NOW) for _ in range(4)]
    theirs = sessions.begin(session, staff=other, now=NOW)
    here, second, *_ = (sessions.find(session, t, now=NOW).id for t in tokens)
    foreign = sessions.find(session, theirs, now=NOW).id
    assert sessions.end_own(session, one.id, only=foreign, keep=here, actor=ACTOR) == 0
    assert sessions.end_own(session, one.id, only=second, keep=here, actor=ACTOR) == 1
    assert [sessions.find(session, t, now=NOW) is None for t in tokens] == [False, True, False, False]
    assert sessions.end_own(session, one.id, keep=here, actor=ACTOR) == 2
    assert [sessions.find(session, t, now=NOW) is None for t in tokens] == [False, True, True, True]
    assert sessions.find(session, theirs, now=NOW) is not None
    entries = session.scalars(sa.select(AuditEntry.detail).where(AuditEntry.event == "staff:end-sessions"))
    assert list(entries) == ['{"sessions":1}', '{"sessions":2}']


def test_nobody_keeps_more_than_twenty_sessions(session, makes):
    one = officer(session, makes)
    tokens = [
        sessions.begin(session, staff=one, now=NOW + timedelta(seconds=n)) for n in range(sessions.MOST + 3)
    ]
    at = NOW + timedelta(minutes=1)
    assert [sessions.find(session, t, now=at) is None for t in tokens] == [True] * 3 + [False] * sessions.MOST


def test_with_their_organisation_its_sessions_end(session, makes):
    one = officer(session, makes)
    token = sessions.begin(session, staff=one, now=NOW)
    session.get_one(Organisation, one.organisation_id).ended_at = NOW
    session.flush()
    assert sessions.find(session, token, now=NOW) is None
