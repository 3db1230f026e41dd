"""STOP, START and HELP by text, and replies: for every controller of the number, and for that number alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.db import utc_now
from app.models.audit import AuditEntry
from app.models.consent import Suppression
from app.models.organisations import Sender, SenderController
from app.models.replies import Reply, ReplyMessage
from app.models.service_messages import ServiceMessage
from app.registry import Registry
from app.services import audience, consent, inbound, organisations
from messaging.gsm7 import segments
from messaging.types import Channel, InboundSms, Keyword
from tests import ledger, replies
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC, Makes

STRANGER = "+447700900999"
RECKONING = inbound.Reckoning("https://wardlink.example/", 5_000, Decimal("4"), ("GB",))
NOON = utc_now().replace(hour=12, minute=0, second=0, microsecond=0)
_sids = itertools.count(1)


@pytest.fixture
def session(database: Database, registry: Registry) -> Iterator[Session]:
    with ledger.by_anybody(database) as opened:
        yield opened


def text(sender: str, to: str, keyword: Keyword | None) -> InboundSms:
    return replies.text(sender, to, str(keyword), next(_sids), keyword)


def held(session: Session) -> set[tuple[UUID | None, int | None, str]]:
    rows = session.scalars(sa.select(Suppression).where(Suppression.lifted_at.is_(None)))
    return {(s.controller_id, s.sender_id, s.reason) for s in rows}


def reachable(session: Session, controller: UUID, code: str) -> int:
    who = audience.parse({"areas": [code]}, controller=controller, topic=TOPIC, channels=["sms"])
    return audience.count(session, who)["sms"]


def test_stop_to_a_number_of_two_controllers_stops_both_and_start_lets_both_write_again(
    session: Session, makes: Makes
) -> None:
    police, council, fire = (makes.organisation(n) for n in ("Police", "Council", "Fire"))
    number = makes.sender(police, "sms")
    organisations_share(session, number.id, council.id)
    other = makes.sender(fire, "sms")
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward, channel=Channel.SMS)
    for also in (council, fire):
        makes.live_in(person, also, ward, [TOPIC])
        consent.give(session, person, also.id, how="test", actor=ACTOR)
    assert inbound.receive(session, text(person.address, number.address, Keyword.STOP)) is None
    assert inbound.receive(session, text(person.address, number.address, Keyword.STOP)) is None
    assert held(session) == {(police.id, number.id, "stop"), (council.id, number.id, "stop")}
    assert [reachable(session, o.id, ward.code) for o in (police, council, fire)] == [0, 0, 1]
    inbound.receive(session, text(person.address, other.address, Keyword.START))
    assert len(held(session)) == 2, "START to another number undoes nothing"
    inbound.receive(session, text(person.address, number.address, Keyword.START))
    assert held(session) == set()
    assert [reachable(session, o.id, ward.code) for o in (police, council, fire)] == [1, 1, 1]


def organisations_share(session: Session, sender_id: int, organisation: UUID) -> None:
    session.add(SenderController(sender_id=sender_id, organisation_id=organisation))
    session.flush()


def test_start_undoes_only_what_stop_did(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    number = makes.sender(police, "sms")
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward, channel=Channel.SMS)
    consent.leave(session, person.id, police.id, how="web", actor=ACTOR)
    inbound.receive(session, text(person.address, number.address, Keyword.STOP))
    inbound.receive(session, text(person.address, number.address, Keyword.START))
    assert held(session) == {(police.id, None, "left")}
    assert reachable(session, police.id, ward.code) == 0


def test_a_number_in_two_lanes_is_one_number_for_stop_and_for_start(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    bulk = makes.sender(police, "sms")
    urgent = organisations.add_sender(
        session,
        [police.id],
        channel="sms",
        provider="twilio",
        address=bulk.address,
        kind="two-way",
        lane="urgent",
        actor=ACTOR,
    )
    digest = crypto.keyring().digest("phone", STRANGER)
    for sender in (bulk, urgent):  # what the provider's refusal of a text from either lane leads to
        inbound.stop(session, sender.id, digest)
    assert len(held(session)) == 2
    inbound.receive(session, text(STRANGER, bulk.address, Keyword.START))
    assert held(session) == set()


def test_stop_by_somebody_we_do_not_know_is_kept_for_the_day_they_are_imported(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    number = makes.sender(police, "sms")
    _, ward, _ = makes.borough()
    assert inbound.receive(session, text(STRANGER, number.address, Keyword.STOP)) is None
    assert held(session) == {(police.id, number.id, "stop")}
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "suppression:add")).one()
    assert (entry.actor_kind, entry.actor_id, entry.origin) == ("resident", None, "sms")
    assert "900999" not in f"{entry.subject}{entry.detail}"
    makes.resident(police, ward, address=STRANGER, channel=Channel.SMS)
    assert reachable(session, police.id, ward.code) == 0


@pytest.mark.parametrize("keyword", [Keyword.HELP, None])
def test_help_and_ordinary_words_stop_nobody(session: Session, makes: Makes, keyword: Keyword | None) -> None:
    number = makes.sender(makes.organisation(), "sms")
    assert inbound.receive(session, text(STRANGER, number.address, keyword)) is None
    assert held(session) == set()


def test_a_text_to_a_number_that_is_not_ours_is_a_problem_in_words(session: Session, makes: Makes) -> None:
    makes.sender(makes.organisation(), "sms")
    problem = inbound.receive(session, text(STRANGER, "+447700900555", Keyword.STOP))
    assert problem == "sent to a number that is not ours"
    assert held(session) == set()


def test_an_old_start_that_comes_again_does_not_undo_a_newer_stop(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    number = makes.sender(police, "sms")
    start = text(STRANGER, number.address, Keyword.START)
    inbound.receive(session, start)
    inbound.receive(session, text(STRANGER, number.address, Keyword.STOP))
    assert inbound.receive(session, start) is None
    assert held(session) == {(police.id, number.id, "stop")}


# -- what is said back
def queued(session: Session) -> list[ServiceMessage]:
    return list(session.scalars(sa.select(ServiceMessage).order_by(ServiceMessage.created_at)))


def hear(
    session: Session,
    number: Sender,
    body: str = "Saw him.",
    *,
    at: float = 0,
    writer: str = STRANGER,
    **changes: object,
) -> str | None:
    """A text that says something; ``at``: minutes after noon."""
    message = replies.text(writer, number.address, body, next(_sids), changes.pop("keyword", None))  # type: ignore[arg-type]
    values: dict[str, object] = {"reckoning": RECKONING, "now": NOON + timedelta(minutes=at)} | changes
    return inbound.receive(session, message, **values)  # type: ignore[arg-type]


def test_help_says_who_writes_how_to_stop_and_where_to_change(session: Session, makes: Makes) -> None:
    police, council = makes.organisation("Metropolitan Police"), makes.organisation("Camden Council")
    number = makes.sender(police, "sms")
    organisations_share(session, number.id, council.id)
    assert hear(session, number, keyword=Keyword.HELP) is None
    (message,) = queued(session)
    assert (message.kind, message.sender_id, message.address) == ("help", number.id, STRANGER)
    assert (message.contact_id, message.synthetic) == (None, True)
    said = message.text or ""
    for part in (
        "Camden Council, Metropolitan Police", "STOP", "https://wardlink.example/manage", "999", "101",
    ):  # fmt: skip
        assert part in said
    assert message.segments == segments(said).segments <= 2
    assert session.scalar(sa.select(sa.func.count()).select_from(Reply)) == 0


def test_help_is_answered_once_an_hour_for_each_number(session: Session, makes: Makes) -> None:
    number = makes.sender(makes.organisation(), "sms")
    for at in (0, 1, 59, 60):
        hear(session, number, keyword=Keyword.HELP, at=at)
    hear(session, number, keyword=Keyword.HELP, writer="+447700900998")
    assert sorted((m.created_at - NOON).seconds // 60 for m in queued(session)) == [0, 0, 60]


def test_a_reply_is_thanked_for_once_a_day_and_says_who_reads_it(session: Session, makes: Makes) -> None:
    police = makes.organisation("Metropolitan Police")
    number = makes.sender(police, "sms")
    for at in (0, 1, 24 * 60):
        assert hear(session, number, f"Saw him {at}.", at=at) is None
    thanks = queued(session)
    assert [m.kind for m in thanks] == ["reply-receipt"] * 2
    assert thanks[0].text == (
        "Thank you. Metropolitan Police will read this. It is not watched all the time. "
        "In an emergency call 999, otherwise 101."
    )
    assert (thanks[0].sender_id, thanks[0].segments) == (number.id, 1)
    assert session.scalar(sa.select(sa.func.count()).select_from(ReplyMessage)) == 3


def test_a_text_that_comes_twice_is_kept_once_and_thanked_for_once(session: Session, makes: Makes) -> None:
    number = makes.sender(makes.organisation(), "sms")
    message = replies.text(STRANGER, number.address, "Saw him.", next(_sids))
    for _ in range(2):
        assert inbound.receive(session, message, reckoning=RECKONING, now=NOON) is None
    assert session.scalar(sa.select(sa.func.count()).select_from(ReplyMessage)) == 1
    assert len(queued(session)) == 1


@pytest.mark.parametrize("keyword", [Keyword.HELP, None])
def test_when_the_days_money_is_spent_nothing_is_said_back_and_replies_are_kept(
    session: Session, makes: Makes, keyword: Keyword | None
) -> None:
    number = makes.sender(makes.organisation(), "sms")
    poor = inbound.Reckoning("https://wardlink.example", 3, Decimal("4"), ("GB",))
    assert hear(session, number, keyword=keyword, reckoning=poor) is None
    assert queued(session) == []
    assert session.scalar(sa.select(sa.func.count()).select_from(Reply)) == (keyword is None)


def test_whoever_said_stop_is_read_and_not_written_to(session: Session, makes: Makes) -> None:
    number = makes.sender(makes.organisation(), "sms")
    hear(session, number, keyword=Keyword.STOP)
    hear(session, number, "Stop writing to me please")
    assert queued(session) == []
    assert session.scalar(sa.select(sa.func.count()).select_from(Reply)) == 1


@pytest.mark.parametrize("keyword", [Keyword.HELP, None])
def test_nothing_is_said_back_to_a_country_that_is_not_among_ours(
    session: Session, makes: Makes, keyword: Keyword | None
) -> None:
    number = makes.sender(makes.organisation(), "sms")
    assert hear(session, number, keyword=keyword, writer="+33612345678") is None
    assert queued(session) == []
    assert session.scalar(sa.select(sa.func.count()).select_from(Reply)) == (keyword is None)


def test_a_text_that_can_be_nobodys_reply_is_a_problem_in_words(session: Session, makes: Makes) -> None:
    number = makes.sender(makes.organisation(), "sms")
    assert "cannot be answered" in (hear(session, number, writer="60099") or "")


def test_the_team_of_the_alert_is_named_in_the_thanks(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    number = makes.sender(police, "sms")
    _, ward, _ = makes.borough()
    team = makes.team(police, [ward], name="Hayes Town Team")
    person = makes.resident(police, ward, channel=Channel.SMS)
    sent = replies.appeal(makes, police, ward, Channel.SMS, team=team.id)
    replies.delivered(session, sent, person)
    hear(session, number, writer=person.address)
    assert "Hayes Town Team will read this" in (queued(session)[0].text or "")
