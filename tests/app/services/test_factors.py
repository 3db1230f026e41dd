"""Second factors together: recovery codes, the last one, new places, and what their bearer is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import pyotp
import pytest
import sqlalchemy as sa

from app.db import new_id, utc_now
from app.errors import Conflict, Missing
from app.models.audit import AuditEntry
from app.models.service_messages import ServiceMessage
from app.models.sign_in import KnownPlace, Passkey, RecoveryCode
from app.models.staff import Staff, WebSession
from app.services import factors, known_places, recovery_codes, second_factor, sessions, staff
from app.services.factors import Door, Shown, Way
from app.services.passkeys import Kind
from app.services.sessions import Whereabouts
from tests.factories import ACTOR, Makes

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DOOR = Door(Kind.SECOND, None, b"x" * 32)
DESK = Whereabouts("192.0.2.0/24", "192.0.2.0/24", "Firefox on Linux")


@pytest.fixture
def bearer(makes):
    return makes.officer(makes.organisation())


def passkey(session, bearer: Staff):
    one = new_id()
    values = {"credential_id": one.bytes, "public_key": b"x", "sign_count": 0, "name": "A key"}
    session.add(Passkey(id=one, staff_id=bearer.id, **values))
    session.flush()
    return one


def told(session) -> list[str]:
    query = sa.select(ServiceMessage.subject).where(ServiceMessage.kind == "account")
    return list(session.scalars(query.order_by(ServiceMessage.created_at, ServiceMessage.id)))


def test_ten_recovery_codes_are_kept_as_digests_and_serve_once_each(session, bearer):
    codes = recovery_codes.make(session, bearer.id, now=NOW)
    assert len(set(codes)) == 10
    kept = b"".join(row.digest for row in session.scalars(sa.select(RecoveryCode)))
    assert not any(code.encode() in kept or code.replace("-", "").encode() in kept for code in codes)
    assert recovery_codes.left(session, bearer.id) == 10
    typed = f" {codes[0].upper().replace('-', ' ')} "
    assert Shown(typed=recovery_codes.form(typed)).way is Way.RECOVERY
    assert recovery_codes.use(session, bearer.id, typed, now=NOW)
    assert not recovery_codes.use(session, bearer.id, codes[0], now=NOW)
    assert recovery_codes.left(session, bearer.id) == 9
    again = recovery_codes.make(session, bearer.id, now=NOW)
    assert not recovery_codes.use(session, bearer.id, codes[1], now=NOW), "those of before serve no more"
    assert recovery_codes.use(session, bearer.id, again[1], now=NOW)


def test_a_recovery_code_of_somebody_else_is_wrong(session, makes, bearer):
    other = makes.officer(makes.organisation())
    theirs = recovery_codes.make(session, other.id, now=NOW)
    recovery_codes.make(session, bearer.id, now=NOW)
    assert not recovery_codes.use(session, bearer.id, theirs[0], now=NOW)
    assert recovery_codes.left(session, other.id) == 10


@pytest.mark.parametrize(
    "typed", ["", "123456", "abcde-fghj", "abcde-fghj0", "abcde-fghji", "\ud800" * 10, "a" * 400]
)
def test_what_is_no_recovery_code_is_seen_at_once(typed):
    assert not recovery_codes.fits(typed)


def test_whoever_uses_a_recovery_code_is_told_and_warned_when_few_are_left(session, bearer):
    codes = recovery_codes.make(session, bearer.id, now=NOW)
    for code in codes[:7]:
        assert factors.show(session, bearer.id, Shown(typed=code), DOOR, actor=ACTOR, now=NOW)
    assert told(session) == ["A recovery code of yours was used"] * 7
    texts = session.scalars(sa.select(ServiceMessage).where(ServiceMessage.kind == "account")).all()
    assert sum("Make new ones soon" in (one.text or "") for one in texts) == 1
    assert all(one.address == bearer.email and one.synthetic for one in texts)
    assert factors.of(session, bearer.id).few_codes
    events = session.scalars(sa.select(AuditEntry.event).where(AuditEntry.event == "staff:recover")).all()
    assert len(events) == 7


def test_the_last_factor_stays(session, bearer):
    with pytest.raises(Conflict):
        factors.remove_app(session, bearer.id, actor=ACTOR, now=NOW)
    one, two = passkey(session, bearer), passkey(session, bearer)
    factors.remove_app(session, bearer.id, actor=ACTOR, now=NOW)
    with pytest.raises(Missing):
        factors.remove_app(session, bearer.id, actor=ACTOR, now=NOW)
    with pytest.raises(Missing):
        factors.remove_passkey(session, bearer.id, new_id(), actor=ACTOR, now=NOW)
    factors.remove_passkey(session, bearer.id, one, actor=ACTOR, now=NOW)
    with pytest.raises(Conflict):
        factors.remove_passkey(session, bearer.id, two, actor=ACTOR, now=NOW)
    recovery_codes.make(session, bearer.id, now=NOW)
    with pytest.raises(Conflict):  # what runs out is no way in
        factors.remove_passkey(session, bearer.id, two, actor=ACTOR, now=NOW)
    assert told(session) == [
        "The app was removed from your account",
        "A passkey was removed from your account",
    ]
    # Who signs in at their organisation needs none of ours.
    bearer.oidc_issuer, bearer.oidc_subject = "https://id.example", "1"
    session.flush()
    factors.remove_passkey(session, bearer.id, two, actor=ACTOR, now=NOW)
    assert not factors.of(session, bearer.id).any


def test_nobody_removes_the_passkey_of_somebody_else(session, makes, bearer):
    other = makes.officer(makes.organisation())
    theirs = passkey(session, other)
    with pytest.raises(Missing):
        factors.remove_passkey(session, bearer.id, theirs, actor=ACTOR, now=NOW)
    assert factors.of(session, other.id).passkeys == 1


def test_two_browsers_cannot_each_take_the_last_but_one_away(committed):
    registry = committed.open()
    with registry.sessions.begin() as session:
        makes = Makes(session)
        bearer = makes.officer(makes.organisation())
        keys = [passkey(session, bearer) for _ in range(2)]
        bearer.totp_secret = None
    barrier, done = Barrier(2), []

    def remove(one) -> None:
        with registry.sessions() as session:
            barrier.wait()
            try:
                factors.remove_passkey(session, bearer.id, one, actor=ACTOR, now=utc_now())
                session.commit()
                done.append("removed")
            except Conflict:
                session.rollback()
                done.append("refused")

    threads = [Thread(target=remove, args=(one,)) for one in keys]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(done) == ["refused", "removed"]
    with registry.sessions() as session:
        assert factors.of(session, bearer.id).passkeys == 1
    registry.engine.dispose()


def test_another_app_takes_the_place_of_the_first_and_its_first_code_is_used_up(session, bearer):
    secret = second_factor.new_secret()
    assert not factors.connect_app(session, bearer.id, secret, "000000", actor=ACTOR, now=NOW)
    code = pyotp.TOTP(secret).at(NOW)
    assert factors.connect_app(session, bearer.id, secret, code, actor=ACTOR, now=NOW)
    assert bearer.totp_secret == secret
    assert not second_factor.use(session, bearer.id, code, now=NOW)
    assert told(session) == ["An app was connected to your account"]


def test_of_a_new_network_or_browser_its_bearer_is_told_once(session, bearer):
    def seen(network: str, browser: str, days: int = 0) -> bool:
        where = Whereabouts(network, network, browser)
        return known_places.notice(session, bearer.id, where, now=NOW + timedelta(days=days))

    assert not seen("192.0.2.0/24", "Firefox on Linux"), "the first of all: where they enrolled"
    assert seen("198.51.100.0/24", "Firefox on Linux")
    assert seen("198.51.100.0/24", "Safari on an iPhone")
    assert not seen("192.0.2.0/24", "Safari on an iPhone", 3)
    assert seen("203.0.113.0/24", "Chrome on Windows")
    assert told(session) == [
        "You signed in from a new network",
        "You signed in from a new browser",
        "You signed in from a new network and browser",
    ]
    kept = session.scalars(sa.select(KnownPlace)).all()
    assert len(kept) == 6
    assert max(one.seen_at for one in kept) == NOW + timedelta(days=3)
    assert not any(b"192" in one.digest or b"Firefox" in one.digest for one in kept)


def test_with_who_leaves_their_ways_in_go(session, bearer):
    passkey(session, bearer)
    recovery_codes.make(session, bearer.id, now=NOW)
    known_places.notice(session, bearer.id, DESK, now=NOW)
    token = sessions.begin(session, staff=bearer, where=DESK, now=NOW)
    staff.let_go(session, bearer, actor=ACTOR, now=NOW)
    assert sessions.find(session, token, now=NOW) is None
    for table in (Passkey, RecoveryCode, KnownPlace, WebSession):
        assert session.scalars(sa.select(table)).all() == []
