"""Whoever comes for the first time twice at the same moment is made once."""

from __future__ import annotations

from threading import Barrier, Thread

import sqlalchemy as sa

from app.db import utc_now
from app.models.access import RoleGrant
from app.models.staff import Staff, WebSession
from app.permissions import Role
from app.registry import Registry
from app.services import staff
from app.services.oidc import arriving, mapping, providers
from app.services.oidc.arriving import Arrival
from tests.conftest import Database
from tests.entering import DESK
from tests.factories import ACTOR, Makes

AT_ONCE = 6


def test_six_first_sign_ins_at_once_make_one_account_and_each_opens_a_session(committed: Database) -> None:
    registry = committed.open()
    try:
        _six(registry)
    finally:
        registry.engine.dispose()


def _six(registry: Registry) -> None:
    with registry.sessions.begin() as session:
        Makes(session).organisation()
        provider = providers.put(
            session, "org-1", issuer="https://id.police.example", client_id="x", client_secret="y" * 20,
            domains=["police.example"], actor=ACTOR,
        )  # fmt: skip
        mapping.map_group(session, "org-1", "officers", Role.OFFICER, actor=ACTOR)
    email = staff.read_email("ada@police.example")
    arrival = Arrival("ada", email, None, "Ada Okafor", frozenset({"officers"}), None, None)
    together = Barrier(AT_ONCE)
    answers: list[arriving.Answer] = []

    def come() -> None:
        with registry.sessions.begin() as session:
            session.execute(sa.text("SELECT 1"))
            together.wait()
            answers.append(arriving.enter(session, provider, arrival, where=DESK, now=utc_now()))

    threads = [Thread(target=come) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.refusal for answer in answers] == [None] * AT_ONCE
    with registry.sessions() as session:
        assert session.scalars(sa.select(Staff.oidc_subject)).all() == ["ada"]
        assert session.scalars(sa.select(RoleGrant.role)).all() == ["officer"]
        assert len(session.scalars(sa.select(WebSession)).all()) == AT_ONCE
        assert session.scalars(sa.select(WebSession.stepped_up_at).distinct()).all() == [None], (
            "nobody said when"
        )
