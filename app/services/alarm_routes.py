"""How alarms reach a human: e-mail, text and a webhook, all that are set, so that none depends on what is broken.

Only rows are made here. Workers send them: messages as service messages, calls of the webhook by worker-back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import queue
from app.services import post
from app.services.alarms import TEST, Alarm
from config.queues import Queue
from config.settings import Settings
from messaging import notices

log = structlog.get_logger(__name__)

JOB, PILE = "workers.alarms.post", "alarms"
RAISED, AGAIN, OVER = "raised", "again", "over"
_BEGINS = {RAISED: "Alarm", AGAIN: "Still an alarm", OVER: "Over", TEST: "Test"}
KEPT_TRYING = timedelta(hours=1)
LONGEST_TEXT = 300  # characters: two segments at most


@dataclass(frozen=True, slots=True)
class Routes:
    """Where alarms go. ``again``: how long until an open one is told once more."""

    emails: Sequence[str]
    mobiles: Sequence[str]
    webhook: bool
    again: timedelta
    public_url: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.alarm_emails,
            settings.alarm_mobiles,
            bool(settings.alarm_webhook),
            timedelta(minutes=settings.alarm_again_minutes),
            settings.public_url.rstrip("/"),
        )

    @property
    def any(self) -> bool:
        return bool(self.count)

    @property
    def count(self) -> int:
        """How many people and machines one alarm is told to."""
        return len(self.emails) + len(self.mobiles) + self.webhook


_DUE = sa.text(
    """
    SELECT id, code, subject, raised_at, told_at, tellings, cleared_at, detail FROM alarms
    WHERE (cleared_at IS NULL AND (told_at IS NULL OR told_at <= :before))
       OR (cleared_at IS NOT NULL AND told_at IS NOT NULL AND over_told_at IS NULL)
    ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED
    """
)
_TOLD = sa.text("UPDATE alarms SET told_at = :now, tellings = tellings + 1 WHERE id = :id")
_TOLD_OVER = sa.text("UPDATE alarms SET over_told_at = :now WHERE id = :id")
_POST = sa.text(
    "INSERT INTO alarm_posts (alarm_id, what, created_at, not_before) VALUES (:alarm, :what, :now, :now)"
)
# Alarms are nobody's in particular: the number that carries urgent texts carries them.
_SENDER = sa.text(
    """
    SELECT id FROM senders WHERE channel = 'sms' AND active
    ORDER BY lane <> 'urgent', kind = 'alphanumeric', id LIMIT 1
    """
)


def tell(session: Session, routes: Routes, *, now: datetime) -> int:
    """Tell what nobody was told yet, what is still open after a while, and what is over; how many alarms.

    Without any route it stays in the log, as an error, and on the status page.
    """
    due = [Alarm(*row) for row in session.execute(_DUE, {"before": now - routes.again})]
    for alarm in due:
        what = OVER if alarm.cleared_at else AGAIN if alarm.told_at else RAISED
        say(session, routes, alarm, what, now=now)
        session.execute(_TOLD_OVER if what == OVER else _TOLD, {"id": alarm.id, "now": now})
    return len(due)


def say(session: Session, routes: Routes, alarm: Alarm, what: str, *, now: datetime) -> int:
    """Put one telling on its way by every route; by how many. ``what``: raised, again, over or test."""
    note = log.info if what in {OVER, TEST} else log.error
    note("alarm", what=what, code=alarm.code, about=alarm.subject, detail=alarm.detail, told=routes.any)
    expires_at = now + KEPT_TRYING
    subject = f"{_BEGINS[what]}: {alarm.about.title} ({alarm.subject})"
    content = notices.notice(
        subject,
        paragraphs(alarm, what),
        button=("Status of Wardlink", f"{routes.public_url}/status"),
        controller_name="Your own site",
    )
    for address in routes.emails:
        post.queue_email(
            session,
            kind="alarm",
            address=address,
            content=content,
            controller=None,
            expires_at=expires_at,
            now=now,
        )
    texts = _texts(session, routes, alarm, what, expires_at, now)
    if routes.webhook:
        session.execute(_POST, {"alarm": alarm.id, "what": what, "now": now})
        queue.ring(session, Queue.BACK, JOB, coalesce=PILE)
    return len(routes.emails) + texts + routes.webhook


def paragraphs(alarm: Alarm, what: str) -> list[str]:
    """What a message says, in plain English, with the figures that were seen."""
    figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sorted(alarm.detail.items()))
    since = f"{alarm.raised_at:%d %B %Y %H:%M:%S} UTC"
    if what == OVER:
        return [f"It is over: {alarm.about.title.lower()} ({alarm.subject}).", f"It was raised on {since}."]
    return [
        alarm.about.means,
        f"What: {alarm.subject}. Raised on {since}.",
        f"Figures: {figures}." if figures else "",
        f"What to do: {alarm.about.do} docs/runbook.md says more under {alarm.code}.",
    ]


def _texts(
    session: Session, routes: Routes, alarm: Alarm, what: str, expires_at: datetime, now: datetime
) -> int:
    if not routes.mobiles:
        return 0
    sender = session.execute(_SENDER).scalar_one_or_none()
    if sender is None:
        log.error("alarm_without_sender", code=alarm.code)
        return 0
    words = f"Wardlink. {_BEGINS[what]}: {alarm.about.title} ({alarm.subject}). {routes.public_url}/status"
    for number in routes.mobiles:
        post.queue_text(
            session,
            kind="alarm",
            address=number,
            text=words[:LONGEST_TEXT],
            controller=None,
            sender_id=sender,
            expires_at=expires_at,
            now=now,
        )
    return len(routes.mobiles)


# -- the webhook
_NEXT = sa.text(
    """
    UPDATE alarm_posts p SET tries = p.tries + 1, not_before = :later
    FROM (SELECT id FROM alarm_posts WHERE closed_at IS NULL AND not_before <= :now
          ORDER BY not_before, id LIMIT :most FOR UPDATE SKIP LOCKED) due, alarms a
    WHERE p.id = due.id AND a.id = p.alarm_id
    RETURNING p.id, p.what, p.tries, p.created_at,
        a.id, a.code, a.subject, a.raised_at, a.told_at, a.tellings, a.cleared_at, a.detail
    """
)
_CLOSE = sa.text(
    """
    UPDATE alarm_posts SET closed_at = :now, outcome = :outcome, reason = :reason WHERE id = :id AND closed_at IS NULL
    """
)
_LATER = sa.text(
    "UPDATE alarm_posts SET not_before = :at, reason = :reason WHERE id = :id AND closed_at IS NULL"
)
_POSTS_DUE = sa.text(
    "SELECT EXISTS (SELECT 1 FROM alarm_posts WHERE closed_at IS NULL AND not_before <= :now)"
)
GIVEN_UP_AFTER = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the webhook that is due."""

    id: int
    what: str
    tries: int
    created_at: datetime
    alarm: Alarm

    def body(self) -> dict[str, object]:
        """The JSON that is posted. ``id`` stays the same when a call is repeated."""
        return {
            "id": f"alarm-post-{self.id}",
            "what": self.what,
            "code": self.alarm.code,
            "subject": self.alarm.subject,
            "title": self.alarm.about.title,
            "means": self.alarm.about.means,
            "do": self.alarm.about.do,
            "detail": self.alarm.detail,
            "raised_at": self.alarm.raised_at.isoformat(),
            "cleared_at": self.alarm.cleared_at.isoformat() if self.alarm.cleared_at else None,
        }


