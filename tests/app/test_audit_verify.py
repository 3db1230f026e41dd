"""A superuser goes past every guard; the check must say so. Committed, for savepoints prove nothing here."""

import json
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.orm import Session

from app.audit import verify as verifying
from app.audit.encoding import COLUMNS, encode, link
from app.audit.findings import KEPT, Report, Trouble
from app.audit.heads import FILE_NAME, append_head
from app.db import make_engine
from app.roles import libpq
from tests.conftest import Database
from tests.record import ADD, Record

COPY = (
    "INSERT INTO audit_entries (id, version, at, actor_kind, actor_id, subject, event) OVERRIDING SYSTEM VALUE "
    "SELECT {}, 1, at, actor_kind, 'forged', subject, event FROM audit_entries WHERE id = 5"
)


@pytest.fixture
def record(committed: Database, tmp_path: Path) -> Record:
    """Twelve entries: heads after 4 and 10, two more beyond the last head."""
    made = Record(committed, tmp_path)
    for count, head in ((4, True), (6, True), (2, False)):
        made.add(count)
        made.seal(head=head)
    return made


def troubles(report: Report) -> set[Trouble]:
    assert not report.ok
    assert report.lines()[0].startswith("THE RECORD HAS BEEN TAMPERED WITH")
    return {finding.trouble for finding in report.findings}


def chain_again(record: Record, order: list[int]) -> None:
    """What a superuser who read our code would do: the whole chain anew, every hash right."""
    with psycopg.connect(libpq(record.database.admin)) as admin:
        admin.execute("SET LOCAL session_replication_role = replica")
        admin.execute("DELETE FROM audit_seals")
        previous = bytes(32)
        for seq, entry in enumerate(order, start=1):
            row = admin.execute(f"SELECT {COLUMNS} FROM audit_entries e WHERE e.id = %s", (entry,)).fetchone()
            assert row is not None
            digest = link(previous, encode(row))
            admin.execute(
                "INSERT INTO audit_seals (seq, entry_id, prev, hash) VALUES (%s, %s, %s, %s)",
                (seq, entry, previous, digest),
            )
            previous = digest


@pytest.mark.parametrize("role", ["", "worker", "owner", "sealer"])
def test_a_whole_record_is_found_whole_by_every_role(record: Record, role: str) -> None:
    report = record.check(role=role)
    assert (report.ok, report.links, report.last_seq, report.heads, report.vouched) == (True, 12, 12, 2, 10)
    assert report.lines() == [
        "The record is whole. 12 chained entries checked; 2 signed heads vouch for the first 10."
    ]


def test_an_empty_record_is_whole(committed: Database, tmp_path: Path) -> None:
    assert Record(committed, tmp_path).check().ok


@pytest.mark.parametrize("trigger_off", [False, True], ids=["replica", "triggers off"])
@pytest.mark.parametrize(
    "change",
    [
        "at = at + interval '1 microsecond'",
        "at = at + interval '100 years'",
        "actor_kind = 'staff'",
        "actor_id = NULL",
        "organisation_id = '01920000-0000-7000-8000-000000000001'",
        "area_code = ''",
        "subject = 'alert:6'",
        "event = 'alert:send'",
        "s62 = 'erasure'",
        "why = why || ' '",
        "origin = 'web'",
        "detail = '{\"n\": 1}'",
    ],
)
def test_an_edit_of_any_column_is_found(record: Record, change: str, trigger_off: bool) -> None:
    record.tamper(f"UPDATE audit_entries SET {change} WHERE id = 5", trigger_off=trigger_off)
    report = record.check()
    assert [(f.trouble, f.seq, f.entry) for f in report.findings] == [(Trouble.ALTERED, 5, 5)]
    assert "Entry 5 is not what was chained as link 5" in report.lines()[1]


@pytest.mark.parametrize("at", ["'infinity'", "at - interval '4100 years'", "'20000-01-01'"])
def test_a_time_that_no_entry_can_have_is_found(record: Record, at: str) -> None:
    record.tamper(
        "ALTER TABLE audit_entries DROP CONSTRAINT ck_audit_entries_at",
        f"UPDATE audit_entries SET at = {at} WHERE id = 5",
    )
    assert [(f.trouble, f.entry) for f in record.check().findings] == [(Trouble.ALTERED, 5)]


