"""Staff come in by their organisation's own provider: a real one, over real HTTP."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
import requests
import sqlalchemy as sa
import structlog
from flask import Flask
from sqlalchemy.orm import sessionmaker
from structlog.testing import capture_logs
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from app.audit import record as audit
from app.db import utc_now
from app.factory import create_app
from app.models.access import RoleGrant
from app.models.audit import AuditEntry
from app.models.sign_in import Ceremony
from app.models.staff import Staff, StaffInvitation, WebSession
from app.permissions import Role
from app.registry import Registry
from app.services import invitations, roles, staff
from app.services.oidc import discovery, mapping, providers
from tests.app.web.conftest import PUBLIC_URL, Site, open_site
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.oidc.provider import CLIENT, SECRET, Person, RealProvider, free_port, running, user

DOOR, BACK = "/staff/sign-in/org-1", "/staff/sign-in/org-1/back"
COOKIE, BROWSER = "__Host-wardlink", "__Host-wardlink-oidc"
NOWHERE = "http://127.0.0.1:9"  # both message providers: this installation is a sandbox
PORT = free_port()  # of our own site, where a provider calls it


@pytest.fixture(scope="module")
def provider() -> Iterator[RealProvider]:
    with running(
        [f"{PUBLIC_URL}{BACK}"],
        logout=f"http://127.0.0.1:{PORT}/hooks/identity/org-1",
        after=f"{PUBLIC_URL}/staff/sign-in",
        acr_values=["urn:test:two"],
    ) as made:
        yield made


@dataclass
class Desk:
    """The site, the provider, and one person between them."""

    site: Site
    provider: RealProvider
    person: Person

    def set_out(self, path: str = DOOR) -> str:
        """From our page to an address of the provider's."""
        answer = self.site.submit(path)
        assert answer.status_code == 200, answer.text
        where = answer.headers["Refresh"].removeprefix("0; url=")
        assert f'href="{where.replace("&", "&amp;")}"' in answer.text, "and a link, for who is not led there"
        return where

    def come(self, name: str = "ada", path: str = DOOR) -> TestResponse:
        """There and back again."""
        return self.arrive(self.person.sign_in(self.set_out(path), name))

    def arrive(self, address: str) -> TestResponse:
        assert address.startswith(f"{PUBLIC_URL}{BACK}?"), address
        return self.site.client.get(address.removeprefix(PUBLIC_URL))

    def refused(self, name: str = "ada") -> str:
        """Somebody is turned away; the words."""
        self.person = Person()
        answer = self.come(name)
        assert answer.status_code == 403, (answer.status_code, answer.headers.get("Location"))
        assert not self.in_staff()
        return answer.text

    def in_staff(self) -> bool:
        return self.site.client.get("/staff").status_code == 200

    def alter_trip(self, *, at: datetime | None = None, expires_at: datetime | None = None) -> None:
        """As if a trip had been begun at another time."""
        with self.site.registry.sessions.begin() as session:
            newest = sa.select(Ceremony).order_by(Ceremony.expires_at.desc()).limit(1)
            found = session.scalars(newest).one()
            session.delete(found)
            session.flush()
            data = found.data | ({"at": at.isoformat()} if at else {})
            ends = expires_at or found.expires_at
            session.add(Ceremony(digest=found.digest, kind=found.kind, data=data, expires_at=ends))

    def leave(self) -> None:
        """The browser forgets us; the provider still knows it."""
        self.site.client.delete_cookie(COOKIE)

    def people(self) -> list[Staff]:
        with self.site.registry.sessions() as session:
            return list(session.scalars(sa.select(Staff).order_by(Staff.id)))

    def held(self, person: UUID) -> list[tuple[str, str]]:
        with self.site.registry.sessions() as session:
            return [(str(one.role), one.source) for one in roles.of_staff(session, person, now=utc_now())]

    def recorded(self) -> list[tuple[str, str | None]]:
        with self.site.registry.sessions() as session:
            query = sa.select(AuditEntry.event, AuditEntry.detail).order_by(AuditEntry.id)
            return [tuple(row) for row in session.execute(query)]

    def invite(self, email: str) -> str:
        with self.site.registry.sessions.begin() as session:
            sent = invitations.invite(
                session, organisation="org-1", email=email, name="Kim New", public_url=PUBLIC_URL, fictional=True,
                actor=ACTOR, now=utc_now(),
            )  # fmt: skip
        return urlsplit(sent.url).path


