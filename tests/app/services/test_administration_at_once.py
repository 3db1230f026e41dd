"""Two administrators at once: one after the other, and neither an error nor a hole between them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.db import utc_now
from app.errors import Conflict
from app.models.access import RoleGrant
from app.models.staff import Staff
from app.permissions import Role
from app.registry import Registry
from app.services import invitations, roles
from tests.factories import ACTOR, Makes

Act = Callable[[Session], object]


def at_once(app: Registry, *acts: Act) -> list[object]:
    """Each in a transaction of its own, all begun together: what came of each."""
    begun = Barrier(len(acts))

    def run(act: Act) -> object:
        try:
            with app.sessions.begin() as session:
                session.execute(sa.text("SELECT 1"))
                begun.wait(timeout=30)
                act(session)
            return "done"
        except Conflict:
            return "refused"

    with ThreadPoolExecutor(len(acts)) as pool:
        return sorted(pool.map(run, acts))


def test_what_two_do_at_once_is_done_once_and_leaves_an_administrator(app: Registry) -> None:
    with app.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        team = makes.team(police, makes.borough()[:1])
        chiefs = [makes.officer(police, role=Role.FORCE_ADMINISTRATOR) for _ in range(2)]
        person = makes.officer(police, team, role=None)
        whos: list[Who] = [access.of(session, one.id, now=utc_now()) for one in chiefs]
        held = [roles.of_staff(session, one.id, now=utc_now())[0].id for one in chiefs]

    def grant(session: Session) -> None:
        found = session.get_one(Staff, person.id)
        roles.grant(session, found, Role.OFFICER, by=whos[0], actor=ACTOR, now=utc_now())

    def invite(session: Session) -> None:
        invitations.invite(
            session, organisation=police.id, email="kim@police.example", name="PC Kim", team=team.id, fictional=True,
            public_url="http://x", by=whos[0], actor=ACTOR, now=utc_now(),
        )  # fmt: skip

    # The same role twice, and the same person twice, are one.
    assert at_once(app, grant, grant, invite, invite) == ["done"] * 4
    # Each takes the other's role: one of them stays what they are.
    taking = [
        lambda session, by=by, of=of: roles.take(session, of, by=by, actor=ACTOR, now=utc_now())
        for by, of in zip(whos, reversed(held), strict=True)
    ]
    assert at_once(app, *taking) == ["done", "refused"]
    with app.sessions() as session:
        standing = sa.select(sa.func.count()).where(RoleGrant.taken_at.is_(None))
        assert session.scalar(standing.where(RoleGrant.staff_id == person.id)) == 1
        assert session.scalar(standing.where(RoleGrant.role == str(Role.FORCE_ADMINISTRATOR))) == 1
        assert session.scalar(sa.text("SELECT count(*) FROM staff_invitations")) == 1
