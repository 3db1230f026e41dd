"""Progress for people who watch: from the counters of the batches, never from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import access
from app.access import Who
from app.errors import Missing
from app.models.ledger import Dispatch
from app.permissions import Permission


@dataclass(frozen=True, slots=True)
class Progress:
    """One dispatch and channel as it stands."""

    dispatch: UUID
    channel: str
    recipients: int
    accepted: int  # taken by the provider, with or without a receipt since
    delivered: int
    failed: int  # bounced or complained
    excluded: int  # refused, stopped, erased or expired
    in_doubt: int
    finished: bool
    later: int = 0  # of those left, who wait for their quiet hours to end or for room in their week

    @property
    def left(self) -> int:
        return self.recipients - self.accepted - self.excluded - self.in_doubt

    @property
    def silent(self) -> int:
        return self.accepted - self.delivered - self.failed


_PROGRESS = sa.text(
    """
    SELECT d.id, b.channel, sum(b.size), sum(b.accepted + b.delivered + b.bounced + b.complained), sum(b.delivered),
        sum(b.bounced + b.complained), sum(b.refused + b.stopped + b.erased + b.expired), sum(b.in_doubt),
        d.finished_at IS NOT NULL,
        -- What is tried again after a refusal comes back sooner.
        coalesce(sum(b.size) FILTER (WHERE b.state = 'waiting' AND b.not_before > now() + interval '10 minutes'), 0)
    FROM dispatches d JOIN batches b ON b.dispatch_id = d.id
    WHERE d.id = ANY(CAST(:dispatches AS uuid[]))
    GROUP BY d.id, b.channel ORDER BY d.id, b.channel
    """
)


def progress(session: Session, dispatches: list[UUID]) -> list[Progress]:
    """How far each dispatch is, per channel."""
    return [
        Progress(
            dispatch,
            channel,
            recipients=int(recipients),
            accepted=int(accepted),
            delivered=int(delivered),
            failed=int(failed),
            excluded=int(excluded),
            in_doubt=int(in_doubt),
            finished=finished,
            later=int(later),
        )
        for (
            dispatch, channel, recipients, accepted, delivered, failed, excluded, in_doubt, finished, later
        ) in session.execute(_PROGRESS, {"dispatches": dispatches})
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sending:
    """One dispatch with the alert that it sends."""

    id: UUID
    alert_id: UUID
    reference: str
    headline: str
    restricted: bool
    exercise: bool
    state: str
    recipients: int
    frozen_at: datetime
    stopped_at: datetime | None
    finished_at: datetime | None
    digested: int = 0  # of the recipients, who gets it in a digest
    digests_open: bool = False  # and whether somebody still waits for one
    expires_at: datetime | None = None

    @property
    def phase(self) -> Literal["sending", "paused", "stopping", "stopped", "finished"]:
        """What somebody who watches wants to know; receipts may still come in any of them."""
        if self.finished_at is None:
            if self.state == "paused":
                return "paused"
            return "stopping" if self.state == "stopped" else "sending"
        return "stopped" if self.state == "stopped" else "finished"


_SENDING = """
    SELECT d.id, a.id, a.reference, a.headline, a.restricted, d.exercise, d.state, d.recipients, d.frozen_at,
        d.stopped_at, d.finished_at, d.digested, d.digested > 0 AND EXISTS (
            SELECT 1 FROM digest_items i WHERE i.dispatch_id = d.id AND i.state = 'waiting'), d.expires_at
    FROM dispatches d JOIN alerts a ON a.id = d.alert_id
"""
_ONE = sa.text(_SENDING + "WHERE d.id = :dispatch")
_LATEST = sa.text(
    f"""
    SELECT DISTINCT ON (x.alert) x.* FROM ({_SENDING} WHERE d.alert_id = ANY(CAST(:alerts AS uuid[])))
        AS x(id, alert, reference, headline, restricted, exercise, state, recipients, frozen_at, stopped_at,
            finished_at, digested, digests_open, expires_at)
    ORDER BY x.alert, x.id DESC
    """
)


def sending(session: Session, who: Who, permission: Permission, dispatch: UUID) -> Sending:
    """A dispatch that somebody may do this to; Missing otherwise, and for a digest, which sends no one alert."""
    access.row(session, who, permission, Dispatch, dispatch)
    row = session.execute(_ONE, {"dispatch": dispatch}).one_or_none()
    if row is None:
        raise Missing("There is no such dispatch.")
    return Sending(*row)


def may_hold(session: Session, who: Who, dispatch: UUID) -> bool:
    """Whether somebody may pause, resume and stop a dispatch."""
    return access.may_on(session, who, Permission.DISPATCH_HOLD, session.get_one(Dispatch, dispatch))


def latest(session: Session, alerts: Sequence[UUID]) -> dict[UUID, Sending]:
    """Alert → its last dispatch, for those that have one."""
    rows = session.execute(_LATEST, {"alerts": list(alerts)})
    return {found.alert_id: found for found in (Sending(*row) for row in rows)}
