"""Contact points: found by digest alone, shared by who shares them, erased everywhere."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto
from app.errors import Invalid
from app.models.audit import AuditEntry
from app.models.consent import Consent, Suppression
from app.models.ledger import Batch, Delivery
from app.models.people import (
    ContactPoint,
    Erasure,
    Person,
    PersonContactPoint,
    Place,
    PlaceArea,
    Subscription,
)
from app.services import consent, people
from messaging.types import Channel, DeliveryStatus
from tests import ledger
from tests.conftest import Database
from tests.factories import ACTOR, START, TOPIC, Makes
from tests.sending import World, world


def total(session: Session, model: type, *where: sa.ColumnElement[bool]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(model).where(*where)) or 0


def address(typed: str, channel: Channel = Channel.EMAIL) -> people.Address:
    return people.read_address(channel, typed, fictional=True)


# -- finding
def test_an_address_is_found_however_it_is_typed_and_is_sent_to_as_first_typed(
    session: Session, makes: Makes
) -> None:
    first = makes.contact("Anna.Long@People.example")
    assert people.find_contact(session, address("anna.long@people.EXAMPLE")) == first
    assert makes.contact("ANNA.LONG@people.example").id == first.id
    assert first.address == "Anna.Long@People.example"
    assert people.find_contact(session, address("annalong@people.example")) is None, "no tricks with dots"
    number = makes.contact("07700 900123", Channel.SMS)
    assert people.find_contact(session, address("+44 7700 900 123", Channel.SMS)) == number


def test_nothing_of_an_address_or_a_name_stands_readable_in_the_database(
    session: Session, makes: Makes
) -> None:
    makes.contact("findme@people.example", salutation="Wilhelmina")
    row = session.execute(sa.text("SELECT c.*, c::text AS whole FROM contact_points c")).mappings().one()
    shown = repr(dict(row)) + bytes(row["address_enc"]).decode("latin-1")
    assert "findme" not in shown
    assert "Wilhelmina" not in shown
    assert bytes(row["digest"]) == crypto.keyring().digest("email", "findme@people.example")
    for entry in session.scalars(sa.select(AuditEntry)):
        assert "findme" not in f"{entry.subject}{entry.detail}{entry.why}"


@pytest.mark.parametrize(
    ("channel", "typed"),
    [
        (Channel.EMAIL, "no address"), (Channel.EMAIL, ""), (Channel.EMAIL, "a\x00@people.example"),
        (Channel.SMS, "020 7946 0000"), (Channel.SMS, "07000 000000"), (Channel.SMS, "999"), (Channel.SMS, "x"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_used_is_refused_in_words_without_repeating_it(
    channel: Channel, typed: str
) -> None:
    with pytest.raises(Invalid) as refused:
        people.read_address(channel, typed, fictional=True)
    assert refused.value.field == "address"
    assert len(refused.value.message) > 10
    assert not typed or typed not in refused.value.message


@pytest.mark.parametrize("name", ["x" * 101, "a\x00b"])
def test_a_name_that_cannot_be_kept_is_refused(session: Session, name: str) -> None:
    with pytest.raises(Invalid):
        people.add_contact(session, address("a@people.example"), actor=ACTOR, salutation=name)
    assert total(session, ContactPoint) == 0


def test_confirming_twice_is_once(session: Session, makes: Makes) -> None:
    contact = makes.contact(confirmed_at=None)
    people.confirm(session, contact, actor=ACTOR, now=START)
    people.confirm(session, contact, actor=ACTOR)
    assert contact.confirmed_at == START
    assert total(session, AuditEntry, AuditEntry.event == "contact:confirm") == 1


# -- erasing
def test_erasure_reaches_every_store_and_keeps_only_what_proves_it(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward, salutation="Ann")
    reader = Person(controller_id=police.id, name="Ann Reader")
    session.add(reader)
    session.flush()
    session.add(PersonContactPoint(person_id=reader.id, contact_id=person.id))
    session.execute(sa.update(Place).values(person_id=reader.id))
    consent.leave(session, person.id, police.id, how="page", actor=ACTOR)
    consent.give(session, person, police.id, how="again", actor=ACTOR)
    consent.leave(session, person.id, police.id, how="page", actor=ACTOR)
    people.erase(session, person.id, actor=ACTOR, now=START)
    people.erase(session, person.id, actor=ACTOR)
    session.expunge_all()
    for model in (ContactPoint, Person, PersonContactPoint, Place, PlaceArea, Subscription):
        assert total(session, model) == 0, model
    kept = session.scalars(sa.select(Consent)).all()
    assert [c.contact_id for c in kept] == [None, None]
    assert len({c.pseudonym for c in kept}) == 1
    assert all(c.withdrawn_at for c in kept)
    held = session.scalars(sa.select(Suppression).where(Suppression.lifted_at.is_(None))).one()
    assert held.digest == person.digest
    journal = session.scalars(sa.select(Erasure)).one()
    assert (journal.contact_id, journal.at) == (person.id, START)
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "contact:erase")).first()
    assert (entry.s62, entry.subject) == ("erasure", f"contact:{person.id}")


def test_a_consent_that_stood_is_withdrawn_by_the_erasure(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    person = makes.resident(police, ward)
    people.erase(session, person.id, actor=ACTOR)
    kept = session.scalars(sa.select(Consent)).one()
    assert (kept.withdrawn_how, kept.contact_id) == ("erased", None)


def test_a_place_where_somebody_else_is_reached_stays(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    goes, stays = makes.resident(police, ward), makes.resident(police, ward)
    place = session.scalars(
        sa.select(Place).join(Subscription).where(Subscription.contact_id == goes.id)
    ).one()
    reader = Person(controller_id=police.id, name="Ann Reader")
    session.add(reader)
    session.flush()
    session.add(PersonContactPoint(person_id=reader.id, contact_id=goes.id))
    place.person_id = reader.id
    session.add(Subscription(place_id=place.id, contact_id=stays.id, controller_id=police.id, topic=TOPIC))
    session.flush()
    people.erase(session, goes.id, actor=ACTOR)
    session.expunge_all()
    assert session.get_one(Place, place.id).person_id is None
    assert total(session, Person) == 0
    assert total(session, Subscription, Subscription.contact_id == stays.id) == 2


def test_the_name_of_somebody_with_another_address_stays(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    mail, phone = makes.contact(), makes.contact(channel=Channel.SMS)
    reader = Person(controller_id=police.id, name="Ann Reader")
    session.add(reader)
    session.flush()
    session.add_all(PersonContactPoint(person_id=reader.id, contact_id=c.id) for c in (mail, phone))
    session.flush()
    people.erase(session, mail.id, actor=ACTOR)
    assert total(session, Person) == 1
    people.erase(session, phone.id, actor=ACTOR)
    assert total(session, Person) == 0


def test_erasing_who_never_was_leaves_a_journal_row_and_nothing_else(session: Session, makes: Makes) -> None:
    other = makes.contact()
    people.erase(session, 77, actor=ACTOR)
    assert total(session, Erasure) == 1
    assert session.get(ContactPoint, other.id) is not None


def test_an_address_used_again_after_erasure_is_somebody_new_whose_stop_still_holds(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    old = makes.resident(police, ward, address="ann@people.example")
    consent.suppress(
        session, channel="email", digest=old.digest, digest_key=1, controller=police.id, reason="complaint"
    )
    people.erase(session, old.id, actor=ACTOR)
    session.expunge_all()
    new = makes.resident(police, ward, address="ann@people.example")
    assert new.id != old.id
    makes.sender(police)
    sent = ledger.resent(makes, police, ward)
    assert total(session, Batch, Batch.dispatch_id == sent) == 0, "a complaint outlives the erasure"


def test_the_app_erases_what_the_worker_wrote_and_the_ledger_still_balances(
    committed: Database, tmp_path: object
) -> None:
    with world(committed, tmp_path) as here:  # type: ignore[arg-type]
        sent, gone = _texted(here)
        assert _refs(here, sent) == 2
        with here.app.sessions.begin() as session:
            people.erase(session, gone, actor=ACTOR)
        assert _refs(here, sent) == 1
        (line,) = here.balance(sent)
        assert line.accepted == 2


def _texted(here: World) -> tuple[object, int]:
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police, "sms")
        _, ward, _ = makes.borough()
        gone = makes.resident(police, ward, channel=Channel.SMS).id
        makes.resident(police, ward, channel=Channel.SMS)
        sent = here.send(makes, makes.alert(police, [ward], channels=["sms"]))
    here.drain()
    assert set(here.statuses(sent).values()) == {DeliveryStatus.ACCEPTED}
    return sent, gone


def _refs(here: World, sent: object) -> int:
    with here.looking() as session:
        return total(session, Delivery, Delivery.dispatch_id == sent, Delivery.provider_ref.is_not(None))
