"""Looks every few seconds whether something is wrong, raises and clears alarms, and has them told.

Run by the scheduler; and by any worker, once the scheduler is silent. One look at a time, whoever takes it.
Each measure has a height at which it is wrong and a lower one at which it is well: between the two nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import queue
from app.services import alarm_routes, alarms, heartbeats, retention, retention_runs, sight, standing
from app.services.alarm_routes import Routes
from app.services.heartbeats import Beat
from config.queues import Queue

# seconds, (wrong from, well below)
URGENT_STALLED = (60.0, 20.0)
SCHEDULER_SILENT = (30.0, 10.0)
SEALER_BEHIND = (60.0, 10.0)
RECEIPTS_BEHIND = (120.0, 20.0)
QUEUE_AWAY = (30.0, 1.0)
UNNEEDED_SECONDS = (
    600.0  # that a provider waits for a call to try it: then it is told no more that it was down
)
# people more in doubt than a quarter of an hour ago, who stayed so for two minutes
DOUBT_GROWN = (25.0, 5.0)
CAP_USED = (90.0, 80.0)  # percent

_TURN = sa.text("SELECT pg_try_advisory_xact_lock(hashtext('wardlink.alarms'))")
_NOW = sa.text("SELECT clock_timestamp()")
_SAMPLE = sa.text(
    """
    INSERT INTO doubt_samples (at, in_doubt) SELECT :now, :doubt
    WHERE NOT EXISTS (SELECT 1 FROM doubt_samples WHERE at > CAST(:now AS timestamptz) - interval '50 seconds')
    ON CONFLICT DO NOTHING RETURNING at
    """
)
# What is over is of use for a year's report; a sample for two days' graph; a process that left, for none.
_PURGES = {
    sa.text("DELETE FROM heartbeats WHERE at < :before"): timedelta(days=1),
    sa.text("DELETE FROM doubt_samples WHERE at < :before"): timedelta(days=2),
    sa.text("DELETE FROM alarms WHERE cleared_at < :before"): timedelta(days=400),
}
# What stayed in doubt for two minutes, against a quarter of an hour ago. A call that a receipt settles is no growth.
_GROWTH = sa.text(
    """
    SELECT least(:doubt, min(in_doubt) FILTER (WHERE at > CAST(:now AS timestamptz) - interval '2 minutes'))
        - (array_agg(in_doubt ORDER BY at) FILTER (WHERE at <= CAST(:now AS timestamptz) - interval '2 minutes'))[1]
    FROM doubt_samples WHERE at > CAST(:now AS timestamptz) - interval '17 minutes'
    """
)


@dataclass(frozen=True, slots=True)
class Reading:
    """One measure of one thing, to be held against its two heights."""

    code: str
    subject: str
    value: float
    heights: tuple[float, float]
    what: str  # the name of the figure, as it is told


def watch(session: Session, routes: Routes, *, now: datetime | None = None) -> bool:
    """One look; False if somebody else looks at this moment. ``now`` is the database's unless given."""
    if not session.execute(_TURN).scalar_one():
        return False
    at = now or session.execute(_NOW).scalar_one()
    for reading in _readings(session, at):
        wrong, well = reading.heights
        if reading.value >= wrong:
            figure = {reading.what: round(reading.value)}
            alarms.raise_(session, reading.code, reading.subject, now=at, **figure)
        elif reading.value < well:
            alarms.clear(session, reading.code, reading.subject, now=at)
    _providers(session, at)
    _brakes(session, at)
    _caps(session, at)
    alarm_routes.tell(session, routes, now=at)
    if alarm_routes.any_due(session, now=at):
        queue.ring(session, Queue.BACK, alarm_routes.JOB, coalesce=alarm_routes.PILE)
    return True


def growth(session: Session, doubt: int, now: datetime) -> int:
    """How many more are in doubt, and have been for two minutes, than a quarter of an hour ago."""
    return int(session.execute(_GROWTH, {"doubt": doubt, "now": now}).scalar_one() or 0)


