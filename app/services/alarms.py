"""Alarms: something that a human must hear of, one open row for each code and subject.

Anybody may raise and clear one in a transaction of theirs; telling comes after it (``app.services.alarm_routes``), so
that a broken route breaks nobody else's work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import record as audit
from app.db import utc_now

TEST = "test"
# Something must have been well for so long before it counts as over.
CALM = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of alarm: what it is called, what it means, and the first thing to do. The runbook has the rest."""

    title: str
    means: str
    do: str


CODES = {
    "urgent-stalled": Code(
        "The urgent lane stands still",
        "An urgent batch could have been sent for more than a minute, and no worker has taken it.",
        "See that worker-urgent and worker-bulk run and reach PostgreSQL; start more of them.",
    ),
    "scheduler-silent": Code(
        "The scheduler is silent",
        "No scheduler has said for 30 seconds that it lives: lost rings, leases and deferred mail wait.",
        "Start the scheduler; one leads, any more wait.",
    ),
    "doubt-growing": Code(
        "More and more people are in doubt",
        "Bytes left for a provider and no answer was read, and receipts do not settle it.",
        "Look at the failures by class; see that the provider is well and that its webhooks arrive.",
    ),
    "brake-pulled": Code(
        "Bulk e-mail of a domain is held",
        "Too many people complained, or too many addresses bounced, within a day.",
        "Find the alert that they complain about before you release the brake.",
    ),
    "sealer-behind": Code(
        "The record is not being sealed",
        "Entries of the record have waited for more than a minute.",
        "See that the sealer runs, holds the lock and can write to HEADS_DIR.",
    ),
    "receipts-behind": Code(
        "Receipts are merged too late",
        "What providers reported has waited for more than two minutes, and STOP texts with it.",
        "See that worker-receipts runs; start another.",
    ),
    "provider-down": Code(
        "A provider is down",
        "So many calls to it failed that it is left alone for a while.",
        "Look at the provider's status page; the second provider takes over where one is set.",
    ),
    "queue-away": Code(
        "The queue server is away",
        "Redis has not answered for 30 seconds. Nothing is lost; sending is slower and paced cautiously.",
        "Bring Redis back, empty if need be.",
    ),
    "cap-near": Code(
        "An organisation has nearly used up a limit",
        "More than nine tenths of what it may send or spend is used.",
        "Agree with the organisation on a higher limit, or on waiting.",
    ),
    "retention-stopped": Code(
        "What has had its time is not deleted",
        "A class of data has not been looked through for two days: it is kept for longer than we say.",
        "See that worker-back runs, and what its log says of the purge.",
    ),
    "misuse-unheard": Code(
        "A report of misuse reaches nobody",
        "Somebody of staff reported misuse, and the organisation has nobody outside the reporter's line to read it.",
        "Have the organisation give the auditor's role to somebody outside, or name its professional standards.",
    ),
    "watching-unheard": Code(
        "Nobody may look at how investigators search",
        "Unusual searches were found, or reviews are due, and the organisation has nobody outside the searcher's line.",
        "Have the organisation give the auditor's or the register steward's role to somebody outside.",
    ),
    TEST: Code("This is a test", "Somebody asked for a test of the alarms.", "Nothing."),
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm as it stands. ``detail`` holds figures and ids."""

    id: int
    code: str
    subject: str
    raised_at: datetime
    told_at: datetime | None
    tellings: int
    cleared_at: datetime | None
    detail: dict[str, Any]

    @property
    def about(self) -> Code:
        return CODES.get(self.code, Code(self.code, "", "See the runbook."))

    def concerns(self, slug: str) -> bool:
        """Whether the organisation of this short name may hear of it: another's limits are its own business."""
        owner = re.match(r"limit:([^/]+)/", self.subject)
        return owner is None or owner[1] == slug


_RAISE = sa.text(
    """
    INSERT INTO alarms AS a (code, subject, raised_at, detail)
    VALUES (:code, :subject, :now, CAST(:detail AS jsonb))
    ON CONFLICT (code, subject) WHERE cleared_at IS NULL
        DO UPDATE SET over_since = NULL, detail = excluded.detail
    RETURNING id, a.xmax = 0
    """
).bindparams(sa.bindparam("detail", type_=sa.JSON))
_OVER = sa.text(
    """
    UPDATE alarms SET over_since = coalesce(over_since, :now),
        cleared_at = CASE WHEN coalesce(over_since, :now) <= :calm THEN CAST(:now AS timestamptz) END
    WHERE code = :code AND subject = :subject AND cleared_at IS NULL
    RETURNING id, cleared_at IS NOT NULL
    """
)
_TEST = sa.text(
    """
    INSERT INTO alarms (code, subject, raised_at, told_at, tellings, cleared_at, over_told_at)
    VALUES (:code, :subject, :now, :now, 1, :now, :now) RETURNING id
    """
)
_LISTED = "SELECT id, code, subject, raised_at, told_at, tellings, cleared_at, detail FROM alarms "
_OPEN = sa.text(_LISTED + "WHERE cleared_at IS NULL ORDER BY raised_at, id LIMIT :most")
_LATEST = sa.text(_LISTED + "WHERE cleared_at IS NOT NULL ORDER BY id DESC LIMIT :most")
_COUNT = sa.text("SELECT code, count(*) FROM alarms WHERE cleared_at IS NULL GROUP BY code")


def raise_(
    session: Session, code: str, subject: str, *, now: datetime | None = None, **detail: str | float
) -> bool:
    """Raise an alarm, or bring the figures of one that is open up to date; whether it is a new one.

    ``subject`` says what it is about (``lane:urgent``, ``provider:twilio``), never a person. KeyError for a code that
    nobody wrote a page of the runbook for.
    """
    CODES[code]
    values = {"code": code, "subject": subject, "now": now or utc_now(), "detail": detail}
    _, new = session.execute(_RAISE, values).one()
    if new:
        _record(session, "alarm:raise", code, subject)
    return bool(new)


def clear(
    session: Session, code: str, subject: str, *, now: datetime | None = None, calm: timedelta = CALM
) -> bool:
    """Say that it is well again. Over it is once it has been well for ``calm``; whether it is over now."""
    at = now or utc_now()
    values = {"code": code, "subject": subject, "now": at, "calm": at - calm}
    found = session.execute(_OVER, values).one_or_none()
    if found is None or not found[1]:
        return False
    _record(session, "alarm:clear", code, subject)
    return True


def clear_others(
    session: Session, code: str, but: Sequence[str], *, now: datetime | None = None, calm: timedelta = CALM
) -> None:
    """Clear all alarms of this code but those about these subjects."""
    for one in opened(session):
        if one.code == code and one.subject not in but:
            clear(session, code, one.subject, now=now, calm=calm)


def opened(session: Session, most: int = 200) -> list[Alarm]:
    """The alarms that are open, the oldest first."""
    return [Alarm(*row) for row in session.execute(_OPEN, {"most": most})]


def latest(session: Session, most: int = 20) -> list[Alarm]:
    """The last ones that are over, the newest first."""
    return [Alarm(*row) for row in session.execute(_LATEST, {"most": most})]


def counts(session: Session) -> dict[str, int]:
    """Code → how many are open."""
    return dict(session.execute(_COUNT).all())


def test(session: Session, *, actor: audit.Actor, now: datetime) -> Alarm:
    """An alarm that is over at once: something to be told by every route, on somebody's order."""
    values = {"code": TEST, "subject": TEST, "now": now}
    made = Alarm(session.execute(_TEST, values).scalar_one(), TEST, TEST, now, now, 1, now, {})
    audit.record(session, event="alarm:test", subject=f"alarm:{made.id}", actor=actor)
    return made


def _record(session: Session, event: str, code: str, subject: str) -> None:
    audit.record(
        session, event=event, subject=f"alarm:{code}", actor=audit.SYSTEM, detail={"about": subject[:100]}
    )