def test_an_edit_chained_again_to_the_end_is_found_by_the_heads(record: Record) -> None:
    record.tamper("UPDATE audit_entries SET why = 'nothing' WHERE id = 5")
    chain_again(record, list(range(1, 13)))
    report = record.check()
    assert [(f.trouble, f.seq) for f in report.findings] == [(Trouble.REWRITTEN, 10)]
    assert "between link 5 and link 10" in report.findings[0].message
    assert (report.heads, report.vouched) == (1, 4)


def test_a_deleted_entry_is_found(record: Record) -> None:
    record.tamper("DELETE FROM audit_entries WHERE id = 5")
    assert [(f.trouble, f.entry) for f in record.check().findings] == [(Trouble.DELETED, 5)]


def test_an_entry_deleted_with_its_link_is_found(record: Record) -> None:
    record.tamper(
        "DELETE FROM audit_entries WHERE id IN (5, 6)", "DELETE FROM audit_seals WHERE seq IN (5, 6)"
    )
    report = record.check()
    assert [(f.trouble, f.seq) for f in report.findings] == [(Trouble.DELETED, 5)]
    assert "Links 5 to 6 are gone" in report.findings[0].message


def test_a_deleted_link_under_a_head_is_found_twice_over(record: Record) -> None:
    record.tamper("DELETE FROM audit_entries WHERE id = 10", "DELETE FROM audit_seals WHERE seq = 10")
    assert troubles(record.check()) == {Trouble.DELETED, Trouble.REWRITTEN}


def test_an_entry_deleted_and_the_links_numbered_anew_is_found(record: Record) -> None:
    record.tamper(
        "DELETE FROM audit_entries WHERE id = 5",
        "DELETE FROM audit_seals WHERE seq = 5",
        "UPDATE audit_seals SET seq = -seq WHERE seq > 5",
        "UPDATE audit_seals SET seq = -seq - 1 WHERE seq < 0",
    )
    report = record.check()
    assert troubles(report) == {Trouble.BROKEN, Trouble.REWRITTEN}
    assert report.findings[0].seq == 5


def test_an_entry_deleted_and_all_chained_again_is_found(record: Record) -> None:
    record.tamper("DELETE FROM audit_entries WHERE id = 5")
    chain_again(record, [1, 2, 3, 4, *range(6, 13)])
    assert troubles(record.check()) == {Trouble.REWRITTEN}


def test_an_inserted_entry_that_the_sealer_never_saw_is_found(record: Record) -> None:
    record.tamper(COPY.format(900))
    report = record.check(role="owner")
    assert [(f.trouble, f.entry) for f in report.findings] == [(Trouble.INSERTED, 900)]
    assert troubles(record.check()) == {Trouble.UNSEALED}  # the app may not see the list, but sees that


def test_an_inserted_entry_with_a_forged_link_is_found(record: Record) -> None:
    record.tamper(
        COPY.format(900),
        "UPDATE audit_seals SET seq = -seq WHERE seq >= 6",
        "INSERT INTO audit_seals (seq, entry_id, prev, hash) "
        "SELECT 6, 900, hash, sha256(hash) FROM audit_seals WHERE seq = 5",
        "UPDATE audit_seals SET seq = -seq + 1 WHERE seq < 0",
    )
    report = record.check()
    assert troubles(report) == {Trouble.ALTERED, Trouble.BROKEN, Trouble.REWRITTEN}
    assert {6, 7} <= {finding.seq for finding in report.findings}


@pytest.mark.parametrize("seq", [0, -3])
def test_a_link_below_the_first_is_found(record: Record, seq: int) -> None:
    record.tamper(
        COPY.format(900), f"INSERT INTO audit_seals (seq, entry_id, prev, hash) VALUES ({seq}, 900, '', '')"
    )
    assert troubles(record.check()) == {Trouble.INSERTED}


def test_an_inserted_entry_with_all_chained_again_is_found(record: Record) -> None:
    record.tamper(COPY.format(900))
    chain_again(record, [1, 2, 3, 4, 5, 900, *range(6, 13)])
    assert troubles(record.check()) == {Trouble.REWRITTEN}


