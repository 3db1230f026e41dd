"""``/metrics`` for Prometheus: figures from PostgreSQL, so that any process of any host answers the same.

Labels come from fixed lists only: nothing that somebody typed, and no id, ever stands in one.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

import sqlalchemy as sa
import structlog
from flask import Blueprint, Response, abort, request
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from app import queue
from app.db import utc_now
from app.services import alarm_watch, alarms, heartbeats, sight
from app.services.sight import Sight
from app.web import context, guards

log = structlog.get_logger(__name__)
pages = Blueprint("metrics", __name__)

_BOUND = sa.text("SET LOCAL statement_timeout = 5000")


@pages.get("/metrics")
@guards.signed
def metrics() -> Response:
    """Everything at once. While the database is away only that it is; 404 for whoever may not know."""
    if not _may_read():
        abort(404)
    return Response(generate_latest(_Figures(_collected())), content_type=CONTENT_TYPE_LATEST)


def _may_read() -> bool:
    """By the token where one is set, as production must; otherwise from this machine or a private network."""
    token = context.settings().metrics_token
    if token:
        given = request.headers.get("Authorization", "").encode()
        return hmac.compare_digest(given, f"Bearer {token}".encode())
    if context.settings().env == "production":
        return False  # a proxy that adds no header would make every stranger look like this machine
    forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    if forwarded and not context.settings().proxies:
        return False  # a proxy that we were not told of: everybody would look like this machine
    try:
        return ip_address(request.remote_addr or "").is_private
    except ValueError:
        return False


class _Figures(Collector):
    """What was read, in the shape that the library writes out."""

    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> Iterable[Metric]:
        return self._found


def _collected() -> Iterator[Metric]:
    try:
        with context.transaction() as session:
            session.execute(_BOUND)
            seen, opened = sight.look(session), alarms.counts(session)
            grown = alarm_watch.growth(session, seen.in_doubt, utc_now())
    except sa.exc.DBAPIError as error:
        log.warning("database_away", error=type(error).__name__)
        yield _one("database_up", "Whether the database answered this scrape", 0)
        return
    yield _one("database_up", "Whether the database answered this scrape", 1)
    yield _one("queue_up", "Whether the queue server answers this process", float(queue.reachable()))
    yield from families(seen)
    yield _one(
        "in_doubt_growth", "How many more are in doubt, and stay so, than a quarter of an hour ago", grown
    )
    yield _by(
        "alarms_open",
        "Alarms that are open",
        ["code"],
        {(code,): opened.get(code, 0) for code in alarms.CODES},
    )


def families(seen: Sight) -> Iterator[Metric]:
    """Every figure of ``seen``, each label's values complete, so that a graph never breaks off."""
    lanes = {(name,): lane for name, lane in seen.lanes.items()}
    yield _by("batches_waiting", "Batches not yet sent", ["lane"], {k: v.waiting for k, v in lanes.items()})
    yield _by(
        "batches_ready",
        "Of these, those that may be sent now",
        ["lane"],
        {k: v.ready for k, v in lanes.items()},
    )
    yield _by(
        "batches_claimed", "Batches in a worker's hands", ["lane"], {k: v.claimed for k, v in lanes.items()}
    )
    yield _by(
        "queue_oldest_seconds",
        "For how long the oldest ready batch could have been sent",
        ["lane"],
        {k: v.oldest for k, v in lanes.items()},
    )
    names = [*sight.PROVIDERS, sight.OTHER]
    yield _by(
        "recipients_day",
        "Recipients of dispatches of the last 24 hours",
        ["channel", "provider", "status"],
        {
            (c, p, s): seen.day.get((c, p), {}).get(s, 0)
            for c in sight.CHANNELS
            for p in names
            for s in sight.STATUSES
        },
    )
    yield _by(
        "attempts_hour",
        "Attempts closed within the last hour",
        ["provider", "outcome"],
        {(p, o): seen.attempts.get((p, o), 0) for p in sight.PROVIDERS for o in sight.OUTCOMES},
    )
    yield _by(
        "failures_hour",
        "Attempts of the last hour that were not taken, by why",
        ["provider", "class"],
        {(p, c): seen.failures.get((p, c), 0) for p in sight.PROVIDERS for c in sight.CLASSES},
    )
    yield _by(
        "recipients_per_second",
        "Recipients that a provider took, over five minutes",
        ["provider"],
        {(p,): seen.rates.get(p, 0.0) for p in sight.PROVIDERS},
    )
    yield _by(
        "in_doubt",
        "Recipients in doubt now",
        ["channel"],
        {(c,): seen.doubt.get(c, 0) for c in sight.CHANNELS},
    )
    yield _one("receipts_waiting", "Raw events not yet merged, counted up to 10,000", seen.receipts.waiting)
    yield _one("receipts_lag_seconds", "Age of the oldest raw event not yet merged", seen.receipts.oldest)
    yield _one("early_receipts", "Receipts that came before their delivery, counted up to 10,000", seen.early)
    yield _one(
        "unsealed_entries", "Entries of the record not yet sealed, counted up to 10,000", seen.sealer.waiting
    )
    yield _one("sealer_lag_seconds", "Age of the oldest entry not yet sealed", seen.sealer.oldest)
    yield _one("service_messages_due", "Codes, answers and the like that should have left", seen.post.waiting)
    yield _one(
        "service_messages_lag_seconds", "For how long the oldest of them should have", seen.post.oldest
    )
    yield from _processes(seen)
    seen_by = [p for p in seen.providers if p.channel in sight.CHANNELS]
    states: dict[tuple[str, ...], float] = {
        (p.channel, sight.known(p.provider)): float(p.state == "up") for p in seen_by
    }
    yield _by(
        "provider_up", "Whether a provider is up: it takes what is sent", ["channel", "provider"], states
    )
    yield _one("brakes_pulled", "Sending domains whose bulk e-mail is held", len(seen.brakes))


def _processes(seen: Sight) -> Iterator[Metric]:
    alive = [beat for beat in seen.beats if beat.lives]
    ages = {k: min((b.age for b in seen.beats if b.kind == k), default=None) for k in heartbeats.KINDS}
    yield _by(
        "processes",
        "Processes that live, by what they do",
        ["kind"],
        {(k,): sum(b.kind == k for b in alive) for k in heartbeats.KINDS},
    )
    yield _by(
        "heartbeat_age_seconds",
        "Since when no process of this kind has said that it lives; none within the hour: no figure",
        ["kind"],
        {(k,): age for k, age in ages.items() if age is not None},
    )
    without = sum(b.queue_away_for is not None for b in alive)
    yield _one(
        "processes_without_queue", "Processes that find no queue server and pace by themselves", without
    )


def _one(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"wardlink_{name}", about, value=value)


def _by(name: str, about: str, labels: list[str], values: dict[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(f"wardlink_{name}", about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
