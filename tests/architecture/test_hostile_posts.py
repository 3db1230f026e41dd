"""Every address that takes a POST, each with hundreds of hostile ones: refused, or understood, never broken.

What is refused with a 4xx has left every table as it was. An address that this walk does not visit fails it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import sessionmaker
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app.db import utc_now
from app.factory import create_app
from app.models.staff import Staff
from app.services import sessions
from app.web import context, csrf
from app.web.guards import Guard, guard_of
from app.web.session import cookie_name
from tests.app.web.conftest import Site, open_site
from tests.architecture import hostile
from tests.architecture.pages import forms_of
from tests.architecture.payloads import HUGE, Body, bodies
from tests.architecture.rows import Rows, changed
from tests.conftest import Database
from tests.factories import Makes
from tests.populated import Populated, populate

MANY, FEW = 200, 5  # examples for each address, with a form token and without
# What a refusal may write, and why: everything else stays as it was.
COUNTED = {
    # Whoever guesses is counted, and a refused sign-in is on the record.
    "sign_in.sign_in": {"rate_counters", "audit_entries", "audit_pending"},
    "sign_in.second": {"rate_counters", "audit_entries", "audit_pending"},
    "step_up.ask": {"rate_counters", "audit_entries", "audit_pending"},
    "account.password": {"rate_counters", "audit_entries", "audit_pending"},
    "invitation.accept": {"rate_counters", "audit_entries", "audit_pending"},
    "invitation.challenge": {"rate_counters"},
    "subscribe.check": {"rate_counters"},
    "manage.check": {"rate_counters"},
    # The thread is shown again beside what is wrong, and who reads one is on the record.
    "inbox.answer": {"audit_entries", "audit_pending"},
    "inbox.close": {"audit_entries", "audit_pending"},
    "misuse.close": {"audit_entries", "audit_pending"},
    "findings.close": {"audit_entries", "audit_pending"},
    "reviews.judge": {"audit_entries", "audit_pending"},
}
# Only an identity provider that answers leads any further: tests/app/web/test_oidc.py has one.
BY_PROVIDER = {"oidc.begin", "oidc.again", "identity.logout"}
# What the register's gate opens in two transactions: here everything is one, so the second step is always refused.
TWO_STEPS = {"board.take", "camera_answer.answer"}
COUNTED |= {
    step: {"rate_counters", "audit_entries", "audit_pending", "register_tickets"} for step in TWO_STEPS
}
HOOKS = {"twilio.status", "twilio.inbound", "sendgrid.events"}
# That a provider's call was turned away is remembered: its silence proves nothing then.
COUNTED |= {hook: {"webhook_refusals"} for hook in HOOKS}


@dataclass
class Stage:
    """A site on a database where every request's work is taken back once it was looked at."""

    site: Site
    connection: sa.Connection
    rows: Rows
    filled: Populated
    cookies: dict[str, str] = field(default_factory=dict)
    shown: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    @property
    def client(self) -> FlaskClient:
        return self.site.client

    def enter(self) -> None:
        """Browsers of everybody who may ask, and the forms that they are shown."""
        app = self.client.application
        with self.site.registry.sessions.begin() as session:
            chief = session.get_one(Staff, self.filled.chief_id)
            half = sessions.begin(session, staff=chief, half=True, now=utc_now())
            self.cookies = {
                Guard.RESIDENT: sessions.begin(session, contact_id=self.filled.contact_id, now=utc_now()),
                Guard.STAFF: sessions.begin(session, staff=chief, now=utc_now()),
                "sign_in.second": half,
                "sign_in.challenge": half,
            }
        for endpoint, paths in self.filled.paths.items():
            for path in paths:
                page = self.client.get(path, headers=self.head(endpoint))
                for form in forms_of(page.text):
                    target = form.action.partition("#")[0] or path
                    if form.method != "post":
                        continue
                    found, _ = app.url_map.bind("localhost").match(target.partition("?")[0], method="POST")
                    self.shown.setdefault(found, {}).update(form.values())

    def head(self, endpoint: str) -> dict[str, str]:
        """What the browser of somebody who may use this address sends."""
        guard = guard_of(self.client.application, endpoint)
        assert guard is not None
        token = self.cookies.get(endpoint) or self.cookies.get(guard)
        with self.client.application.test_request_context():
            return {"Cookie": f"{cookie_name()}={token}"} if token else {}

    def token(self, endpoint: str) -> str:
        """A form token of theirs."""
        with self.client.application.test_request_context(headers=self.head(endpoint)):
            return csrf.token()

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        point = self.connection.begin_nested()
        try:
            yield
        finally:
            if point.is_active:
                point.rollback()