def _readings(session: Session, now: datetime) -> list[Reading]:
    urgent = sight.lanes(session)["urgent"].oldest
    if urgent >= URGENT_STALLED[0]:
        urgent = sight.idle(session)
    receipts, _, sealer, _ = sight.backlogs(session)
    beats = heartbeats.latest(session)
    doubt = sum(sight.doubt(session).values())
    if session.execute(_SAMPLE, {"now": now, "doubt": doubt}).all():
        _purge(session, now)
        _retention(session, now)
    seconds, people = "seconds", "people"
    return [
        Reading("urgent-stalled", "lane:urgent", urgent, URGENT_STALLED, seconds),
        Reading(
            "scheduler-silent",
            "process:scheduler",
            heartbeats.scheduler_silence(beats),
            SCHEDULER_SILENT,
            seconds,
        ),
        Reading("sealer-behind", "process:sealer", sealer.oldest, SEALER_BEHIND, seconds),
        Reading("receipts-behind", "lane:receipts", receipts.oldest, RECEIPTS_BEHIND, seconds),
        Reading("queue-away", "queue:redis", _queue_away(beats), QUEUE_AWAY, seconds),
        Reading("doubt-growing", "ledger:doubt", growth(session, doubt, now), DOUBT_GROWN, people),
    ]


def _purge(session: Session, now: datetime) -> None:
    for statement, kept in _PURGES.items():
        session.execute(statement, {"before": now - kept})


def _retention(session: Session, now: datetime) -> None:
    """Once a minute: what is not purged for two days is kept for longer than we promise."""
    names = list(retention.OWNED)
    retention_runs.expect(session, names, now=now)
    late = retention_runs.overdue(session, names, now=now)
    for name, since in late.items():
        alarms.raise_(
            session, "retention-stopped", f"class:{name}", now=now, hours=since // timedelta(hours=1)
        )
    alarms.clear_others(session, "retention-stopped", [f"class:{name}" for name in late], now=now)


def _queue_away(beats: Sequence[Beat]) -> float:
    """For how long the queue server has been away for a process that lives."""
    return max((b.queue_away_for or 0.0 for b in beats if b.lives), default=0.0)


def _providers(session: Session, now: datetime) -> None:
    """Down is wrong and up is well; one that is being tried again is neither, until nobody has needed it for long."""
    known: list[str] = []
    for one in standing.providers(session):
        about = f"provider:{one.channel}-{one.provider}"
        known.append(about)
        unneeded = one.state == "trying" and not one.calls and one.seconds > UNNEEDED_SECONDS
        if one.state == "down":
            alarms.raise_(
                session, "provider-down", about, now=now, calls=one.calls, failed_percent=one.failed_percent
            )
        elif one.state == "up" or unneeded:
            alarms.clear(session, "provider-down", about, now=now)
    # One that was taken out of the settings is nobody's trouble any more.
    alarms.clear_others(session, "provider-down", known, now=now)


def _brakes(session: Session, now: datetime) -> None:
    """A brake is released by a human, who need not be told twice that it is over."""
    pulled = standing.brakes(session)
    for one in pulled:
        figures = {"complained": one.complained, "bounced": one.bounced}
        alarms.raise_(session, "brake-pulled", f"domain:{one.domain}", now=now, **figures)
    alarms.clear_others(
        session, "brake-pulled", [f"domain:{one.domain}" for one in pulled], now=now, calm=timedelta(0)
    )


def _caps(session: Session, now: datetime) -> None:
    """The first of the day or month begins at nought, and that is the end of the alarm."""
    near = []
    for one in standing.caps(session):
        about = f"limit:{one.organisation}/{one.period}/{one.measure}"
        if one.used_percent >= CAP_USED[1]:
            near.append(about)
        if one.used_percent >= CAP_USED[0]:
            alarms.raise_(session, "cap-near", about, now=now, percent=int(one.used_percent), most=one.most)
    alarms.clear_others(session, "cap-near", near, now=now)