def test_a_second_row_of_the_same_number_is_found(record: Record) -> None:
    record.tamper("ALTER TABLE audit_entries DROP CONSTRAINT pk_audit_entries", COPY.format(5))
    assert Trouble.INSERTED in troubles(record.check())


def test_two_entries_whose_contents_were_swapped_are_found(record: Record) -> None:
    record.tamper(
        "UPDATE audit_entries e SET (at, actor_id, subject) = (o.at, o.actor_id, o.subject) "
        "FROM audit_entries o WHERE e.id IN (5, 7) AND o.id IN (5, 7) AND o.id <> e.id"
    )
    assert [(f.trouble, f.entry) for f in record.check().findings] == [
        (Trouble.ALTERED, 5),
        (Trouble.ALTERED, 7),
    ]


def test_two_entries_whose_numbers_were_swapped_are_found(record: Record) -> None:
    record.tamper(
        "ALTER TABLE audit_entries ALTER id SET GENERATED BY DEFAULT",
        *(f"UPDATE audit_entries SET id = {new} WHERE id = {old}" for old, new in ((5, 99), (7, 5), (99, 7))),
    )
    assert [(f.trouble, f.entry) for f in record.check().findings] == [
        (Trouble.ALTERED, 5),
        (Trouble.ALTERED, 7),
    ]


def test_two_links_that_were_swapped_are_found(record: Record) -> None:
    record.tamper(
        *(f"UPDATE audit_seals SET seq = {new} WHERE seq = {old}" for old, new in ((5, 99), (7, 5), (99, 7)))
    )
    report = record.check()
    assert Trouble.BROKEN in troubles(report)
    assert {5, 6, 7, 8} == {finding.seq for finding in report.findings}


def test_an_order_changed_and_chained_again_is_found(record: Record) -> None:
    chain_again(record, [1, 2, 3, 4, 7, 6, 5, *range(8, 13)])
    assert troubles(record.check()) == {Trouble.REWRITTEN}


@pytest.mark.parametrize("last", [0, 3, 9], ids=["everything", "both heads", "one entry"])
def test_a_tail_cut_off_is_found(record: Record, last: int) -> None:
    record.tamper(
        f"DELETE FROM audit_entries WHERE id > {last}", f"DELETE FROM audit_seals WHERE seq > {last}"
    )
    report = record.check()
    assert troubles(report) == {Trouble.TRUNCATED}
    assert report.last_seq == last


def test_tables_emptied_are_found(record: Record) -> None:
    record.tamper("TRUNCATE audit_entries, audit_seals", trigger_off=True)
    assert troubles(record.check()) == {Trouble.TRUNCATED}


def test_a_tail_cut_off_and_grown_again_is_found(record: Record) -> None:
    record.tamper("DELETE FROM audit_entries WHERE id > 9", "DELETE FROM audit_seals WHERE seq > 9")
    record.add(5)
    assert record.seal(head=False) == 5
    assert troubles(record.check()) == {Trouble.REWRITTEN}


def test_an_entry_struck_off_the_sealers_list_is_found(record: Record) -> None:
    record.add(1)
    record.tamper("DELETE FROM audit_pending")
    report = record.check(role="owner")
    assert [(f.trouble, f.entry) for f in report.findings] == [(Trouble.INSERTED, 13)]


def test_an_entry_deleted_before_it_was_chained_is_found(record: Record) -> None:
    record.add(1)
    record.tamper("DELETE FROM audit_entries WHERE id = 13")
    assert record.seal(head=False) == 0
    assert [(f.trouble, f.entry) for f in record.check(role="sealer").findings] == [(Trouble.DELETED, 13)]


def test_strays_on_the_list_are_found_and_stop_no_sealing(record: Record) -> None:
    record.tamper("INSERT INTO audit_pending VALUES (5), (800)")
    record.add(3)
    assert record.seal(head=False) == 3
    found = {(f.trouble, f.entry) for f in record.check(role="owner").findings}
    assert found == {(Trouble.INSERTED, 5), (Trouble.DELETED, 800)}