@contextmanager
def stage(database: Database) -> Iterator[Stage]:
    """Everything happens in one transaction, under the app's own role, and none of it is kept."""
    rows = Rows(database)
    # Providers on this machine, so that addresses of nobody are taken; none of them is called.
    nowhere = "http://127.0.0.1:9"
    heads = Path(os.environ["LOCAL_DIR"]) / "heads-of-hostile-posts"
    heads.mkdir(parents=True, exist_ok=True)
    (heads / "heads.jsonl").write_text("{}\n")
    opened = open_site(database, TWILIO_BASE_URL=nowhere, SENDGRID_BASE_URL=nowhere, HEADS_DIR=str(heads))
    try:
        with opened.registry.engine.connect() as connection:
            outer = connection.begin()
            inside = sessionmaker(
                connection, join_transaction_mode="create_savepoint", expire_on_commit=False
            )
            registry = dataclasses.replace(opened.registry, sessions=inside)
            app = create_app(registry)
            app.extensions[context.READING] = inside  # what only reads must see it as well
            site = Site(app.test_client(use_cookies=False), registry)
            with registry.sessions.begin() as session:
                filled = populate(Makes(session), registry)
            made = Stage(site, connection, rows, filled)
            made.enter()
            connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
            yield made
            outer.rollback()
    finally:
        opened.registry.engine.dispose()


# Where to ------------------------------------------------------------------------------------------
def paths(rule: Rule, good: list[str]) -> st.SearchStrategy[str]:
    """Addresses of a route: mostly those at which there is something."""
    there = st.sampled_from(good)
    if not rule.arguments:
        wild = hostile.escaped().map(lambda value: f"{rule.rule}?{value}")
    else:
        before, _, rest = rule.rule.partition("<")
        after = rest.partition(">")[2]
        wild = st.one_of(hostile.escaped(), st.uuids().map(str)).map(lambda value: before + value + after)
    return st.one_of(there, there, there, there, wild)


def heads() -> st.SearchStrategy[dict[str, str]]:
    """Mostly none of their own; what names the visitor is left as it is."""
    own = hostile.headers().map(
        lambda head: {name: value for name, value in head.items() if name not in {"Cookie", "Content-Type"}}
    )
    return st.one_of(st.just({}), st.just({}), st.just({}), own)


# The walk ----------------------------------------------------------------------------------------
def post_rules(site: Site) -> list[Rule]:
    rules = site.client.application.url_map.iter_rules()
    return sorted((rule for rule in rules if "POST" in (rule.methods or set())), key=lambda rule: rule.rule)


def walk(stage: Stage, rule: Rule, examples: int) -> Counter[str]:
    """Strike one address; how often with a form token and how often without."""
    app = stage.client.application
    guard = guard_of(app, rule.endpoint)
    assert guard is not None
    good = stage.filled.taking.get(rule.endpoint, [])
    assert good, f"nothing is known at which {rule.endpoint} has something"
    typed = {name: [value] for name, value in stage.filled.typed.get(rule.endpoint, {}).items()}
    shown = stage.shown.get(rule.endpoint, {}) | typed
    visited: Counter[str] = Counter()
    before = stage.rows.counted(stage.connection)
    allowed = COUNTED.get(rule.endpoint, set())

    def strike(kind: str, path: str, body: Body, head: dict[str, str]) -> None:
        data, content = body
        with stage.taken_back():
            answer = stage.client.post(
                path, data=data, content_type=content, headers={**head, **stage.head(rule.endpoint)}
            )
            status = answer.status_code
            with answer:
                examine(answer, rule.endpoint)
            tokenless = kind == "without" and guard is not Guard.SIGNED
            assert not tokenless or 400 <= status < 500, (rule.endpoint, status)
            if status >= 400:
                after = stage.rows.counted(stage.connection)
                assert changed(before, after) <= allowed, (rule.endpoint, status, changed(before, after))
            visited[kind] += 1
            visited[f"{status // 100}xx"] += 1

    for kind, token in (("with", stage.token(rule.endpoint)), ("without", None)):
        struck = functools.partial(strike, kind)

        @hostile.quiet(examples)
        @given(paths(rule, good), bodies(shown, token), heads())
        def one(path: str, body: Body, head: dict[str, str]) -> None:
            struck(path, body, head)  # noqa: B023  called within this turn of the loop

        one()
    return visited


