"""Sessions: opened by a token of which only the digest is kept, ended in one place, and never for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from app.models.staff import Staff, WebSession
from app.services import sessions

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