@dataclass
class Stage:
    """An app on the common database, through one connection whose work is taken back."""

    registry: Registry
    app: Flask
    connection: sa.Connection

    @contextmanager
    def site(self) -> Iterator[Site]:
        """A new browser, and an end at which nothing is left."""
        point = self.connection.begin_nested()
        yield Site(self.app.test_client(), self.registry)
        point.rollback()


@contextmanager
def staged(database: Database, **changes: str) -> Iterator[Stage]:
    opened = open_site(database, **changes)
    try:
        with opened.registry.engine.connect() as connection:
            outer = connection.begin()
            inside = sessionmaker(
                connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            )
            registry = dataclasses.replace(opened.registry, sessions=inside)
            yield Stage(registry, create_app(registry), connection)
            outer.rollback()
    finally:
        opened.registry.engine.dispose()


@pytest.fixture(scope="module")
def stage(database: Database) -> Iterator[Stage]:
    """One app for all: to make it takes longer than most tests."""
    with staged(database, TWILIO_BASE_URL=NOWHERE, SENDGRID_BASE_URL=NOWHERE) as made:
        yield made


@pytest.fixture
def site(stage: Stage) -> Iterator[Site]:
    with stage.site() as opened:
        yield opened


@pytest.fixture
def desk(site: Site, provider: RealProvider) -> Desk:
    discovery.forget()
    with site.registry.sessions.begin() as session:
        Makes(session).organisation("Test Police")
        providers.put(
            session,
            "org-1",
            issuer=provider.issuer,
            client_id=CLIENT,
            client_secret=SECRET,
            domains=["police.example"],
            factors=["mfa", "urn:test:two"],
            sandbox=True,
            actor=ACTOR,
        )
        mapping.map_group(session, "org-1", "officers", Role.OFFICER, actor=ACTOR)
        mapping.map_group(session, "org-1", "chiefs", Role.FORCE_ADMINISTRATOR, actor=ACTOR)
    provider.control(fault=None, users={"ada": user("ada@police.example", "officers", "others")})
    return Desk(site, provider, Person())


def test_who_is_in_a_mapped_group_comes_in_with_an_account_and_a_role_for_a_day(desk: Desk) -> None:
    answer = desk.come()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/staff")
    assert desk.in_staff()
    assert desk.site.client.get_cookie(BROWSER) is None, "what bound the browser is over"
    (made,) = desk.people()
    assert (made.name, made.email, made.state) == ("Ada Okafor", "ada@police.example", "active")
    assert (made.oidc_issuer, made.oidc_subject) == (desk.provider.issuer, "ada")
    assert (made.password_hash, made.totp_secret) == (None, None)
    assert desk.held(made.id) == [("officer", "group")]
    with desk.site.registry.sessions() as session:
        granted = session.scalars(sa.select(RoleGrant)).one()
        assert timedelta(hours=23) < granted.ends_at - utc_now() <= timedelta(hours=24)
        opened = session.scalars(sa.select(WebSession)).one()
        assert opened.oidc_sid
        assert opened.stepped_up_at is not None
        assert session.scalars(sa.select(Ceremony)).all() == [], "a state serves once"
    assert [event for event, _ in desk.recorded()][-3:] == ["staff:link", "role:grant", "staff:sign-in"]
    assert "police.example" not in str(desk.recorded())


