"""STOP, START and HELP by text: for every controller of the number, and for that number alone."""

from __future__ import annotations

from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.models.audit import AuditEntry
from app.models.consent import Suppression
from app.services import audience, consent, inbound, organisations
from messaging.types import Channel, InboundSms, Keyword
from tests.factories import ACTOR, TOPIC, Makes

STRANGER = "+447700900999"


def text(sender: str, to: str, keyword: Keyword | None) -> InboundSms:
    return InboundSms("SM" + "0" * 32, sender, to, str(keyword), keyword)


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
    from app.models.organisations import SenderController

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
