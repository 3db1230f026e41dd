"""The invariant: everybody of a dispatch is in exactly one state, and the counters agree.

recipients = accepted (of which delivered, bounced, complained, silent) + refused + stopped +
erased + expired + in doubt + waiting, each once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.alerts import Alert
from app.models.ledger import Dispatch


@dataclass(frozen=True, slots=True)
class Balance:
    """One dispatch and channel, counted from the ledger itself."""

    dispatch: UUID
    channel: str
    recipients: int
    accepted: int
    delivered: int
    bounced: int
    complained: int
    refused: int
    stopped: int
    erased: int
    expired: int
    in_doubt: int
    waiting: int
    problems: tuple[str, ...] = field(default=())

    @property
    def silent(self) -> int:
        """Accepted by the provider, which has reported nothing final since."""
        return self.accepted - self.delivered - self.bounced - self.complained

    @property
    def unaccounted(self) -> int:
        """Recipients of the frozen batches that the states do not add up to; 0 when all is well."""
        states = self.accepted + self.refused + self.stopped + self.erased + self.expired
        return self.recipients - states - self.in_doubt - self.waiting

    @property
    def balances(self) -> bool:
        return self.unaccounted == 0 and not self.problems


STATES = (
    "accepted",
    "delivered",
    "bounced",
    "complained",
    "refused",
    "stopped",
    "erased",
    "expired",
    "in_doubt",
)

_COUNT = sa.text(
    """
    WITH frozen AS (
        SELECT b.n, b.channel, u.contact_id, u.ordinal
        FROM batches b CROSS JOIN LATERAL unnest(b.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
        WHERE b.dispatch_id = :dispatch
    ), joined AS (
        SELECT f.channel, f.contact_id, d.status, d.contact_id IS NULL AS absent,
            d.contact_id IS NOT NULL AND (d.batch_n, d.ordinal) IS DISTINCT FROM (f.n, CAST(f.ordinal AS smallint))
                AS misplaced
        FROM frozen f LEFT JOIN deliveries d ON d.dispatch_id = :dispatch AND d.contact_id = f.contact_id
    )
    SELECT channel, count(*), count(DISTINCT contact_id),
        count(*) FILTER (WHERE status >= 30), count(*) FILTER (WHERE status = 40),
        count(*) FILTER (WHERE status = 50), count(*) FILTER (WHERE status = 60),
        count(*) FILTER (WHERE status = 23), count(*) FILTER (WHERE status = 21),
        count(*) FILTER (WHERE status = 22), count(*) FILTER (WHERE status = 20),
        count(*) FILTER (WHERE status = 10), count(*) FILTER (WHERE absent OR status = 0),
        count(*) FILTER (WHERE misplaced)
    FROM joined GROUP BY channel ORDER BY channel
    """
)
_STRANGERS = sa.text(
    """
    SELECT count(*) FROM deliveries d WHERE d.dispatch_id = :dispatch AND NOT EXISTS (
        SELECT 1 FROM batches b WHERE b.dispatch_id = d.dispatch_id AND b.n = d.batch_n
          AND b.contact_ids[d.ordinal] = d.contact_id)
    """
)
_COUNTERS = sa.text(
    """
    SELECT channel, sum(accepted + delivered + bounced + complained), sum(delivered), sum(bounced), sum(complained),
        sum(refused), sum(stopped), sum(erased), sum(expired), sum(in_doubt)
    FROM batches WHERE dispatch_id = :dispatch GROUP BY channel
    """
)


def balance(session: Session, dispatch_id: UUID) -> list[Balance]:
    """Count one dispatch, channel by channel, and say in words whatever is wrong."""
    values = {"dispatch": dispatch_id}
    counters = {row[0]: tuple(int(v) for v in row[1:]) for row in session.execute(_COUNTERS, values)}
    strangers = session.execute(_STRANGERS, values).scalar_one()
    found = []
    for channel, total, distinct, *states, misplaced in session.execute(_COUNT, values).all():
        problems = []
        if total != distinct:
            problems.append(f"{total - distinct} recipients stand in more than one batch")
        if misplaced:
            problems.append(f"{misplaced} deliveries stand at another place than their batch says")
        if strangers:
            problems.append(f"{strangers} deliveries belong to nobody of the frozen batches")
        if counters[channel] != tuple(states[:9]):
            problems.append(f"the counters say {counters[channel]}, the ledger {tuple(states[:9])}")
        names = (*STATES, "waiting")
        found.append(
            Balance(
                dispatch_id,
                channel,
                recipients=total,
                problems=tuple(problems),
                **dict(zip(names, states, strict=True)),
            )
        )
    return found


def of_alert(session: Session, alert: Alert) -> list[Balance]:
    """Every dispatch of an alert, oldest first."""
    ids = session.scalars(sa.select(Dispatch.id).where(Dispatch.alert_id == alert.id).order_by(Dispatch.id))
    return [line for dispatch in ids for line in balance(session, dispatch)]