def examine(answer: TestResponse, endpoint: str) -> None:
    assert answer.status_code < 500, (endpoint, answer.status_code)
    text = answer.data.decode("utf-8", "replace")  # an archive is no text
    assert "Traceback" not in text
    assert "<script>alert(1)" not in text
    assert "<img src=x" not in text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def signed_calls(stage: Stage, endpoint: str, examples: int) -> Counter[str]:
    """The providers' calls: what is signed is kept as it came, what is not changes nothing."""
    visited: Counter[str] = Counter()
    text = hostile.text().filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t))

    @hostile.quiet(examples)
    @given(st.dictionaries(text, text, max_size=6), st.one_of(hostile.bodies(), st.just(b"[" * HUGE)))
    def strike(form: dict[str, str], body: bytes) -> None:
        with stage.taken_back():
            # Looked at each time: what is kept is committed at once, outside this transaction.
            before = stage.rows.counted(stage.connection)
            if endpoint == "sendgrid.events":
                answer = stage.site.sendgrid(body)
            else:
                answer = stage.site.twilio(stage.filled.taking[endpoint][0], form)
            with answer:
                assert answer.status_code < 500, endpoint
            after = stage.rows.counted(stage.connection)
            kept = {"raw_events"} if answer.status_code < 400 else COUNTED[endpoint]
            assert changed(before, after) <= kept, (endpoint, answer.status_code)
            visited["with"] += 1

    strike()
    return visited


def walk_all(database: Database, examples: int) -> None:
    with stage(database) as made:
        rules = post_rules(made.site)
        visited: dict[str, Counter[str]] = {}
        for rule in rules:
            visited[rule.endpoint] = walk(made, rule, examples)
            if rule.endpoint in HOOKS:
                visited[rule.endpoint]["with"] = signed_calls(made, rule.endpoint, examples)["with"]
        assert set(visited) == {rule.endpoint for rule in rules}
        for endpoint, times in visited.items():
            assert min(times["with"], times["without"]) >= examples, endpoint
            # A form that came past its checks at least once: otherwise this walk only knocks at the door.
            reached = times["2xx"] + times["3xx"]
            # The code of an authenticator is gone before the walk comes there; so is what a browser would have signed.
            out_of_reach = endpoint in HOOKS | BY_PROVIDER | TWO_STEPS | {
                "sign_in.second",
                "passkeys.add",
                "account.app",
            }
            assert reached or examples < MANY or out_of_reach, (endpoint, times)


def test_every_form_that_is_taken_is_shown_on_some_page(committed: Database) -> None:
    with stage(committed) as made:
        taken = {rule.endpoint for rule in post_rules(made.site)}
        # Called by a script; the page works without it.
        asked = {f"{page}.challenge" for page in ("sign_in", "invitation", "step_up", "passkeys")}
        assert taken - set(made.shown) - HOOKS - BY_PROVIDER - TWO_STEPS <= {"compose.segments"} | asked
        for endpoint, names in made.shown.items():
            if guard_of(made.client.application, endpoint) is not Guard.SIGNED:
                assert csrf.FIELD in names, endpoint


def test_every_address_stands_hostile_posts(committed: Database) -> None:
    walk_all(committed, FEW)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_every_address_stands_two_hundred_hostile_posts_with_and_without_a_token(
    committed: Database,
) -> None:
    walk_all(committed, MANY)
