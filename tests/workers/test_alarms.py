"""Alarms reach a human: real messages to the sandbox, signed calls of a real webhook, and a dead scheduler is told."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.cli.stack import Stack, wait_until
from app.db import utc_now
from app.models.service_messages import ServiceMessage
from app.models.sight import AlarmPost
from app.registry import Registry
from app.services import alarm_routes, alarms
from app.services.alarm_routes import Routes
from config.fields import Part
from messaging.sandbox import judge
from tests.browser.serving import environ
from tests.chaos.servers import private_valkey
from tests.conftest import Database
from tests.sending import World, world
from workers import alarms as job
from workers import runtime
from workers.pulse import Pulse

KEY = "a-key-of-the-tests-of-alarms"


@dataclass
class Hook:
    """A webhook that keeps what it gets; ``answers`` are its next statuses, then 204."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def bodies(self) -> list[dict[str, object]]:
        return [json.loads(body) for _, body in self.got]


@contextmanager
def hooked() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.got.append((dict(self.headers.items()), body))
            status = hook.answers.pop(0) if hook.answers else 204
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{hook.url}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooked() as made:
        yield made


@pytest.fixture
def worker(committed: Database, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry that this process's jobs run on."""
    opened = committed.open(Part.WORKER, ALARM_WEBHOOK=f"{hook.url}/in?from=wardlink", ALARM_WEBHOOK_KEY=KEY)
    monkeypatch.setattr(runtime, "registry", lambda: opened)
    yield opened
    opened.engine.dispose()


def raised(worker: Registry) -> None:
    with worker.sessions.begin() as session:
        alarms.raise_(session, "urgent-stalled", "lane:urgent", seconds=64)
        alarm_routes.tell(session, Routes.of(worker.settings), now=utc_now())


def posts(worker: Registry) -> list[tuple[int, str | None, str]]:
    with worker.sessions() as session:
        return [
            (p.tries, p.outcome, p.reason)
            for p in session.scalars(sa.select(AlarmPost).order_by(AlarmPost.id))
        ]


def come_back(database: Database) -> None:
    engine = sa.create_engine(
        database.admin.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alarm_posts SET not_before = now()"))


def test_a_call_is_signed_and_says_what_is_wrong_and_what_to_do(worker: Registry, hook: Hook) -> None:
    raised(worker)
    assert job.post() == 1
    assert job.post() == 0
    ((headers, body),) = hook.got
    at, _, digest = headers["X-Wardlink-Signature"].partition(",v1=")
    at = at.removeprefix("t=")
    assert abs(int(at) - utc_now().timestamp()) < 60
    assert hmac.new(KEY.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest() == digest
    found = json.loads(body)
    assert (found["what"], found["code"], found["subject"]) == ("raised", "urgent-stalled", "lane:urgent")
    assert found["detail"] == {"seconds": 64}
    assert found["do"]
    assert posts(worker) == [(1, "sent", "")]


def test_a_call_that_fails_is_made_again_later_under_the_same_id(
    worker: Registry, hook: Hook, committed: Database
) -> None:
    raised(worker)
    hook.answers = [500, 302]
    for reason in ("500", "302"):
        assert job.post() == 1
        assert job.post() == 0  # its time has not come
        assert posts(worker)[0][1:] == (None, reason)
        come_back(committed)
    assert job.post() == 1
    assert posts(worker) == [(3, "sent", "")]
    assert len({body["id"] for body in hook.bodies()}) == 1
    assert len(hook.got) == 3  # and no redirect was followed


def test_a_webhook_that_is_not_there_stops_nobody(worker: Registry, committed: Database) -> None:
    raised(worker)
    gone = committed.open(Part.WORKER, ALARM_WEBHOOK="http://127.0.0.1:1", ALARM_WEBHOOK_KEY=KEY)
    assert job._call(gone.settings.alarm_webhook, KEY, b"{}") == "connection"
    gone.engine.dispose()


def test_messages_of_an_alarm_leave_by_e_mail_and_text(committed: Database, tmp_path: Path) -> None:
    routes = {"ALARM_EMAILS": "duty@police.example, it@police.example", "ALARM_MOBILES": "+447700900123"}
    with world(committed, tmp_path, **routes) as here:
        with here.making() as makes:
            makes.sender(makes.organisation(), "sms", lane="urgent")
        raised(here.worker)
        assert here.deliver() == 3
        with here.looking() as session:
            states = session.scalars(
                sa.select(ServiceMessage.state).where(ServiceMessage.kind == "alarm")
            ).all()
        assert states == ["sent"] * 3
        went = sorted(to for one in judge.read(here.sandbox.log_path) for to in one.to)
    assert went == ["+447700900123", "duty@police.example", "it@police.example"]


def test_a_provider_that_is_down_does_not_keep_the_other_route_from_telling(
    committed: Database, tmp_path: Path
) -> None:
    routes = {"ALARM_EMAILS": "duty@police.example", "ALARM_MOBILES": "+447700900123"}
    with world(committed, tmp_path, **routes) as here:
        with here.making() as makes:
            makes.sender(makes.organisation(), "sms", lane="urgent")
        here.faults(sms={"status": 429})
        raised(here.worker)
        here.deliver(seconds=3)
        assert _states(here) == {"email": "sent", "sms": "waiting"}


def _states(here: World) -> dict[str, str]:
    with here.looking() as session:
        rows = session.execute(sa.select(ServiceMessage.channel, ServiceMessage.state)).all()
        return dict(rows)


def test_a_worker_that_lives_tells_that_the_scheduler_does_not(committed: Database, worker: Registry) -> None:
    pulse, scheduler = Pulse(worker, "urgent"), Pulse(worker, "scheduler")
    scheduler.lead()
    pulse.beat(queue_away=False)
    with worker.sessions() as session:
        assert alarms.opened(session) == []
    engine = sa.create_engine(
        committed.admin.replace("postgresql://", "postgresql+psycopg://"), poolclass=sa.NullPool
    )
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE heartbeats SET at = now() - interval '31 seconds' WHERE kind = 'scheduler'")
        )
    other = Pulse(worker, "receipts")
    other.beat(queue_away=False)
    with worker.sessions() as session:
        (one,) = alarms.opened(session)
        assert (one.code, one.told_at is not None) == ("scheduler-silent", True)
        assert one.told_at - one.raised_at < timedelta(seconds=5)


def test_a_process_whose_database_is_away_goes_on(committed: Database) -> None:
    away = committed.open(Part.WORKER, WORKER_DATABASE_URL="postgresql+psycopg://nobody:x@127.0.0.1:1/none")
    pulse = Pulse(away, "bulk")
    pulse.beat(queue_away=False)
    pulse.watch()
    away.engine.dispose()


@pytest.mark.slow
def test_real_processes_say_that_they_live_and_a_killed_scheduler_is_told_by_the_others(
    committed: Database, tmp_path: Path, hook: Hook
) -> None:
    stack = Stack(tmp_path, environ(committed, 8_000, ALARM_WEBHOOK=hook.url, ALARM_WEBHOOK_KEY=KEY))
    app = committed.open(Part.APP)

    def kinds() -> set[str]:
        with app.sessions() as session:
            return set(session.execute(sa.text("SELECT kind FROM heartbeats")).scalars())

    try:
        stack.environ["REDIS_URL"] = private_valkey(stack)
        stack.sandbox("http://127.0.0.1:8000")
        scheduler = stack.worker("scheduler")
        for kind in ("urgent", "bulk", "receipts", "back", "sealer"):
            stack.worker(kind)
        wait_until(
            lambda: kinds() >= {"scheduler", "urgent", "bulk", "receipts", "back", "sealer"}, what="all"
        )
        assert hook.got == []
        scheduler.kill()
        wait_until(lambda: hook.got, seconds=75, what="the alarm")
        assert [(b["what"], b["code"]) for b in hook.bodies()] == [("raised", "scheduler-silent")]
        stack.worker("scheduler", "another")
        wait_until(lambda: len(hook.got) > 1, seconds=75, what="the end of the alarm")
        assert (hook.bodies()[1]["what"], hook.bodies()[1]["code"]) == ("over", "scheduler-silent")
    finally:
        stack.stop()
        app.engine.dispose()
