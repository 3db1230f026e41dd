"""Who may ask for what: every view says it, and every form shows that it is ours."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.routing import Rule

from app.web import csrf, guards
from app.web.guards import SAFE, Guard, guard_of
from app.web.session import cookie_name
from tests.app.web.conftest import Site
from tests.architecture.rows import Rows, changed
from tests.conftest import Database
from tests.factories import Makes
from tests.populated import Populated, populate

CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# Whoever calls brings a signature or a signed link; whoever holds that is let in, and nobody else.
SIGNED = {
    "twilio.status", "twilio.inbound", "sendgrid.events", "leave.stop", "subscribe.not_me", "reply.reply",
    "camera_answer.answer", "identity.logout", "health.live", "health.ready", "metrics.metrics",
}  # fmt: skip
# The time at which an officer was last seen is kept by whatever page they open.
SEEN = frozenset({"web_sessions"})
# Who reads what residents wrote is on the record before it is shown: a promise, and no change of anything else.
ON_RECORD = {
    "inbox.reply": {"audit_entries", "audit_pending"},
    "inbox.replies": {"audit_entries", "audit_pending"},
    "findings.one": {"audit_entries", "audit_pending"},
    "misuse.one": {"audit_entries", "audit_pending"},
    "reviews.one": {"audit_entries", "audit_pending"},
    "board.case": {"audit_entries", "audit_pending", "register_tickets"},
    "record.entry": {"audit_entries", "audit_pending", "rate_counters"},
}


@pytest.fixture
def filled(site: Site) -> Populated:
    """A site with something behind every address."""
    with site.registry.sessions.begin() as session:
        return populate(Makes(session), site.registry)


def rules(app: Flask, guard: Guard | None = None) -> Iterator[Rule]:
    for rule in app.url_map.iter_rules():
        if guard is None or guard_of(app, rule.endpoint) is guard:
            yield rule


def some_path(rule: Rule) -> str:
    """An address of the right shape at which nothing is."""
    values: dict[str, object] = {}
    for name in rule.arguments:
        converter = type(rule._converters[name]).__name__
        values[name] = UUID(int=1) if converter == "UUIDConverter" else 1 if "Integer" in converter else "x"
    built = rule.build(values)
    assert built is not None
    return built[1]


def test_every_view_has_a_guard_and_the_signed_ones_are_known(still_site: Site) -> None:
    app = still_site.client.application
    guarded = {rule.endpoint: guard_of(app, rule.endpoint) for rule in rules(app)}
    assert not [endpoint for endpoint, guard in guarded.items() if guard is None]
    assert {endpoint for endpoint, guard in guarded.items() if guard is Guard.SIGNED} <= SIGNED


def test_a_view_without_a_guard_is_not_served(still_site: Site) -> None:
    app = Flask("bare")
    guards.install(app)
    app.add_url_rule("/open", view_func=lambda: "open")
    assert app.test_client().get("/open").status_code == 404


def test_whoever_is_not_signed_in_is_led_to_where_that_is_done(still_site: Site) -> None:
    app = still_site.client.application
    for guard, door in ((Guard.STAFF, "/staff/sign-in"), (Guard.RESIDENT, "/manage")):
        asked = 0
        for rule in rules(app, guard):
            for method in sorted((rule.methods or set()) - {"OPTIONS"}):
                answer = still_site.client.open(some_path(rule), method=method)
                assert (answer.status_code, answer.headers["Location"]) == (302, door), (rule.rule, method)
                asked += 1
        assert asked >= 5


@pytest.mark.parametrize("who", ["a resident", "half an officer", "an officer"])
def test_one_kind_of_visitor_does_not_pass_for_another(site: Site, filled: Populated, who: str) -> None:
    match who:
        case "a resident":
            site.enter(contact_id=filled.contact_id)
            closed = [(Guard.STAFF, "/staff/sign-in")]
        case "half an officer":
            site.enter(staff=filled.staff(site.registry), half=True)
            closed = [(Guard.STAFF, "/staff/sign-in"), (Guard.RESIDENT, "/manage")]
        case _:
            site.enter(staff=filled.staff(site.registry))
            closed = [(Guard.RESIDENT, "/manage")]
    app = site.client.application
    for guard, door in closed:
        for rule in rules(app, guard):
            for method in sorted((rule.methods or set()) - {"OPTIONS"}):
                answer = site.client.open(some_path(rule), method=method)
                assert (answer.status_code, answer.headers["Location"]) == (302, door), (rule.rule, method)


def visitors(site: Site, filled: Populated) -> dict[Guard, str | None]:
    """For each guard a cookie that it lets pass."""
    cookies: dict[Guard, str | None] = {Guard.ANYONE: None}
    for guard, who in (
        (Guard.RESIDENT, {"contact_id": filled.contact_id}),
        (Guard.STAFF, {"staff": filled.staff(site.registry)}),
    ):
        site.enter(**who)
        with site.client.application.test_request_context():
            name = cookie_name()
        kept = site.client.get_cookie(name)
        assert kept is not None
        cookies[guard] = f"{name}={kept.value}"
        site.client.delete_cookie(name)
    return cookies


def test_no_form_is_taken_without_a_token_of_this_visitor(
    site: Site, filled: Populated, committed: Database
) -> None:
    app = site.client.application
    cookies = visitors(site, filled)
    tokens = {}
    for guard, cookie in cookies.items():
        with app.test_request_context(headers={"Cookie": cookie} if cookie else {}):
            tokens[guard] = csrf.token()
    client = app.test_client(use_cookies=False)
    rows = Rows(committed)
    before = rows.content(SEEN)
    struck = 0
    for guard, cookie in cookies.items():
        head = {"Cookie": cookie} if cookie else {}
        others = [token for other, token in tokens.items() if other is not guard]
        good = tokens[guard]
        for rule in rules(app, guard):
            for method in sorted((rule.methods or set()) & CHANGES):
                path = some_path(rule)
                for token in (None, "", "x", good[:-1], good.upper() + "0", *others):
                    form = {} if token is None else {csrf.FIELD: token}
                    answer = client.open(path, method=method, data=form, headers=head)
                    assert answer.status_code == 400, (rule.rule, token)
                    assert "open for too long" in answer.text
                for foreign in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}):
                    answer = client.open(path, method=method, data={csrf.FIELD: good}, headers=head | foreign)
                    assert answer.status_code == 403, (rule.rule, foreign)
                struck += 1
    assert struck >= 10
    assert rows.content(SEEN) == before


def test_no_get_changes_a_row(site: Site, filled: Populated, committed: Database) -> None:
    app = site.client.application
    cookies = visitors(site, filled)
    client = app.test_client(use_cookies=False)
    rows = Rows(committed)
    before = rows.content(SEEN)
    visited = set()
    for endpoint, paths in filled.paths.items():
        guard = guard_of(app, endpoint)
        assert guard is not None
        cookie = cookies.get(guard)
        head = {"Cookie": cookie} if cookie else {}
        for path in paths:
            for method in ("GET", "HEAD"):
                answer = client.open(path, method=method, headers=head)
                assert answer.status_code < 500, (method, path)
                after = rows.content(SEEN)
                assert changed(before, after) <= ON_RECORD.get(endpoint, set()), (method, path)
                before = after
        visited.add(endpoint)
    wanted = {rule.endpoint for rule in rules(app) if "GET" in (rule.methods or set())}
    assert visited >= wanted - {"files.static"}


def test_the_time_an_officer_was_seen_is_all_that_a_session_keeps_of_a_get(
    site: Site, filled: Populated
) -> None:
    site.enter(staff=filled.staff(site.registry))
    with site.registry.sessions.begin() as session:
        session.execute(sa.text("UPDATE web_sessions SET seen_at = now() - interval '10 minutes'"))
    names = "digest, staff_id, contact_id, half, created_at, expires_at"
    with site.registry.sessions() as session:
        kept = session.execute(sa.text(f"SELECT {names} FROM web_sessions")).all()
    assert site.client.get("/staff").status_code == 200
    with site.registry.sessions() as session:
        assert session.execute(sa.text(f"SELECT {names} FROM web_sessions")).all() == kept


def test_the_safe_methods_are_those_of_http() -> None:
    assert frozenset({"GET", "HEAD", "OPTIONS"}) == SAFE
