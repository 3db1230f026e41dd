"""How often something may happen, counted in PostgreSQL: losing Redis opens nothing.

Windows are fixed: they end at multiples of their length since 1970, so one counter is one row. Keys (addresses,
networks) are kept as digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import crypto

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` in each window of ``per`` for one key of a scope; key "" stands for everybody together."""

    scope: str
    key: str | bytes
    most: int
    per: timedelta


# Locked in one order, so two callers cannot wait for each other.
_COUNT = sa.text(
    """
    INSERT INTO rate_counters AS c (scope, key, "window", count)
    SELECT r.scope, r.key, r."window", :amount
    FROM unnest(CAST(:scopes AS text[]), CAST(:keys AS bytea[]), CAST(:windows AS timestamptz[]))
        AS r(scope, key, "window")
    ORDER BY r.scope, r.key, r."window"
    ON CONFLICT (scope, key, "window") DO UPDATE SET count = c.count + excluded.count
    RETURNING scope, key, "window", count
    """
)
_USED = sa.text('SELECT count FROM rate_counters WHERE scope = :scope AND key = :key AND "window" = :window')

_Place = tuple[str, bytes, datetime]


def take(session: Session, limits: Sequence[Limit], *, now: datetime, amount: int = 1) -> Limit | None:
    """Count ``amount`` against every limit; None if all hold, else the first that would be exceeded.

    Then nothing is counted. The counters stay locked until the caller's transaction ends, so give all limits
    of one act in one call, and spend last. A limit that stands there twice counts once.
    """
    if amount < 0:
        raise ValueError("a limit counts upwards")
    places = [_place(limit, now) for limit in limits]
    for limit in limits:  # no row can hold more, whatever was counted before
        if amount > min(limit.most, _LARGEST):
            return limit
    point = session.begin_nested()
    counts = _counted(session, set(places), amount)
    for limit, place in zip(limits, places, strict=True):
        if counts[place] > limit.most:
            point.rollback()
            return limit
    point.commit()
    return None


def _counted(session: Session, places: set[_Place], amount: int) -> dict[_Place, int]:
    if not places:
        return {}
    scopes, keys, windows = zip(*sorted(places), strict=True)
    values = {"scopes": list(scopes), "keys": list(keys), "windows": list(windows), "amount": amount}
    return {
        (scope, bytes(key), window): count for scope, key, window, count in session.execute(_COUNT, values)
    }


def used(session: Session, limit: Limit, *, now: datetime) -> int:
    """How much of a limit its present window has seen."""
    scope, key, window = _place(limit, now)
    found = session.execute(_USED, {"scope": scope, "key": key, "window": window})
    return found.scalar_one_or_none() or 0


_ANY_USED = sa.text(
    """
    SELECT r.nth FROM unnest(CAST(:nths AS int[]), CAST(:scopes AS text[]), CAST(:keys AS bytea[]),
        CAST(:windows AS timestamptz[])) AS r(nth, scope, key, "window")
    JOIN rate_counters c USING (scope, key, "window")
    """
)


def any_used(session: Session, limits: Sequence[Limit], *, at: Sequence[Sequence[datetime]]) -> list[bool]:
    """Whether each limit has seen anything in the windows of its moments: one query for all."""
    places = [
        (nth, _place(limit, moment))
        for nth, (limit, moments) in enumerate(zip(limits, at, strict=True))
        for moment in moments
    ]
    found: set[int] = set()
    if places:
        values = {
            "nths": [nth for nth, _ in places],
            "scopes": [scope for _, (scope, _, _) in places],
            "keys": [key for _, (_, key, _) in places],
            "windows": [window for _, (_, _, window) in places],
        }
        found.update(session.scalars(_ANY_USED, values))
    return [nth in found for nth in range(len(limits))]


def _place(limit: Limit, now: datetime) -> _Place:
    """The counter's key. The length is part of it: at midnight an hour's window ends when a day's does."""
    seconds = int(limit.per.total_seconds())
    if seconds < 1:
        raise ValueError("a window lasts a second at least")
    ends = _EPOCH + timedelta(seconds=(int((now - _EPOCH).total_seconds()) // seconds + 1) * seconds)
    text = limit.key.hex() if isinstance(limit.key, bytes) else limit.key
    key = crypto.keyring().digest(f"limit {limit.scope}", text) if text else b""
    return f"{limit.scope}/{seconds}", key, ends


SPEND = "spend"


def spend(
    session: Session,
    segments: int,
    *,
    pence_per_day: int,
    segment_pence: Decimal,
    now: datetime,
    up_to: Decimal = Decimal(1),
) -> bool:
    """Reserve the price of ``segments`` in today's budget for texts that nobody pays for; False if it is spent.

    ``pence_per_day`` is CODES_PENCE_PER_DAY, ``segment_pence`` SMS_SEGMENT_PENCE. Codes and answers to HELP
    share the budget; whoever may use only a part of it (``up_to``, 0 to 1) finds it spent when that part is. It is
    counted in hundredths of a penny, rounded up.
    """
    price = int((segments * segment_pence * 100).to_integral_value(rounding=ROUND_CEILING))
    budget = Limit(SPEND, "", int(pence_per_day * 100 * up_to), timedelta(days=1))
    return take(session, [budget], now=now, amount=price) is None
