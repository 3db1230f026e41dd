"""Progress for people who watch: from the counters of the batches, never from the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session


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
        d.finished_at IS NOT NULL
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
        )
        for dispatch, channel, recipients, accepted, delivered, failed, excluded, in_doubt, finished in session.execute(
            _PROGRESS, {"dispatches": dispatches}
        )
    ]
