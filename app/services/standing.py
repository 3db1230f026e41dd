"""Who sends for us and what holds it back: providers, brakes, limits, senders, as they stand now."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

_SENDERS = sa.text(
    """
    SELECT s.id, s.channel, s.provider, s.address, s.lane, s.segments_per_second,
        greatest(0, CAST(extract(epoch FROM p.free_at - clock_timestamp()) AS float8))
    FROM senders s LEFT JOIN sender_pace p ON p.sender_id = s.id
    WHERE s.active ORDER BY 7 DESC NULLS LAST, s.id LIMIT :most
    """
)


_PROVIDERS = sa.text(
    """
    SELECT channel, provider, state, CAST(extract(epoch FROM clock_timestamp() - since) AS float8), calls,
        failed_percent
    FROM provider_states ORDER BY channel, place, provider LIMIT 100
    """
)
_BRAKES = sa.text(
    """
    SELECT domain, why, CAST(extract(epoch FROM clock_timestamp() - pulled_at) AS float8), complained, bounced
    FROM brakes WHERE released_at IS NULL ORDER BY pulled_at LIMIT 100
    """
)

# Days and months are London's. Costs are kept in hundredths of a penny.
_CAPS = sa.text(
    """
    SELECT o.slug, l.period, l.measure, l.most, CAST(100 * u.used / l.most AS float8)
    FROM organisation_limits l
    JOIN organisations o ON o.id = l.organisation_id
    CROSS JOIN LATERAL (SELECT CAST(now() AT TIME ZONE 'Europe/London' AS date)) AS t(today)
    JOIN spend_counters c ON c.organisation_id = l.organisation_id AND c.period = l.period
        AND c.starts = CASE l.period WHEN 'day' THEN t.today ELSE CAST(date_trunc('month', t.today) AS date) END
    CROSS JOIN LATERAL (SELECT CASE l.measure WHEN 'emails' THEN c.emails WHEN 'segments' THEN c.segments
        ELSE c.cost / 100.0 END) AS u(used)
    WHERE l.most > 0 ORDER BY 5 DESC, 1, 2, 3 LIMIT 200
    """
)


@dataclass(frozen=True, slots=True)
class SenderLoad:
    """A sender, and how many seconds of messages the provider holds of it."""

    id: int
    channel: str
    provider: str
    address: str
    lane: str
    rate: float
    held_seconds: float | None


@dataclass(frozen=True, slots=True)
class ProviderNow:
    """One provider of one channel as all workers see it: up, down, or being tried again."""

    channel: str
    provider: str
    state: str
    seconds: float
    calls: int
    failed_percent: int


@dataclass(frozen=True, slots=True)
class BrakeNow:
    """A sending domain whose bulk e-mail is held."""

    domain: str
    why: str
    seconds: float
    complained: int
    bounced: int


@dataclass(frozen=True, slots=True)
class CapNow:
    """One limit of an organisation and how much of it is used, in percent, in London's day or month."""

    organisation: str
    period: str
    measure: str
    most: int
    used_percent: float


def providers(session: Session) -> list[ProviderNow]:
    """Who sends for us, in the order in which they are asked."""
    return [ProviderNow(*row) for row in session.execute(_PROVIDERS)]


def brakes(session: Session) -> list[BrakeNow]:
    """The brakes that are pulled, the longest pulled first."""
    return [BrakeNow(*row) for row in session.execute(_BRAKES)]


def caps(session: Session) -> list[CapNow]:
    """The limits of which something is used, the most used first."""
    return [CapNow(*row) for row in session.execute(_CAPS)]


def senders(session: Session, most: int = 50) -> list[SenderLoad]:
    """The senders with the most messages at their provider first."""
    return [SenderLoad(*row) for row in session.execute(_SENDERS, {"most": most})]
