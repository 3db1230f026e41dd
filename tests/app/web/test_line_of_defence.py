"""What keeps strangers out, each by its name: lock-out, enumeration by timing, limits without Redis, cookies.

Others stand where they belong: enumeration by text ``test_sign_in.py``; cut-off ``test_cut_off.py``; CSRF
``tests/architecture/test_guards.py`` and ``test_csrf.py``; open redirect ``test_ways_in.py``; headers ``test_site.py``.
"""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.services import factors, known_places, limits, sessions, sign_in, staff
from app.services.sessions import Whereabouts
from tests.app.web.conftest import Site, open_site
from tests.app.web.test_sign_in import CODE, COOKIE, DOOR, GOOD, code_of, invited
from tests.conftest import Database
from tests.factories import ACTOR, Makes

HOME = "81.2.69.7"


@pytest.fixture
def officer(site: Site) -> Staff:
    return bearer(site)


def bearer(site: Site) -> Staff:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        return makes.officer(makes.organisation(), password=GOOD)


def knock(site: Site, email: str, password: str, address: str):
    there = {"REMOTE_ADDR": address}
    page = site.client.get(DOOR, environ_base=there).text
    words = {**site.fields(page), "email": email, "password": password}
    return site.client.post(DOOR, data=words, environ_base=there)


def enter(site: Site, found: Staff, address: str = HOME) -> int:
    """Both factors, from an address: the status of the last answer."""
    first = knock(site, found.email, GOOD, address)
    if first.status_code != 303:
        return first.status_code
    there = {"REMOTE_ADDR": address}
    page = site.client.get(CODE, environ_base=there).text
    words = {**site.fields(page), "code": code_of(found.totp_secret or "")}
    return site.client.post(CODE, data=words, environ_base=there).status_code


@pytest.mark.slow
def test_lock_out_a_stranger_shuts_out_their_own_network_and_not_the_officer(
    site: Site, officer: Staff
) -> None:
    for _ in range(sign_in.PER_ACCOUNT):
        assert knock(site, officer.email, "wrong lantern orchard", "185.4.5.6").status_code == 400
    assert knock(site, officer.email, GOOD, "185.4.5.6").status_code == 429
    assert enter(site, officer) == 303


def test_lock_out_strangers_in_many_networks_do_not_shut_out_an_officer_where_they_signed_in_before(
    site: Site, officer: Staff
) -> None:
    home = Whereabouts("81.2.69.0/24", "81.2.69.0/24", "Firefox on Linux")
    with site.registry.sessions.begin() as session:
        known_places.notice(session, officer.id, home, now=utc_now())
        anywhere = sign_in._of_account(staff.read_email(officer.email), "x")[1:]
        assert limits.take(session, anywhere, now=utc_now(), amount=sign_in.FROM_EVERYWHERE) is None
    assert knock(site, officer.email, GOOD, "185.4.5.6").status_code == 429, (
        "many networks do not help to guess"
    )
    assert enter(site, officer) == 303


@pytest.mark.slow
def test_enumeration_by_timing_every_account_costs_the_same(site: Site, officer: Staff) -> None:
    """Medians of many tries, one kind after the other. Our own work is measured, which no neighbour disturbs; that
    the database is asked the same ``test_sign_in.py`` counts.
    """
    with site.registry.sessions.begin() as session:
        makes = Makes(session, itertools.count(100))
        police = session.get_one(Organisation, officer.organisation_id)
        left = makes.officer(police, password=GOOD)
        staff.leave(session, left.email, actor=ACTOR, now=utc_now())
        outside = makes.officer(police)
        outside.password_hash, outside.totp_secret = None, None
        outside.oidc_issuer, outside.oidc_subject = "https://id.example", "1"
    invited(site)
    kinds = {
        "known": officer.email,
        "unknown": "nobody@police.example",
        "left": left.email,
        "invited": "new.officer@police.example",
        "elsewhere": outside.email,
    }
    spent: dict[str, list[float]] = {kind: [] for kind in kinds}
    networks = (f"185.{n // 250}.{n % 250}.9" for n in itertools.count())
    page = site.fields(site.client.get(DOOR).text)
    for turn in range(16):
        for kind, email in kinds.items():
            words = {**page, "email": email, "password": f"wrong lantern orchard {turn}"}
            began = time.process_time()
            answer = site.client.post(DOOR, data=words, environ_base={"REMOTE_ADDR": next(networks)})
            spent[kind].append(time.process_time() - began)
            assert answer.status_code == 400
    medians = {kind: statistics.median(times[1:]) for kind, times in spent.items()}
    assert min(medians.values()) > 0.01, "a password is hashed for everybody"
    assert max(medians.values()) < 1.3 * min(medians.values()), medians


