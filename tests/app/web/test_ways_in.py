"""Passkeys and recovery codes at the doors: enrolment, sign-in, step-up; and the account page where they are kept."""

from __future__ import annotations

import html
import itertools
import re
from datetime import timedelta
from urllib.parse import quote

import pyotp
import pytest
import sqlalchemy as sa

from app.access import FRESH
from app.db import utc_now
from app.models.audit import AuditEntry
from app.models.service_messages import ServiceMessage
from app.models.sign_in import Ceremony, Passkey
from app.models.staff import Staff, WebSession
from app.permissions import Role
from app.services import factors, limits, own_password, passwords, recovery_codes, sessions
from app.web.officer import step_up
from tests.app.web.conftest import PUBLIC_URL, Site
from tests.app.web.test_sign_in import CODE, COOKIE, GOOD, code_of, cookie, invited, knock, recorded
from tests.authenticator import SecurityKey
from tests.entering import DESK
from tests.factories import Makes

ACCOUNT, STEP_UP = "/staff/account", "/staff/step-up"
NEW = "kettle harbour violet 9"


@pytest.fixture
def officer(site: Site) -> Staff:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        return makes.officer(makes.organisation(), password=GOOD)


def key() -> SecurityKey:
    return SecurityKey(PUBLIC_URL, "wardlink.example")


def options(site: Site, path: str, page: str) -> str:
    """What the page's script is told to sign."""
    shown = site.client.get(page)
    answer = site.client.post(path, data={"form_token": site.fields(shown.text)["form_token"]})
    assert (answer.status_code, answer.mimetype) == (200, "application/json"), answer.text
    return answer.text


def with_passkey(site: Site, officer: Staff) -> SecurityKey:
    """The officer, signed in, adds a passkey."""
    site.enter(staff=officer)
    one, page = key(), f"{ACCOUNT}/passkeys/new"
    made = one.make(options(site, f"{ACCOUNT}/passkeys/challenge", page))
    done = site.submit(page, {"name": "Blue key", "passkey": made})
    assert done.headers["Location"] == f"{ACCOUNT}?done=passkey-added"
    return one


def stale(site: Site) -> None:
    """So much time goes by that a factor must be shown again."""
    with site.registry.sessions.begin() as session:
        session.execute(sa.update(WebSession).values(stepped_up_at=utc_now() - FRESH))


def subjects(site: Site) -> list[str | None]:
    with site.registry.sessions() as session:
        query = sa.select(ServiceMessage.subject).where(ServiceMessage.kind == "account")
        return list(session.scalars(query.order_by(ServiceMessage.created_at, ServiceMessage.id)))


# Enrolment and sign-in ------------------------------------------------------------------------------
def test_an_invitation_is_accepted_with_a_passkey_and_no_app(site: Site) -> None:
    path = invited(site)
    page = site.client.get(path).text
    assert "passkey" in page
    answer = site.client.post(f"{path}/passkey", data={"form_token": site.fields(page)["form_token"]})
    assert (answer.status_code, answer.json) == (409, {"problem": "Choose a password first."})
    site.submit(path, {"step": "password", "password": GOOD})
    one = key()
    made = one.make(options(site, f"{path}/passkey", path))
    forged = key().make(options(site, f"{path}/passkey", path)).replace('"id": "', '"id": "AA', 1)
    assert site.submit(path, {"step": "code", "passkey": forged}).status_code == 400
    agent = {"User-Agent": "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/156.0 Safari/537.36"}
    done = site.submit(path, {"step": "code", "passkey": made}, headers=agent)
    assert (done.status_code, done.headers["Location"]) == (303, f"{ACCOUNT}/recovery-codes?first=1")
    with site.registry.sessions() as session:
        bearer = session.scalars(sa.select(Staff)).one()
        assert (bearer.state, bearer.totp_secret) == ("active", None)
        assert session.scalars(sa.select(Passkey.name)).all() == ["Chrome on Windows"]
    site.client.delete_cookie(COOKIE)
    knock(site, bearer.email, GOOD)
    shown = site.client.get(CODE).text
    assert "Use your passkey" in shown
    assert "Code from your app" not in shown
    empty = site.submit(CODE)
    assert empty.status_code == 400
    assert "Enter a recovery code, or use your passkey." in empty.text
    signed = one.sign(options(site, "/staff/sign-in/passkey", CODE))
    assert site.submit(CODE, {"passkey": signed}).headers["Location"] == "/staff"
    assert site.client.get("/staff").status_code == 200


