"""Erasure and the retention clock on the command line."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from app.models.audit import AuditEntry
from app.models.people import ContactPoint, Person, PersonContactPoint
from app.services import retention
from app.services.erasure import stores
from config.fields import Part
from tests.app.cli.conftest import Run
from tests.conftest import Database
from tests.factories import Makes


def test_an_address_and_a_person_are_erased_by_id_with_a_reason_on_the_record(
    run: Run, committed: Database
) -> None:
    app = committed.open()
    with app.sessions.begin() as session:
        makes = Makes(session)
        one, shared = makes.contact().id, makes.contact().id
        controller = makes.organisation().id
        ann, bob = (Person(controller_id=controller, name=name) for name in ("Ann", "Bob"))
        session.add_all([ann, bob])
        session.flush()
        session.add_all(PersonContactPoint(person_id=p.id, contact_id=shared) for p in (ann, bob))
        ann_id = ann.id
    assert run("erasure", "contact", str(one), "--why", "request 1").exit_code == 0
    again = run("erasure", "contact", str(one), "--why", "request 1")
    assert (again.exit_code, "no address with this id" in again.output) == (1, True)
    said = run("erasure", "person", str(ann_id), "--why", "request 2").output
    assert "1 shared with somebody else stay" in said
    assert run("erasure", "person", str(ann_id), "--why", "request 2").exit_code == 1
    with app.sessions() as session:
        assert session.scalars(sa.select(ContactPoint.id)).all() == [shared]
        acts = session.execute(
            sa.select(AuditEntry.subject, AuditEntry.why).where(AuditEntry.event.like("%:erase"))
        ).all()
        assert set(map(tuple, acts)) == {(f"contact:{one}", "request 1"), (f"person:{ann_id}", "request 2")}
    app.engine.dispose()


def test_what_is_typed_wrongly_is_refused(run: Run, tmp_path: Path) -> None:
    for words in (
        ("contact", "0", "--why", "x"), ("contact", "ann@people.example", "--why", "x"), ("contact", "1"),
        ("person", "1", "--why", "x"), ("replay", "--from", str(tmp_path)), ("contact", "1", "--why", "x" * 2001),
    ):  # fmt: skip
        assert run("erasure", *words).exit_code == 2, words


def test_a_journal_with_lines_that_nobody_signed_ends_with_status_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "erasures.jsonl").write_text('{"seq":1}\n')
    result = run("erasure", "replay", "--from", str(tmp_path))
    assert result.exit_code == 1
    assert "1 lines cannot be read" in result.output


def test_the_tables_are_printed(run: Run) -> None:
    assert run("erasure", "stores").output.splitlines() == stores.printed()
    assert run("retention", "classes").output.splitlines() == retention.printed()


def test_the_report_says_what_ran_and_what_did_not(run: Run, committed: Database) -> None:
    assert run("retention", "report").exit_code == 1
    worker = committed.open(Part.WORKER)
    with worker.sessions.begin() as session:
        now = session.execute(sa.text("SELECT now()")).scalar_one()
        for one in retention.CLASSES[1:]:
            retention.note_run(session, one, 1234, now=now)
        retention.note_run(session, retention.CLASSES[0], 0, now=now - retention.timedelta(days=3))
    worker.engine.dispose()
    result = run("retention", "report")
    assert result.exit_code == 1
    assert "1,234" in result.output
    assert "deliveries             not run" in result.output
    assert "Not purged for two days or more: deliveries (3 days)" in result.output
    assert run("retention", "report", "--day", "1999-01-01").exit_code == 1
