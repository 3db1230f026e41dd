"""Staff come in: by an invitation once, then by password and code, and no other way."""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from threading import Barrier, Thread
from urllib.parse import urlsplit

import pyotp
import pytest
import sqlalchemy as sa
from sqlalchemy import event

from app.db import utc_now
from app.models.audit import AuditEntry
from app.models.organisations import Organisation
from app.models.service_messages import ServiceMessage
from app.models.staff import Staff, StaffInvitation, WebSession
from app.services import enrolment, factors, invitations, passwords, second_factor, sign_in, staff
from tests.app.web.conftest import PUBLIC_URL, Site
from tests.factories import ACTOR, Makes

GOOD = "teapot lantern orchard"
DOOR, CODE = "/staff/sign-in", "/staff/sign-in/code"
COOKIE = "__Host-wardlink"


@pytest.fixture
def officer(site: Site) -> Staff:
    with site.registry.sessions.begin() as session:
        makes = Makes(session)
        return makes.officer(makes.organisation(), password=GOOD)


def invited(site: Site, email: str = "new.officer@police.example") -> str:
    """The path of an invitation's page."""
    with site.registry.sessions.begin() as session:
        slug = session.scalar(sa.select(Organisation.slug)) or Makes(session).organisation().slug
        sent = invitations.invite(
            session, organisation=slug, email=email, name="Kim New", public_url=PUBLIC_URL, fictional=True,
            actor=ACTOR, now=utc_now(),
        )  # fmt: skip
    return urlsplit(sent.url).path


def code_of(secret: str, *, steps: int = 0) -> str:
    return pyotp.TOTP(secret).at(utc_now(), counter_offset=steps)


def knock(site: Site, email: str, password: str):
    return site.submit(DOOR, {"email": email, "password": password})


def cookie(site: Site) -> str | None:
    found = site.client.get_cookie(COOKIE)
    return found and found.value


def recorded(site: Site) -> list[tuple[str, str]]:
    with site.registry.sessions() as session:
        query = sa.select(AuditEntry.event, AuditEntry.subject).where(AuditEntry.event.like("staff:%"))
        return [tuple(row) for row in session.execute(query.order_by(AuditEntry.id))]


def test_both_factors_open_the_pages_of_staff_and_signing_out_closes_them(site: Site, officer: Staff) -> None:
    assert site.client.get("/staff").headers["Location"] == DOOR
    first = knock(site, officer.email.upper(), GOOD)
    assert (first.status_code, first.headers["Location"]) == (303, CODE)
    half = cookie(site)
    assert site.client.get("/staff").headers["Location"] == DOOR, "half a session opens nothing"
    second = site.submit(CODE, {"code": code_of(officer.totp_secret)})
    assert (second.status_code, second.headers["Location"]) == (303, "/staff")
    assert cookie(site) != half, "the whole session has a token of its own"
    assert site.client.get("/staff").status_code == 200
    assert site.client.get(DOOR).headers["Location"] == "/staff"
    account = site.client.get("/staff/account")
    assert "Sam Officer" in account.text
    assert officer.email in account.text
    out = site.submit("/staff/sign-out", page="/staff/account")
    assert (out.status_code, out.headers["Location"]) == (303, DOOR)
    assert site.client.get("/staff").headers["Location"] == DOOR
    with site.registry.sessions() as session:
        assert session.scalars(sa.select(WebSession)).all() == []
    who = f"staff:{officer.id}"
    assert recorded(site) == [("staff:sign-in", who), ("staff:sign-out", who)]


def test_the_half_session_is_gone_once_it_became_a_whole_one(site: Site, officer: Staff) -> None:
    knock(site, officer.email, GOOD)
    half = cookie(site)
    site.submit(CODE, {"code": code_of(officer.totp_secret)})
    site.client.set_cookie(COOKIE, half or "", secure=True)
    assert site.client.get(CODE).headers["Location"] == DOOR
    assert site.client.get("/staff").headers["Location"] == DOOR