def test_nobody_is_active_without_a_second_factor(site: Site) -> None:
    path = invited(site)
    site.submit(path, {"step": "password", "password": GOOD})
    for shown in ({}, {"code": "000000"}, {"passkey": "{}"}, {"passkey": "x"}, {"recovery": "22222-22222"}):
        assert site.submit(path, {"step": "code", **shown}).status_code == 400, shown
    with site.registry.sessions() as session:
        assert session.scalars(sa.select(Staff.state)).all() == ["invited"]


def test_a_passkey_is_the_second_factor_once_and_only_where_it_was_asked(site: Site, officer: Staff) -> None:
    one = with_passkey(site, officer)
    site.client.delete_cookie(COOKIE)
    knock(site, officer.email, GOOD)
    signed = one.sign(options(site, "/staff/sign-in/passkey", CODE))
    site.client.delete_cookie(COOKIE)
    knock(site, officer.email, GOOD)
    elsewhere = site.submit(CODE, {"passkey": signed})
    assert elsewhere.status_code == 400, "asked in another session"
    assert "The passkey was not taken" in elsewhere.text
    signed = one.sign(options(site, "/staff/sign-in/passkey", CODE))
    assert site.submit(CODE, {"passkey": signed}).status_code == 303
    site.client.delete_cookie(COOKIE)
    knock(site, officer.email, GOOD)
    assert site.submit(CODE, {"passkey": signed}).status_code == 400, "used up"
    assert ("staff:refuse", f"staff:{officer.id}") in recorded(site)


def test_a_copied_passkey_is_refused_told_and_on_the_record(site: Site, officer: Staff) -> None:
    one = with_passkey(site, officer)
    for count, status in ((5, 303), (1, 400)):
        site.client.delete_cookie(COOKIE)
        knock(site, officer.email, GOOD)
        one.count = count
        signed = one.sign(options(site, "/staff/sign-in/passkey", CODE))
        assert site.submit(CODE, {"passkey": signed}).status_code == status
    assert "A passkey of yours was refused" in subjects(site)
    with site.registry.sessions() as session:
        assert "passkey:refuse" in session.scalars(sa.select(AuditEntry.event)).all()


