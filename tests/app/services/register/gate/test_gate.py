"""The two steps of the register's gate: whatever is rolled back, cut off or tried at once, one entry opens one answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from app.roles import libpq
from tests.gating import TICKET, WHO, answer, connected, refused, ticket, used
from tests.searching import Town


def test_opened_committed_and_then_run_it_answers(town: Town, app: psycopg.Connection[Any]) -> None:
    token = town.token()
    given = ticket(app, token)
    app.commit()
    found = answer(app, given, token)
    app.commit()
    assert (found["total"], len(found["cells"])) == ("3-5", 3)
    entry = "SELECT count(*) FROM audit_entries WHERE event = 'register:search' AND subject = %s"
    assert town.one(entry, f"search:{given}") == 1


def test_what_was_read_and_rolled_back_is_used(town: Town, app: psycopg.Connection[Any]) -> None:
    token = town.token()
    given = ticket(app, token)
    app.commit()
    assert answer(app, given, token)["total"] == "3-5"
    app.rollback()
    used(town, token, given)
    town.age(given, timedelta(minutes=5))
    with connected(town, "WORKER_DATABASE_URL", autocommit=True) as worker:
        worker.execute("SELECT register.lapse(1000)")
    assert town.one("SELECT settled AND lapsed_at IS NULL FROM register_searches WHERE id = %s", given)


def test_what_was_opened_and_rolled_back_opens_nothing(town: Town, app: psycopg.Connection[Any]) -> None:
    token = town.token()
    given = ticket(app, token)
    app.rollback()
    used(town, token, given)
    entry = "SELECT count(*) FROM audit_entries WHERE subject = %s"
    assert town.one(entry, f"search:{given}") == 0


def test_in_the_transaction_that_opened_it_nothing_is_answered(
    town: Town, app: psycopg.Connection[Any], other: psycopg.Connection[Any]
) -> None:
    token = town.token()
    given = ticket(app, token)
    with refused(TICKET), app.transaction():
        answer(app, given, token)
    with refused(TICKET):  # nor in another while it is not committed
        answer(other, given, token)
    other.rollback()
    app.commit()
    assert answer(other, given, token)["total"] == "3-5"


def test_a_savepoint_is_no_transaction_of_its_own(town: Town, app: psycopg.Connection[Any]) -> None:
    token = town.token()
    app.execute("SAVEPOINT a")
    given = ticket(app, token)
    app.execute("RELEASE SAVEPOINT a")
    app.execute("SAVEPOINT b")
    with refused(TICKET):
        answer(app, given, token)
    app.execute("ROLLBACK TO SAVEPOINT b")
    app.execute("SAVEPOINT c")
    gone = ticket(app, token)
    app.execute("ROLLBACK TO SAVEPOINT c")
    app.commit()
    used(town, token, gone)


def test_what_was_read_in_a_savepoint_and_rolled_back_to_it_is_used(
    town: Town, app: psycopg.Connection[Any]
) -> None:
    token = town.token()
    given = ticket(app, token)
    app.commit()
    app.execute("SAVEPOINT a")
    assert answer(app, given, token)["total"] == "3-5"
    app.execute("ROLLBACK TO SAVEPOINT a")
    with refused(TICKET):
        answer(app, given, token)
    app.rollback()
    used(town, token, given)


def test_two_answers_in_one_statement_or_by_a_cursor_are_none(
    town: Town, app: psycopg.Connection[Any]
) -> None:
    token = town.token()
    given = ticket(app, token)
    app.commit()
    with refused(TICKET):
        app.execute("SELECT register.run_search(%s, %s) FROM generate_series(1, 2)", (given, token))
    app.rollback()
    used(town, token, given)
    again = ticket(app, token)
    app.commit()
    app.execute(
        "DECLARE c CURSOR FOR SELECT register.run_search(%s, %s) FROM generate_series(1, 2)", (again, token)
    )
    assert app.execute("FETCH 1 FROM c").fetchone() is not None
    with refused(TICKET):
        app.execute("FETCH 1 FROM c")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_opens_and_answers_nothing(
    town: Town, app: psycopg.Connection[Any], level: str
) -> None:
    token = town.token()
    given = ticket(app, token)
    app.commit()
    for act in (lambda: ticket(app, token), lambda: answer(app, given, token)):
        app.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
        with refused(WHO):
            act()
        app.rollback()


def test_a_connection_cut_before_the_commit_leaves_no_ticket(town: Town) -> None:
    token = town.token()
    connection = psycopg.connect(libpq(town.database.environ()["DATABASE_URL"]))
    given = ticket(connection, token)
    town.admin.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    used(town, token, given)
    assert town.one("SELECT count(*) FROM audit_entries WHERE subject = %s", f"search:{given}") == 0


def test_a_connection_cut_between_the_steps_leaves_the_entry_and_one_answer(town: Town) -> None:
    token = town.token()
    connection = psycopg.connect(libpq(town.database.environ()["DATABASE_URL"]))
    given = ticket(connection, token)
    connection.commit()
    town.admin.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
    connection.close()
    assert town.one("SELECT count(*) FROM audit_entries WHERE subject = %s", f"search:{given}") == 1
    with connected(town) as another:
        assert answer(another, given, token)["total"] == "3-5"
    used(town, token, given)


@contextmanager
def nobody_reads_cameras(town: Town) -> Iterator[None]:
    """Whoever answers waits for the table."""
    with psycopg.connect(libpq(town.database.admin)) as holder:
        holder.execute("LOCK TABLE cameras IN ACCESS EXCLUSIVE MODE")
        yield
        holder.rollback()


def test_an_answer_that_timed_out_is_used(town: Town, app: psycopg.Connection[Any]) -> None:
    token = town.token()
    given = ticket(app, token)
    app.commit()
    with nobody_reads_cameras(town):
        app.execute("SET statement_timeout = '200ms'")
        with refused("57014"):  # query cancelled, after the ticket was taken
            answer(app, given, token)
        app.rollback()
    used(town, token, given)


def test_a_connection_cut_while_it_answers_has_used_the_ticket(town: Town) -> None:
    token = town.token()
    connection = psycopg.connect(libpq(town.database.environ()["DATABASE_URL"]))
    given = ticket(connection, token)
    connection.commit()
    failed: list[BaseException] = []

    def read() -> None:
        try:
            answer(connection, given, token)
        except psycopg.Error as error:
            failed.append(error)

    waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
    with nobody_reads_cameras(town):
        reader = threading.Thread(target=read)
        reader.start()
        while town.one(waits, connection.info.backend_pid) != "Lock":
            assert reader.is_alive()
        town.admin.execute("SELECT pg_terminate_backend(%s, 5000)", (connection.info.backend_pid,))
        reader.join(10)
    assert len(failed) == 1
    connection.close()
    used(town, token, given)


def test_of_two_at_once_one_gets_the_answer(town: Town) -> None:
    token = town.token()
    with connected(town, autocommit=True) as one, connected(town, autocommit=True) as two:
        for _ in range(10):
            given = ticket(one, token)
            start, found = threading.Barrier(2), []

            def run(connection: psycopg.Connection[Any], given: UUID = given, start: threading.Barrier = start,
                    found: list[Any] = found) -> None:  # fmt: skip
                start.wait()
                try:
                    found.append(answer(connection, given, token)["total"])
                except psycopg.Error as error:
                    found.append(error.sqlstate)

            both = [threading.Thread(target=run, args=(connection,)) for connection in (one, two)]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
            assert sorted(found) == ["3-5", TICKET]


def test_a_ticket_of_a_minute_ago_is_too_old(town: Town, app: psycopg.Connection[Any]) -> None:
    token = town.token()
    given = ticket(app, token)
    app.commit()
    town.age(given, timedelta(seconds=60))
    used(town, token, given)


def test_there_is_no_such_ticket(town: Town, app: psycopg.Connection[Any]) -> None:
    with refused(TICKET):
        answer(app, uuid4(), town.token())


def test_a_ticket_that_a_later_one_of_its_slot_has_passed_is_refused_and_lapses(
    town: Town, app: psycopg.Connection[Any]
) -> None:
    token = town.token()
    first = ticket(app, token)
    app.commit()
    number = town.one("SELECT number FROM register_searches WHERE id = %s", first)
    town.admin.execute("SELECT setval('register.numbers', %s)", (number + 255,))
    second = ticket(app, token)
    app.commit()
    assert town.one("SELECT number FROM register_searches WHERE id = %s", second) == number + 256
    answer(app, second, token)
    app.commit()
    used(town, token, first)
    for one in (first, second):
        town.age(one, timedelta(minutes=5))
    with connected(town, "WORKER_DATABASE_URL", autocommit=True) as worker:
        worker.execute("SELECT register.lapse(1000)")
        worker.execute("SELECT register.lapse(1000)")
    lapsed = "SELECT count(*) FROM audit_entries WHERE event = 'register:lapse' AND subject = %s"
    assert [town.one(lapsed, f"search:{one}") for one in (first, second)] == [1, 0]