def test_what_goes_to_the_provider_is_bound_to_this_browser_and_this_time(desk: Desk) -> None:
    first, second = desk.set_out(), desk.set_out()
    asked = parse_qs(urlsplit(first).query)
    assert asked["response_type"] == ["code"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{PUBLIC_URL}{BACK}"]
    assert asked["acr_values"] == ["urn:test:two"], "only what it says it knows"
    assert set(asked["scope"][0].split()) == {"openid", "profile", "email", "groups"}
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name][0]) >= 43
        assert asked[name] != parse_qs(urlsplit(second).query)[name]
    kept = desk.site.client.get_cookie(BROWSER)
    assert kept is not None
    assert (kept.http_only, kept.secure, kept.same_site, kept.path) == (True, True, "Lax", "/")
    with desk.site.registry.sessions() as session:
        rows = str(
            session.execute(sa.text("SELECT encode(digest, 'hex'), data FROM sign_in_ceremonies")).all()
        )
    for secret in (kept.value, asked["state"][0], asked["nonce"][0]):
        assert secret not in rows, "a copy of the table opens nothing"


def test_a_way_back_serves_once_in_the_browser_that_set_out_and_only_for_ten_minutes(desk: Desk) -> None:
    # The first way out is not this browser's any more once it set out again.
    older, _ = desk.set_out(), desk.set_out()
    back = desk.person.sign_in(older, "ada")
    answer = desk.arrive(back)
    assert (answer.status_code, "too late, in another browser, or twice" in answer.text) == (403, True)
    # Somebody else's code cannot be put into a browser that never set out, and what was not used is still good.
    newest = desk.set_out()
    kept = desk.site.client.get_cookie(BROWSER)
    back = desk.person.sign_in(newest, "ada")
    for cookie in (None, "another"):
        desk.site.client.delete_cookie(BROWSER)
        if cookie:
            desk.site.client.set_cookie(BROWSER, cookie, secure=True)
        assert desk.arrive(back).status_code == 403
    assert not desk.in_staff()
    desk.site.client.set_cookie(BROWSER, kept.value, secure=True)
    assert desk.arrive(back).status_code == 303
    desk.leave()
    desk.site.client.set_cookie(BROWSER, kept.value, secure=True)
    assert desk.arrive(back).status_code == 403, "and never twice"
    back = desk.person.sign_in(desk.set_out(), "ada")
    desk.alter_trip(expires_at=utc_now())
    assert desk.arrive(back).status_code == 403
    assert not desk.in_staff()


