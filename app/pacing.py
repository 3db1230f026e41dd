"""Token buckets in Redis, shared by all workers: how fast an account and a sender may be called.

A bucket fills at its rate up to its depth and begins empty, so that after a flush nobody takes what was taken
before. What is taken may go beyond what is there: the bucket is then in debt, and the next wait is longer.
Beside each bucket stands what the provider told: until when to leave it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

PATIENCE = 0.25  # seconds for one answer: senders wait for it, and can do without
FAILURES = (redis.exceptions.RedisError, OSError)
LONGEST_TOLD = 3_600.0  # seconds


class Bucket(NamedTuple):
    """One bucket as somebody wants to take from it. Tokens are segments of texts, or calls of e-mail."""

    key: str
    rate: float  # tokens a second; 0: no limit of ours, only what the provider told counts
    depth: float  # most tokens it holds
    need: float  # tokens that must be there


class Refused(NamedTuple):
    """Seconds until it is worth asking again. ``told``: seconds that the provider wants each of the buckets
    left alone; all 0 when it is only that they are empty.
    """

    seconds: float
    told: list[float]


class Buckets(Protocol):
    """Buckets of whatever reach."""

    def take(self, units: float, buckets: Sequence[Bucket]) -> Refused | None: ...

    def give_back(self, units: float, buckets: Sequence[Bucket]) -> None: ...

    def tell(self, key: str, seconds: float) -> None: ...

    def close(self) -> None: ...


# One step for all buckets: either each is taken from, or none. A bucket that is asked for the first time
# is written down even when it refuses, or it would never fill.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local units, wait, told, tokens = tonumber(ARGV[1]), 0, {}, {}
for i = 1, #KEYS / 2 do
  local rate, depth, need = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
  told[i] = math.max(0, redis.call('PTTL', KEYS[2 * i])) / 1000
  wait = math.max(wait, told[i])
  if rate > 0 then
    local kept = redis.call('HMGET', KEYS[2 * i - 1], 'tokens', 'at')
    local since = math.max(0, now - (tonumber(kept[2]) or now))
    tokens[i] = math.min(depth, (tonumber(kept[1]) or 0) + since * rate)
    if tokens[i] < need then wait = math.max(wait, (need - tokens[i]) / rate) end
  end
end
local granted = wait == 0
for i, left in pairs(tokens) do
  if granted then left = left - units end
  redis.call('HSET', KEYS[2 * i - 1], 'tokens', string.format('%.6f', left), 'at', string.format('%.6f', now))
end
for i = 1, #told do told[i] = tostring(told[i]) end
return {granted and 1 or 0, tostring(wait), unpack(told)}
"""
_GIVE_BACK = """
for i = 1, #KEYS do
  local tokens = tonumber(redis.call('HGET', KEYS[i], 'tokens') or '')
  if tokens then
    tokens = math.min(tonumber(ARGV[i + 1]), tokens + tonumber(ARGV[1]))
    redis.call('HSET', KEYS[i], 'tokens', string.format('%.6f', tokens))
  end
end
"""
_TELL = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
"""


class SharedBuckets:
    """The buckets of one installation. Every method raises one of FAILURES while Redis is away.

    ``space`` tells installations on one Redis apart.
    """

    def __init__(self, url: str, space: str) -> None:
        # One immediate second try serves a server that restarted; a bucket taken from twice only waits longer.
        self._redis = redis.Redis.from_url(
            url, socket_connect_timeout=PATIENCE, socket_timeout=PATIENCE, retry=Retry(NoBackoff(), 1)
        )
        self._prefix = f"pace:{space}:"
        self._take = self._redis.register_script(_TAKE)
        self._give_back = self._redis.register_script(_GIVE_BACK)
        self._tell = self._redis.register_script(_TELL)

    def take(self, units: float, buckets: Sequence[Bucket]) -> Refused | None:
        """Take from all of them, or say for how long not; None when taken."""
        keys: list[str] = []
        arguments: list[float] = [units]
        for bucket in buckets:
            keys += [self._prefix + bucket.key, self._waits(bucket.key)]
            arguments += [bucket.rate, bucket.depth, bucket.need]
        granted, seconds, *told = self._take(keys, arguments)
        return None if granted else Refused(max(0.001, float(seconds)), [float(t) for t in told])

    def give_back(self, units: float, buckets: Sequence[Bucket]) -> None:
        """Return what was taken and not used."""
        limited = [b for b in buckets if b.rate]
        if limited:
            self._give_back([self._prefix + b.key for b in limited], [units, *(b.depth for b in limited)])

    def tell(self, key: str, seconds: float) -> None:
        """The provider wants this bucket left alone for so long; a shorter word changes nothing."""
        self._tell([self._waits(key)], [max(1, round(min(seconds, LONGEST_TOLD) * 1_000))])

    def close(self) -> None:
        self._redis.close()

    def _waits(self, key: str) -> str:
        return f"{self._prefix}{key}:told"
