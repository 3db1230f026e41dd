"""The doorbell: rings that wake a worker after a commit (design §6).

A ring carries ids, never content, and any may be lost, late or doubled: PostgreSQL is the truth, and a
sweeper that reads it finds all work. So with the queue server away a ring is logged and forgotten.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from uuid import UUID, uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue as RqQueue
from rq.serializers import JSONSerializer
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from config.queues import Queue

log = structlog.get_logger(__name__)

Argument = str | int | bool | UUID | None

FAILED_FOR = 86_400  # seconds that a failed job can be looked at
JOB_TIMEOUT = 300  # seconds; a job drains for at most 30 and hands on
_COALESCED_FOR = 5  # seconds after which a ring is made again, should the job that it woke be lost
_RINGS = "wardlink_rings"  # in Session.info: what to ring once the transaction is committed
_connection: redis.Redis | None = None


class Ring(NamedTuple):
    """One ring: a job by its dotted name with JSON arguments, on a lane.

    ``coalesce`` names a pile of rings of which one is enough, until the job calls ``answered``.
    """

    lane: Queue
    job: str
    args: tuple[tuple[str, str | int | bool | None], ...]
    coalesce: str | None = None


def connect(url: str) -> redis.Redis:
    """The process's connection to the queue server. It connects lazily and gives up within a second or
    two: a request must not wait for a doorbell. One immediate second try serves a server that restarted.
    """
    global _connection
    _connection = redis.Redis.from_url(
        url, socket_connect_timeout=1, socket_timeout=2, retry=Retry(NoBackoff(), 1)
    )
    return _connection


def reachable() -> bool:
    """Whether the queue server answers now; False too when none is connected."""
    if _connection is None:
        return False
    try:
        return bool(_connection.ping())
    except redis.exceptions.RedisError:
        return False


def rq_queue(lane: Queue, connection: redis.Redis) -> RqQueue:
    """The RQ queue of a lane, with the serializer that workers need as well."""
    return RqQueue(lane.value, connection=connection, serializer=JSONSerializer)


def ring(session: Session, lane: Queue, job: str, *, coalesce: str | None = None, **args: Argument) -> None:
    """Ring once ``session``'s transaction is committed; the same ring twice in a transaction rings once.

    Nothing rings after a rollback. TypeError for an argument that JSON cannot carry as it is.
    """
    rings: dict[Ring, None] = session.info.setdefault(_RINGS, {})
    rings[_ring(lane, job, coalesce, args)] = None


def ring_now(lane: Queue, job: str, *, coalesce: str | None = None, **args: Argument) -> bool:
    """Ring at once (the scheduler and the sweeper, which have nothing to commit); False if unheard."""
    return _send([_ring(lane, job, coalesce, args)])


def answered(coalesce: str) -> None:
    """Called by a job of a coalesced pile BEFORE it reads: what comes from now on rings again."""
    if _connection is None:
        return
    try:
        _connection.delete(_pending(coalesce))
    except redis.exceptions.RedisError as error:
        log.warning("queue_away", error=type(error).__name__)


def _ring(lane: Queue, job: str, coalesce: str | None, args: dict[str, Argument]) -> Ring:
    plain: list[tuple[str, str | int | bool | None]] = []
    for name, value in sorted(args.items()):
        if not isinstance(value, str | int | UUID | None):
            raise TypeError(f"a ring carries ids, not a {type(value).__name__} ({name})")
        plain.append((name, str(value) if isinstance(value, UUID) else value))
    return Ring(lane, job, tuple(plain), coalesce)


def _pending(coalesce: str) -> str:
    return f"pending:{coalesce}"


def _job_id(job: str) -> str:
    # Random: RQ loses a ring whose id is running. Letters, digits, _ and - only: RQ refuses others.
    verb = re.sub(r"[^A-Za-z0-9_]", "", job.rpartition(".")[2])
    return f"{verb}-{uuid4().hex}"


def _send(rings: list[Ring]) -> bool:
    if _connection is None:
        log.warning("ring_unheard", reason="no queue server is connected", rings=len(rings))
        return False
    try:
        for one in rings:
            if one.coalesce and not _connection.set(_pending(one.coalesce), 1, nx=True, ex=_COALESCED_FOR):
                continue
            rq_queue(one.lane, _connection).enqueue_call(
                one.job,
                kwargs=dict(one.args),
                job_id=_job_id(one.job),
                timeout=JOB_TIMEOUT,
                result_ttl=0,
                failure_ttl=FAILED_FOR,
            )
    except redis.exceptions.RedisError as error:
        log.warning("ring_unheard", reason=type(error).__name__, rings=len(rings))
        return False
    return True


@event.listens_for(Session, "after_commit")
def _after_commit(session: Session) -> None:
    if session.in_nested_transaction():  # a savepoint: nobody else can see the work yet
        return
    rings = session.info.pop(_RINGS, None)
    if rings:
        _send(list(rings))


@event.listens_for(Session, "after_soft_rollback")
def _after_rollback(session: Session, ended: SessionTransaction) -> None:
    if ended.parent is None:
        session.info.pop(_RINGS, None)
