"""The sealer against a real database, committed: late commits, two at once, lost connections, signals."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app import migrate
from app.audit import heads
from app.audit.chain import BATCH, seal_pending, tip
from app.embedded import client
from app.embedded.keys import ensure_keys
from app.roles import libpq
from config.fields import PROJECT
from tests.conftest import Database
from tests.record import ADD, Record
from workers.sealer import Sealer, Stop

UNSEALED = "SELECT count(*) FROM audit_pending"
SEALERS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'wardlink sealer'"


@pytest.fixture
def record(committed: Database, tmp_path: Path) -> Record:
    key = Ed25519PrivateKey.from_private_bytes(committed.settings().seal_key or bytes(range(32)))
    return Record(committed, tmp_path / "heads", key)


def until(true: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        threading.Event().wait(0.02)


def unsealed(record: Record) -> int:
    return int(str(record.fetch(UNSEALED)[0][0]))


def signed(record: Record) -> list[tuple[int, int]]:
    found = heads.read_heads(record.heads_dir, heads.heads_size(record.heads_dir))
    return [(head.seq, head.count) for head in found if head]


@contextmanager
def sealing(record: Record, **more: float) -> Iterator[Stop]:
    stop = Stop()
    sealer = Sealer(record.url("sealer"), record.key, record.heads_dir, stop, **more)  # type: ignore[arg-type]
    thread = threading.Thread(target=sealer.run)
    thread.start()
    try:
        yield stop
    finally:
        stop.ask()
        thread.join(15)
        stop.close()
    assert not thread.is_alive()


def environment(record: Record) -> dict[str, str]:
    given = record.database.environ() | ensure_keys(Path(os.environ["LOCAL_DIR"]))
    return os.environ | given | {"HEADS_DIR": str(record.heads_dir), "LOG_FORMAT": "json"}


def program(environ: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "workers.sealer", *words],
        cwd=PROJECT, env=environ, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_an_entry_that_commits_after_a_higher_number_is_sealed_too(record: Record) -> None:
    with psycopg.connect(libpq(record.url())) as early, psycopg.connect(libpq(record.url("worker"))) as late:
        early.execute(ADD, (2,))
        late.execute(ADD, (2,))
        late.commit()
        assert record.seal() == 2
        assert record.fetch("SELECT entry_id FROM audit_seals ORDER BY seq") == [(3,), (4,)]
        early.commit()
    assert record.seal() == 2
    assert record.fetch("SELECT entry_id FROM audit_seals ORDER BY seq") == [(3,), (4,), (1,), (2,)]
    assert record.check().ok


def test_what_is_rolled_back_is_never_sealed(record: Record) -> None:
    with psycopg.connect(libpq(record.url())) as app:
        app.execute(ADD, (5,))
        app.rollback()
    record.add(1)
    assert record.seal() == 1
    assert record.fetch("SELECT entry_id FROM audit_seals") == [(6,)]


def test_more_than_a_batch_is_sealed_in_order_of_number(record: Record) -> None:
    record.add(BATCH + 10)
    assert record.seal() == BATCH + 10
    assert record.fetch("SELECT count(*) FROM audit_seals WHERE seq <> entry_id") == [(0,)]
    assert record.check().ok


def test_a_batch_that_fails_leaves_nothing_half_done(record: Record) -> None:
    record.add(3)
    engine = sa.create_engine(record.url("sealer"))
    record.tamper("REVOKE DELETE ON audit_pending FROM wardlink_sealer")
    with engine.connect() as connection, pytest.raises(sa.exc.ProgrammingError):
        seal_pending(connection)
    with engine.connect() as connection:
        assert tip(connection).seq == 0
    engine.dispose()
    assert unsealed(record) == 3


def test_entries_are_sealed_at_once_and_the_first_head_does_not_wait(record: Record) -> None:
    with sealing(record):
        until(lambda: record.fetch(SEALERS))
        record.add(3)
        began = time.monotonic()
        until(lambda: signed(record))
        assert time.monotonic() - began < 10  # half a second; a minute if the head waited
        assert unsealed(record) == 0
        record.add(2)
        until(lambda: unsealed(record) == 0)
        assert signed(record) == [(3, 3)]
    assert signed(record) == [(3, 3), (5, 2)]
    assert record.check().ok


def test_a_head_is_signed_whenever_its_time_comes_and_the_chain_has_grown(record: Record) -> None:
    with sealing(record, poll_seconds=0.02, head_seconds=0.05):
        for number in range(1, 4):
            record.add(1)
            until(lambda n=number: len(signed(record)) == n)
    assert signed(record) == [(1, 1), (2, 1), (3, 1)]


def test_of_two_sealers_at_once_one_works_and_the_other_takes_over(record: Record) -> None:
    with sealing(record, poll_seconds=0.05) as first:
        until(lambda: record.fetch(SEALERS))
        record.add(1)
        until(lambda: unsealed(record) == 0)
        with sealing(record, poll_seconds=0.05):
            until(lambda: len(record.fetch(SEALERS)) == 2)
            locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid IN "
            for _ in range(20):
                record.add(50)
            until(lambda: unsealed(record) == 0)
            assert record.fetch(f"{locks} ({SEALERS})") == [(1,)]
            first.ask()
            until(lambda: len(record.fetch(SEALERS)) == 1)
            record.add(7)
            until(lambda: unsealed(record) == 0)
    assert record.fetch("SELECT count(*), max(seq) FROM audit_seals") == [(1008, 1008)]
    assert record.check().ok


def test_a_lost_connection_is_made_again_and_the_lock_taken_again(record: Record) -> None:
    with sealing(record, poll_seconds=0.05):
        for _ in range(3):
            until(lambda: record.fetch(SEALERS))
            record.add(1)
            until(lambda: unsealed(record) == 0)
            record.fetch(SEALERS.replace("SELECT pid", "SELECT pg_terminate_backend(pid)"))
            record.add(1)
            until(lambda: unsealed(record) == 0)
    assert record.check().ok


def test_a_chain_behind_its_head_is_sealed_on_but_gets_no_new_head(record: Record) -> None:
    record.add(5)
    record.seal()
    record.tamper("DELETE FROM audit_entries WHERE id > 2", "DELETE FROM audit_seals WHERE seq > 2")
    with sealing(record, poll_seconds=0.05, head_seconds=0.05):
        record.add(1)
        until(lambda: unsealed(record) == 0)
    assert signed(record) == [(5, 5)]
    assert not record.check().ok


def test_a_folder_of_heads_that_cannot_be_written_does_not_stop_the_sealing(record: Record) -> None:
    record.heads_dir.write_text("a file where the folder should be")
    with sealing(record, poll_seconds=0.05):
        record.add(1)
        until(lambda: unsealed(record) == 0)


def test_the_program_drains_the_record_and_signs_its_head(record: Record) -> None:
    record.add(BATCH * 2 + 1)
    drain = program(environment(record), "--drain")
    _, said = drain.communicate(timeout=60)
    assert (drain.returncode, unsealed(record)) == (0, 0), said
    assert signed(record) == [(BATCH * 2 + 1, BATCH * 2 + 1)]
    assert record.check().ok


def test_a_drain_beside_a_running_sealer_signs_the_head_at_once(record: Record) -> None:
    with sealing(record):
        record.add(1)
        until(lambda: signed(record))
        record.add(4)
        drain = program(environment(record), "--drain")
        _, said = drain.communicate(timeout=60)
        assert (drain.returncode, signed(record)) == (0, [(1, 1), (5, 4)]), said


def test_the_program_ends_at_sigterm_with_a_head_signed(record: Record) -> None:
    running = program(environment(record))
    record.add(2)
    until(lambda: signed(record))
    record.add(2)
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=10)
    assert time.monotonic() - began < 5  # 0.9 at the most, then the interpreter's end on a busy machine
    assert running.returncode == 0, said
    assert signed(record) == [(2, 2), (4, 2)]


def test_the_program_ends_at_sigterm_though_the_database_hangs(record: Record) -> None:
    running = program(environment(record))
    record.add(1)
    until(lambda: signed(record))
    with psycopg.connect(libpq(record.database.admin)) as admin:
        admin.execute("LOCK TABLE audit_pending IN ACCESS EXCLUSIVE MODE")
        waits = f"SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid IN ({SEALERS})"
        until(lambda: record.fetch(waits))
        began = time.monotonic()
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=10)
    assert time.monotonic() - began < 5
    assert running.returncode == -signal.SIGALRM


def test_wrong_settings_are_named_and_end_the_program(record: Record) -> None:
    running = program(environment(record) | {"SEAL_KEY": "short", "HEADS_DIR": ""})
    _, said = running.communicate(timeout=30)
    assert running.returncode == 2
    assert "SEAL_KEY must be" in said
    assert "HEADS_DIR is missing" in said
    assert "short" not in said


@pytest.mark.chaos
def test_the_program_survives_kill_9_of_the_database_and_of_the_keeper(tmp_path: Path) -> None:
    endpoints = client.ensure(tmp_path)
    migrate.upgrade(endpoints.owner_database_url)
    gone = {"DATABASE_URL", "OWNER_DATABASE_URL", "WORKER_DATABASE_URL", "SEALER_DATABASE_URL", "REDIS_URL"}
    environ = {name: value for name, value in os.environ.items() if name not in gone}
    running = program(environ | {"LOCAL_DIR": str(tmp_path), "WARDLINK_ENV": "development"})

    def add() -> bool:
        try:
            with psycopg.connect(libpq(client.ensure(tmp_path).database_url)) as app:
                app.execute(ADD, (1,))
        except psycopg.OperationalError:
            return False
        return True

    def all_sealed() -> bool:
        try:
            with psycopg.connect(libpq(client.ensure(tmp_path).admin_database_url)) as admin:
                return admin.execute(UNSEALED).fetchone() == (0,)
        except psycopg.OperationalError:
            return False

    until(add)
    until(all_sealed)
    for victim in ("postgres_pid", "keeper_pid"):
        os.kill(getattr(client.ensure(tmp_path), victim), signal.SIGKILL)
        until(add, 30)
        until(all_sealed, 30)
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=10)
    assert running.returncode == 0
    client.stop(tmp_path)