def test_an_answer_of_another_issuer_or_for_another_organisation_is_refused(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        Makes(session, iter([2])).organisation("Test Council")  # type: ignore[arg-type]
        providers.put(
            session, "org-2", issuer=f"{NOWHERE}/other", client_id="x", client_secret="y" * 20, sandbox=True,
            actor=ACTOR,
        )  # fmt: skip
    back = desk.person.sign_in(desk.set_out(), "ada")
    assert "&iss=" in back or "?iss=" in back
    elsewhere = back.removeprefix(PUBLIC_URL).replace("org-1", "org-2")
    assert desk.site.client.get(elsewhere).status_code == 403
    assert desk.arrive(re.sub(r"iss=[^&]+", "iss=http%3A%2F%2F127.0.0.1%3A1", back)).status_code == 403
    back = desk.person.sign_in(desk.set_out(), "ada")
    assert desk.arrive(re.sub(r"&?iss=[^&]+", "", back)).status_code == 403, (
        "it says that it always names itself"
    )
    assert not desk.in_staff()


# What is wrong, and the word in the log that shows that it was found out for that.
FAULTS = {
    "audience": "InvalidClaimError aud", "audiences": "aud", "azp": "InvalidClaimError azp",
    "nonce": "InvalidClaimError nonce", "no-nonce": "MissingClaimError nonce", "expired": "ExpiredTokenError exp",
    "no-expiry": "MissingClaimError exp", "old": "old", "future": "InvalidClaimError iat",
    "issuer": "InvalidClaimError iss", "subject": "sub", "at-hash": "InvalidClaimError at_hash",
    "stranger": "BadSignatureError", "unknown-key": "key", "none": "algorithm", "hs256": "algorithm",
    "secret": "algorithm", "garbage": "DecodeError", "redirect": "status-302", "huge": "size",
    "userinfo": "userinfo-sub",
}  # fmt: skip


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Lines of the log as they are written, however an earlier test had them set up."""
    before = structlog.get_config()
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
    structlog.configure(**before)


def test_no_faulty_token_lets_anybody_in(desk: Desk, logged: list[Any]) -> None:
    desk.come()
    assert desk.in_staff(), "without a fault they come in"
    desk.leave()
    before = len(desk.people())
    for fault, why in FAULTS.items():
        desk.provider.control(fault=fault)
        logged.clear()
        words = desk.refused()
        assert [line["why"] for line in logged if line["event"] == "oidc_refused"] == [why], fault
        away = fault in {"redirect", "huge"}
        assert ("does not answer" if away else "could not be believed") in words, fault
        event, detail = desk.recorded()[-1]
        assert (event, detail) == (
            "staff:refuse",
            f'{{"reason":"{"away" if away else "token"}","step":"oidc"}}',
        ), fault
    assert len(desk.people()) == before
    desk.provider.control(fault=None)
    assert desk.come().status_code == 303


def test_without_a_second_factor_nobody_comes_in_and_the_words_help(desk: Desk) -> None:
    everybody = {
        "none": user("ada@police.example", "officers", amr=["pwd"]),
        "weak": user("ada@police.example", "officers", amr=["pwd"], acr="urn:test:one"),
        "acr": user("ada@police.example", "officers", amr=["pwd"], acr="urn:test:two"),
    }
    desk.provider.control(users=everybody)
    for name in ("none", "weak"):
        assert "did not say that you showed a second factor" in desk.refused(name)
    assert desk.people() == []
    desk.person = Person()
    assert desk.come("acr").status_code == 303


def test_whoever_stops_there_is_told_so(desk: Desk) -> None:
    words = desk.refused("nobody")
    assert "you stopped there" in words
    assert "stopped there</" not in words.replace("or you stopped there.", ""), "their words are not repeated"


def test_roles_by_group_follow_the_groups_and_given_roles_stay(desk: Desk) -> None:
    desk.come()
    (ada,) = desk.people()
    with desk.site.registry.sessions.begin() as session:
        found = session.get_one(Staff, ada.id)
        roles.grant(session, found, Role.AUDITOR, by=None, actor=ACTOR, now=utc_now())
        roles.grant(session, found, Role.FORCE_ADMINISTRATOR, by=None, actor=ACTOR, now=utc_now())
    desk.provider.control(users={"ada": user("ada@police.example", "chiefs")})
    desk.leave()
    desk.come()
    assert desk.held(ada.id) == [("auditor", "given"), ("force-administrator", "given")]
    with desk.site.registry.sessions() as session:
        ends = session.scalars(sa.select(RoleGrant.ends_at).where(RoleGrant.role == "force-administrator"))
        assert ends.one() > utc_now() + timedelta(days=300), (
            "a day by group does not shorten a year that was given"
        )
        taken = session.scalars(sa.select(RoleGrant).where(RoleGrant.role == "officer")).one()
        assert taken.taken_at is not None
    desk.provider.control(users={"ada": user("ada@police.example", "officers")})
    desk.leave()
    desk.come()
    assert ("officer", "group") in desk.held(ada.id)
    # What somebody grants over a role by group is theirs, and outlives the group.
    with desk.site.registry.sessions.begin() as session:
        roles.grant(
            session, session.get_one(Staff, ada.id), Role.OFFICER, by=None, actor=ACTOR, now=utc_now()
        )
    assert ("officer", "given") in desk.held(ada.id)
    desk.provider.control(users={"ada": user("ada@police.example")})
    desk.leave()
    assert desk.come().status_code == 303
    assert {source for _, source in desk.held(ada.id)} == {"given"}
    assert len(desk.people()) == 1


def test_nobody_without_a_role_comes_in_and_no_account_is_made(desk: Desk) -> None:
    desk.provider.control(users={"ada": user("ada@police.example", "strangers")})
    assert "you have no role here" in desk.refused()
    assert desk.people() == []
    desk.provider.control(users={"ada": user("ada@police.example", "officers")})
    assert desk.come().status_code == 303
    desk.provider.control(users={"ada": user("ada@police.example")})
    desk.leave()
    assert "you have no role here" in desk.refused()
    assert desk.held(desk.people()[0].id) == []


def test_only_a_competent_authority_has_investigators_by_group(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        with pytest.raises(mapping.Invalid, match="competent authority"):
            mapping.map_group(session, "org-1", "detectives", Role.INVESTIGATOR, actor=ACTOR)
        session.execute(sa.text("UPDATE organisations SET competent_authority = true"))
        session.expire_all()
        mapping.map_group(session, "org-1", "detectives", Role.INVESTIGATOR, actor=ACTOR)
    desk.provider.control(users={"ada": user("ada@police.example", "detectives", "officers")})
    desk.come()
    (ada,) = desk.people()
    assert desk.held(ada.id) == [("investigator", "group"), ("officer", "group")]
    with desk.site.registry.sessions.begin() as session:
        session.execute(sa.text("UPDATE organisations SET competent_authority = false"))
    desk.leave()
    desk.come()
    assert desk.held(ada.id) == [("officer", "group")]


def test_an_invited_account_is_linked_by_a_verified_address_and_has_no_password_then(desk: Desk) -> None:
    path = desk.invite("kim@police.example")
    assert desk.site.submit(path, {"password": "teapot lantern orchard"}).status_code == 303
    (kim,) = desk.people()
    for verified in (False, None):
        desk.provider.control(users={"kim": user("kim@police.example", "officers", verified=verified)})
        assert "address is verified" in desk.refused("kim")
    desk.provider.control(
        users={"kim": user("KIM@police.example")}
    )  # in no group: the invitation gave a role
    desk.person = Person()
    assert desk.come("kim").status_code == 303
    (linked,) = desk.people()
    assert (linked.id, linked.oidc_subject, linked.state) == (kim.id, "kim", "active")
    assert (linked.password_hash, linked.totp_secret) == (None, None)
    with desk.site.registry.sessions() as session:
        assert session.scalars(sa.select(StaffInvitation)).all() == []
    desk.leave()
    assert desk.site.client.get(path).status_code in {404, 410}
    wrong = desk.site.submit(
        "/staff/sign-in", {"email": "kim@police.example", "password": "teapot lantern orchard"}
    )
    assert wrong.status_code == 400
    assert "Sign in with your organisation" in wrong.text


def test_whoever_has_a_password_is_told_to_use_it(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        found = session.scalars(sa.select(providers.Organisation)).one()
        kim = Makes(session, iter(range(50, 99))).officer(found, password="teapot lantern orchard")  # type: ignore[arg-type]
    desk.provider.control(users={"kim": user(kim.email, "officers")})
    assert "You have a password here" in desk.refused("kim")
    assert desk.people()[0].oidc_subject is None


def test_an_address_of_another_organisation_or_domain_opens_nothing(desk: Desk) -> None:
    with desk.site.registry.sessions.begin() as session:
        makes = Makes(session, iter(range(2, 99)))  # type: ignore[arg-type]
        other = makes.officer(makes.organisation("Test Council"))
        sent = invitations.invite(
            session, organisation="org-2", email="lee@police.example", name="Lee", public_url=PUBLIC_URL,
            fictional=True, actor=ACTOR, now=utc_now(),
        )  # fmt: skip
    everybody = {
        "active": user(other.email, "officers"),
        "invited": user("lee@police.example", "officers"),
        "foreign": user("ada@council.example", "officers"),
        "no-address": user(None, "officers"),
        "no-such-address": user("not an address", "officers"),
    }
    desk.provider.control(users=everybody)
    before = desk.people()
    for name in everybody:
        words = desk.refused(name)
        wanted = "somebody else’s account" if name in {"active", "invited"} else "a work e-mail address"
        assert wanted in words, name
    assert [(one.id, one.state, one.oidc_subject) for one in desk.people()] == [
        (one.id, one.state, None) for one in before
    ]
    assert sent.staff_id in {one.id for one in before}


def test_the_same_address_does_not_make_the_same_person(desk: Desk) -> None:
    """The provider gave somebody's address to a newcomer: the account stays with who it was."""
    desk.come()
    desk.provider.control(users={"new": user("ada@police.example", "officers")})
    desk.leave()
    assert "somebody else’s account" in desk.refused("new")
    # And a new address of the same person changes nothing.
    desk.provider.control(users={"ada": user("ada.married@police.example", "officers")})
    desk.person = Person()
    assert desk.come().status_code == 303
    assert len(desk.people()) == 1


def test_who_left_is_cut_off_and_not_made_again_by_groups_until_invited(desk: Desk) -> None:
    desk.come()
    (ada,) = desk.people()
    with desk.site.registry.sessions.begin() as session:
        staff.leave(session, "ada@police.example", actor=ACTOR, now=utc_now())
    assert not desk.in_staff()
    (gone,) = desk.people()
    assert (gone.state, gone.oidc_issuer, gone.oidc_subject) == ("left", None, None)
    for email in ("ada@police.example", "other@police.example"):
        desk.provider.control(users={"ada": user(email, "officers")})
        assert "Your account here has ended" in desk.refused()
    desk.invite("ada@police.example")
    desk.provider.control(users={"ada": user("ada@police.example", "officers", verified=None)})
    desk.person = Person()
    assert desk.come().status_code == 303, (
        "the same person, asked back, even where no address is ever verified"
    )
    (back,) = desk.people()
    assert (back.id, back.state, back.oidc_left) == (ada.id, "active", None)


def test_an_organisation_may_change_its_provider(desk: Desk) -> None:
    desk.come()
    (ada,) = desk.people()
    with desk.site.registry.sessions.begin() as session:
        session.execute(
            sa.text("UPDATE staff SET oidc_issuer = 'https://before.example', oidc_subject = 'x'")
        )
    desk.leave()
    desk.provider.control(users={"ada": user("ada@police.example", "officers", verified=None)})
    assert "verified" in desk.refused()
    desk.provider.control(users={"ada": user("ada@police.example", "officers")})
    desk.person = Person()
    assert desk.come().status_code == 303
    assert [(one.id, one.oidc_subject) for one in desk.people()] == [(ada.id, "ada")]


def test_a_new_key_of_the_provider_is_found_and_the_old_one_is_not_believed(desk: Desk) -> None:
    desk.come()
    desk.leave()
    desk.person = Person()
    before = desk.provider.logout_token(sub="ada")
    desk.provider.rotate("second")
    assert desk.come().status_code == 303
    assert desk.site.client.post("/hooks/identity/org-1", data={"logout_token": before}).status_code == 400
    assert desk.in_staff()


def test_strangers_cannot_make_us_look_for_keys_all_the_time(desk: Desk) -> None:
    desk.come()
    before = desk.provider.control()["calls"]
    for n in range(20):
        token = desk.provider.logout_token(sub="ada", header={"kid": f"made-up-{n}"})
        assert desk.site.client.post("/hooks/identity/org-1", data={"logout_token": token}).status_code == 400
    after = desk.provider.control()["calls"]
    assert after["jwks"] - before["jwks"] <= 1
    assert after["discovery"] == before["discovery"]


def test_signing_out_leads_to_where_the_providers_session_ends_and_it_ends_ours_everywhere(
    desk: Desk,
) -> None:
    desk.come()
    out = desk.site.submit("/staff/sign-out", page="/staff/account")
    assert (out.status_code, out.headers["Location"]) == (303, "/staff/signed-out/org-1")
    page = desk.site.client.get("/staff/signed-out/org-1").text
    there = re.search(r'href="(http://127[^"]+/session/end[^"]+)"', page)
    assert there is not None
    assert "Sign out of Test Police" in page
    assert desk.come().status_code == 303, "the provider still knows them"
    server = make_server("127.0.0.1", PORT, desk.site.client.application, threaded=True)
    serving = Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        back = desk.person.sign_out(there[1].replace("&amp;", "&"))
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    assert back == f"{PUBLIC_URL}/staff/sign-in"
    assert not desk.in_staff(), "its word ended the session here, before anybody asked for a page"
    assert [event for event, _ in desk.recorded()][-1] == "identity:logout"


def test_a_logout_token_ends_what_it_names_and_a_false_one_nothing(desk: Desk) -> None:
    def post(token: str | None) -> int:
        data = {"another": "x"} if token is None else {"logout_token": token}
        return desk.site.client.post("/hooks/identity/org-1", data=data).status_code

    desk.come()
    with desk.site.registry.sessions() as session:
        sid = session.scalars(sa.select(WebSession.oidc_sid)).one()
    sign = desk.provider.logout_token
    event = "http://schemas.openid.net/event/backchannel-logout"
    false = {
        "audience": sign(sub="ada", aud="another"),
        "issuer": sign(sub="ada", iss="http://127.0.0.1:1"),
        "nonce": sign(sub="ada", nonce="x"),
        "no event": sign(sub="ada", events={}),
        "event": sign(sub="ada", events={event: "x"}),
        "nobody": sign(),
        "old": sign(sub="ada", iat=1_700_000_000),
        "expired": sign(sub="ada", exp=1_700_000_000),
        "no jti": sign(sub="ada", jti=None),
        "stranger": sign(sub="ada", key="stranger"),
        "type": sign(sub="ada", header={"typ": "at+jwt"}),
        "nothing": None,
        "garbage": "a.b.c",
    }
    for what, token in false.items():
        assert post(token) == 400, what
        assert desk.in_staff(), what
    assert post(sign(sub="ada", sid="another-session")) == 200
    assert post(sign(sub="somebody-else")) == 200
    assert desk.in_staff(), "sessions of others are not theirs"
    token = sign(sid=sid)
    assert post(token) == 200
    assert not desk.in_staff()
    desk.come()
    with desk.site.registry.sessions.begin() as session:
        session.execute(sa.update(WebSession).values(oidc_sid=sid))
    assert post(token) == 200
    assert desk.in_staff(), "a token serves once, whoever kept a copy"
    assert post(sign(sub="ada")) == 200
    assert not desk.in_staff()


def test_who_steps_up_shows_their_factors_at_the_provider_again(desk: Desk) -> None:
    desk.come()
    path = "/staff/step-up/organisation?back=/staff/account"
    with desk.site.registry.sessions.begin() as session:
        session.execute(sa.update(WebSession).values(stepped_up_at=None))
    there = desk.set_out(path)
    assert parse_qs(urlsplit(there).query)["prompt"] == ["login"]
    answer = desk.arrive(desk.person.sign_in(there, "ada"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/staff/account")
    with desk.site.registry.sessions() as session:
        shown = session.scalars(sa.select(WebSession.stepped_up_at)).one()
        assert shown is not None
        assert abs(shown - utc_now()) < timedelta(seconds=60)
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "staff:step-up")).one()
        assert entry.detail == '{"way":"oidc"}'
    # Somebody else at the same provider does not count, nor does a factor shown long ago.
    desk.provider.control(users=desk.provider.users | {"bob": user("bob@police.example", "officers")})
    desk.person = Person()
    answer = desk.arrive(desk.person.sign_in(desk.set_out(path), "bob"))
    assert (answer.status_code, "as somebody else" in answer.text) == (403, True)
    for hostile in ("//elsewhere.example", "https://elsewhere.example", "/staff\\elsewhere", "/staff//x", ""):
        page = f"/staff/step-up/organisation?back={hostile}"
        desk.person = Person()
        assert desk.arrive(desk.person.sign_in(desk.set_out(page), "ada")).headers["Location"] == "/staff"


def test_a_factor_shown_long_ago_is_no_step_up_and_no_fresh_sign_in(desk: Desk) -> None:
    desk.come()
    desk.leave()
    with desk.site.registry.sessions.begin() as session:
        session.execute(sa.delete(WebSession))
    there = re.sub(r"&prompt=login|&max_age=0", "", desk.set_out())
    assert desk.arrive(desk.person.sign_in(there, "ada")).status_code == 303
    with desk.site.registry.sessions() as session:
        opened = session.scalars(sa.select(WebSession)).one()
        assert opened.stepped_up_at is not None
        assert opened.stepped_up_at < opened.created_at, "it counts from when they were asked there"
    there = re.sub(r"&prompt=login|&max_age=0", "", desk.set_out("/staff/step-up/organisation"))
    desk.alter_trip(at=utc_now() + timedelta(minutes=5))
    answer = desk.arrive(desk.person.sign_in(there, "ada"))
    assert (answer.status_code, "not asked to show your factors again" in answer.text) == (403, True)


def test_an_address_leads_to_its_organisation_by_its_domain_alone(desk: Desk) -> None:
    desk.come()
    desk.leave()
    path = "/staff/sign-in/organisation"
    for email in ("ada@police.example", "nobody@police.example", "X@POLICE.example"):
        answer = desk.site.submit(path, {"email": email})
        assert (answer.status_code, answer.headers["Location"]) == (303, DOOR)
    for email in (
        "ada@elsewhere.example",
        "ada@police.example.evil.example",
        "ada",
        "",
        "a\x00@police.example",
    ):
        answer = desk.site.submit(path, {"email": email})
        assert answer.status_code == 400
        assert "There is a problem" in answer.text
    for slug in ("org-9", "a%00b", "%F0%9F%98%80", "x" * 300):
        assert desk.site.client.get(f"/staff/sign-in/{slug}").status_code == 404
        assert desk.site.client.get(f"/staff/signed-out/{slug}").status_code == 404
    assert path in desk.site.client.get("/staff/sign-in").text


def test_a_provider_that_ends_lets_nobody_in_and_signs_everybody_out(desk: Desk) -> None:
    desk.come()
    with desk.site.registry.sessions.begin() as session:
        assert providers.end(session, "org-1", actor=audit.SYSTEM, now=utc_now()) == 1
    assert not desk.in_staff()
    assert desk.held(desk.people()[0].id) == []
    assert desk.site.client.get(DOOR).status_code == 404
    assert desk.site.client.get(f"{BACK}?state=x&code=y").status_code == 404
    assert "/staff/sign-in/organisation" not in desk.site.client.get("/staff/sign-in").text


def test_too_many_groups_to_pass_on_are_said_to_be_that(desk: Desk) -> None:
    held = user("ada@police.example", claims={"_claim_names": {"groups": "src1"}})
    del held["claims"]["groups"]
    desk.provider.control(users={"ada": held})
    assert "more groups than" in desk.refused()


def test_a_network_that_sets_out_all_the_time_is_held_back(desk: Desk) -> None:
    from app.services import limits
    from app.services.oidc import round_trip

    with desk.site.registry.sessions.begin() as session:
        limit = limits.Limit("oidc-begin", "127.0.0.0/24", round_trip.PER_NETWORK, round_trip.WINDOW)
        assert limits.take(session, [limit], now=utc_now(), amount=round_trip.PER_NETWORK) is None
    assert desk.site.submit(DOOR).status_code == 429


def test_outside_a_sandbox_a_provider_on_this_machine_is_never_asked(database: Database) -> None:
    discovery.forget()
    with staged(database) as stage, stage.site() as site:
        with site.registry.sessions.begin() as session:
            Makes(session).organisation()
            for issuer in (
                NOWHERE,
                "http://id.police.uk",
                "https://localhost",
                "https://x@id.police.uk",
                "id",
            ):
                with pytest.raises(providers.Invalid, match="https://"):
                    providers.put(
                        session, "org-1", issuer=issuer, client_id="x", client_secret="y" * 20, actor=ACTOR
                    )
            providers.put(
                session,
                "org-1",
                issuer=NOWHERE,
                client_id="x",
                client_secret="y" * 20,
                sandbox=True,
                actor=ACTOR,
            )
        answer = site.submit(DOOR)
        assert (answer.status_code, "not set up as it should be" in answer.text) == (403, True)
        with pytest.raises(requests.ConnectionError):
            requests.get(NOWHERE, timeout=5)