def test_an_entry_that_cannot_be_encoded_stops_no_sealing(record: Record) -> None:
    record.tamper("ALTER TABLE audit_entries DROP CONSTRAINT ck_audit_entries_at")
    with psycopg.connect(libpq(record.url())) as app:
        app.execute(
            ADD.replace("(actor_kind", "(at, actor_kind").replace("'system'", "'infinity', 'system'"), (1,)
        )
    record.add(2)
    assert record.seal(head=False) == 2
    assert [(f.trouble, f.entry) for f in record.check().findings] == [(Trouble.UNSEALED, 13)]


def test_a_head_signed_by_another_key_is_found(record: Record) -> None:
    record.tamper("UPDATE audit_entries SET why = 'nothing' WHERE id = 5")
    chain_again(record, list(range(1, 13)))
    other = Ed25519PrivateKey.generate()
    seal = record.fetch("SELECT seq, hash FROM audit_seals ORDER BY seq DESC LIMIT 1")[0]
    append_head(record.heads_dir, other, int(str(seal[0])), bytes(seal[1]))  # type: ignore[call-overload]
    assert troubles(record.check()) == {Trouble.REWRITTEN, Trouble.HEAD}


@pytest.mark.parametrize("field", ["seq", "hash", "at", "count", "key", "signature"])
def test_a_head_changed_in_any_field_is_found(record: Record, field: str) -> None:
    file = record.heads_dir / FILE_NAME
    first, last = map(json.loads, file.read_text().splitlines())
    last[field] = last[field] + 1 if isinstance(last[field], int) else sha256(b"").hexdigest()
    file.write_text(f"{json.dumps(first)}\n{json.dumps(last)}\n")
    report = record.check()
    assert troubles(report) == {Trouble.HEAD}
    assert "line 2" in report.findings[0].message


@pytest.mark.parametrize(
    "order", [[1, 0, 2], [0, 0, 1, 2], [0, 2]], ids=["in another order", "twice the same", "one taken out"]
)
def test_heads_that_do_not_follow_each_other_are_found(record: Record, order: list[int]) -> None:
    record.add(3)
    record.seal()
    file = record.heads_dir / FILE_NAME
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[number] for number in order))
    assert troubles(record.check()) == {Trouble.HEAD}


def test_a_line_that_is_no_head_is_found_and_the_rest_still_vouches(record: Record) -> None:
    file = record.heads_dir / FILE_NAME
    file.write_text("{}\n" + file.read_text())
    report = record.check()
    assert troubles(report) == {Trouble.HEAD}
    assert report.vouched == 10


def test_a_record_without_any_head_is_not_called_whole(record: Record) -> None:
    (record.heads_dir / FILE_NAME).unlink()
    assert troubles(record.check()) == {Trouble.HEAD}


def test_findings_are_counted_beyond_those_that_are_kept(record: Record) -> None:
    record.add(KEPT + 50)
    record.seal()
    record.tamper("UPDATE audit_entries SET why = 'nothing'")
    report = record.check()
    assert (len(report.findings), report.more) == (KEPT, 62)
    assert report.lines()[-1] == "- and 62 more"


def checked(record: Record, wait_seconds: float, sleep: object) -> tuple[Report, list[float]]:
    """Verify with a clock that only the pauses move."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        sleep()  # type: ignore[operator]

    engine = make_engine(record.url())
    with Session(engine) as session:
        report = verifying.verify(
            session,
            record.heads_dir,
            record.key.public_key(),
            wait_seconds,
            clock=lambda: sum(pauses),
            sleep=pause,
        )
    engine.dispose()
    return report, pauses


def test_entries_not_chained_after_ten_seconds_fail_the_check(record: Record) -> None:
    record.add(2)
    report, pauses = checked(record, 10, lambda: None)
    assert sum(pauses) == pytest.approx(10, abs=0.3)
    assert [(f.trouble, f.entry) for f in report.findings] == [(Trouble.UNSEALED, 13), (Trouble.UNSEALED, 14)]


def test_the_sealer_is_given_time_and_later_entries_are_left_to_the_next_check(record: Record) -> None:
    record.add(2)

    def meanwhile() -> None:
        record.seal()
        record.add(1)

    report, pauses = checked(record, 10, meanwhile)
    assert report.ok
    assert len(pauses) == 1


def test_a_whole_record_is_checked_without_waiting(record: Record) -> None:
    assert checked(record, 10, lambda: None)[1] == []
