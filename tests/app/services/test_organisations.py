"""Organisations and the senders they write from."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import new_id
from app.errors import Conflict, Invalid, Missing
from app.models.organisations import Organisation, Sender, SenderController, SenderPace
from app.services import organisations
from app.services.ledger import attempts
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, Makes

GOOD = {"slug": "met", "name": "Met Police", "kind": "police", "legal_basis": "consent"}


def test_an_organisation_is_found_by_its_short_name_which_is_its_alone(session: Session) -> None:
    made = organisations.create(session, **GOOD, actor=ACTOR)
    assert organisations.by_slug(session, "met") == made
    assert organisations.by_slug(session, "other") is None
    with pytest.raises(Conflict):
        organisations.create(session, **GOOD, actor=ACTOR)


@pytest.mark.parametrize(
    "change",
    [
        {"slug": "M"}, {"slug": "met police"}, {"slug": "x" * 61}, {"slug": "met\n"}, {"name": " "},
        {"name": "x" * 201}, {"name": "a\x00b"}, {"kind": "gang"}, {"legal_basis": ""}, {"legal_basis": "x" * 501},
    ],
)  # fmt: skip
def test_what_is_no_organisation_is_refused(session: Session, change: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        organisations.create(session, **(GOOD | change), actor=ACTOR)
    assert refused.value.field in change
    assert session.scalar(sa.select(sa.func.count()).select_from(Organisation)) == 0


SENDER = {
    "channel": "sms", "provider": "twilio", "address": "+447700900100", "kind": "two-way", "lane": "bulk",
    "segments_per_second": 10.0,
}  # fmt: skip


def test_a_sender_has_its_controllers_and_its_pace(session: Session, makes: Makes) -> None:
    police, council = makes.organisation(), makes.organisation()
    sender = organisations.add_sender(session, [police.id, council.id], **SENDER, actor=ACTOR)
    assert set(session.scalars(sa.select(SenderController.organisation_id))) == {police.id, council.id}
    assert session.get(SenderPace, sender.id) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"channel": "pigeon"}, {"address": "07700 900100"}, {"address": "WARDLINK"}, {"address": "+44770090010\n"},
        {"kind": "alphanumeric"}, {"kind": "alphanumeric", "address": "TWELVE CHARS"},
        {"kind": "alphanumeric", "address": "12345"}, {"kind": "email"}, {"lane": "fast"},
        {"segments_per_second": 0.0}, {"segments_per_second": float("nan")}, {"segments_per_second": 1e9},
        {"channel": "email", "kind": "email", "address": "nobody"},
    ],
)  # fmt: skip
def test_what_nobody_can_send_from_is_refused(
    session: Session, makes: Makes, change: dict[str, object]
) -> None:
    police = makes.organisation()
    with pytest.raises(Invalid):
        organisations.add_sender(session, [police.id], **(SENDER | change), actor=ACTOR)
    assert session.scalar(sa.select(sa.func.count()).select_from(Sender)) == 0


def test_a_sender_of_nobody_we_know_is_refused(session: Session) -> None:
    with pytest.raises(Missing):
        organisations.add_sender(session, [new_id()], **SENDER, actor=ACTOR)


def test_the_pace_of_a_sender_holds_for_all_workers_together(database: Database, registry: object) -> None:
    with ledger.by_anybody(database) as session:
        makes = Makes(session)
        slow = makes.sender(makes.organisation(), "sms", rate=2.0)
        granted = [attempts.take_turn(session, slow.id, 5, 2.5) for _ in range(3)]
        assert granted[:2] == [None, None]
        assert granted[2] is not None
        # Ten segments at two a second are five seconds; the next may come when 2.5 s of them are left.
        assert 1.5 < granted[2] <= 2.5
        quick = makes.sender(makes.organisation(), "sms", rate=1_000.0)
        assert attempts.take_turn(session, quick.id, 5, 2.5) is None
