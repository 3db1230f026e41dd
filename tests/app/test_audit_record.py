import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import errors
from sqlalchemy.orm import Session

from app.audit.events import EVENTS
from app.audit.record import SYSTEM, Actor, canonical_detail, network_prefix, record
from app.models.audit import S62, ActorKind, AuditEntry
from app.roles import libpq
from tests.conftest import PROJECT, Database
from tests.record import ADD, Record

ORGANISATION = UUID("01920000-0000-7000-8000-000000000001")


def entry(session: Session, number: int) -> AuditEntry:
    return session.get_one(AuditEntry, number)


def test_an_entry_holds_all_that_was_said(session: Session) -> None:
    number = record(
        session,
        event="contact:consult",
        subject="contact:17",
        actor=Actor(ActorKind.STAFF, "0192", "198.51.100.0/24"),
        organisation=ORGANISATION,
        area="E05013806",
        s62=S62.CONSULTATION,
        why="Robbery, reference 17/2026",
        detail={"found": 2, "ids": [3, 1], "of": ORGANISATION},
        at=datetime(2026, 3, 29, 1, 0, 0, 1, UTC),
    )
    found = entry(session, number)
    assert (found.version, found.event, found.subject) == (1, "contact:consult", "contact:17")
    assert (found.actor_kind, found.actor_id, found.origin) == ("staff", "0192", "198.51.100.0/24")
    assert (found.organisation_id, found.area_code, found.s62) == (ORGANISATION, "E05013806", "consultation")
    assert found.why == "Robbery, reference 17/2026"
    assert found.detail == f'{{"found":2,"ids":[3,1],"of":"{ORGANISATION}"}}'
    assert found.at == datetime(2026, 3, 29, 1, 0, 0, 1, UTC)


def test_an_entry_of_the_least_has_the_time_of_the_database(session: Session) -> None:
    number = record(session, event="area:load", subject="release:ONSPD-2026-02", actor=SYSTEM)
    found = entry(session, number)
    elapsed = session.execute(sa.select(sa.func.clock_timestamp() - found.at)).scalar_one()
    assert 0 <= elapsed.total_seconds() < 60
    assert (found.why, found.detail, found.s62, found.actor_id) == (None, None, None, None)


def test_every_kind_of_actor_and_of_processing_can_be_recorded(session: Session) -> None:
    for kind in ActorKind:
        assert record(session, event="alert:draft", subject="alert:1", actor=Actor(kind))
    for s62 in S62:
        assert record(session, event="alert:draft", subject="alert:1", actor=SYSTEM, s62=s62)


def test_every_registered_event_can_be_recorded(session: Session) -> None:
    for event in EVENTS:
        assert record(session, event=event, subject=f"{event.partition(':')[0]}:1", actor=SYSTEM)


def test_an_event_that_is_not_registered_is_a_mistake(session: Session) -> None:
    with pytest.raises(KeyError, match="alert:sing"):
        record(session, event="alert:sing", subject="alert:1", actor=SYSTEM)


@pytest.mark.parametrize(
    "subject",
    ["", "alert", "alert:", "Alert:1", "alert:1 2", "a:b@c.example", "alert:\x00", "a:" + "9" * 201],
)
def test_a_subject_is_kind_and_id(session: Session, subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        record(session, event="alert:draft", subject=subject, actor=SYSTEM)


@pytest.mark.parametrize(
    "more",
    [
        {"detail": {"to": "someone@mail.example"}},
        {"detail": {"rate": 0.5}},
        {"detail": {"deep": {"a": 1}}},
        {"detail": {"bytes": b"x"}},
        {"detail": {"long": "x" * 101}},
        {"detail": {"half": "\ud800"}},
        {"why": "x" * 2001},
        {"why": "nul \x00"},
        {"area": "E" * 21},
        {"at": datetime(2026, 1, 1)},  # noqa: DTZ001
        {"s62": "gossip"},
    ],
    ids=str,
)
def test_what_must_not_stand_on_the_record_is_refused(session: Session, more: dict) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        record(session, event="alert:draft", subject="alert:1", actor=SYSTEM, **more)


@pytest.mark.parametrize("origin", ["198.51.100.7", "2001:db8::7", "me@mail.example", "x" * 201, "\x00"])
def test_the_address_of_one_machine_or_person_is_no_origin(origin: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        Actor(ActorKind.STAFF, "1", origin)


def test_an_unknown_kind_of_actor_is_refused() -> None:
    with pytest.raises(ValueError, match="ghost"):
        Actor("ghost")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2::7", "2001:db8:1::/48"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
    ],
)
def test_an_address_becomes_its_network(address: str, network: str) -> None:
    assert network_prefix(address) == network
    assert Actor(ActorKind.RESIDENT, None, network).origin == network