def calls_due(session: Session, *, now: datetime, held_for: timedelta, most: int = 10) -> list[Call]:
    """Take calls in hand for a while. Commit before the first byte: a lost worker's are taken again later."""
    rows = session.execute(_NEXT, {"now": now, "later": now + held_for, "most": most})
    return [Call(row[0], row[1], row[2], row[3], Alarm(*row[4:])) for row in rows]


def called(session: Session, call: Call, *, now: datetime, problem: str = "") -> None:
    """Write down how a call went: done, or later with a back-off that doubles, or given up after a day."""
    if not problem:
        session.execute(_CLOSE, {"id": call.id, "now": now, "outcome": "sent", "reason": ""})
    elif now - call.created_at > GIVEN_UP_AFTER:
        log.error("alarm_post_given_up", post=call.id, reason=problem)
        session.execute(_CLOSE, {"id": call.id, "now": now, "outcome": "given-up", "reason": problem})
    else:
        wait = timedelta(seconds=min(900.0, 5.0 * 2.0 ** min(call.tries, 10)))
        log.warning("alarm_post_failed", post=call.id, reason=problem, tries=call.tries)
        session.execute(_LATER, {"id": call.id, "at": now + wait, "reason": problem})


def any_due(session: Session, *, now: datetime) -> bool:
    """Whether a call of the webhook waits whose time has come."""
    return bool(session.execute(_POSTS_DUE, {"now": now}).scalar_one())


_FATES = sa.text(
    """
    SELECT CASE channel WHEN 'email' THEN 'e-mail' ELSE 'text' END, state, coalesce(reason, ''), count(*)
    FROM service_messages WHERE created_at > now() - interval '1 day' AND kind = 'alarm' GROUP BY 1, 2, 3
    UNION ALL
    SELECT 'webhook', coalesce(p.outcome, 'waiting'), p.reason, count(*)
    FROM (SELECT outcome, reason, created_at FROM alarm_posts ORDER BY id DESC LIMIT 200) p
    WHERE p.created_at > now() - interval '1 day' GROUP BY 1, 2, 3
    ORDER BY 1, 2, 3
    """
)


def fates(session: Session) -> list[tuple[str, str, str, int]]:
    """What became of the last day's tellings: (route, state, why, how many). A route may itself be refused."""
    return [(route, state, why, n) for route, state, why, n in session.execute(_FATES)]