def test_every_wrong_way_in_gets_the_same_answer_and_costs_the_same(
    site: Site, officer: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alike in words, in status, in cookies, in questions to the database and in hashes compared."""
    with site.registry.sessions.begin() as session:
        makes = Makes(session, itertools.count(100))
        left = makes.officer(session.get_one(Organisation, officer.organisation_id), password=GOOD)
        staff.leave(session, left.email, actor=ACTOR, now=utc_now())
        elsewhere = makes.officer(session.get_one(Organisation, officer.organisation_id))
        elsewhere.password_hash, elsewhere.totp_secret = None, None
        elsewhere.oidc_issuer, elsewhere.oidc_subject = "https://id.example", "1"
        ended = makes.officer(makes.organisation(), password=GOOD)
        session.get_one(Organisation, ended.organisation_id).ended_at = utc_now()
    invited(site)
    compared = []
    verify = passwords.verify

    def counting(kept: str | None, password: str) -> passwords.Verdict:
        compared.append(kept)
        return verify(kept, password)

    monkeypatch.setattr(passwords, "verify", counting)
    asked: list[str] = []
    event.listen(site.registry.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))
    answers = []
    tries = [
        (officer.email, "wrong lantern orchard"),
        ("nobody@police.example", GOOD),
        (left.email, GOOD),
        ("new.officer@police.example", GOOD),
        (elsewhere.email, GOOD),
        (ended.email, GOOD),
    ]
    for email, password in tries:
        asked.clear()
        answer = knock(site, email, password)
        words = re.sub(r'(form_token" value|value|nonce)="[^"]*"', "", answer.text).replace(email, "")
        answers.append((answer.status_code, words, answer.headers.get("Set-Cookie"), len(asked)))
    assert answers[0][0] == 400
    assert "The e-mail address or the password is not right." in answers[0][1]
    assert cookie(site) is None
    assert set(answers) == {answers[0]}
    assert len(compared) == len(tries)
    nobody = "staff:unknown"
    refused = [subject for _, subject in recorded(site)][-6:]
    assert refused == [f"staff:{officer.id}", nobody, nobody, nobody, f"staff:{elsewhere.id}", nobody]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"email": "", "password": ""},
        {"email": "x", "password": GOOD},
        {"email": "a\x00b@police.example", "password": GOOD},
        {"email": "x" * 300 + "@police.example", "password": GOOD},
        {"email": "someone@police.example", "password": "x" * 5_000},
        {"email": "someone@police.example", "password": "a\x00b"},
    ],
)
def test_what_is_no_sign_in_is_refused_beside_its_field(site: Site, fields: dict[str, str]) -> None:
    answer = site.submit(DOOR, fields)
    assert answer.status_code == 400
    assert "There is a problem" in answer.text
    assert "<title>Error: " in answer.text
    assert recorded(site) == []
    if fields.get("password"):
        assert fields["password"] not in answer.text


def test_after_ten_tries_an_account_is_closed_to_a_network_even_with_the_right_password(
    site: Site, officer: Staff
) -> None:
    with site.registry.sessions.begin() as session:
        mine = sign_in._of_account(staff.read_email(officer.email), "127.0.0.0/24")
        assert sign_in.limits.take(session, mine, now=utc_now(), amount=9) is None
    assert knock(site, officer.email, "wrong lantern orchard").status_code == 400
    answer = knock(site, officer.email, GOOD)
    assert answer.status_code == 429
    assert "Wait 15 minutes" in answer.text
    assert cookie(site) is None
    # The officer, who sits somewhere else, comes in all the same.
    there = {"REMOTE_ADDR": "203.0.113.7"}
    page = site.client.get("/staff/sign-in", environ_base=there).text
    words = {**site.fields(page), "email": officer.email, "password": GOOD}
    assert site.client.post("/staff/sign-in", data=words, environ_base=there).status_code == 303


def test_a_network_that_is_wrong_too_often_is_closed_out_and_one_that_is_right_never(
    site: Site, officer: Staff
) -> None:
    """A station shares one network: those who sign in as they should do not use its tries up."""
    with site.registry.sessions.begin() as session:
        assert (
            sign_in.limits.take(session, sign_in._of_network("127.0.0.0/24"), now=utc_now(), amount=29)
            is None
        )
    assert knock(site, officer.email, GOOD).status_code == 303
    assert site.submit(CODE, {"code": "000000"}).status_code == 400  # the thirtieth that was wrong
    assert site.submit(CODE, {"code": code_of(officer.totp_secret)}).status_code == 429
    site.client.delete_cookie(COOKIE)
    assert knock(site, "another@police.example", GOOD).status_code == 429


def test_wrong_codes_are_counted_and_close_the_door(site: Site, officer: Staff) -> None:
    knock(site, officer.email, GOOD)
    with site.registry.sessions.begin() as session:
        mine = factors.limits_of("sign-in", factors.Way.APP, officer.id, "127.0.0.0/24")
        assert sign_in.limits.take(session, mine, now=utc_now(), amount=9) is None
    assert site.submit(CODE, {"code": "000 000"}).status_code == 400
    assert site.submit(CODE, {"code": code_of(officer.totp_secret)}).status_code == 429
    assert site.client.get("/staff").headers["Location"] == DOOR


@pytest.mark.parametrize("typed", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "\x00\x00", "9" * 500])
def test_what_is_no_code_is_refused_and_not_counted(site: Site, officer: Staff, typed: str) -> None:
    knock(site, officer.email, GOOD)
    assert site.submit(CODE, {"code": typed}).status_code == 400
    assert ("staff:refuse", f"staff:{officer.id}") not in recorded(site)


def test_a_code_serves_once(site: Site, officer: Staff) -> None:
    code = code_of(officer.totp_secret)
    knock(site, officer.email, GOOD)
    assert site.submit(CODE, {"code": code}).status_code == 303
    site.client.delete_cookie(COOKIE)
    knock(site, officer.email, GOOD)
    again = site.submit(CODE, {"code": code})
    assert again.status_code == 400
    assert "Wait for the next one" in again.text


def test_a_code_sent_twice_at_once_opens_one_session(site: Site, officer: Staff) -> None:
    code, barrier, used = code_of(officer.totp_secret), Barrier(4), []

    def use() -> None:
        with site.registry.sessions.begin() as session:
            session.get_one(Staff, officer.id)
            barrier.wait()
            used.append(second_factor.use(session, officer.id, code, now=utc_now()))

    threads = [Thread(target=use) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(used) == [False, False, False, True]


def test_the_page_for_the_code_is_for_those_with_the_first_factor_alone(site: Site) -> None:
    for answer in (site.client.get(CODE), site.submit(CODE, {"code": "123456"}, page=DOOR)):
        assert answer.headers["Location"] == DOOR


def test_who_leaves_in_the_middle_of_signing_in_stays_out(site: Site, officer: Staff) -> None:
    knock(site, officer.email, GOOD)
    page = site.client.get(CODE).text
    with site.registry.sessions.begin() as session:
        staff.leave(session, officer.email, actor=ACTOR, now=utc_now())
    answer = site.client.post(CODE, data={**site.fields(page), "code": code_of(officer.totp_secret)})
    assert answer.status_code in {302, 400}
    assert site.client.get("/staff").headers["Location"] == DOOR


def test_a_password_kept_with_weaker_settings_is_kept_anew_at_sign_in(site: Site, officer: Staff) -> None:
    weak = passwords.PasswordHasher(time_cost=1, memory_cost=8_192).hash(GOOD)
    with site.registry.sessions.begin() as session:
        session.get_one(Staff, officer.id).password_hash = weak
    assert knock(site, officer.email, GOOD).status_code == 303
    with site.registry.sessions() as session:
        kept = session.get_one(Staff, officer.id).password_hash
    assert kept != weak
    assert passwords.verify(kept, GOOD) == passwords.Verdict(True)


# Invitations ----------------------------------------------------------------------------------
def test_an_invitation_leads_through_password_and_app_to_a_session_once(site: Site) -> None:
    path = invited(site)
    welcome = site.client.get(path)
    assert "Kim New" in welcome.text
    assert "Step 1 of 3" in welcome.text
    assert site.submit(path, {"step": "password", "password": GOOD}).status_code == 303
    page = site.client.get(path).text
    assert "Step 2 of 3" in page
    with site.registry.sessions() as session:
        one = session.scalars(sa.select(Staff)).one()
        assert one.state == "invited"
    secret = one.totp_secret or ""
    assert " ".join(re.findall("....", secret)) in page
    picture = re.search(r"<svg.*?</svg>", page, re.DOTALL)
    assert picture is not None
    assert 'role="img"' in picture[0]
    assert "style=" not in picture[0]
    assert site.submit(path, {"step": "code", "code": "000000"}).status_code == 400
    code = code_of(secret)
    done = site.submit(path, {"step": "code", "code": code})
    assert (done.status_code, done.headers["Location"]) == (303, "/staff/account/recovery-codes?first=1")
    assert "Step 3 of 3" in site.client.get(done.headers["Location"]).text
    assert site.client.get("/staff").status_code == 200
    assert recorded(site)[-2:] == [("staff:enrol", f"staff:{one.id}"), ("staff:sign-in", f"staff:{one.id}")]
    assert site.client.get(path).status_code == 410, "an invitation opens once"
    with site.registry.sessions() as session:
        assert session.scalars(sa.select(StaffInvitation)).one().used_at is not None
    site.client.delete_cookie(COOKIE)
    knock(site, one.email, GOOD)
    assert site.submit(CODE, {"code": code}).status_code == 400, "the code of enrolment is used up"
    assert site.submit(CODE, {"code": code_of(secret, steps=1)}).status_code == 303


@pytest.mark.parametrize(
    "password", ["", "short", "passwordpassword", "new.officer kim 2026", "x" * 129, "a\x00" * 9]
)
def test_a_password_that_cannot_be_used_is_refused_and_nothing_is_kept(site: Site, password: str) -> None:
    path = invited(site)
    answer = site.submit(path, {"step": "password", "password": password})
    assert answer.status_code == 400
    assert "There is a problem" in answer.text
    with site.registry.sessions() as session:
        assert session.scalars(sa.select(Staff.password_hash)).one() is None


def test_looking_at_an_invitation_changes_nothing(site: Site) -> None:
    path = invited(site)
    site.submit(path, {"step": "password", "password": GOOD})
    assert _key(site.client.get(path).text) == _key(site.client.get(path).text)


def test_another_password_may_be_chosen_before_the_end(site: Site) -> None:
    path = invited(site)
    site.submit(path, {"step": "password", "password": GOOD})
    before = _key(site.client.get(path).text)
    assert site.submit(path, {"step": "again"}).status_code == 303
    assert "Step 1 of 3" in site.client.get(path).text
    site.submit(path, {"step": "password", "password": "kettle harbour violet"})
    assert _key(site.client.get(path).text) != before


@pytest.mark.parametrize("step", ["", "code", "x", "\x00"])
def test_no_step_can_be_left_out(site: Site, step: str) -> None:
    path = invited(site)
    assert site.submit(path, {"step": step, "code": "123456"}).status_code == 303
    assert "Step 1 of 3" in site.client.get(path).text


def test_an_invitation_lasts_48_hours_and_a_newer_one_ends_it(site: Site) -> None:
    path = invited(site)
    with site.registry.sessions.begin() as session:
        session.execute(sa.update(StaffInvitation).values(used_at=None))
        row = session.scalars(sa.select(StaffInvitation)).one()
        token = path.rpartition("/")[2]
        assert row.expires_at - row.created_at == timedelta(hours=48)
        with pytest.raises(invitations.Conflict):
            enrolment.opened(session, token, now=row.expires_at)
        assert enrolment.opened(session, token, now=row.expires_at - timedelta(seconds=1)).name == "Kim New"
    again = invited(site)
    assert site.client.get(path).status_code == 404
    assert site.client.get(again).status_code == 200
    for nothing in ("x", "x" * 300, "%00", "%ED%A0%80"):
        assert site.client.get(f"/staff/invitation/{nothing}").status_code == 404


def test_the_invitation_goes_out_by_e_mail_and_its_token_is_kept_nowhere(site: Site) -> None:
    path = invited(site)
    token = path.rpartition("/")[2]
    with site.registry.sessions() as session:
        message = session.scalars(sa.select(ServiceMessage)).one()
        assert (message.kind, message.synthetic) == ("invitation", True)
        assert PUBLIC_URL + path in (message.text or "")
        kept = [row.digest for row in session.scalars(sa.select(StaffInvitation))]
        whys = [f"{e.detail}{e.why}" for e in session.scalars(sa.select(AuditEntry))]
    assert token.encode() not in b"".join(kept)
    assert token not in "".join(whys)


def test_staff_who_are_active_are_not_invited_again_and_those_who_left_are(
    site: Site, officer: Staff
) -> None:
    with pytest.raises(invitations.Conflict):
        invited(site, officer.email)
    with site.registry.sessions.begin() as session:
        staff.leave(session, officer.email, actor=ACTOR, now=utc_now())
    path = invited(site, officer.email)
    site.submit(path, {"step": "password", "password": GOOD})
    with site.registry.sessions() as session:
        again = session.get_one(Staff, officer.id)
    assert again.totp_secret not in {None, officer.totp_secret}
    assert second_factor.step_of(again.totp_secret, "000000", now=utc_now(), last=None) is None


def _key(page: str) -> str:
    found = re.search(r'wl-key">([^<]+)<', page)
    assert found is not None
    return found[1]


def test_what_was_written_when_the_session_ended_is_given_back_and_nothing_is_done(site):
    words = {
        "headline": "Bicycles <stolen>",
        "body": "Three of them.\n\nOn Monday.",
        "password": "never shown",
    }
    answer = site.client.post("/staff/alerts/new", data=words)
    assert answer.status_code == 403
    assert "You have been signed out" in answer.text
    assert "Bicycles &lt;stolen&gt;" in answer.text
    assert "Three of them." in answer.text
    assert "never shown" not in answer.text
    # Another site may not put its words on our page.
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert site.client.post("/staff/alerts/new", data=words, headers=foreign).status_code == 302
    assert (
        site.client.post("/staff/alerts/new", data={"headline": " "}).headers["Location"] == "/staff/sign-in"
    )