def test_a_recovery_code_lets_in_once(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        codes = recovery_codes.make(session, officer.id, now=utc_now())
    knock(site, officer.email, GOOD)
    assert "use a recovery code" in site.client.get(CODE).text
    assert site.submit(CODE, {"recovery": "abc"}).status_code == 400
    assert site.submit(CODE, {"recovery": codes[3].upper()}).headers["Location"] == "/staff"
    assert subjects(site) == ["A recovery code of yours was used"]
    site.client.delete_cookie(COOKIE)
    knock(site, officer.email, GOOD)
    again = site.submit(CODE, {"recovery": codes[3]})
    assert again.status_code == 400
    assert "was used before" in again.text


def test_a_challenge_is_only_for_who_showed_the_first_factor_and_has_a_passkey(
    site: Site, officer: Staff
) -> None:
    token = {"form_token": site.fields(site.client.get("/staff/sign-in").text)["form_token"]}
    assert site.client.post("/staff/sign-in/passkey", data=token).status_code == 403
    knock(site, officer.email, GOOD)
    token = {"form_token": site.fields(site.client.get(CODE).text)["form_token"]}
    assert site.client.post("/staff/sign-in/passkey", data=token).status_code == 409
    with site.registry.sessions() as session:
        assert session.scalars(sa.select(Ceremony)).all() == []


def test_after_five_wrong_codes_the_bearer_is_told_that_their_password_is_known(
    site: Site, officer: Staff
) -> None:
    knock(site, officer.email, GOOD)
    for _ in range(6):
        assert site.submit(CODE, {"code": "000000"}).status_code == 400
    assert subjects(site) == ["Somebody may know your password"]


def test_used_up_codes_leave_the_other_ways_open(site: Site, officer: Staff) -> None:
    """Whoever stole the password cannot shut the officer out by typing codes."""
    with site.registry.sessions.begin() as session:
        codes = recovery_codes.make(session, officer.id, now=utc_now())
        used = factors.limits_of("sign-in", factors.Way.APP, officer.id, "elsewhere")[1:]
        assert limits.take(session, used, now=utc_now(), amount=40) is None
    knock(site, officer.email, GOOD)
    assert site.submit(CODE, {"code": code_of(officer.totp_secret or "")}).status_code == 429
    assert site.submit(CODE, {"recovery": codes[0]}).status_code == 303


# Step-up --------------------------------------------------------------------------------------------
def test_a_step_up_asks_for_a_factor_renews_the_token_and_leads_back(site: Site, officer: Staff) -> None:
    site.enter(staff=officer)
    stale(site)
    asked = site.client.get(f"{ACCOUNT}/app?x=1")
    assert (asked.status_code, asked.headers["Location"]) == (303, f"{STEP_UP}?back=/staff/account/app?x%3D1")
    old, form = cookie(site), asked.headers["Location"]
    assert site.submit(form, {"code": "000000"}).status_code == 400
    done = site.submit(form, {"code": code_of(officer.totp_secret or "")})
    assert (done.status_code, done.headers["Location"]) == (303, "/staff/account/app?x=1")
    new = cookie(site)
    assert new != old
    assert site.client.get(f"{ACCOUNT}/app").status_code == 200
    site.client.set_cookie(COOKIE, old or "", secure=True)
    assert site.client.get("/staff").status_code == 302, "the token of before opens nothing"
    assert recorded(site)[-1] == ("staff:step-up", f"staff:{officer.id}")
    assert ("staff:refuse", f"staff:{officer.id}") in recorded(site)


def test_a_form_that_lies_open_outlives_a_step_up(site: Site, officer: Staff) -> None:
    site.enter(staff=officer)
    lying = site.fields(site.client.get(ACCOUNT).text)
    stale(site)
    assert (
        site.submit(f"{STEP_UP}?back=/staff", {"code": code_of(officer.totp_secret or "")}).status_code == 303
    )
    assert site.client.post("/staff/sign-out", data=lying).headers["Location"] == "/staff/sign-in"


def test_a_passkey_serves_for_a_step_up(site: Site, officer: Staff) -> None:
    one = with_passkey(site, officer)
    stale(site)
    form = f"{STEP_UP}?back=/staff/account/password"
    signed = one.sign(options(site, f"{STEP_UP}/passkey", form))
    assert site.submit(form, {"passkey": signed}).headers["Location"] == "/staff/account/password"
    assert site.client.get(f"{ACCOUNT}/password").status_code == 200


def test_what_was_typed_when_the_freshness_ran_out_goes_along_but_for_secrets(
    site: Site, officer: Staff
) -> None:
    site.enter(staff=officer)
    page = f"{ACCOUNT}/passkeys/new"
    fields = site.fields(site.client.get(page).text)
    stale(site)
    typed = {
        "name": 'My "blue" <key>',
        "passkey": '{"secret": 1}',
        "password": "never shown",
        "code": "123456",
    }
    moved = site.client.post(page, data={**fields, **typed})
    assert moved.status_code == 307, "the browser sends the form on"
    asked = site.client.post(moved.headers["Location"], data={**fields, **typed})
    assert asked.status_code == 200
    assert 'name="kept-name" value="My &#34;blue&#34; &lt;key&gt;"' in asked.text
    for secret in ("never shown", "secret&#34;", "123456"):
        assert secret not in asked.text
    again = {**site.fields(asked.text), "code": "000000"}
    wrong = site.client.post(moved.headers["Location"], data=again)
    assert wrong.status_code == 400
    assert "kept-name" in wrong.text
    good = {**site.fields(wrong.text), "code": code_of(officer.totp_secret or "")}
    done = site.client.post(moved.headers["Location"], data=good)
    assert done.status_code == 200
    assert "Nothing was done yet" in done.text
    assert f'action="{page}"' in done.text
    final = site.fields(done.text)
    assert final["name"] == typed["name"]
    assert site.client.post(page, data=final).status_code == 400, (
        "taken up where it was left: there is no key yet"
    )


BACKS = (
    "", "x", "//evil.example", "//evil.example/staff", "/\\evil.example", "https://evil.example/staff",
    "javascript:alert(1)", "/staff\r\nLocation: https://evil.example", "/staff\x00", "/no-such-page", "/", "/manage",
    "/static/wardlink.css", "/staff/sign-in", "\\\\evil.example", "/%2F%2Fevil.example", "/@evil.example",
    "/staff" + "x" * 3_000, "//[", "/staff/../..//evil.example", "/staff@evil.example", "/ /evil.example",
)  # fmt: skip


def test_a_step_up_leads_back_to_our_own_pages_alone(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        codes = recovery_codes.make(session, officer.id, now=utc_now())
    site.enter(staff=officer)
    with site.client.application.test_request_context():
        assert [back for back in BACKS if step_up.own_path(back, "GET") is not None] == []
        for back in ("/staff", "/staff/account/app?x=1", "/staff/inbox?state=closed#top"):
            assert step_up.own_path(back, "GET") == back
    for back, code in zip(BACKS[2:8], codes, strict=False):
        done = site.submit(f"{STEP_UP}?back={quote(back, safe='')}", {"recovery": code})
        assert (done.status_code, done.headers["Location"]) == (303, ACCOUNT), back


@pytest.mark.slow
def test_tries_at_a_step_up_are_counted(site: Site, officer: Staff) -> None:
    site.enter(staff=officer)
    for _ in range(factors.PER_ACCOUNT):
        assert site.submit(STEP_UP, {"code": "000000"}).status_code == 400
    assert site.submit(STEP_UP, {"code": code_of(officer.totp_secret or "")}).status_code == 429
    site.client.delete_cookie(COOKIE)
    knock(site, officer.email, GOOD)
    assert site.submit(CODE, {"code": code_of(officer.totp_secret or "")}).status_code == 303, "another door"


def test_who_has_no_factor_here_is_told_to_sign_in_again(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        session.get_one(Staff, officer.id).totp_secret = None
    site.enter(staff=officer)
    stale(site)
    page = site.client.get(site.client.get(f"{ACCOUNT}/app").headers["Location"])
    assert "Sign out and sign in again" in page.text


# The account page --------------------------------------------------------------------------------
@pytest.mark.slow
def test_everybody_whatever_their_role_has_an_account(site: Site) -> None:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        police.competent_authority = True
        session.flush()
        bearers = [makes.officer(police, role=role) for role in (Role.AUDITOR, Role.STEWARD, None)]
    for bearer in bearers:
        site.enter(staff=bearer)
        assert site.client.get(ACCOUNT).status_code == 200
        assert site.client.get(f"{ACCOUNT}/password").status_code == 200


def test_the_page_lists_ways_in_and_sessions_and_ends_them(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        there = sessions.begin(session, staff=session.get_one(Staff, officer.id), where=DESK, now=utc_now())
        third = sessions.begin(session, staff=session.get_one(Staff, officer.id), where=DESK, now=utc_now())
    with_passkey(site, officer)
    page = site.client.get(ACCOUNT).text
    for words in ("Blue key", "Firefox on Linux", "192.0.2.0/24", "This one", "You have no recovery codes"):
        assert words in page, words
    ends = re.findall(r'action="(/staff/account/sessions/[0-9a-f-]+/end)"', page)
    assert len(ends) == 2, "not the one that asks"
    assert site.submit(ends[0], page=ACCOUNT).headers["Location"] == f"{ACCOUNT}?done=ended"
    assert site.submit(ends[0], page=ACCOUNT).status_code == 303, "twice is once"
    assert site.submit(f"{ACCOUNT}/sessions/end", page=ACCOUNT).status_code == 303
    with site.registry.sessions() as session:
        assert (
            sessions.find(session, there, now=utc_now())
            is sessions.find(session, third, now=utc_now())
            is None
        )
    assert site.client.get(ACCOUNT).status_code == 200
    assert [e for e, _ in recorded(site)].count("staff:end-sessions") == 2


def test_the_session_of_somebody_else_cannot_be_ended(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        makes = Makes(session, itertools.count(500))
        other = makes.officer(makes.organisation())
        token = sessions.begin(session, staff=other, now=utc_now())
        found = sessions.find(session, token, now=utc_now())
    assert found is not None
    site.enter(staff=officer)
    assert site.submit(f"{ACCOUNT}/sessions/{found.id}/end", page=ACCOUNT).status_code == 303
    with site.registry.sessions() as session:
        assert sessions.find(session, token, now=utc_now()) is not None
    assert "staff:end-sessions" not in [e for e, _ in recorded(site)]


def test_the_last_factor_cannot_be_removed_and_the_page_says_so(site: Site, officer: Staff) -> None:
    site.enter(staff=officer)
    refused = site.submit(f"{ACCOUNT}/app/remove", page=ACCOUNT)
    assert refused.status_code == 400
    assert "last way to show that it is you" in refused.text
    with_passkey(site, officer)
    assert site.submit(f"{ACCOUNT}/app/remove", page=ACCOUNT).status_code == 303
    (path,) = re.findall(
        r'action="(/staff/account/passkeys/[0-9a-f-]+/remove)"', site.client.get(ACCOUNT).text
    )
    assert site.submit(path, page=ACCOUNT).status_code == 400
    with site.registry.sessions() as session:
        assert factors.of(session, officer.id) == factors.Factors(app=False, passkeys=1, codes=0)


def test_recovery_codes_are_shown_once(site: Site, officer: Staff) -> None:
    site.enter(staff=officer)
    path = f"{ACCOUNT}/recovery-codes"
    page = site.submit(path).text
    codes = re.findall(r'<li class="wl-key">([0-9a-z]{5}-[0-9a-z]{5})</li>', page)
    assert len(set(codes)) == 10
    for later in (site.client.get(path).text, site.client.get(ACCOUNT).text):
        assert "10 codes" in later
        assert not any(code in later for code in codes)
    assert recorded(site)[-1] == ("staff:codes", f"staff:{officer.id}")


def test_an_app_is_connected_by_the_key_of_the_page_alone(site: Site, officer: Staff) -> None:
    site.enter(staff=officer)
    path = f"{ACCOUNT}/app"
    page = site.client.get(path).text
    shown = re.search(r'wl-key">([^<]+)<', page)
    assert shown is not None
    secret = html.unescape(shown[1]).replace(" ", "")
    fields = site.fields(page)
    for offer in ("", "x", "é", fields["offer"][:-8] + "AAAAAAAA"):
        assert (
            site.client.post(path, data={**fields, "offer": offer, "code": code_of(secret)}).status_code
            == 400
        )
    wrong = site.client.post(path, data={**fields, "code": "000000"})
    assert wrong.status_code == 400
    assert shown[1] in wrong.text, "the same key still"
    done = site.client.post(path, data={**fields, "code": pyotp.TOTP(secret).at(utc_now())})
    assert done.headers["Location"] == f"{ACCOUNT}?done=app-connected"
    with site.registry.sessions() as session:
        assert session.get_one(Staff, officer.id).totp_secret == secret


def test_another_password_needs_the_old_one_and_ends_all_other_sessions(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        there = sessions.begin(session, staff=session.get_one(Staff, officer.id), where=DESK, now=utc_now())
    site.enter(staff=officer)
    path = f"{ACCOUNT}/password"
    assert "nobody here can look it up" in site.client.get(path).text
    for old, new, words in (
        ("wrong lantern orchard", NEW, "This is not your password."),
        (GOOD, "short", "12 characters or more"),
        (GOOD, "sam officer 2026", "easy to guess"),
        ("", NEW, "Enter the password that you have now."),
    ):
        refused = site.submit(path, {"old": old, "password": new})
        assert refused.status_code == 400
        assert words in refused.text
        assert new not in refused.text
    done = site.submit(path, {"old": GOOD, "password": NEW})
    assert done.headers["Location"] == f"{ACCOUNT}?done=password"
    with site.registry.sessions() as session:
        assert sessions.find(session, there, now=utc_now()) is None
        assert passwords.verify(session.get_one(Staff, officer.id).password_hash, NEW).right
    assert site.client.get(ACCOUNT).status_code == 200
    assert subjects(site) == ["Your password was changed"]
    assert recorded(site)[-1] == ("staff:password", f"staff:{officer.id}")


def test_tries_at_the_old_password_are_counted(site: Site, officer: Staff) -> None:
    with site.registry.sessions.begin() as session:
        for _ in range(factors.PER_ACCOUNT):
            assert not own_password.ask(session, officer.id, now=utc_now()).limited
    site.enter(staff=officer)
    assert site.submit(f"{ACCOUNT}/password", {"old": GOOD, "password": NEW}).status_code == 429


@pytest.mark.slow
def test_signing_in_from_somewhere_new_is_told_once_by_e_mail(site: Site, officer: Staff) -> None:
    def enter(address: str, agent: str, steps: int) -> None:
        site.client.delete_cookie(COOKIE)
        there = {"environ_base": {"REMOTE_ADDR": address}, "headers": {"User-Agent": agent}}
        page = site.client.get("/staff/sign-in", **there).text  # type: ignore[arg-type]
        words = {**site.fields(page), "email": officer.email, "password": GOOD}
        site.client.post("/staff/sign-in", data=words, **there)  # type: ignore[arg-type]
        page = site.client.get(CODE, **there).text  # type: ignore[arg-type]
        with site.registry.sessions.begin() as session:
            session.get_one(Staff, officer.id).totp_step = None
        code = {**site.fields(page), "code": code_of(officer.totp_secret or "")}
        assert site.client.post(CODE, data=code, **there).status_code == 303  # type: ignore[arg-type]

    enter("81.2.69.7", "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0", 0)
    assert subjects(site) == []
    enter("81.2.69.99", "Mozilla/5.0 (X11; Linux x86_64; rv:151.0) Gecko/20100101 Firefox/151.0", 1)
    assert subjects(site) == [], "the same network, the same browser a version later"
    enter("9.9.9.7", "Mozilla/5.0 (X11; Linux x86_64; rv:151.0) Gecko/20100101 Firefox/151.0", 2)
    enter("9.9.9.7", "Mozilla/5.0 (X11; Linux x86_64; rv:151.0) Gecko/20100101 Firefox/151.0", 2)
    assert subjects(site) == ["You signed in from a new network"]
    with site.registry.sessions() as session:
        row = session.scalars(sa.select(WebSession).order_by(WebSession.created_at.desc()).limit(1)).one()
        assert (row.network, row.agent) == ("9.9.9.0/24", "Firefox on Linux")
        text = session.scalars(sa.select(ServiceMessage).where(ServiceMessage.kind == "account")).one().text
    assert "9.9.9.0/24" in (text or "")
    assert "http" not in (text or ""), "no link to press in such a message"


def test_an_idle_hour_asks_for_both_factors_again(site: Site, officer: Staff) -> None:
    site.enter(staff=officer)
    with site.registry.sessions.begin() as session:
        session.execute(sa.update(WebSession).values(seen_at=utc_now() - timedelta(minutes=61)))
    assert site.client.get(ACCOUNT).headers["Location"] == "/staff/sign-in"
