"""Erasure of people who share, set-wise, beside others who write, and its journal outside the database."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from app.audit import journal
from app.db import make_engine, new_id, utc_now
from app.models.audit import AuditEntry
from app.models.consent import Consent
from app.models.deferral import ContactSend
from app.models.ledger import Batch, Delivery
from app.models.people import ContactPoint, Erasure, Person, PersonContactPoint, Place, Subscription
from app.registry import Registry
from app.services import consent, dispatch, people, preferences
from app.services.erasure import engine
from app.services.erasure.replay import replay
from app.services.preferences import Preferences
from tests.conftest import Database
from tests.factories import ACTOR, START, Makes
from tests.record import Record
from workers.sealer import Sealer, Stop


def reader(makes: Makes, *contacts: ContactPoint, name: str = "Ann Reader") -> Person:
    controller = makes.organisation().id
    person = Person(controller_id=controller, name=name)
    makes.session.add(person)
    makes.session.flush()
    makes.session.add_all(PersonContactPoint(person_id=person.id, contact_id=one.id) for one in contacts)
    makes.session.flush()
    return person


def count(session: Session, model: type, *where: sa.ColumnElement[bool]) -> int:
    return session.scalar(sa.select(sa.func.count()).select_from(model).where(*where)) or 0


# -- people
def test_of_a_couple_with_one_address_one_is_erased_and_the_other_still_gets_alerts(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    shared = makes.resident(police, ward, salutation="Ann")
    ann, bob = reader(makes, shared), reader(makes, shared, name="Bob Reader")
    ann_id, bob_id = ann.id, bob.id
    session.execute(sa.update(Place).values(person_id=ann_id))
    assert engine.bound(session, ann_id) == engine.Bound((), (shared.id,))
    assert engine.people(session, [ann_id], actor=ACTOR, why="request 1") == engine.Erased(0, 1, 1)
    session.expire_all()
    assert session.scalars(sa.select(Person.id)).all() == [bob_id]
    assert session.get_one(ContactPoint, shared.id).salutation is None, "whose name it was, nobody can say"
    assert count(session, Subscription) == count(session, Place, Place.person_id.is_(None)) == 1
    assert count(session, Consent, Consent.withdrawn_at.is_(None)) == 1
    assert engine.people(session, [ann_id], actor=ACTOR) == engine.Erased(0, 0, 0), "twice is once"
    assert engine.people(session, [bob_id], actor=ACTOR) == engine.Erased(1, 1, 0), "now it is his alone"
    assert count(session, ContactPoint) == count(session, Person) == 0


def test_a_couple_erased_together_leaves_nothing(session: Session, makes: Makes) -> None:
    shared, own = makes.contact(), makes.contact()
    both = [reader(makes, shared).id, reader(makes, shared, own, name="Bob Reader").id]
    assert engine.people(session, both, actor=ACTOR) == engine.Erased(2, 2, 0)
    assert count(session, ContactPoint) == count(session, Person) == count(session, PersonContactPoint) == 0
    assert count(session, Erasure) == 4
    events = session.scalars(sa.select(AuditEntry.event).where(AuditEntry.event.in_(journal.EVENTS))).all()
    assert sorted(events) == ["contact:erase"] * 2 + ["person:erase"] * 2


def test_many_are_erased_with_as_many_statements_as_one(session: Session, makes: Makes) -> None:
    def statements(n: int) -> int:
        ids = [makes.contact().id for _ in range(n)]
        seen: list[str] = []
        listen = lambda c, cur, statement, *_: seen.append(statement)  # noqa: E731
        sa.event.listen(session.connection(), "before_cursor_execute", listen)
        assert engine.contacts(session, ids, actor=ACTOR).addresses == n
        sa.event.remove(session.connection(), "before_cursor_execute", listen)
        return sum("audit_entries" not in one for one in seen)

    assert statements(1) == statements(30)


def test_more_than_fit_into_one_transaction_are_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="at most"):
        engine.contacts(session, range(1, engine.MOST + 2), actor=ACTOR)


# -- beside others
def test_what_was_written_while_somebody_was_being_erased_goes_at_the_next_look(
    app: Registry, worker: Registry
) -> None:
    with app.sessions.begin() as session:
        makes = Makes(session)
        makes.wording()
        police, contact = makes.organisation(), makes.contact()
        session.expunge(contact)
        controller = police.id
    sent = new_id()
    with app.sessions() as page, worker.sessions() as sender:
        # Both began before the erasure and end after it; neither row has a key to the contact point.
        consent.give(page, contact, controller, how="page", actor=ACTOR)
        sender.add(
            Delivery(
                dispatch_id=sent, contact_id=contact.id, batch_n=0, ordinal=1, status=30, provider_ref="SM1"
            )
        )
        sender.flush()
        with app.sessions.begin() as session:
            engine.contacts(session, [contact.id], actor=ACTOR)
        page.commit()
        sender.commit()
    with worker.sessions.begin() as session:
        assert engine.again(session, now=utc_now()) == 1
        assert engine.again(session, now=utc_now()) == 0
    with app.sessions() as session:
        kept = session.scalars(sa.select(Consent)).one()
        assert (kept.contact_id, kept.withdrawn_how) == (None, "erased")
        assert session.scalars(sa.select(Delivery.provider_ref)).all() == [None]


def test_an_erasure_waits_for_a_freeze_that_counts_a_cap_and_neither_is_broken_off(app: Registry) -> None:
    """The freeze holds the preference and then writes what counts; erasing takes its locks in that order too."""
    with app.sessions.begin() as session:
        contact = Makes(session).contact()
        preferences.choose(session, contact, Preferences(weekly_cap=3), actor=ACTOR)
        one = contact.id
    failed: list[BaseException] = []

    def erase() -> None:
        try:
            with app.sessions.begin() as session:
                engine.contacts(session, [one], actor=ACTOR)
        except BaseException as error:
            failed.append(error)

    with app.sessions() as freeze:
        freeze.execute(
            sa.text("SELECT 1 FROM contact_preferences WHERE contact_id = :c FOR NO KEY UPDATE"), {"c": one}
        )
        thread = threading.Thread(target=erase)
        thread.start()
        _until_waiting(app)
        freeze.execute(
            sa.text("INSERT INTO contact_sends (contact_id, at, dispatch_id) VALUES (:c, now(), :d)"),
            {"c": one, "d": new_id()},
        )
        freeze.commit()
    thread.join(30)
    assert not thread.is_alive()
    assert failed == []
    with app.sessions() as session:
        assert session.get(ContactPoint, one) is None


def test_a_freeze_that_waited_for_an_erasure_goes_out_to_the_others(app: Registry) -> None:
    """The other way round: the alert finds that somebody has gone, and leaves."""
    with app.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.sender(police)
        _, ward, _ = makes.borough()
        gone, stays = (makes.resident(police, ward).id for _ in range(2))
        for one in (gone, stays):
            preferences.choose(
                session, session.get_one(ContactPoint, one), Preferences(weekly_cap=3), actor=ACTOR
            )
        alert = makes.alert(police, [ward]).id
    sent: list[UUID] = []
    failed: list[BaseException] = []

    def freeze() -> None:
        try:
            with app.sessions.begin() as session:
                made = dispatch.send(
                    session,
                    alert,
                    token="freeze-beside-erasure",
                    actor=ACTOR,
                    public_url="http://127.0.0.1:8000",
                )
                sent.append(made.id)
        except BaseException as error:
            failed.append(error)

    with app.sessions() as erasing:
        engine.contacts(erasing, [gone], actor=ACTOR)
        thread = threading.Thread(target=freeze)
        thread.start()
        _until_waiting(app)
        erasing.commit()
    thread.join(30)
    assert not thread.is_alive()
    assert failed == []
    with app.sessions() as session:
        frozen = session.scalars(sa.select(Batch.contact_ids).where(Batch.dispatch_id == sent[0])).all()
        assert stays in {one for ids in frozen for one in ids}
        assert session.scalars(sa.select(ContactSend.contact_id)).all() == [stays]


def _until_waiting(app: Registry) -> None:
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(1_000):
        with app.sessions() as session:
            if session.execute(waiting).scalar_one():
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waited")


# -- the journal outside
@pytest.fixture
def record(committed: Database, tmp_path: Path) -> Record:
    return Record(committed, tmp_path / "heads")


def seal(record: Record) -> None:
    stop = Stop()
    Sealer(record.url("sealer"), record.key, record.heads_dir, stop).drain()
    stop.close()


def lines(record: Record) -> list[tuple[str, str] | None]:
    found = journal.read(record.heads_dir / journal.FILE_NAME, record.key.public_key())
    return [line and (line.what, line.id) for line in found]


def test_the_sealer_writes_each_erasure_into_the_file_once_whatever_happens_to_it(
    app: Registry, record: Record
) -> None:
    with app.sessions.begin() as session:
        people.erase(session, 11, actor=ACTOR)
        person = new_id()
        engine.people(session, [person], actor=ACTOR)
    seal(record)
    seal(record)
    assert lines(record) == [("contact", "11"), ("person", str(person))]
    path = record.heads_dir / journal.FILE_NAME
    with path.open("a") as file:  # a crash in the middle of a line
        file.write('{"seq":3,"ha')
    with app.sessions.begin() as session:
        people.erase(session, 12, actor=ACTOR)
    seal(record)
    assert lines(record) == [("contact", "11"), ("person", str(person)), ("contact", "12")]
    # A crash after the links were committed and before the line was on the disk.
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:1]))
    seal(record)
    assert lines(record) == [("contact", "11"), ("person", str(person)), ("contact", "12")]


def test_a_file_that_cannot_be_written_to_is_written_later(app: Registry, record: Record) -> None:
    with app.sessions.begin() as session:
        people.erase(session, 11, actor=ACTOR)
    record.heads_dir.mkdir()
    path = record.heads_dir / journal.FILE_NAME
    path.mkdir()  # nobody can append to a folder
    engine_ = make_engine(record.url("sealer"))
    record.seal(head=False)
    follower = journal.Journal(record.heads_dir, record.key)
    try:
        with engine_.connect() as connection:
            with pytest.raises(OSError):
                follower.follow(connection)
            path.rmdir()
            assert follower.follow(connection) == 1
            assert follower.follow(connection) == 0
    finally:
        engine_.dispose()
    assert lines(record) == [("contact", "11")]


def test_after_a_restore_into_the_same_folder_new_erasures_are_still_written(
    app: Registry, record: Record
) -> None:
    """The chain begins anew behind the file's last line, whose link it does not know."""
    with app.sessions.begin() as session:
        for one in (11, 12, 13):
            people.erase(session, one, actor=ACTOR)
    seal(record)
    record.tamper("DELETE FROM audit_seals WHERE seq > 1", "DELETE FROM audit_entries WHERE id > 1")
    with app.sessions.begin() as session:
        people.erase(session, 14, actor=ACTOR)
    seal(record)
    assert lines(record) == [("contact", one) for one in ("11", "12", "13", "14")]


