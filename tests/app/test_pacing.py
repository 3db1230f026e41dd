"""Token buckets in a real Valkey: shared by all who ask, empty after a flush."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from app.cli.stack import Stack, free_port, wait_until
from app.embedded.state import Endpoints
from app.pacing import FAILURES, Bucket, Refused, SharedBuckets
from tests.chaos.servers import flush, private_valkey

SLOW = Bucket("sender:1", rate=0.01, depth=50, need=0)  # fills by nothing that a test would see


@pytest.fixture
def space(cluster: Endpoints) -> Iterator[str]:
    """An installation of this test's own on the shared Valkey."""
    name = uuid4().hex
    yield name
    with redis.Redis.from_url(cluster.redis_url) as valkey:
        for key in valkey.scan_iter(match=f"pace:{name}:*"):
            valkey.delete(key)


@pytest.fixture
def two(cluster: Endpoints, space: str) -> Iterator[tuple[SharedBuckets, SharedBuckets]]:
    """Two workers' eyes on the same buckets."""
    url = cluster.redis_url
    with closing(SharedBuckets(url, space)) as one, closing(SharedBuckets(url, space)) as other:
        yield one, other


def waits(refused: Refused | None) -> float:
    assert refused is not None
    return refused.seconds


def test_what_one_worker_takes_is_gone_for_the_other(two: tuple[SharedBuckets, SharedBuckets]) -> None:
    one, other = two
    assert one.take(25, [SLOW]) is None
    # 25 in debt at a hundredth a second.
    assert 2_400 < waits(other.take(25, [SLOW])) <= 2_500
    one.give_back(25, [SLOW])
    assert other.take(25, [SLOW]) is None
    assert one.take(1, [SLOW]) is not None


def test_a_bucket_fills_with_time_and_never_above_its_depth(two: tuple[SharedBuckets, SharedBuckets]) -> None:
    one, other = two
    quick = Bucket("sender:2", rate=1_000, depth=20, need=0)
    assert one.take(100, [quick]) is None
    wait_until(lambda: one.take(100, [quick]) is None, what="the bucket to fill")
    # However long it rests, it holds 20: for 40 the second has to wait.
    wait_until(lambda: one.take(0, [quick._replace(need=20)]) is None, what="the bucket to be full")
    assert one.take(1, [quick._replace(need=21)]) is not None
    assert other.take(0, [quick._replace(need=19)]) is None


def test_it_takes_from_all_buckets_or_from_none(two: tuple[SharedBuckets, SharedBuckets]) -> None:
    one, other = two
    account = Bucket("account:twilio", rate=0.01, depth=100, need=0)
    assert one.take(10, [SLOW]) is None
    assert other.take(10, [account, SLOW]) is not None
    assert other.take(10, [account]) is None, "the account was not charged for what the sender refused"
    assert other.take(10, [account]) is not None


def test_everybody_leaves_alone_what_a_provider_wants_left_alone(
    two: tuple[SharedBuckets, SharedBuckets],
) -> None:
    one, other = two
    free = Bucket("account:sendgrid", rate=0, depth=0, need=0)
    assert other.take(1, [free]) is None
    one.tell("account:sendgrid", 60)
    one.tell("account:sendgrid", 5)  # a shorter word changes nothing
    refused = other.take(1, [free, SLOW])
    assert refused is not None
    assert 50 < refused.seconds <= 60
    assert (refused.told[0] > 50, refused.told[1]) == (True, 0.0)
    assert other.take(1, [SLOW]) is None
    one.tell("account:short", 0.05)
    short = free._replace(key="account:short")
    wait_until(lambda: other.take(1, [short]) is None, what="the end of the wait")


def test_no_provider_stops_anybody_for_more_than_an_hour(two: tuple[SharedBuckets, SharedBuckets]) -> None:
    one, other = two
    one.tell("sender:1", 1e9)
    assert waits(other.take(1, [SLOW])) <= 3_600


def test_after_a_flush_a_bucket_begins_empty(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "valkey", {})
    try:
        url = private_valkey(stack)
        with closing(SharedBuckets(url, "flushed")) as buckets:
            bucket = Bucket("sender:1", rate=100_000, depth=50, need=0)
            buckets.take(0, [bucket])
            wait_until(lambda: buckets.take(0, [bucket._replace(need=50)]) is None, what="a full bucket")
            slow = bucket._replace(rate=0.01)
            assert buckets.take(50, [slow]) is None
            assert buckets.take(50, [slow]) is None, "a full bucket, and what may go beyond it"
            flush(url)
            assert buckets.take(1, [slow]) is None
            assert buckets.take(1, [slow]) is not None, "nothing was there: one is debt"
    finally:
        stack.stop()


def test_whoever_is_away_says_so_within_a_second() -> None:
    with closing(SharedBuckets(f"redis://127.0.0.1:{free_port()}/0", "nobody")) as buckets:
        for call in (
            lambda: buckets.take(1, [SLOW]),
            lambda: buckets.give_back(1, [SLOW]),
            lambda: buckets.tell("sender:1", 1),
        ):
            with pytest.raises(FAILURES):
                call()
