"""The complaint brake: bulk mail of a domain is held by its figures, and let go by a human alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.errors import Invalid, Missing
from app.models.audit import AuditEntry
from app.models.organisations import Organisation, Sender
from app.models.routes import Brake
from app.services import brake, organisations, receipts
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.sending import World, world
from workers.judge import judge as look
from workers.receipts import merge_some

URGENT, BULK = "urgent", "routine"
LOOK_NOW = 10  # the tick at which the brake is looked at


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


def sender(makes: Makes, police: Organisation, domain: str, lane: str) -> Sender:
    return organisations.add_sender(
        makes.session, [police.id], channel="email", provider="sendgrid", kind="email", lane=lane,
        address=f"{lane}{next(makes.numbers)}@{domain}", actor=ACTOR,
    )  # fmt: skip


def send(here: World, people: int, urgency: str = BULK, domain: str = "Alerts.Example") -> UUID:
    with here.making() as makes:
        police = makes.organisation()
        for lane in ("bulk", "urgent"):
            sender(makes, police, domain, lane)
        _, ward, _ = makes.borough()
        for _ in range(people):
            makes.resident(police, ward)
        return here.send(makes, makes.alert(police, [ward], urgency=urgency))


def report(here: World, sent: UUID, kind: str, count: int) -> None:
    """So many of its recipients complain (or bounce), by SendGrid's own events."""
    more = {"type": "bounce", "reason": "550"} if kind == "bounce" else {}
    attempt = here.attempts(sent)[0].n
    events = [ledger.event(sent, n, kind, attempt=attempt, **more) for n in range(1, count + 1)]
    with here.app.sessions.begin() as session:
        receipts.store(session, "sendgrid", ledger.body(*events))
    with here.worker.sessions.begin() as session:
        merge_some(session)


def pulled(here: World) -> list[Brake]:
    with here.looking() as session:
        return brake.pulled(session)


def complained(here: World, people: int = 20, count: int = 5, **more: str) -> UUID:
    sent = send(here, people, **more)
    here.drain()
    report(here, sent, "spamreport", count)
    look(here.worker, LOOK_NOW)
    return sent


def test_five_complaints_hold_the_bulk_mail_of_the_domain_and_nothing_else(here: World) -> None:
    complained(here)
    (found,) = pulled(here)
    assert (found.domain, found.why, found.accepted, found.complained) == (
        "alerts.example",
        "complaints",
        20,
        5,
    )

    held = send(here, 3)
    urgent = send(here, 3, URGENT)
    danger = send(here, 3, "risk-to-life")
    other = send(here, 3, domain="other.example")
    here.drain()
    assert here.batch(held).state == "waiting"
    assert here.batch(held).tries == 0
    assert not here.reached(held)
    for sent in (urgent, danger, other):
        assert list(here.reached(sent).values()) == [1, 1, 1]
    here.balance(held)


@pytest.mark.parametrize(("count", "stands"), [(4, 0), (5, 1)])
def test_less_than_five_complaints_hold_nothing(here: World, count: int, stands: int) -> None:
    complained(here, count=count)
    assert len(pulled(here)) == stands


def test_less_than_one_in_a_thousand_holds_nothing(here: World) -> None:
    sent = complained(here, count=4)
    here.run(
        "UPDATE batches SET accepted = accepted + 5000, complained = complained + 1 WHERE dispatch_id = :d",
        d=sent,
    )
    look(here.worker, LOOK_NOW)
    assert not pulled(here), "5 of 5,021"
    here.run("UPDATE batches SET accepted = accepted - 100 WHERE dispatch_id = :d", d=sent)
    look(here.worker, LOOK_NOW)
    assert [(b.complained, b.accepted) for b in pulled(here)] == [(5, 4_921)]


@pytest.mark.parametrize(("count", "stands"), [(19, 0), (20, 1)])
def test_twenty_bounces_of_a_twentieth_hold_it_too(here: World, count: int, stands: int) -> None:
    sent = send(here, 40)
    here.drain()
    report(here, sent, "bounce", count)
    look(here.worker, LOOK_NOW)
    assert [b.why for b in pulled(here)] == ["bounces"] * stands


def test_what_left_more_than_a_day_ago_counts_no_more(here: World) -> None:
    sent = send(here, 20)
    here.drain()
    report(here, sent, "spamreport", 6)
    here.run("UPDATE attempts SET closed_at = now() - interval '25 hours'")
    look(here.worker, LOOK_NOW)
    assert not pulled(here)


def test_it_is_looked_at_at_each_tenth_tick_alone(here: World) -> None:
    sent = send(here, 20)
    here.drain()
    report(here, sent, "spamreport", 6)
    look(here.worker, LOOK_NOW + 1)
    assert not pulled(here)


def test_a_human_lets_it_go_and_only_what_leaves_then_counts_again(here: World) -> None:
    complained(here)
    held = send(here, 20)
    here.drain()
    with here.app.sessions.begin() as session, pytest.raises(Invalid):
        brake.release(session, "alerts.example", why=" ", actor=ACTOR)
    with here.app.sessions.begin() as session:
        brake.release(session, "Alerts.Example", why="The list was cleaned.", actor=ACTOR)
    with here.app.sessions.begin() as session, pytest.raises(Missing):
        brake.release(session, "alerts.example", why="Again.", actor=ACTOR)
    look(here.worker, LOOK_NOW)
    assert not pulled(here), "what was complained about is not held against it twice"
    here.drain()
    assert len(here.reached(held)) == 20
    report(here, held, "spamreport", 5)
    look(here.worker, LOOK_NOW)
    (again,) = pulled(here)
    assert (again.complained, again.accepted) == (5, 20)
    with here.looking() as session:
        entries = session.execute(
            sa.select(AuditEntry.event, AuditEntry.why)
            .where(AuditEntry.event.like("brake:%"))
            .order_by(AuditEntry.id)
        ).all()
    assert [tuple(e) for e in entries] == [
        ("brake:pull", None), ("brake:release", "The list was cleaned."), ("brake:pull", None),
    ]  # fmt: skip


def test_a_held_batch_still_ends_when_it_is_stopped_or_its_time_is_over(here: World) -> None:
    complained(here)
    late = send(here, 2)
    here.run("UPDATE batches SET expires_at = now() - interval '1 second' WHERE dispatch_id = :d", d=late)
    here.drain()
    assert here.batch(late).state == "done"
    assert here.batch(late).expired == 2


def test_two_looks_at_once_pull_it_once(here: World) -> None:
    complained(here)
    with here.worker.sessions.begin() as session:
        values = {
            "domain": "alerts.example",
            "why": "complaints",
            "accepted": 1,
            "complained": 1,
            "bounced": 0,
        }
        assert session.execute(brake._PULL, values | {"now": utc_now()}).one_or_none() is None
    assert len(pulled(here)) == 1


def test_the_worker_may_pull_it_and_not_release_it(here: World) -> None:
    complained(here)
    with here.worker.sessions.begin() as session, pytest.raises(sa.exc.ProgrammingError, match="permission"):
        brake.release(session, "alerts.example", why="No.", actor=ACTOR)