def test_a_replay_erases_what_is_back_notes_the_rest_and_passes_over_what_we_did_not_sign(
    app: Registry, record: Record
) -> None:
    with app.sessions.begin() as session:
        back, stays = Makes(session).contact().id, Makes(session).contact("stays@people.example").id
    path = record.heads_dir / journal.FILE_NAME
    record.heads_dir.mkdir()
    path.write_text(
        "".join(
            f"{line}\n"
            for line in (
                signed(record.key, "contact", str(back)),
                signed(record.key, "contact", "77"),
                signed(Ed25519PrivateKey.generate(), "contact", str(stays)),
                signed(record.key, "contact", str(back)).replace(str(back), str(stays)),
                signed(record.key, "contact", "no number"),
                signed(record.key, "person", str(new_id())),
                '{"seq": 1}',
                "not json",
            )
        )
    )
    public = record.key.public_key()
    done = replay(app.sessions, journal.read(path, public), actor=ACTOR)
    assert (done.read, done.addresses, done.people, done.noted, done.unreadable) == (8, 1, 0, 2, 5)
    with app.sessions() as session:
        assert session.scalars(sa.select(ContactPoint.id)).all() == [stays], (
            "nobody else can have anybody erased"
        )
        assert session.scalars(sa.select(Erasure.at).where(Erasure.contact_id == back)).one() == START
        entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "erasure:replay")).one()
        assert json.loads(entry.detail or "")["addresses"] == 1
    done = replay(app.sessions, journal.read(path, public), actor=ACTOR)
    assert (done.addresses, done.noted) == (0, 0)


def test_a_replay_of_a_person_leaves_an_address_that_was_not_erased_then(
    app: Registry, record: Record
) -> None:
    """In the backup she read there alone; when she was erased, somebody else did too."""
    with app.sessions.begin() as session:
        makes = Makes(session)
        contact = makes.contact(salutation="Ann").id
        person = reader(makes, session.get_one(ContactPoint, contact)).id
    record.heads_dir.mkdir()
    path = record.heads_dir / journal.FILE_NAME
    path.write_text(signed(record.key, "person", str(person)) + "\n")
    done = replay(app.sessions, journal.read(path, record.key.public_key()), actor=ACTOR)
    assert (done.addresses, done.people) == (0, 1)
    with app.sessions() as session:
        assert session.get_one(ContactPoint, contact).salutation is None
        assert session.get(Person, person) is None


def signed(key: Ed25519PrivateKey, what: str, id: str) -> str:
    line = journal.Line(1, "00" * 32, what, id, "2026-01-01T00:00:00.000000Z", "key")
    values = {name: getattr(line, name) for name in journal.Line.__slots__}
    return json.dumps(values | {"signature": key.sign(line.signed_bytes()).hex()})