@pytest.mark.slow
def test_limits_hold_with_redis_away(committed: Database) -> None:
    """Every door counts in PostgreSQL: nobody listens at this address of Redis."""
    nowhere = "http://127.0.0.1:9"
    site = open_site(
        committed, REDIS_URL="redis://127.0.0.1:9/0", TWILIO_BASE_URL=nowhere, SENDGRID_BASE_URL=nowhere
    )
    try:
        found = bearer(site)
        for _ in range(sign_in.PER_ACCOUNT):
            assert knock(site, found.email, "wrong lantern orchard", HOME).status_code == 400
        assert knock(site, found.email, GOOD, HOME).status_code == 429
        assert enter(site, found, "185.4.5.6") == 303
        site.client.delete_cookie(COOKIE)
        for door, page in (("step-up", "/staff/step-up"), ("sign-in", CODE)):
            site.enter(staff=found, half=page == CODE)
            with site.registry.sessions.begin() as session:
                for way in factors.Way:
                    used = factors.limits_of(door, way, found.id, "127.0.0.0/24")
                    assert limits.take(session, used, now=utc_now(), amount=factors.PER_ACCOUNT) is None
            for shown in ({"code": "123456"}, {"recovery": "22222-22222"}, {"passkey": "{}"}):
                assert site.submit(page, shown).status_code == 429, (door, shown)
        path = invited(site)
        for _ in range(20):
            assert site.submit(path, {"step": "password", "password": "short"}).status_code == 400
        assert site.submit(path, {"step": "password", "password": GOOD}).status_code == 429
        fields = site.fields(site.client.get("/manage").text)
        answers = [
            site.client.post("/manage", data={**fields, "address": f"r{n}@people.example"}).status_code
            for n in range(site.registry.settings.codes_per_network + 1)
        ]
        assert answers[-1] == 429
        assert set(answers[:-1]) == {303}
    finally:
        site.registry.engine.dispose()


def test_a_network_that_is_wrong_is_closed_at_every_door_of_staff(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        wrong = sign_in._of_network("127.0.0.0/24")
        assert limits.take(session, wrong, now=utc_now(), amount=sign_in.PER_NETWORK) is None
    assert site.submit(DOOR, {"email": officer.email, "password": GOOD}).status_code == 429
    path = invited(site)
    assert site.submit(path, {"step": "password", "password": GOOD}).status_code == 429
    site.enter(staff=officer, half=True)
    for shown in ({"code": "123456"}, {"recovery": "22222-22222"}, {"passkey": "{}"}):
        assert site.submit(CODE, shown).status_code == 429


def test_cookies_are_for_us_alone_and_only_for_who_signed_in(site: Site, officer: Staff) -> None:
    for path in ("/", DOOR, "/manage", "/staff"):
        assert "Set-Cookie" not in site.client.get(path).headers, path
    first = knock(site, officer.email, GOOD, HOME)
    kept = first.headers["Set-Cookie"]
    assert kept.startswith("__Host-wardlink=")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert f"; {part}" in kept
    assert "Domain" not in kept
    token = kept.partition("=")[2].partition(";")[0]
    with site.registry.sessions() as session:
        rows = session.execute(sa.text("SELECT web_sessions::text FROM web_sessions")).scalars().all()
        assert not any(token in row for row in rows)
        assert sessions.find(session, token, now=utc_now()) is not None


def test_a_session_that_somebody_else_chose_is_not_taken_over(site: Site, officer: Staff) -> None:
    """Session fixation: whoever signs in gets a token that nobody knew before."""
    site.client.set_cookie(COOKIE, "x" * 43, secure=True)
    assert enter(site, officer) == 303
    found = site.client.get_cookie(COOKIE)
    assert found is not None
    assert found.value != "x" * 43
    site.client.set_cookie(COOKIE, "x" * 43, secure=True)
    assert site.client.get("/staff").status_code == 302
