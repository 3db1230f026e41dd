"""Months of the ledger go when they have had their time; reports, the legal record and stop links stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from uuid import UUID

import psycopg
import pytest
import sqlalchemy as sa

from app.db import make_engine
from app.factory import create_app
from app.models.audit import AuditEntry
from app.models.consent import Suppression
from app.models.ledger import Attempt, Batch, Delivery, Dispatch, DispatchContent
from app.models.organisations import Organisation
from app.models.receipts import EarlyReceipt
from app.registry import Registry
from app.roles import libpq
from app.services import people, receipts, reports
from app.services.ledger import check, months
from config.fields import Part
from messaging import links
from messaging.types import DeliveryStatus
from tests import ledger
from tests.app.test_migrations import id_at
from tests.app.web.conftest import Site
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from workers import housekeeping, runtime
from workers.receipts import merge_some

KEEP = 13


def month_ago(count: int) -> date:
    """The first of the month that was so many months ago."""
    today = datetime.now(UTC).date()
    index = today.year * 12 + today.month - 1 - count
    return date(index // 12, index % 12 + 1, 1)


@dataclass
class Past:
    """A database whose organisation has sent to five people in several months of the past."""

    database: Database
    app: Registry
    worker: Registry
    owner: sa.Engine
    sent: dict[int, UUID]  # by how many months ago
    contacts: list[int]

    def owned(self, statement: str, **values: object) -> None:
        """As the owner of the tables."""
        with self.owner.begin() as connection:
            connection.execute(sa.text(statement), values)

    def partitions(self) -> set[str]:
        with self.app.sessions() as session:
            return {p.name for p in months.partitions(session)}

    def count(self, model: type, ago: int) -> int:
        with self.app.sessions() as session:
            query = sa.select(sa.func.count()).select_from(model)
            return session.scalar(query.where(model.dispatch_id == self.sent[ago])) or 0

    def drop(self, ago: int, keep: int = KEEP) -> bool:
        with self.worker.sessions.begin() as session:
            return months.drop(session, month_ago(ago), keep)

    def forget(self, most: int = 1_000) -> int:
        with self.worker.sessions.begin() as session:
            return months.forget(session, most)


def name(ago: int) -> str:
    return f"deliveries_{month_ago(ago):%Y%m}"


def _as_of_old(table: str, key: str, changes: str) -> str:
    """A row of today written once more under an id of the past."""
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(x, jsonb_build_object({changes}))).* "
        f"FROM {table} x WHERE {key} = :old"
    )


NEW = "CAST(:new AS text)"
AGE = [
    _as_of_old("dispatches", "id", f"'id', {NEW}, 'send_token', {NEW}"),
    *(
        _as_of_old(table, "dispatch_id", f"'dispatch_id', {NEW}")
        for table in ("dispatch_contents", "batches", "attempts", "deliveries")
    ),
]


@pytest.fixture
def past(committed: Database) -> Iterator[Past]:
    """Dispatches of 20, 16, 14, 13 and 2 months ago, all ended; 16 months ago nobody had made a month in time."""
    app, worker = committed.open(), committed.open(Part.WORKER)
    with app.sessions.begin() as session:
        new = ledger.frozen(Makes(session), 5)
    with worker.sessions.begin() as session:
        ledger.carried(session, DeliveryStatus.DELIVERED)
    owner = make_engine(committed.environ()["OWNER_DATABASE_URL"])
    found = Past(committed, app, worker, owner, {}, [])
    found.owned("UPDATE dispatches SET finished_at = now(), state = 'done'")
    for ago in (20, 16, 14, 13, 2):
        at = month_ago(ago)
        found.sent[ago] = id_at(datetime(at.year, at.month, 15, tzinfo=UTC))
        if ago != 16:
            following = month_ago(ago - 1)
            low, high = (
                UUID(int=int(datetime(d.year, d.month, 1, tzinfo=UTC).timestamp() * 1000) << 80)
                for d in (at, following)
            )
            found.owned(
                f"CREATE TABLE {name(ago)} PARTITION OF deliveries FOR VALUES FROM ('{low}') TO ('{high}')"
            )
        for statement in AGE:
            found.owned(statement, old=new, new=str(found.sent[ago]))
    with app.sessions() as session:
        found.contacts = ledger.ids(session, new)
    yield found
    for engine in (app.engine, worker.engine, owner):
        engine.dispose()


def test_what_is_due_are_the_months_before_those_kept_from_the_first_on(past: Past) -> None:
    with past.worker.sessions() as session:
        assert months.due(session, KEEP) == [month_ago(ago) for ago in range(20, 13, -1)]
        assert months.due(session, 18) == [month_ago(20), month_ago(19)]
        assert months.due(session, 20) == []
        # Never fewer than three, whatever somebody asks for.
        assert months.due(session, 0)[-1] == month_ago(4)


def test_a_month_goes_with_its_partition_its_attempts_and_its_ids_and_all_else_stays(past: Past) -> None:
    with past.app.sessions() as session:
        before = reports.progress(session, [past.sent[20]])
    assert past.drop(20) is True
    assert past.partitions() >= {name(14), name(13), name(2), "deliveries_default"}
    assert name(20) not in past.partitions()
    assert past.forget() == 2
    assert past.forget() == 0
    assert [past.count(m, 20) for m in (Delivery, Attempt, Batch, DispatchContent)] == [0, 0, 1, 1]
    assert [past.count(m, 14) for m in (Delivery, Attempt, Batch)] == [5, 1, 1]
    with past.app.sessions() as session:
        batch = session.get_one(Batch, (past.sent[20], 0))
        assert (batch.contact_ids, batch.size, batch.delivered) == ([], 5, 5)
        assert reports.progress(session, [past.sent[20]]) == before
        entries = session.scalars(
            sa.select(AuditEntry.subject).where(AuditEntry.event == "ledger:purge")
        ).all()
        assert list(entries) == [f"ledger:{month_ago(20):%Y-%m}"]
    assert past.drop(20) is False, "twice is once"


def test_the_check_of_a_month_that_has_gone_rests_on_the_counters(past: Past) -> None:
    def line(ago: int) -> check.Balance:
        with past.app.sessions() as session:
            (found,) = check.balance(session, past.sent[ago])
        return found

    before = line(20)
    assert (before.balances, before.dropped) == (True, False)
    past.drop(20)
    between = line(20)  # the month has gone, the ids in the batches have not yet
    past.forget()
    after = line(20)
    assert between == after == dataclasses.replace(before, dropped=True)
    assert after.balances
    assert line(14).dropped is False
    past.owned("UPDATE batches SET delivered = 3 WHERE dispatch_id = :d", d=past.sent[20])
    assert line(20).unaccounted == 2
    assert not line(20).balances


def test_a_month_that_was_not_made_in_time_goes_out_of_the_default_partition(past: Past) -> None:
    assert past.count(Delivery, 16) == 5
    assert past.drop(16)
    # In blocks, until nothing is left: five rows, one attempt, one batch.
    assert [past.forget(3) for _ in range(4)] == [3, 3, 1, 0]
    assert [past.count(m, 16) for m in (Delivery, Attempt)] == [0, 0]
    assert past.count(Delivery, 14) == 5


@pytest.mark.parametrize(("ago", "keep"), [(13, 13), (0, 3), (2, 0), (3, -5), (3, 3)])
def test_a_month_that_is_kept_or_younger_than_three_is_refused(past: Past, ago: int, keep: int) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="is still kept"):
        past.drop(ago, keep)
    assert {name(13), name(2), name(0)} <= past.partitions()


def test_only_whole_months_go(past: Past) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="first day"), past.worker.sessions.begin() as session:
        months.drop(session, month_ago(20).replace(day=2), KEEP)


def test_a_month_with_a_dispatch_that_has_not_ended_stays_and_the_others_go(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "registry", lambda: past.worker)
    past.owned("UPDATE dispatches SET finished_at = NULL WHERE id = :d", d=past.sent[14])
    with pytest.raises(sa.exc.DBAPIError, match="has not ended"):
        past.drop(14)
    housekeeping.keep_house()
    assert past.partitions().isdisjoint({name(20)})
    assert {name(14), name(13), name(2)} <= past.partitions()
    assert [past.count(Delivery, ago) for ago in (20, 16, 14, 13, 2)] == [0, 0, 5, 5, 5]
    assert [past.count(Attempt, ago) for ago in (20, 16, 14, 13, 2)] == [0, 0, 1, 1, 1]
    past.owned("UPDATE dispatches SET finished_at = now() WHERE id = :d", d=past.sent[14])
    housekeeping.keep_house()
    assert name(14) not in past.partitions()
    with past.worker.sessions() as session:
        assert months.due(session, KEEP) == []


def test_whoever_reads_the_ledger_is_not_pushed_aside_and_nobody_queues_behind_for_long(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "registry", lambda: past.worker)
    with past.app.sessions() as reader:
        reader.execute(sa.text("SELECT count(*) FROM deliveries"))
        with pytest.raises(sa.exc.OperationalError) as refused:
            past.drop(20)
        assert refused.value.orig.sqlstate == months.BUSY  # type: ignore[union-attr]
        # The house is kept all the same; the month waits for the next hour.
        past.owned("UPDATE dispatches SET finished_at = NULL WHERE id <> :d", d=past.sent[20])
        housekeeping.keep_house()
        assert name(20) in past.partitions()
    housekeeping.keep_house()
    assert name(20) not in past.partitions()


def test_the_app_may_neither_drop_nor_forget(past: Past) -> None:
    for statement in ("SELECT ledger_drop_month('2020-01-01', 13)", "SELECT ledger_forget(10)"):
        with (
            psycopg.connect(libpq(past.database.environ()["DATABASE_URL"])) as app,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            app.execute(statement)


def test_nobody_can_empty_the_ids_of_a_batch_that_has_work_left(past: Past) -> None:
    past.owned("UPDATE batches SET state = 'waiting' WHERE dispatch_id = :d", d=past.sent[2])
    with pytest.raises(sa.exc.IntegrityError, match="ck_batches_size"):
        past.owned("UPDATE batches SET contact_ids = '{}' WHERE dispatch_id = :d", d=past.sent[2])


def test_a_stop_link_of_a_month_that_has_gone_still_stops(past: Past) -> None:
    past.drop(20)
    past.forget()
    site = Site(create_app(past.app).test_client(), past.app)
    link = past.app.signer.batch(links.STOP, past.sent[20], base_url="")(past.contacts[0])
    assert site.client.get(link).status_code == 200
    assert "You have left" in site.client.post(link).text
    with past.app.sessions() as session:
        controller = session.get_one(Dispatch, past.sent[20]).controller_id
        found = session.scalars(sa.select(Suppression)).one()
        assert (found.controller_id, found.reason) == (controller, "unsubscribe")
        assert session.get_one(Organisation, controller)


def test_a_late_receipt_and_an_erasure_find_nothing_and_break_nothing(past: Past) -> None:
    past.drop(20)
    event = ledger.body(ledger.event(past.sent[20], 1, "bounce"))
    for forgotten in (False, True):
        if forgotten:
            past.forget()
        with past.app.sessions.begin() as session:
            receipts.store(session, "sendgrid", event)
        with past.worker.sessions.begin() as session:
            assert merge_some(session).moved == 0
    with past.app.sessions.begin() as session:
        # The first found its place in the batch and waits for a row, as long as raw events are kept.
        assert session.scalar(sa.select(sa.func.count()).select_from(EarlyReceipt)) == 1
        people.erase(session, past.contacts[1], actor=ACTOR)


def test_months_made_ahead_wait_no_longer_than_a_second_for_a_reader(past: Past) -> None:
    with past.app.sessions() as reader:
        reader.execute(sa.text("SELECT count(*) FROM deliveries"))
        with pytest.raises(sa.exc.OperationalError) as refused, past.worker.sessions.begin() as session:
            months.make(session, 9)
        assert refused.value.orig.sqlstate == months.BUSY  # type: ignore[union-attr]


def test_the_list_names_each_part_with_its_first_day(past: Past) -> None:
    with past.app.sessions() as session:
        found = {p.name: p for p in months.partitions(session)}
    assert found[name(20)].begins == month_ago(20)
    assert found["deliveries_default"].begins is None
    assert all(p.bytes > 0 for p in found.values())