def test_detail_is_written_the_same_whatever_the_order() -> None:
    assert canonical_detail({"b": 1, "a": None, "ü": True}) == canonical_detail(
        {"ü": True, "a": None, "b": 1}
    )
    assert canonical_detail({"b": 1, "a": None, "ü": True}) == '{"a":null,"b":1,"ü":true}'


def test_an_entry_of_a_transaction_rolled_back_leaves_nothing(committed: Database) -> None:
    registry = committed.open()
    with registry.sessions() as session:
        record(session, event="alert:draft", subject="alert:1", actor=SYSTEM)
        session.rollback()
    registry.engine.dispose()
    with psycopg.connect(libpq(committed.admin)) as admin:
        for table in ("audit_entries", "audit_pending"):
            assert admin.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def recorded(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "record"
        ):
            yield from (
                keyword.value.value
                for keyword in node.keywords
                if keyword.arg == "event" and isinstance(keyword.value, ast.Constant)
            )


def test_every_event_that_the_code_records_is_registered() -> None:
    files = [file for folder in ("app", "workers") for file in (PROJECT / folder).rglob("*.py")]
    events = {event for file in files for event in recorded(ast.parse(file.read_text(encoding="utf-8")))}
    assert events
    assert events <= EVENTS.keys()


CHANGES = ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"]
TABLES = [("audit_entries", "actor_id"), ("audit_seals", "hash"), ("audit_pending", "entry_id")]


@pytest.fixture
def sealed(committed: Database, tmp_path: Path) -> Record:
    made = Record(committed, tmp_path)
    made.add(3)
    made.seal()
    made.add(1)
    return made


def refused(record: Record, role: str, statement: str) -> str:
    with (
        psycopg.connect(libpq(record.url(role))) as connection,
        pytest.raises(errors.InsufficientPrivilege) as caught,
    ):
        connection.execute(statement)
    return str(caught.value)


def test_app_and_worker_can_change_nothing_on_the_record(sealed: Record) -> None:
    before = [sealed.fetch(f"SELECT * FROM {table} ORDER BY 1") for table, _ in TABLES]
    for role in ("", "worker"):
        for table, column in TABLES:
            for change in CHANGES:
                refused(sealed, role, change.format(table, column, column))
        for statement in (
            "INSERT INTO audit_seals (seq, entry_id, prev, hash) VALUES (9, 4, '', '')",
            "INSERT INTO audit_pending VALUES (9)",
            "SELECT entry_id FROM audit_pending",
            ADD.replace("(actor_kind", "(id, actor_kind").replace(
                "SELECT 'system'", "OVERRIDING SYSTEM VALUE SELECT 9, 'system'"
            )
            % 1,
            "SELECT audit_list_unsealed()",
            "ALTER TABLE audit_entries DISABLE TRIGGER ALL",
            "SET session_replication_role = replica",
            "SET ROLE wardlink_owner",
        ):
            refused(sealed, role, statement)
    assert before == [sealed.fetch(f"SELECT * FROM {table} ORDER BY 1") for table, _ in TABLES]


def test_the_owner_is_refused_too_while_the_guards_stand(sealed: Record) -> None:
    for table, column in TABLES[:2]:
        for change in CHANGES:
            message = refused(sealed, "owner", change.format(table, column, column))
            assert "the record cannot be changed" in message


def test_the_sealer_chains_and_can_do_nothing_else_anywhere(sealed: Record) -> None:
    allowed = sealed.fetch(
        "SELECT c.relname::text, p.privilege FROM pg_class c, unnest(ARRAY["
        "'SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p(privilege) "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') "
        "AND has_table_privilege('wardlink_sealer', c.oid, p.privilege) ORDER BY 1, 2"
    )
    assert allowed == [
        ("audit_entries", "SELECT"),
        ("audit_pending", "DELETE"),
        ("audit_pending", "SELECT"),
        ("audit_seals", "INSERT"),
        ("audit_seals", "SELECT"),
    ]
    refused(sealed, "sealer", ADD % 1)
    for table, column in TABLES[:2]:
        for change in CHANGES:
            refused(sealed, "sealer", change.format(table, column, column))


def test_the_database_itself_refuses_an_entry_that_could_not_be_encoded(sealed: Record) -> None:
    for at in ("infinity", "-infinity", "0044-03-15 BC", "12026-01-01"):
        statement = ADD.replace("(actor_kind", "(at, actor_kind").replace(
            "SELECT 'system'", f"SELECT '{at}'::timestamptz, 'system'"
        )
        with psycopg.connect(libpq(sealed.url())) as app, pytest.raises(errors.CheckViolation):
            app.execute(statement, (1,))
