"""Cut off: who leaves, loses their role or their organisation is out of a running site within five seconds."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from app import access
from app.cli.stack import Stack, free_port, wait_until
from app.db import utc_now
from app.factory import create_app
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import TABLE, Scope
from app.services import roles, sessions, staff
from app.web.guards import Guard, permission_of
from tests.architecture.test_guards import rules, some_path
from tests.browser.serving import environ
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.populated import populate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WITHIN = 5.0  # seconds
PROCESSES, PAGES = 3, 6  # of the site; that lie open


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())


def ask(url: str, token: str, method: str = "GET") -> tuple[int, str]:
    """(status, where it leads)."""
    request = urllib.request.Request(url, method=method, headers={"Cookie": f"wardlink={token}"})
    try:
        with OPENER.open(request, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Location", "")


@dataclass
class OpenPages:
    """Pages of one officer that lie open and ask for their figures, on and on. Times are of the monotonic clock."""

    url: str
    token: str
    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def poll(self) -> None:
        while not self.over.is_set():
            began = time.monotonic()
            status, _ = ask(self.url, self.token)
            # When it was asked: an answer under way may still be right.
            (self.good if status == 200 else self.refused).append(began)


def leave(session, officer: Staff) -> None:
    staff.let_go(session, officer, actor=ACTOR, now=utc_now())


def lose_role(session, officer: Staff) -> None:
    roles.take_all(session, officer.id, actor=ACTOR, now=utc_now())


def end_organisation(session, officer: Staff) -> None:
    session.get_one(Organisation, officer.organisation_id).ended_at = utc_now()


def sign_out_everywhere(session, officer: Staff) -> None:
    sessions.end_all(session, staff_id=officer.id)


@pytest.mark.parametrize("act", [leave, lose_role, end_organisation, sign_out_everywhere])
def test_whoever_is_cut_off_is_refused_by_every_process_within_five_seconds(
    committed: Database, tmp_path, act
) -> None:
    port = free_port()
    registry = committed.open(PUBLIC_URL=f"http://127.0.0.1:{port}")
    stack = Stack(tmp_path, environ(committed, port))
    try:
        with registry.sessions.begin() as session:
            filled = populate(Makes(session), registry)
            officer = session.get_one(Staff, filled.officer_id)
            tokens = [sessions.begin(session, staff=officer, now=utc_now()) for _ in range(PAGES)]
        stack.site(port, workers=PROCESSES)
        site = f"http://127.0.0.1:{port}"
        (figures,) = filled.paths["progress.figures"]
        pages = [OpenPages(site + figures, token) for token in tokens]
        threads = [threading.Thread(target=page.poll) for page in pages]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: all(len(page.good) > 2 for page in pages), what="pages that renew themselves")
            with registry.sessions.begin() as session:
                act(session, session.get_one(Staff, filled.officer_id))
            cut = time.monotonic()
            wait_until(lambda: all(len(page.refused) > 5 for page in pages), what="pages that are refused")
        finally:
            for page in pages:
                page.over.set()
            for thread in threads:
                thread.join()
        for page in pages:
            assert max(page.good) < cut + WITHIN
            assert min(page.refused) < cut + WITHIN
            assert max(page.good) < min(page.refused), "once refused, always refused"
        print(f"{act.__name__}: last served {max(max(p.good) for p in pages) - cut:+.3f} s after the commit")
        everywhere_refused(registry, site, tokens, filled.officer_id)
    finally:
        stack.stop()
        registry.engine.dispose()


def everywhere_refused(registry, site: str, tokens: list[str], officer: UUID) -> None:
    """Every address for staff, by every method, often enough to meet each process."""
    app = create_app(registry)
    with registry.sessions() as session:
        try:
            who = access.of(session, officer, now=utc_now())
        except access.Missing:
            who = None
    asked = 0
    for rule in rules(app, Guard.STAFF):
        permission = permission_of(app, rule.endpoint)
        assert permission is not None
        # Without a role one still has an account, and may sign out of it.
        own = who is not None and TABLE[permission].scope is Scope.OWN
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            status, to = ask(site + some_path(rule), tokens[asked % len(tokens)], method)
            if to.startswith("/staff/sign-in"):
                status = 404
            assert own or status == 404, (rule.rule, method, status, to)
            asked += 1
    assert asked > 40
