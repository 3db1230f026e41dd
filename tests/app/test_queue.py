from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from rq import Worker
from rq.serializers import JSONSerializer
from sqlalchemy.orm import Session

from app import queue
from app.embedded.state import Endpoints
from app.roles import libpq
from config.queues import Queue

JOB = "workers.send.drain"


@pytest.fixture
def bell(cluster: Endpoints, worker_id: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A queue server's database of this test process's own, empty."""
    number = 9 + int(worker_id.removeprefix("gw")) % 6 if worker_id.startswith("gw") else 15
    monkeypatch.setattr(queue, "_connection", None)
    connection = queue.connect(cluster.redis_url.rpartition("/")[0] + f"/{number}")
    connection.flushdb()
    yield connection
    connection.flushdb()
    connection.close()


@pytest.fixture
def plain(cluster: Endpoints) -> Iterator[Session]:
    """A session on a real connection, without any table of ours."""
    assert libpq(cluster.database_url)
    engine = sa.create_engine(cluster.database_url)
    with Session(engine) as session:
        session.execute(sa.text("SELECT 1"))
        yield session
    engine.dispose()


def jobs(bell: redis.Redis, lane: Queue) -> list[tuple[str, dict[str, Any]]]:
    return [(job.func_name, job.kwargs) for job in queue.rq_queue(lane, bell).get_jobs()]


def test_a_ring_waits_for_the_commit(bell: redis.Redis, plain: Session) -> None:
    dispatch = uuid.uuid4()
    queue.ring(plain, Queue.URGENT, JOB, dispatch_id=dispatch)
    assert jobs(bell, Queue.URGENT) == []
    plain.commit()
    assert jobs(bell, Queue.URGENT) == [(JOB, {"dispatch_id": str(dispatch)})]


def test_nothing_rings_after_a_rollback(bell: redis.Redis, plain: Session) -> None:
    queue.ring(plain, Queue.BULK, JOB)
    plain.rollback()
    plain.execute(sa.text("SELECT 1"))
    plain.commit()
    assert jobs(bell, Queue.BULK) == []


def test_the_end_of_a_savepoint_is_not_a_commit(bell: redis.Redis, plain: Session) -> None:
    with plain.begin_nested():
        queue.ring(plain, Queue.BULK, JOB)
    assert jobs(bell, Queue.BULK) == []
    plain.commit()
    assert len(jobs(bell, Queue.BULK)) == 1


def test_the_same_ring_twice_in_a_transaction_rings_once(bell: redis.Redis, plain: Session) -> None:
    for urgent in (True, True, False):
        queue.ring(plain, Queue.BULK, JOB, urgent=urgent)
    plain.commit()
    assert jobs(bell, Queue.BULK) == [(JOB, {"urgent": True}), (JOB, {"urgent": False})]


def test_a_ring_has_a_random_id_and_leaves_no_result(bell: redis.Redis, plain: Session) -> None:
    for _ in range(2):
        queue.ring(plain, Queue.BACK, JOB)
        plain.commit()
    found = queue.rq_queue(Queue.BACK, bell).get_jobs()
    assert len({job.id for job in found}) == 2
    assert all(job.id.startswith("drain-") and len(job.id) == len("drain-") + 32 for job in found)
    assert all((job.result_ttl, job.failure_ttl) == (0, queue.FAILED_FOR) for job in found)
    assert Worker.all(connection=bell) == []
    assert found[0].serializer is JSONSerializer


def test_a_pile_of_rings_is_one_until_the_job_answers(bell: redis.Redis, plain: Session) -> None:
    for _ in range(3):
        queue.ring(plain, Queue.RECEIPTS, "workers.receipts.merge", coalesce="receipts")
        plain.commit()
    assert len(jobs(bell, Queue.RECEIPTS)) == 1
    assert 0 < bell.ttl("pending:receipts") <= 5
    queue.answered("receipts")
    assert queue.ring_now(Queue.RECEIPTS, "workers.receipts.merge", coalesce="receipts")
    assert len(jobs(bell, Queue.RECEIPTS)) == 2


def test_with_the_queue_server_away_a_commit_still_succeeds(
    plain: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_connection", None)
    assert queue.ring_now(Queue.BULK, JOB) is False
    away = queue.connect("redis://127.0.0.1:1/0")
    queue.ring(plain, Queue.BULK, JOB, coalesce="receipts")
    plain.commit()
    assert queue.ring_now(Queue.BULK, JOB) is False
    queue.answered("receipts")
    away.close()


@pytest.mark.parametrize("value", [1.5, b"x", ["a"], {"a": 1}, object()])
def test_a_ring_carries_ids_and_nothing_else(plain: Session, value: Any) -> None:
    with pytest.raises(TypeError, match="a ring carries ids"):
        queue.ring(plain, Queue.BULK, JOB, value=value)
