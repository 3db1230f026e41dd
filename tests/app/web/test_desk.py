"""The desk that takes webhook calls: committed before the answer, rung for, and what it turned away is remembered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql
from twilio.request_validator import RequestValidator

from app import queue, roles
from app.cli.stack import wait_until
from app.models.reconcile import WebhookRefusal, WebListening
from app.services.letterbox import Letterbox
from app.web.hooks import bell
from app.web.hooks.desk import EXTENSION
from config.queues import Queue
from messaging.providers import twilio_hooks
from tests.conftest import Database

STATUS, SENDGRID = "/hooks/twilio/status?ref=x", "/hooks/sendgrid/events"


def refusals(site) -> list[str]:
    with site.registry.sessions() as session:
        return list(session.scalars(sa.select(WebhookRefusal.source).order_by(WebhookRefusal.source)))


def test_a_call_that_was_signed_and_turned_away_is_remembered_once_a_minute(site):
    for _ in range(3):
        assert site.sendgrid(b"[\xff]").status_code == 400
    assert refusals(site) == ["sendgrid"]
    assert site.twilio(STATUS, {"MessageSid": "x"}, token="another").status_code == 403
    assert refusals(site) == ["sendgrid", "twilio"]


def test_a_strangers_call_and_one_that_was_kept_are_not(site):
    assert site.client.post(SENDGRID, data=b"[]").status_code == 403
    assert site.client.post(STATUS, data={"a": "b"}).status_code == 403
    assert site.sendgrid(b"[]").status_code == 204
    assert refusals(site) == []


def test_a_connection_that_broke_while_it_lay_idle_costs_no_call(site):
    assert site.sendgrid(b"[1]").status_code == 204
    engine = sa.create_engine(site.registry.engine.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    assert site.sendgrid(b"[2]").status_code == 204
    assert [body for _, body in site.events()] == ["[1]", "[2]"]


def test_calls_that_come_together_are_kept_together_each_once(site):
    box = Letterbox(site.registry.engine)
    failures: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for n in range(first, first + 200):
                box.keep("sendgrid", f"[{n}]")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1_000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    kept = [body for _, body in site.events()]
    assert len(kept) == len(set(kept)) == 800
    of_one = [body for body in kept if len(body) < 5]
    assert of_one == sorted(of_one, key=lambda body: int(body[1:-1])), (
        "the order of who sends one after the other"
    )
    site.registry.engine.dispose()
    box.keep("sendgrid", "[last]")
    assert len(site.events()) == 801


def test_whoever_waits_with_a_call_that_fails_is_told_so(site):
    box = Letterbox(site.registry.engine)
    found: list[type[BaseException]] = []
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(10)
        try:
            box.keep("nobody", "x")  # no such source
        except sa.exc.DBAPIError as error:
            found.append(type(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [sa.exc.IntegrityError] * 4
    box.keep("sendgrid", "[]")
    assert site.events() == [("sendgrid", "[]")]


@contextmanager
def away(database: Database) -> Iterator[None]:
    """The database takes no connections, and has ended those that were open."""
    elsewhere = psycopg.connect(roles.libpq(database.cluster.admin_database_url), autocommit=True)
    name = sql.Identifier(database.name)
    with elsewhere:
        elsewhere.execute(sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false").format(name))
        elsewhere.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database.name,)
        )
        try:
            yield
        finally:
            elsewhere.execute(sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true").format(name))


def test_a_database_that_is_away_is_a_503_and_remembered_when_it_is_back(site, committed):
    desk = site.client.application.extensions[EXTENSION]
    assert site.sendgrid(b"[1]").status_code == 204
    with away(committed):
        assert site.sendgrid(b"[2]").status_code == 503
        assert not desk.listening.beat()
    assert refusals(site) == []
    assert desk.listening.beat()
    assert refusals(site) == ["sendgrid"]
    assert site.sendgrid(b"[2]").status_code == 204
    with site.registry.sessions() as session:
        assert session.scalars(sa.select(WebListening.ended_at)).all() == [None]


def test_a_burst_rings_once_until_the_job_has_answered(cluster, monkeypatch):
    monkeypatch.setattr(queue, "_connection", None)  # given back afterwards
    connection = queue.connect(cluster.redis_url.rpartition("/")[0] + "/8")
    jobs = queue.rq_queue(Queue.RECEIPTS, connection)
    jobs.empty()
    queue.answered("receipts")
    one = bell.Bell()
    for _ in range(500):
        one.ring()
    wait_until(lambda: jobs.count == 1, what="a ring")
    queue.answered("receipts")
    one.ring()
    wait_until(lambda: jobs.count == 2, what="the ring for what came since")
    jobs.empty()


ADDRESSES = st.sampled_from(
    ["https://a.example/x", "https://a.example:443/x?y=1", "http://a.example:8080/x?ref=1", "https://u:p@a.example/x#f",
     "https://a.example/x?", "http://[::1]:80/x", "https://a.example"]
)  # fmt: skip


@given(
    url=ADDRESSES,
    form=st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=4),
    change=st.sampled_from(["", "port", "no port", "other"]),
)
def test_a_signature_holds_exactly_where_twilios_own_check_says_so(url, form, change):
    validator = RequestValidator("token")
    given_for = {"port": "https://a.example:443/x", "no port": "https://a.example/x"}.get(change, url)
    signature = validator.compute_signature(given_for, form) + ("x" if change == "other" else "")
    expected = validator.validate(url, form, signature)
    assert twilio_hooks.verify_signature("token", url, form, signature) == expected
